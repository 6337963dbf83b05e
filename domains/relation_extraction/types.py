"""What relation extraction is asked for and what it gives. Imports no torch.

Offsets are Unicode code points of the user's own text: `text[start:end]` is the string that is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Step = Literal["relation", "subject", "fact"]
"""The three kinds of calls of Relation-Head-Facts; each is also the name of its adapter in the three-adapter layout."""

STEPS: tuple[Step, ...] = ("relation", "subject", "fact")


@dataclass(frozen=True)
class Span:
    """A piece of the user's text: `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True)
class Argument:
    """Head or tail of a triple.

    Attributes:
        text: the string as the user's text has it.
        mentions: all its exact occurrences, the first one first; empty where the string does not occur.
    """

    text: str
    mentions: tuple[Span, ...] = ()

    @property
    def start(self) -> int | None:
        return self.mentions[0].start if self.mentions else None

    @property
    def end(self) -> int | None:
        return self.mentions[0].end if self.mentions else None

    def to_dict(self) -> dict[str, Any]:
        mentions = [[span.start, span.end] for span in self.mentions]
        return {"text": self.text, "start": self.start, "end": self.end, "mentions": mentions}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Argument:
        return cls(record["text"], tuple(Span(start, end) for start, end in record.get("mentions", ())))


@dataclass(frozen=True)
class Source:
    """Where a triple comes from: the paradigm, the protocol id, the adapter reference, the chunks that gave it."""

    paradigm: str
    protocol: str
    adapter: str
    chunks: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Triple:
    """One extracted fact.

    Attributes:
        score: exp(mean log-probability of the triple's own tokens) under the fact adapter, in (0, 1]; None where the
            engine gives no log-probabilities. `score_relation` and `score_head`: the same for the earlier steps.
        evidence: indices of the sentences that hold both ends.
    """

    doc_id: str
    head: Argument
    relation: str
    tail: Argument
    pid: str | None = None
    score: float | None = None
    score_relation: float | None = None
    score_head: float | None = None
    evidence: tuple[int, ...] = ()
    source: Source | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two triples of one document the same: `(head text, relation, tail text)`."""
        return (self.head.text, self.relation, self.tail.text)

    def to_dict(self) -> dict[str, Any]:
        """One line of a triples file, ready for `json.dumps`."""
        source = self.source
        return {
            "doc_id": self.doc_id,
            "head": self.head.to_dict(),
            "relation": self.relation,
            "pid": self.pid,
            "tail": self.tail.to_dict(),
            "score": self.score,
            "score_relation": self.score_relation,
            "score_head": self.score_head,
            "evidence": list(self.evidence),
            "source": source
            and {
                "paradigm": source.paradigm,
                "protocol": source.protocol,
                "adapter": source.adapter,
                "chunk": list(source.chunks),
            },
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Triple:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError: `record` is not a line of a triples file.
        """
        source = record.get("source")
        return cls(
            doc_id=record["doc_id"],
            head=Argument.from_dict(record["head"]),
            relation=record["relation"],
            tail=Argument.from_dict(record["tail"]),
            pid=record.get("pid"),
            score=record.get("score"),
            score_relation=record.get("score_relation"),
            score_head=record.get("score_head"),
            evidence=tuple(record.get("evidence", ())),
            source=source
            and Source(source["paradigm"], source["protocol"], source["adapter"], tuple(source.get("chunk", (0,)))),
        )


@dataclass(frozen=True)
class Call:
    """One call of the model: a step on a passage, and what the step is asked about.

    Attributes:
        relation, description: of the H and F steps. `relations`: the list that D_RS_F puts into its F prompt.
        head: of the F step of the paradigms with heads.
        analysis: the free-text analysis that the answer is based on, in the versions that ask for one first; None
            asks for the analysis itself.
    """

    step: Step
    passage: str
    relation: str | None = None
    description: str | None = None
    head: str | None = None
    relations: tuple[str, ...] = field(default=())
    analysis: str | None = None


@dataclass(frozen=True)
class Generation:
    """What the model answered to one call.

    Attributes:
        text: the answer, special tokens removed, spaces never cleaned up.
        complete: False where it stopped at `max_new_tokens`.
        offsets: end position in `text` of each generated token, ascending (empty: unknown).
        logprobs: log-probability of each generated token (nats), same length as `offsets`.
    """

    text: str
    complete: bool = True
    offsets: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
