"""What one input gave, and how it is saved and shown. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.output.triples import file_name, read_aliases
from domains.relation_extraction.types import ExtractionQuery, Triple
from suite.tables import counted

if TYPE_CHECKING:
    from domains.relation_extraction.output.graph import KnowledgeGraph


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
        schema: of the triples' relations.
        metadata: by document id what else its record held.
        name: how its files are named; by default as the source.
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
    name: str = ""
    schema: Schema | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
        from domains.relation_extraction.output.formats import Extracted, write

        given = {**self.query.fields_of(Extracted), "schema": self.schema, "metadata": self.metadata}
        given["aliases"] = read_aliases(self.query.aliases)
        data = Extracted(self.triples, self.texts, self.entities, **given)
        return write(data, folder, self.stem, self.query.formats)

    @property
    def stem(self) -> str:
        """How the files of this result are named."""
        return self.name or file_name(Path(self.source).stem, "triples")

    def to_networkx(self) -> Any:
        """The knowledge graph as a `networkx.MultiDiGraph`."""
        from domains.relation_extraction.output import graph

        return graph.to_networkx(self._graph)

    def to_rdf(self) -> Any:
        """The knowledge graph as an `rdflib.Graph`."""
        from domains.relation_extraction.output import graph

        return graph.to_rdf(self._graph, self.query.base_iri, self.schema)

    @property
    def _graph(self) -> KnowledgeGraph:
        from domains.relation_extraction.output import graph

        return graph.build(self.triples, read_aliases(self.query.aliases), self.schema)

    def __str__(self) -> str:
        lines = [f"{self.source}: {counted(len(self.triples), 'triple')} in {counted(len(self.texts), 'document')}"]
        if self.plan:
            lines = [
                self.source,
                *("  " + ", ".join(f"{key} {value}" for key, value in row.items()) for row in self.plan),
            ]
        lines += [f"  {_shown(triple)}" for triple in self.triples]
        return "\n".join([*lines, *(f"  notice: {line}" for line in self.notices)])


def _shown(triple: Triple) -> str:
    score = "" if triple.score is None else f"  ({triple.score:.2f})"
    return f"{triple.head.name} -- {triple.relation} -> {triple.tail.name}{score}"
