"""The HTML page of a review: each file's diff side by side, comments where they stand, suggestions below them."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from itertools import groupby

from domains.code_review.output.plain import clean, controlled
from domains.code_review.types import FilePatch, Finding, Hunk, Line, Review
from suite.media.report import stylesheet

MOST_LINES = 4000
"""Lines of diffs that a page shows; a browser is slow with more."""

_STYLE = """
body { max-width: 100rem; }
section { margin: 1.6rem 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
section > h2 { margin: 0; padding: .6rem 1rem; background: var(--soft); font: 600 .95rem/1.5 ui-monospace, monospace; }
section > h2 span { float: right; color: var(--muted); font-weight: 400; }
.scroll { margin: 0; }
table.diff { width: 100%; min-width: 54rem; table-layout: fixed;
             font: .82rem/1.55 ui-monospace, "Cascadia Code", monospace; }
table.diff td { padding: 0 .6rem; border: 0; max-width: none; white-space: pre-wrap; overflow-wrap: anywhere; }
table.diff td.number { width: 3.6rem; min-width: 0; color: var(--muted); user-select: none; }
table.diff tr:hover { background: none; }
table.diff tr.hunk td { padding: .25rem .6rem; background: var(--soft); color: var(--muted); }
td.removed { background: light-dark(#ffebe9, #3c1618); }
td.added { background: light-dark(#e6ffec, #12351e); }
td.none { background: light-dark(#f5f7fa, #191f25); }
table.diff td.said { padding: .6rem 1rem .8rem; background: var(--paper); white-space: normal; }
.bubble { max-width: 54rem; border: 1px solid var(--line); border-left: 4px solid var(--need); border-radius: 6px;
          padding: .6rem 1rem; font: 15px/1.55 system-ui, sans-serif; }
.bubble p { margin: .1rem 0; }
.bubble .about { color: var(--muted); font-size: .85rem; }
.bubble pre { margin: .6rem 0 .1rem; padding: .5rem .8rem; font-size: .82rem; }
ul.over { color: var(--muted); }
""".strip()


def render(result: Review) -> str:
    """One self-contained page; nothing of the diff or of a comment is read as HTML."""
    by_file: dict[str, list[Finding]] = defaultdict(list)
    for finding in result.findings:
        by_file[finding.path].append(finding)
    left, sections = MOST_LINES, []
    # What was found something in comes first: a page of a large diff is cut at its end.
    for file in sorted(result.diff, key=lambda file: not by_file.get(file.path)):
        if file.path in result.passed_over:
            continue
        size = sum(len(hunk.lines) for hunk in file.hunks)
        if size > left:
            sections.append(f"<p>{_shown(file.path)}: not shown, the page is long enough.</p>")
            continue
        left -= size
        sections.append(_section(file, by_file.get(file.path, [])))
    over = "".join(f"<li>{_shown(path)}: {_shown(why)}</li>" for path, why in result.passed_over.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Review of {_shown(result.title)}</title><style>\n{stylesheet()}{_STYLE}</style></head>\n"
        f"<body><header><h1>Review of {_shown(result.title)}</h1>\n"
        f'<p class="subtitle">{result.summary()}</p></header>\n'
        + "\n".join(sections)
        + (f'<h2>Passed over</h2><ul class="over">{over}</ul>' if over else "")
        + "\n</body></html>\n"
    )


def _section(file: FilePatch, findings: list[Finding]) -> str:
    moved = f"{_shown(file.old_path)} → " if file.status in ("renamed", "copied") and file.old_path else ""
    what = file.status if file.status != "modified" else ""
    rows = "".join(_hunk(hunk, [f for f in findings if f.hunk == hunk.title()]) for hunk in file.hunks)
    counts = f"{what} +{file.added} −{file.removed}"
    return (
        f'<section><h2>{moved}{_shown(file.path)} <span>{counts}</span></h2><div class="scroll" tabindex="0">'
        f'<table class="diff"><colgroup><col style="width:3.6rem"><col><col style="width:3.6rem"><col></colgroup>'
        f"{rows}</table></div></section>"
    )


def _hunk(hunk: Hunk, findings: list[Finding]) -> str:
    rows = [f'<tr class="hunk"><td colspan="4">{_shown(hunk.title())}</td></tr>']
    told: set[int] = set()
    for old, new in _beside(hunk):
        rows.append(f"<tr>{_cell(old, 'removed', 'old')}{_cell(new, 'added', 'new')}</tr>")
        for number, finding in enumerate(findings):
            line = new if finding.side == "RIGHT" else old
            at = None if line is None else (line.new if finding.side == "RIGHT" else line.old)
            if at == finding.line and number not in told:
                told.add(number)
                rows.append(f'<tr><td colspan="4" class="said">{_bubble(finding)}</td></tr>')
    return "".join(rows)


def _beside(hunk: Hunk) -> list[tuple[Line | None, Line | None]]:
    """Lines of the old and the new file that stand in one row: removed and added ones are laid side by side."""
    rows: list[tuple[Line | None, Line | None]] = []
    for changed, group in groupby(hunk.lines, lambda line: line.kind != " "):
        lines = list(group)
        if not changed:
            rows += [(line, line) for line in lines]
            continue
        old, new = [line for line in lines if line.kind == "-"], [line for line in lines if line.kind == "+"]
        for at in range(max(len(old), len(new))):
            rows.append((old[at] if at < len(old) else None, new[at] if at < len(new) else None))
    return rows


def _cell(line: Line | None, changed: str, side: str) -> str:
    if line is None:
        return '<td class="number none"></td><td class="none"></td>'
    kind = f' class="{changed}"' if line.kind != " " else ""
    number = line.old if side == "old" else line.new
    return f'<td class="number">{number}</td><td{kind}>{_shown(line.text) or "&nbsp;"}</td>'


def _bubble(finding: Finding) -> str:
    need = finding.need
    # From green over yellow to red as the chance grows; grey where nothing tells it.
    color = "var(--line)" if need is None else f"hsl({round(120 * (1 - need))} 70% 45%)"
    about = finding.rule.removeprefix("review/") + ("" if need is None else f", {need:.0%} likely to need a review")
    if finding.engine:
        about += f", by {finding.engine}"
    text = _shown(finding.comment) or "This change needs a review."
    suggested = ""
    if finding.suggestion is not None:
        lines = finding.suggestion.patch.splitlines()
        first = next((n for n, line in enumerate(lines) if line.startswith("@@")), 0)
        suggested = f"<pre>{_shown(chr(10).join(lines[first:]))}</pre>"
    said = f'<p>{text}</p><p class="about">{_shown(about)}</p>{suggested}'
    return f'<div class="bubble" style="--need:{color}">{said}</div>'


def _shown(text: str | None) -> str:
    return escape(controlled(clean(text or "")))
