"""What relation extraction is asked for and what it gives. Imports no torch.

Offsets are Unicode code points of the user's own text: `text[start:end]` is the string that is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from suite.domain import Alias
from suite.errors import InputError
from suite.prediction.options import normalise


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
        place: the mention that the fact is stated by; None: the first one.
        type: of the entity, as the document names it, or the only one that the schema allows there; None: not known.
    """

    text: str
    mentions: tuple[Span, ...] = ()
    place: Span | None = None
    type: str | None = None

    @property
    def name(self) -> str:
        """The text on one line: a name that goes over a line break in the document is shown like any other."""
        return " ".join(self.text.split())

    @property
    def own(self) -> Span | None:
        """The mention that the fact is stated by; None where the string does not occur."""
        return self.place or (self.mentions[0] if self.mentions else None)

    @property
    def start(self) -> int | None:
        return self.own.start if self.own else None

    @property
    def end(self) -> int | None:
        return self.own.end if self.own else None

    def to_dict(self) -> dict[str, Any]:
        mentions = [[span.start, span.end] for span in self.mentions]
        record = {"text": self.text, "start": self.start, "end": self.end, "mentions": mentions}
        return record if self.type is None else {**record, "type": self.type}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Argument:
        mentions = tuple(Span(start, end) for start, end in record.get("mentions", ()))
        start, end = record.get("start"), record.get("end")
        own = None if start is None or end is None else Span(start, end)
        return cls(record["text"], mentions, own if own in mentions[1:] else None, record.get("type"))


@dataclass(frozen=True)
class Origin:
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
    source: Origin | None = None

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
            and Origin(source["paradigm"], source["protocol"], source["adapter"], tuple(source.get("chunk", (0,)))),
        )


@dataclass(frozen=True)
class ExtractionQuery:
    """What one prediction is asked for; the fields are the options of `suite relation_extraction predict`.

    Attributes:
        resumes: of the class: an interrupted prediction can go on.
        loading: of the class: the options that `from_pretrained` takes.
        server: address of a server that speaks OpenAI's protocol (vLLM, llama.cpp), http://localhost:8000/v1 for
            example; it answers in place of a model on this machine.
        relations: ask about these relations only (names, aliases or property ids); no relation step.
        heads: ask about these heads only; no subject step.
        paradigm: how the model is asked, `VERSION` or `FAMILY/VERSION`; the adapter's own by default; `zero-shot` asks
            the bare base, without adapters.
        protocol_templates: JSON file with the wording of an official protocol that is not shipped (see the docs).
        schema: relations to use instead of the adapter's: a built-in name or a file; in Python also a `Schema`, a list
            of names, or what a schema file holds.
        relation_descriptions: JSON file `{relation: description}`, e.g. AutoRE's relation_description_redocred.json.
        examples: labelled file whose documents stand, solved, before each question (few-shot, for protocols of one
            prompt).
        format: of the input: auto, text, annotations, docred, hacred, pubtator, cdr, and more (see the docs).
        per_document: a result, and files, for each document as it is finished, not one for each input.
        per_line: each line of a plain text is a document of its own.
        encoding: of the input files.
        pretokenize: shape of the text that the model reads: docred (tokens joined by spaces), none, or auto (as the
            adapter was trained).
        max_length: most tokens of a prompt; longer documents are read in overlapping chunks.
        overlap: sentences that neighbouring chunks share.
        max_characters: longer documents are refused.
        max_relations: most relations of a document.
        max_heads: most heads of a relation.
        max_triples: most triples of one answer (64 for one relation and head, 1,024 for a whole document).
        min_score: leave out triples with a lower score (see `Triple.score`).
        mode: how answers are read: lenient salvages, strict is AutoRE's own parser.
        constrained: allow well-formed answers only; by default for our protocols, not for AutoRE's adapters.
        keep_other_relations: keep triples of another relation than the one asked about.
        inverses: add the inverse of each found relation; by default as the protocol's authors did.
        max_retries: how often an answer without a single usable line is sampled anew.
        decoding: greedy, or official: sampled with the values of AutoRE's code.
        seed: of the sampling.
        max_new_tokens: longest answer.
        backend: prefix (what prompts share is computed once), batched, or sequential.
        batch_size: calls side by side; halved when memory runs out; 0 chooses by free memory.
        dry_run: only tell chunks, calls and memory; nothing is generated.
        trace: JSON lines file for every call with its raw answer and the dropped lines.
        formats: files to write: jsonl, csv, neo4j, ntriples, turtle, graphml, html, png and more, or all.
        group_by: one JSON line a triple or a doc.
        aliases: JSON file `{spelling: canonical spelling}`; names that it joins become one node of the graph.
        base_iri: where RDF entities without an identifier are minted.
        max_nodes: most nodes of the picture.
        escape_formulas: guard table cells that a spreadsheet would run (= + - @).
    """

    resumes: ClassVar[bool] = True
    loading: ClassVar[tuple[str, ...]] = ("server",)

    server: str | None = None
    relations: tuple[str, ...] | None = None
    heads: tuple[str, ...] | None = None
    paradigm: Annotated[str | None, Alias("protocol")] = None
    protocol_templates: Path | None = None
    schema: Any = None
    relation_descriptions: Path | None = None
    examples: Path | None = None
    format: str = "auto"
    per_line: bool = False
    per_document: bool = False
    encoding: str = "utf-8"
    pretokenize: Literal["auto", "docred", "none"] = "auto"
    max_length: int | None = None
    overlap: int = 1
    max_characters: int = 1_000_000
    max_relations: int = 40
    max_heads: int = 64
    max_triples: int | None = None
    min_score: float = 0.0
    mode: Literal["lenient", "strict"] = "lenient"
    constrained: bool | None = None
    keep_other_relations: bool = False
    inverses: bool | None = None
    max_retries: int = 0
    decoding: Literal["greedy", "official"] = "greedy"
    seed: int = 0
    max_new_tokens: int = 1024
    backend: Literal["prefix", "batched", "sequential"] = "prefix"
    batch_size: int = 0
    dry_run: bool = False
    trace: Path | None = None
    formats: tuple[str, ...] = ("jsonl", "csv", "html", "png")
    group_by: Literal["triple", "doc"] = "triple"
    aliases: Path | None = None
    base_iri: str = "urn:peft-suite:"
    max_nodes: int = 60
    escape_formulas: bool = False

    def __post_init__(self) -> None:
        normalise(self, _LEAST)
        for name in ("relations", "heads"):
            if getattr(self, name) == ():
                raise InputError(f"{name} names none; name one, or leave it out")
        if self.min_score > 1:
            raise InputError(f"min_score is {self.min_score}; a score is a probability, at most 1")

    def fields_of(self, kind: type) -> dict[str, Any]:
        """The fields that another dataclass has too, by name: what of the query concerns it."""
        own = {field.name for field in fields(self)}
        return {field.name: getattr(self, field.name) for field in fields(kind) if field.name in own}


_LEAST = {
    **dict.fromkeys(("overlap", "max_retries", "batch_size", "min_score"), 0),
    **dict.fromkeys(("max_length", "max_characters", "max_relations", "max_heads", "max_triples"), 1),
    **dict.fromkeys(("max_new_tokens", "max_nodes"), 1),
}
