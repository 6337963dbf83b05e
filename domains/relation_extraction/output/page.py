"""The HTML view of an extraction: each passage with its mentions highlighted, and a table of its triples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape

from domains.relation_extraction.types import Triple

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.6 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
article { margin-bottom: 3rem; }
p.passage { white-space: pre-wrap; }
mark { background: light-dark(#fde68a, #6b5208); color: inherit; border-radius: .2em; padding: 0 .15em; }
mark.both { background: light-dark(#bbf7d0, #14532d); }
mark.tail { background: light-dark(#bfdbfe, #1e3a8a); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid light-dark(#ddd, #444); }
td.score { text-align: right; font-variant-numeric: tabular-nums; }
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
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        '<p><mark>head</mark> <mark class="tail">tail</mark> <mark class="both">both</mark></p>\n'
        + "\n".join(articles)
        + "\n</body></html>\n"
    )


def _article(name: str, triples: list[Triple], text: str | None) -> str:
    passage = "" if text is None else f'<p class="passage">{_highlight(text, triples)}</p>'
    rows = "".join(
        f"<tr><td>{escape(t.head.text)}</td><td>{escape(t.relation)}</td><td>{escape(t.tail.text)}</td>"
        f'<td class="score">{"" if t.score is None else f"{t.score:.2f}"}</td></tr>'
        for t in triples
    )
    table = f"<table><tr><th>head</th><th>relation</th><th>tail</th><th>score</th></tr>{rows}</table>"
    return f"<article><h2>{escape(name)}</h2>{passage}{table if triples else '<p>No triples.</p>'}</article>"


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
