"""From triples to a knowledge graph: alias clusters, provenance, differences between two sets of triples.

Two strings are the same entity when they are equal after Unicode normalisation, case folding and whitespace
collapsing, or when the user's alias table says so; never because a fuzzy score is high.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import Triple
from suite.errors import InputError

if TYPE_CHECKING:
    import networkx
    import rdflib

WIKIDATA_DIRECT = "http://www.wikidata.org/prop/direct/"
DEFAULT_BASE_IRI = "urn:peft-suite:"
LITERAL_TAILS = frozenset(["P569", "P570", "P571", "P576", "P577", "P580", "P582", "P585", "P1198"])
"""Properties whose tail is a date or a number: a plain literal in RDF, not an entity."""

# XML 1.0 section 2.2: everything else cannot occur in a document, escaped or not.
_XML_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def normalise(text: str) -> str:
    """The key under which two mentions are the same entity."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


@dataclass(frozen=True)
class Node:
    """An entity of the graph: its most frequent spelling, every spelling, and the documents that name it."""

    key: str
    label: str
    spellings: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """A fact of the graph, from every document that states it.

    Attributes:
        head, tail: keys of nodes.
        scores: score by document id (None: the engine gave none).
    """

    head: str
    relation: str
    tail: str
    pid: str | None
    scores: Mapping[str, float | None]

    @property
    def score(self) -> float | None:
        """The best score that any document gives this fact."""
        known = [score for score in self.scores.values() if score is not None]
        return max(known, default=None)


@dataclass(frozen=True)
class KnowledgeGraph:
    """Nodes by key in order of first occurrence, and one edge for each distinct `(head, relation, tail)`."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]

    def labelled(self) -> list[tuple[str, str, str]]:
        """The edges as `(head label, relation, tail label)`, for drawing."""
        return [(self.nodes[edge.head].label, edge.relation, self.nodes[edge.tail].label) for edge in self.edges]


@dataclass
class _Cluster:
    spellings: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    documents: dict[str, None] = field(default_factory=dict)


def build(
    triples: Iterable[Triple], aliases: Mapping[str, str] | None = None, schema: Schema | None = None
) -> KnowledgeGraph:
    """Merge the triples of any number of documents into one graph with provenance.

    Args:
        aliases: spelling to canonical spelling, e.g. `{"UK": "United Kingdom"}`; compared like everything else.
        schema: a fact of a relation that is symmetric in it and its mirror image are one edge.

    Raises:
        InputError: the alias table runs in a circle.
    """
    canonical = _alias_table(aliases or {})
    clusters: dict[str, _Cluster] = {}
    facts: dict[tuple[str, str, str], tuple[str | None, dict[str, float | None]]] = {}
    for triple in triples:
        keys = []
        for argument in (triple.head, triple.tail):
            key = normalise(argument.text)
            key = canonical.get(key, key)
            cluster = clusters.setdefault(key, _Cluster())
            cluster.spellings[argument.name] += 1
            cluster.documents[triple.doc_id] = None
            keys.append(key)
        fact, mirrored = (keys[0], triple.relation, keys[1]), (keys[1], triple.relation, keys[0])
        relation = schema.find(triple.relation) if schema else None
        if relation is not None and relation.symmetric and mirrored in facts:
            fact = mirrored
        _, scores = facts.setdefault(fact, (triple.pid, {}))
        known = scores.get(triple.doc_id)
        if triple.doc_id not in scores or (triple.score is not None and (known is None or triple.score > known)):
            scores[triple.doc_id] = triple.score
    nodes = {
        key: Node(
            key,
            max(cluster.spellings, key=cluster.spellings.__getitem__),
            tuple(cluster.spellings),
            tuple(cluster.documents),
        )
        for key, cluster in clusters.items()
    }
    edges = tuple(Edge(head, relation, tail, pid, scores) for (head, relation, tail), (pid, scores) in facts.items())
    return KnowledgeGraph(nodes, edges)


def _alias_table(aliases: Mapping[str, str]) -> dict[str, str]:
    table = {normalise(spelling): normalise(name) for spelling, name in aliases.items()}
    resolved = {}
    for spelling in table:
        seen, name = {spelling}, table[spelling]
        while name in table and table[name] != name:
            if name in seen:
                raise InputError(f"alias table: {spelling!r} leads back to itself; remove one of its entries")
            seen.add(name)
            name = table[name]
        resolved[spelling] = name
    return resolved


def to_networkx(graph: KnowledgeGraph) -> networkx.MultiDiGraph:
    """Nodes carry `label`, `spellings`, `docs`; edges carry `relation`, `pid`, `score`, `docs`.

    Values are strings and floats, free of characters that XML cannot hold, and None is left out, so that every writer
    of networkx (GraphML, GEXF, node-link JSON) takes the result as it is.
    """
    import networkx

    result: networkx.MultiDiGraph = networkx.MultiDiGraph()
    for node in graph.nodes.values():
        texts = {"label": node.label, "spellings": "|".join(node.spellings), "docs": "|".join(node.documents)}
        result.add_node(xml_safe(node.key), **{name: xml_safe(text) for name, text in texts.items()})
    for edge in graph.edges:
        values: dict[str, Any] = {
            "relation": xml_safe(edge.relation),
            "pid": edge.pid,
            "score": edge.score,
            "docs": xml_safe("|".join(edge.scores)),
        }
        known = {name: value for name, value in values.items() if value is not None}
        result.add_edge(xml_safe(edge.head), xml_safe(edge.tail), key=xml_safe(edge.relation), **known)
    return result


def check_base_iri(base_iri: str) -> None:
    """Raise `InputError` where `base_iri` is no absolute IRI."""
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+$", base_iri):
        raise InputError(f"base IRI {base_iri!r} is not an absolute IRI; write for example https://example.org/kg/")


def to_rdf(graph: KnowledgeGraph, base_iri: str = DEFAULT_BASE_IRI, schema: Schema | None = None) -> rdflib.Graph:
    """The graph as RDF: entities under `base_iri`, Wikidata's direct properties where a PID is known.

    Args:
        schema: says for which relations the tail is a value, beside Wikidata's dates and numbers.

    Raises:
        InputError: `base_iri` is not an absolute IRI.
    """
    import rdflib

    check_base_iri(base_iri)
    result = rdflib.Graph()
    result.bind("wdt", WIKIDATA_DIRECT)

    def entity(key: str) -> rdflib.URIRef:
        return rdflib.URIRef(f"{base_iri}entity/{quote(key, safe='')}")

    for edge in graph.edges:
        name = f"{WIKIDATA_DIRECT}{edge.pid}" if edge.pid else f"{base_iri}relation/{quote(edge.relation, safe='')}"
        relation = schema.find(edge.relation) if schema else None
        literal = edge.pid in LITERAL_TAILS or (relation is not None and relation.literal_tail)
        tail = rdflib.Literal(graph.nodes[edge.tail].label) if literal else entity(edge.tail)
        result.add((entity(edge.head), rdflib.URIRef(name), tail))
        for key in (edge.head,) if literal else (edge.head, edge.tail):
            result.add((entity(key), rdflib.RDFS.label, rdflib.Literal(graph.nodes[key].label)))
    return result


def turtle(graph: rdflib.Graph) -> str:
    """The graph in Turtle, with an IRI that has escapes written out.

    rdflib would abbreviate such an IRI in the middle of an escape ("%E4" into a prefix that ends in "%"), which is no
    IRI any more: RFC 3987 wants two digits after every percent sign.
    """
    from rdflib.namespace import NamespaceManager

    class Whole(NamespaceManager):
        def compute_qname(self, uri: str, generate: bool = True) -> Any:
            if "%" in uri:
                raise ValueError(f"{uri} has escapes")  # as for every IRI that has no short form
            return super().compute_qname(uri, generate)

    graph.namespace_manager = Whole(graph)
    return graph.serialize(format="turtle")


@dataclass(frozen=True)
class Difference:
    """What separates two sets of triples: facts only in one of them, and pairs of entities whose relation changed."""

    added: tuple[Triple, ...]
    removed: tuple[Triple, ...]
    changed: tuple[tuple[Triple, Triple], ...]
    unchanged: int


def difference(before: Iterable[Triple], after: Iterable[Triple]) -> Difference:
    """Compare document by document; a pair of entities that lost one relation and gained one counts as changed."""
    old, new = _by_fact(before), _by_fact(after)
    removed = {key: triple for key, triple in old.items() if key not in new}
    added = {key: triple for key, triple in new.items() if key not in old}
    lost: dict[tuple[str, str, str], list[tuple[str, str, str, str]]] = defaultdict(list)
    for key in removed:
        lost[_pair(key)].append(key)
    changed = []
    for key in list(added):
        if lost[_pair(key)]:
            changed.append((removed.pop(lost[_pair(key)].pop(0)), added.pop(key)))
    return Difference(tuple(added.values()), tuple(removed.values()), tuple(changed), len(old.keys() & new.keys()))


def _by_fact(triples: Iterable[Triple]) -> dict[tuple[str, str, str, str], Triple]:
    return {(t.doc_id, normalise(t.head.text), t.relation, normalise(t.tail.text)): t for t in triples}


def _pair(key: tuple[str, str, str, str]) -> tuple[str, str, str]:
    document, head, _, tail = key
    return document, head, tail


def xml_safe(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return _XML_ILLEGAL.sub("", text)
