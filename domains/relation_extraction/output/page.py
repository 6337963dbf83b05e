"""The HTML view of an extraction: each passage with its mentions highlighted, and a table of its triples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape

from domains.relation_extraction.types import Triple
from suite.media.report import Part, stylesheet

_STYLE = """
p.passage { white-space: pre-wrap; }
mark { background: light-dark(#fde68a, #6b5208); color: inherit; border-radius: .2em; padding: 0 .15em; }
mark.both { background: light-dark(#bbf7d0, #14532d); }
mark.tail { background: light-dark(#bfdbfe, #1e3a8a); }
""".strip()


def render(triples: Iterable[Triple], texts: Mapping[str, str], title: str = "Extracted triples") -> str:
    """One self-contained page; documents without a text get their table only.

    Args:
        texts: the user's own text by document id; the offsets of the triples refer to it.
    """
    by_document: dict[str, list[Triple]] = defaultdict(list)
    for triple in triples:
        by_document[triple.doc_id].append(triple)
    articles = [_article(name, by_document.get(name, []), texts.get(name)) for name in {**texts, **by_document}]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{stylesheet()}{_STYLE}</style></head>\n"
        f'<body><h1 dir="auto">{escape(title)}</h1>\n'
        '<p><mark>head</mark> <mark class="tail">tail</mark> <mark class="both">both</mark></p>\n'
        + "\n".join(articles)
        + "\n</body></html>\n"
    )


def _article(name: str, triples: list[Triple], text: str | None) -> str:
    passage = "" if text is None else f'<p class="passage" dir="auto">{_highlight(text, triples)}</p>'
    rows = [(t.head.text, t.relation, t.tail.text, "" if t.score is None else f"{t.score:.2f}") for t in triples]
    table = Part().table(("head", "relation", "tail", "score"), rows).body
    found = table if triples else "<p>No triples.</p>"
    return f'<article><h2 dir="auto">{escape(name)}</h2>{passage}{found}</article>'


def _highlight(text: str, triples: list[Triple]) -> str:
    roles: dict[tuple[int, int], set[str]] = defaultdict(set)
    for triple in triples:
        for role, argument in (("head", triple.head), ("tail", triple.tail)):
            for span in argument.mentions:
                roles[span.start, span.end].add(role)
    pieces, position = [], 0
    # Of overlapping mentions the earlier and then the longer one is shown: marks cannot cross.
    for start, end in sorted(roles, key=lambda span: (span[0], -span[1])):
        if start < position:
            continue
        role = "both" if len(roles[start, end]) == 2 else next(iter(roles[start, end]))
        pieces += [escape(text[position:start]), f'<mark class="{role}">{escape(text[start:end])}</mark>']
        position = end
    return "".join([*pieces, escape(text[position:])])
