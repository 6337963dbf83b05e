"""The demo of relation extraction: held-out documents of the made world through the shipped adapters."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

DOCUMENTS = 4


def demo(out: Path = Path("out/demo/relation_extraction")) -> dict[str, Any]:
    """Extract triples from documents that the shipped adapters have never seen, and draw their graph.

    Args:
        out: folder for the triples, their exports and the picture.
    """
    from domains.relation_extraction.data import world
    from domains.relation_extraction.predict import RelationExtractor
    from suite.files import write_text
    from suite.media import graph, plots

    started = time.perf_counter()
    documents = world.documents("test", seed=1, count=DOCUMENTS)
    text = write_text(out / "documents.txt", "\n".join(document.text for document in documents) + "\n")
    extractor = RelationExtractor.from_pretrained("tiny")
    [result] = extractor.predict([text], per_line=True)
    result.save(out)
    found = [triple.key for triple in result.triples]
    stated = {
        (document.entities[fact.head].names[0], fact.relation, document.entities[fact.tail].names[0])
        for document in documents
        for fact in document.facts
    }
    kinds = {entity.names[0]: entity.type for document in documents for entity in document.entities if entity.type}
    picture = plots.save(graph.draw(found, title="Triples of four made-up documents", groups=kinds), out / "graph.png")
    right = len(stated & set(found))
    lines = [document.text for document in documents]
    table = [
        {"head": head, "relation": relation, "tail": tail, "stated": "yes" if key in stated else "no"}
        for key in found
        for head, relation, tail in [key]
    ]
    missed = [dict(zip(("head", "relation", "tail"), key, strict=True)) for key in sorted(stated - set(found))]
    lines += [f"{head} -- {relation} -> {tail}" for head, relation, tail in found]
    lines.append(f"{right} of the {len(stated)} stated facts found, {len(set(found) - stated)} wrong triples")
    return {
        "title": "Triples and a knowledge graph from plain text",
        "summary": f"{right} of the {len(stated)} facts that {DOCUMENTS} made-up, held-out documents state were found, "
        f"and {_count(len(set(found) - stated), 'wrong triple')} beside them.",
        "text": "\n\n".join(lines[:DOCUMENTS]) + "\n\n" + "\n".join(lines[DOCUMENTS:]),
        "tables": {
            "Triples found": table,
            "Facts missed": missed,
            "Documents": [{"number": number, "text": document.text} for number, document in enumerate(documents, 1)],
        },
        "pictures": [picture],
        "captions": ["The triples found, as a graph from head to tail"],
        "seconds": time.perf_counter() - started,
        "stated": len(stated),
        "right": right,
        "wrong": len(set(found) - stated),
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
