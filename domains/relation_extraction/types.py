"""What relation extraction is asked for and what it gives. Imports no torch.

Offsets are Unicode code points of the user's own text: `text[start:end]` is the string that is reported.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from suite.errors import InputError

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


@dataclass(frozen=True)
class ExtractionQuery:
    """What one prediction is asked for; the fields are the options of `suite relation_extraction predict`.

    Attributes:
        relations: ask about these relations only (names, aliases or property ids); no relation step.
        heads: ask about these heads only; no subject step.
        paradigm: the adapter's own by default; `zero-shot` asks the bare base, without adapters.
        protocol_templates: JSON file with the wording of an official protocol that is not shipped (see the docs).
        schema: relations to use instead of the adapter's: a built-in name or a file.
        relation_descriptions: JSON file `{relation: description}`, e.g. AutoRE's relation_description_redocred.json.
        format: of the input: auto, text, annotations, docred, hacred, pubtator, cdr, and more (see the docs).
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
        out: folder of the results; finished documents are noted there (progress.jsonl), so that a run can be resumed.
        resume: folder of an earlier run; documents that it has finished are not asked again.
        formats: files to write: jsonl, csv, neo4j, ntriples, turtle, graphml, html, png and more, or all.
        group_by: one JSON line a triple or a doc.
        aliases: JSON file `{spelling: canonical spelling}`; names that it joins become one node of the graph.
        base_iri: where RDF entities without an identifier are minted.
        max_nodes: most nodes of the picture.
        escape_formulas: guard table cells that a spreadsheet would run (= + - @).
    """

    relations: tuple[str, ...] | None = None
    heads: tuple[str, ...] | None = None
    paradigm: str | None = None
    protocol_templates: Path | None = None
    schema: str | None = None
    relation_descriptions: Path | None = None
    format: str = "auto"
    per_line: bool = False
    encoding: str = "utf-8"
    pretokenize: Literal["auto", "docred", "none"] = "auto"
    max_length: int | None = None
    overlap: int = 1
    max_characters: int = 1_000_000
    max_relations: int = 40
    max_heads: int = 64
    max_triples: int | None = None
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
    out: Path | None = None
    resume: Path | None = None
    formats: tuple[str, ...] = ("jsonl", "csv", "html", "png")
    group_by: Literal["triple", "doc"] = "triple"
    aliases: Path | None = None
    base_iri: str = "urn:peft-suite:"
    max_nodes: int = 60
    escape_formulas: bool = False


@dataclass(frozen=True)
class ExtractionResult:
    """What one input gave: the triples of its documents, or the `error` of one that could not be read.

    Attributes:
        source: the file that was read, `stdin`, or `text`.
        texts: the user's text by document id.
        entities: gold entities by document id, where the input had them, each a list of its spellings.
        dropped: how many lines of the answers were dropped, by reason.
        notices: what the user should know, one line each.
        cost: calls, prompt tokens and those that went through the model, generated tokens, seconds.
        plan: of a dry run, one record a document.
        query: what was asked.
    """

    source: str
    error: str | None = None
    triples: tuple[Triple, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=Counter)
    notices: tuple[str, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    plan: tuple[Mapping[str, Any], ...] = ()
    query: ExtractionQuery = field(default_factory=ExtractionQuery)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, ready for `json.dumps`."""
        record = {
            "documents": list(self.texts),
            "triples": [triple.to_dict() for triple in self.triples],
            "dropped": dict(self.dropped),
            "notices": list(self.notices),
            "cost": dict(self.cost),
        }
        return record | ({"plan": [dict(row) for row in self.plan]} if self.plan else {})

    def save(self, folder: str | Path) -> list[Path]:
        """Write the triples into `folder` in the formats of the query.

        Raises:
            InputError: a format is unknown.
        """
        if self.plan:
            return []
        from domains.relation_extraction.output.export import Extracted, write

        query = self.query
        data = Extracted(
            triples=self.triples,
            texts=self.texts,
            entities=self.entities,
            base_iri=query.base_iri,
            max_nodes=query.max_nodes,
            escape_formulas=query.escape_formulas,
            group_by=query.group_by,
            aliases=_read_aliases(query.aliases),
        )
        return write(data, folder, self.stem, query.formats)

    @property
    def stem(self) -> str:
        """How the files of this result are named."""
        return Path(self.source).stem or "triples"

    def to_networkx(self) -> Any:
        """The knowledge graph as a `networkx.MultiDiGraph`."""
        from domains.relation_extraction.output import graph

        return graph.to_networkx(graph.build(self.triples, _read_aliases(self.query.aliases)))

    def to_rdf(self) -> Any:
        """The knowledge graph as an `rdflib.Graph`."""
        from domains.relation_extraction.output import graph

        return graph.to_rdf(graph.build(self.triples, _read_aliases(self.query.aliases)), self.query.base_iri)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.triples)} triples in {len(self.texts)} documents"]
        if self.plan:
            lines = [
                self.source,
                *("  " + ", ".join(f"{key} {value}" for key, value in row.items()) for row in self.plan),
            ]
        lines += [f"  {_shown(triple)}" for triple in self.triples]
        return "\n".join([*lines, *(f"  notice: {line}" for line in self.notices)])


def _shown(triple: Triple) -> str:
    score = "" if triple.score is None else f"  ({triple.score:.2f})"
    return f"{triple.head.text} -- {triple.relation} -> {triple.tail.text}{score}"


def _read_aliases(path: Path | None) -> dict[str, str]:
    """The alias table of a file.

    Raises:
        InputError: it is no JSON object of strings.
    """
    if path is None:
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"aliases {path}: cannot be read as JSON ({error}); give {{spelling: canonical}}") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise InputError(f"aliases {path}: expected a JSON object of strings, {{spelling: canonical spelling}}")
    return table
