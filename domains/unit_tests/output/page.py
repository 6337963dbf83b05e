"""The HTML page of judged tests: the funnel, the focal file with what ran, and every test with what became of it."""

from __future__ import annotations

from collections import Counter
from html import escape

from domains.unit_tests.data.python_text import lines_of
from domains.unit_tests.output.reports import plain
from domains.unit_tests.types import Coverage, Judged, Verdict
from suite.media.report import stylesheet

_STYLE = """
.funnel { display: grid; grid-template-columns: max-content 1fr max-content; gap: .35rem .9rem; max-width: 46rem; }
.funnel span.bar { display: block; height: 1.35rem; border-radius: 4px; background: var(--accent); }
table.code { width: 100%; font: .85rem/1.5 ui-monospace, "Cascadia Code", monospace; }
table.code td { padding: 0 .7rem; border: 0; max-width: none; white-space: pre-wrap; }
table.code td.number { width: 3.6rem; min-width: 0; color: var(--muted); user-select: none; }
table.code tr:hover { background: none; }
table.code td.mark { text-align: right; color: var(--muted); }
tr.ran td { background: light-dark(#e6ffec, #12351e); }
tr.missed td { background: light-dark(#ffebe9, #3c1618); }
tr.part td { background: light-dark(#fff8c5, #3d3413); }
details.kept > summary { color: light-dark(#1a7f37, #3fb950); }
details.dropped > summary { color: var(--muted); }
""".strip()


def render(judged: Judged, source: str) -> str:
    """One self-contained page; nothing of tests or code is read as HTML.

    Args:
        source: text of the focal file.
    """
    kept = len(judged.kept)
    warnings = "".join(f"<p><strong>Warning:</strong> {escape(notice)}</p>" for notice in judged.notices)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tests of {escape(judged.path)}</title><style>\n{stylesheet()}{_STYLE}</style></head>\n"
        f"<body><header><h1>Tests of {escape(judged.path)}</h1>\n"
        f'<p class="subtitle">{kept} of {len(judged.verdicts)} kept; '
        f"lines run {judged.before.line_share:.0%} → {judged.after.line_share:.0%}, "
        f"branches {judged.before.branch_share:.0%} → {judged.after.branch_share:.0%}</p></header>\n"
        f"{warnings}<h2>From given to kept</h2>{_funnel(judged)}"
        f"<h2>What ran</h2>{_annotated(judged, source)}"
        f"{_mutants(judged)}<h2>Tests</h2>" + "".join(map(_test, judged.verdicts)) + "\n</body></html>\n"
    )


def _funnel(judged: Judged) -> str:
    verdicts = judged.verdicts
    ran = [verdict for verdict in verdicts if verdict.runs]
    stages = {
        "given": len(verdicts),
        "ran": len(ran),
        "passed once": sum(verdict.runs[0] == "passed" for verdict in ran),
        "passed every time": sum(set(verdict.runs) == {"passed"} for verdict in ran),
        "kept": len(judged.kept),
    }
    most = max(stages["given"], 1)
    rows = (
        f'<span>{name}</span><span><span class="bar" style="width:{100 * count / most:.1f}%"></span></span>'
        f"<span>{count}</span>"
        for name, count in stages.items()
    )
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    dropped = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f'<div class="funnel">{"".join(rows)}</div>' + (f"<p>Dropped: {escape(dropped)}.</p>" if dropped else "")


def _annotated(judged: Judged, source: str) -> str:
    lines = [line.rstrip("\n") for line in lines_of(source)]
    lived = Counter(one.line for one in judged.mutants or () if one.fate in ("survived", "not run"))
    rows = []
    for focal in judged.focal:
        for number in range(focal.first, focal.last + 1):
            text = lines[number - 1] if number <= len(lines) else ""
            kind = _kind(judged.after, number)
            count = lived[number]
            mark = f"{count} change{'s' if count > 1 else ''} not noticed" if count else ""
            rows.append(
                f'<tr{kind}><td class="number">{number}</td><td>{escape(text) or "&nbsp;"}</td>'
                f'<td class="mark">{mark}</td></tr>'
            )
        rows.append('<tr><td class="number">…</td><td></td><td></td></tr>')
    return f'<div class="scroll" tabindex="0"><table class="code">{"".join(rows[:-1])}</table></div>'


def _kind(found: Coverage, number: int) -> str:
    if number in found.missing:
        return ' class="missed"'
    if any(start == number for start, _ in found.missed_branches):
        return ' class="part" title="not every branch was taken"'
    return ' class="ran"' if number in found.executed else ""


def _mutants(judged: Judged) -> str:
    """The mutants that no test noticed."""
    if not judged.mutants:
        return ""
    lived = [one for one in judged.mutants if one.fate in ("survived", "not run")]
    rows = "".join(
        f"<details><summary>line {one.line}, {escape(one.operator)}: {one.fate}</summary>"
        f"<pre>{escape(plain(one.diff))}</pre></details>"
        for one in lived
    )
    if not lived:
        return f"<h2>Small changes</h2><p>All {len(judged.mutants)} small changes were noticed.</p>"
    told = f"{judged.mutation_score:.0%} of {len(judged.mutants)} small changes were noticed; these were not:"
    return f"<h2>Changes that no test noticed</h2><p>{told}</p>{rows}"


def _test(verdict: Verdict) -> str:
    kept = "kept, a snapshot of what the code gave" if verdict.candidate.snapshot else "kept"
    state = kept if verdict.kept else f"dropped: {verdict.reason}"
    new = f", {verdict.new_lines} new lines, {verdict.new_branches} new branches" if verdict.kept else ""
    detail = f"<pre>{escape(plain(verdict.detail))}</pre>" if verdict.detail else ""
    return (
        f'<details class="{"kept" if verdict.kept else "dropped"}"><summary>{escape(verdict.candidate.name)}: '
        f"{escape(state)}{new}</summary><pre>{escape(plain(verdict.candidate.code))}</pre>{detail}</details>"
    )
