"""What triples are written as: one table of formats. Every writer is all-or-nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.output import graph as knowledge
from domains.relation_extraction.output.page import render
from domains.relation_extraction.output.triples import file_name, json_lines
from domains.relation_extraction.types import Triple
from suite.errors import InputError
from suite.files import atomic_file, write_text
from suite.tables import csv_text

CSV_COLUMNS = ["doc_id", "head", "relation", "pid", "tail", "head_start", "head_end", "tail_start", "tail_end", "score"]


@dataclass(frozen=True)
class Extracted:
    """What every writer gets.

    Attributes:
        texts: the user's text by document id; formats with highlights or offsets need it.
        metadata: by document id what else its record held.
        schema: says which relations are symmetric and which tails are values.
        entities: gold entities by document id, each a list of its spellings; a DocRED submission indexes them.
    """

    triples: Sequence[Triple]
    texts: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    base_iri: str = knowledge.DEFAULT_BASE_IRI
    max_nodes: int = 60
    escape_formulas: bool = False
    group_by: str = "triple"
    aliases: Mapping[str, str] = field(default_factory=dict)
    schema: Schema | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def graph(self) -> knowledge.KnowledgeGraph:
        return knowledge.build(self.triples, self.aliases, self.schema)


def _jsonl(data: Extracted) -> str:
    if data.group_by == "triple":
        return json_lines(triple.to_dict() for triple in data.triples)
    grouped: dict[str, list[dict[str, Any]]] = {name: [] for name in data.texts}
    for triple in data.triples:
        grouped.setdefault(triple.doc_id, []).append(triple.to_dict())
    return json_lines({"doc_id": name, "triples": triples} for name, triples in grouped.items())


def _documents(data: Extracted) -> str:
    """The texts, with what else the documents' records held passed through."""
    return json_lines({**data.metadata.get(name, {}), "id": name, "text": text} for name, text in data.texts.items())


def _table(data: Extracted, delimiter: str) -> str:
    def row(triple: Triple) -> list[Any]:
        head, tail = triple.head, triple.tail
        cells = [triple.doc_id, head.text, triple.relation, triple.pid, tail.text]
        return [*cells, head.start, head.end, tail.start, tail.end, triple.score]

    return _rows([CSV_COLUMNS, *map(row, data.triples)], data.escape_formulas, delimiter)


def _neo4j_nodes(data: Extracted) -> str:
    rows = [[node.key, node.label, _array(node.documents), "Entity"] for node in data.graph.nodes.values()]
    return _rows([[":ID", "label:string", "docs:string[]", ":LABEL"], *rows], data.escape_formulas)


def _neo4j_edges(data: Extracted) -> str:
    rows = [[e.head, e.tail, e.relation, e.pid, e.score, _array(e.scores)] for e in data.graph.edges]
    header = [":START_ID", ":END_ID", ":TYPE", "pid:string", "score:float", "docs:string[]"]
    return _rows([header, *rows], data.escape_formulas)


def _array(values: Iterable[str]) -> str:
    """Values as the importer parts them: a `;` inside of one is escaped as in a URL."""
    return ";".join(value.replace("%", "%25").replace(";", "%3B") for value in values)


def _rdf(data: Extracted, syntax: str) -> str:
    graph = knowledge.to_rdf(data.graph, data.base_iri, data.schema)
    return knowledge.turtle(graph) if syntax == "turtle" else graph.serialize(format=syntax)


def _graphml(data: Extracted) -> str:
    import networkx

    return "\n".join(networkx.generate_graphml(knowledge.to_networkx(data.graph))) + "\n"


def _gexf(data: Extracted) -> str:
    import networkx

    return "\n".join(networkx.generate_gexf(knowledge.to_networkx(data.graph))) + "\n"


def _node_link(data: Extracted) -> str:
    import networkx

    record = networkx.node_link_data(knowledge.to_networkx(data.graph), edges="links")
    return json.dumps(record, ensure_ascii=False, indent=1) + "\n"


def _docred(data: Extracted) -> str:
    """A string names every entity that has it as a mention, and every combination is submitted.

    Documents without gold entities are indexed by the order of their own entities in the graph.
    """
    by_document: dict[str, list[Triple]] = defaultdict(list)
    for triple in data.triples:
        by_document[triple.doc_id].append(triple)
    rows = []
    for title, triples in by_document.items():
        entities = data.entities.get(title) or [
            [n.label, *n.spellings] for n in knowledge.build(triples).nodes.values()
        ]
        index: dict[str, list[int]] = defaultdict(list)
        for number, spellings in enumerate(entities):
            for spelling in dict.fromkeys(spellings):
                index[spelling].append(number)
        for triple in triples:
            for head in index[triple.head.text]:
                for tail in index[triple.tail.text]:
                    rows.append({"title": title, "h_idx": head, "t_idx": tail, "r": triple.pid or triple.relation})
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _langextract(data: Extracted) -> str:
    def interval(start: int | None, end: int | None) -> dict[str, int | None] | None:
        return None if start is None else {"start_pos": start, "end_pos": end}

    records: dict[str, dict[str, Any]] = {
        name: {"document_id": name, "text": text, "extractions": []} for name, text in data.texts.items()
    }
    for triple in data.triples:
        head, tail = triple.head, triple.tail
        attributes = {
            "head": head.text,
            "relation": triple.relation,
            "tail": tail.text,
            "tail_interval": interval(tail.start, tail.end),
        }
        extraction = {
            "extraction_class": "triple",
            "extraction_text": head.text,
            "char_interval": interval(head.start, head.end),
            "attributes": attributes,
        }
        record = records.setdefault(triple.doc_id, {"document_id": triple.doc_id, "text": None, "extractions": []})
        record["extractions"].append(extraction)
    return json_lines(records.values())


def _html(data: Extracted) -> str:
    return render(data.triples, data.texts)


def _write_picture(data: Extracted, path: Path) -> list[Path]:
    from suite.media import graph, plots

    # A picture may be XML, which cannot hold control characters.
    safe = knowledge.xml_safe
    edges = [(safe(head), safe(relation), safe(tail)) for head, relation, tail in data.graph.labelled()]
    figure = graph.draw(edges, max_nodes=data.max_nodes)
    return [plots.save(figure, path)]


def _write_brat(data: Extracted, folder: Path) -> list[Path]:
    """One `.txt` and one `.ann` a document; triples without offsets have no place in stand-off annotation."""
    by_document: dict[str, list[Triple]] = {name: [] for name in data.texts}
    for triple in data.triples:
        if triple.doc_id in by_document and triple.head.own and triple.tail.own:
            by_document[triple.doc_id].append(triple)
    written = []
    for number, (name, triples) in enumerate(by_document.items()):
        stem = f"{number:04d}_{file_name(name)}"
        text = data.texts[name]
        spans: dict[tuple[int, int], str] = {}
        relations: list[str] = []
        for triple in triples:
            ends = []
            for argument in (triple.head, triple.tail):
                own = argument.own
                assert own is not None
                place = (own.start, own.end)
                ends.append(spans.setdefault(place, f"T{len(spans) + 1}"))
            kind = "".join(c if c.isalnum() else "_" for c in triple.relation)
            relations.append(f"R{len(relations) + 1}\t{kind} Arg1:{ends[0]} Arg2:{ends[1]}")
        # brat reads one annotation a line, so a mention that runs over a line break shows a blank there.
        entities = [f"{key}\tEntity {a} {b}\t{' '.join(text[a:b].splitlines())}" for (a, b), key in spans.items()]
        written.append(write_text(folder / f"{stem}.txt", text))
        written.append(write_text(folder / f"{stem}.ann", "".join(f"{line}\n" for line in [*entities, *relations])))
    return written


@dataclass(frozen=True)
class _Format:
    """A format: its files (`{stem}` is filled in) with the function that makes each one's text, or one `write`."""

    texts: Mapping[str, Callable[[Extracted], str]] = field(default_factory=dict)
    write: Callable[[Extracted, Path], list[Path]] | None = None
    path: str = ""
    needs_text: bool = False


FORMATS: Mapping[str, _Format] = {
    "jsonl": _Format({"{stem}.triples.jsonl": _jsonl, "{stem}.documents.jsonl": _documents}),
    "csv": _Format({"{stem}.triples.csv": lambda data: _table(data, ",")}),
    "tsv": _Format({"{stem}.triples.tsv": lambda data: _table(data, "\t")}),
    "neo4j": _Format({"{stem}.nodes.csv": _neo4j_nodes, "{stem}.edges.csv": _neo4j_edges}),
    "ntriples": _Format({"{stem}.nt": lambda data: _rdf(data, "nt11")}),
    "turtle": _Format({"{stem}.ttl": lambda data: _rdf(data, "turtle")}),
    "graphml": _Format({"{stem}.graphml": _graphml}),
    "gexf": _Format({"{stem}.gexf": _gexf}),
    "node-link": _Format({"{stem}.graph.json": _node_link}),
    "html": _Format({"{stem}.html": _html}),
    "docred": _Format({"{stem}.docred.json": _docred}),
    "langextract": _Format({"{stem}.langextract.jsonl": _langextract}, needs_text=True),
    "brat": _Format(write=_write_brat, path="{stem}.brat", needs_text=True),
    "png": _Format(write=_write_picture, path="{stem}.graph.png"),
    "svg": _Format(write=_write_picture, path="{stem}.graph.svg"),
}
DEFAULT_FORMATS = ("jsonl", "csv", "html", "png")


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats without repeats, `all` spelled out.

    Raises:
        InputError: a name is not a format.
    """
    wanted = list(dict.fromkeys(formats))
    if "all" in wanted:
        return list(FORMATS)
    for name in wanted:
        if name not in FORMATS:
            raise InputError(f"unknown export format {name!r}; choose from {', '.join(FORMATS)} or all")
    return wanted


def write(data: Extracted, folder: str | Path, stem: str, formats: Iterable[str] = DEFAULT_FORMATS) -> list[Path]:
    """Write `data` into `folder` in each format; return the files.

    Raises:
        InputError: a format is unknown, or needs text and there is none, or `data` asks for what cannot be.
    """
    if data.group_by not in ("triple", "doc"):
        raise InputError(f"group_by is {data.group_by!r}; choose triple or doc")
    if data.max_nodes < 1:
        raise InputError(f"max_nodes is {data.max_nodes}; give 1 or more")
    knowledge.check_base_iri(data.base_iri)
    folder, written, stem = Path(folder), [], file_name(stem)
    wanted = check_formats(formats)
    if lacking := [name for name in wanted if FORMATS[name].needs_text and not data.texts]:
        raise InputError(f"format {lacking[0]} needs the documents' text; give the documents file that predict wrote")
    for name in wanted:
        form = FORMATS[name]
        for pattern, make in form.texts.items():
            with atomic_file(folder / pattern.format(stem=stem)) as temporary:
                temporary.write_text(make(data), encoding="utf-8", newline="")
            written.append(folder / pattern.format(stem=stem))
        if form.write:
            written += form.write(data, folder / form.path.format(stem=stem))
    return written


def _rows(rows: Iterable[Sequence[Any]], escape_formulas: bool, delimiter: str = ",") -> str:
    # RFC 4180 ends records with CRLF.
    return csv_text(rows, guard=escape_formulas, delimiter=delimiter, line_end="\r\n")
