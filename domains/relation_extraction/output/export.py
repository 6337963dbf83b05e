"""The verbs `export` and `diff`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.output import graph as knowledge
from domains.relation_extraction.output.formats import DEFAULT_FORMATS, Extracted, write
from domains.relation_extraction.output.triples import read_aliases, read_texts, read_triples
from domains.relation_extraction.types import Triple
from suite.tables import counted


def export(
    triples: Path,
    out: Path,
    formats: list[str] | None = None,
    *,
    documents: Path | None = None,
    aliases: Path | None = None,
    base_iri: str = knowledge.DEFAULT_BASE_IRI,
    max_nodes: int = 60,
    escape_formulas: bool = False,
    group_by: str = "triple",
    schema: str | None = None,
) -> dict[str, Any]:
    """Export a triples file to other formats: tables, graphs, RDF, annotations, pictures.

    Args:
        triples: file that `predict` wrote (JSON lines).
        out: folder for the exports.
        formats: any of jsonl, csv, tsv, neo4j, ntriples, turtle, graphml, gexf, node-link, html, docred, langextract,
            brat, png, svg; `all` for every one. Default: jsonl, csv, html, png.
        documents: documents file beside it; found by its name when left out.
        aliases: JSON object from spelling to canonical spelling, for merging entities.
        base_iri: under which entities and relations without a Wikidata property are named in RDF.
        max_nodes: the picture keeps this many best-connected entities.
        escape_formulas: put an apostrophe before CSV cells that a spreadsheet would run as a formula.
        schema: built-in name or file of the relations: which are symmetric, and which tails are values.
        group_by: `triple` or `doc`: what one line of the JSONL holds.
    """
    stem = triples.name.removesuffix(".jsonl").removesuffix(".triples")
    beside = triples.with_name(f"{stem}.documents.jsonl")
    texts = read_texts(documents) if documents else read_texts(beside) if beside.is_file() else {}
    table = read_aliases(aliases)
    data = Extracted(read_triples(triples), texts, {}, base_iri, max_nodes, escape_formulas, group_by, table)
    if schema is not None:
        data = replace(data, schema=Schema.load(schema))
    written = write(data, out, stem, formats or DEFAULT_FORMATS)
    return {
        "triples": len(data.triples),
        "files": [str(path) for path in written],
        "message": f"{counted(len(data.triples), 'triple')} exported: " + ", ".join(str(path) for path in written),
    }


def diff(before: Path, after: Path) -> dict[str, Any]:
    """Compare two triples files document by document: added, removed and changed facts.

    Args:
        before: the first triples file.
        after: the second triples file.
    """
    found = knowledge.difference(read_triples(before), read_triples(after))
    lines = [f"+ {_line(triple)}" for triple in found.added] + [f"- {_line(triple)}" for triple in found.removed]
    lines += [f"~ {_line(old)} -> {new.relation}" for old, new in found.changed]
    summary = (
        f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed, {found.unchanged} equal"
    )
    return {
        "added": [triple.to_dict() for triple in found.added],
        "removed": [triple.to_dict() for triple in found.removed],
        "changed": [{"before": old.to_dict(), "after": new.to_dict()} for old, new in found.changed],
        "unchanged": found.unchanged,
        "message": "\n".join([*lines, summary]),
    }


def _line(triple: Triple) -> str:
    return f"[{triple.doc_id}] {triple.head.text} | {triple.relation} | {triple.tail.text}"
