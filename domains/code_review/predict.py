"""From diffs to findings."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domains.code_review.data import selection
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.work_tree import diff_of, is_work_tree
from domains.code_review.inference import rules
from domains.code_review.output.formats import WRITERS
from domains.code_review.output.result import ReviewResult
from domains.code_review.types import Finding, counted
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import STDIN, expanded, several, source_name
from suite.prediction.loop import each, reason

SUFFIXES = (".diff", ".patch")
Format = Literal["text", "json", "sarif", "github", "rdjson", "markdown", "patch"]


@dataclass(frozen=True)
class ReviewQuery:
    """What one review may be asked for.

    Attributes:
        range: of a repository, as `git diff` takes it, e.g. `main...HEAD`; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. `src/**`; all by default.
        max_comments: keep at most this many findings of a diff, those likeliest to need a review first.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        commit: the revision that the new files are of, for GitHub; a repository tells its own.
    """

    range: str | None = None
    paths: tuple[str, ...] = ()
    max_comments: int | None = None
    most_changed: int = selection.MOST_CHANGED
    lenient: bool = False
    commit: str = ""


class RuleReviewer:
    """A reviewer without a model, by a few fixed rules: a baseline, and a way to try every output format.

    >>> for result in RuleReviewer().review("change.diff"):
    ...     print(result)
    """

    def review(self, inputs: Any, **options: Any) -> Iterator[ReviewResult]:
        """Yield one result a diff, in order; a bad input is one with its error.

        Args:
            inputs: a diff's path, a folder (its .diff and .patch files, or, of a git work tree, its changes), `-` for
                standard input, a diff's bytes, or several of these.
            options: fields of `ReviewQuery`.
        """
        query = ReviewQuery(**options)
        given = several(inputs, bytes)
        return each(_sources(given), lambda source: self._one(source, query), _failed)

    def _one(self, source: Any, query: ReviewQuery) -> ReviewResult:
        raw, commit = _read(source, query)
        diff = parse_diff(raw, query.lenient)
        left_out = selection.passed_over(diff, query.paths, query.most_changed)
        found = [finding for file in selection.kept(diff, left_out) for finding in rules.review(file)]
        findings, dropped = merged(found, query.max_comments)
        name = "review" if isinstance(source, bytes) or source == STDIN else _stem(Path(source))
        return ReviewResult(
            "diff" if isinstance(source, bytes) else source_name(source),
            findings=findings,
            diff=diff,
            passed_over=left_out,
            dropped=dropped,
            commit=query.commit or commit,
            notices=diff.notices,
            name=name,
        )


def merged(found: list[Finding], most: int | None) -> tuple[tuple[Finding, ...], dict[str, int]]:
    """Findings in order of file and line without repetitions, and how many were dropped, by reason.

    The same words in one file are said once, where they come first.

    Raises:
        InputError: `most` is negative.
    """
    if most is not None and most < 0:
        raise InputError(f"max_comments is {most}; give 0 or more")
    dropped: Counter[str] = Counter()
    kept: dict[tuple[str, str], Finding] = {}
    for finding in found:
        key = (finding.path, " ".join(finding.comment.casefold().split()))
        if finding.comment and key in kept:
            dropped["repeated in the same file"] += 1
        else:
            kept[key if finding.comment else (finding.path, f"{finding.hunk}\0{finding.line}")] = finding
    chosen = list(kept.values())
    if most is not None and len(chosen) > most:
        dropped["beyond --max-comments"] += len(chosen) - most
        chosen = sorted(chosen, key=lambda finding: -(finding.need or 0.0))[:most]
    chosen.sort(key=lambda finding: (finding.path, finding.line, finding.rule))
    return tuple(chosen), dict(dropped)


def review(
    inputs: list[str],
    *,
    out: Path | None = None,
    format: Format = "text",
    range: str | None = None,
    paths: list[str] | None = None,
    max_comments: int | None = None,
    most_changed: int = selection.MOST_CHANGED,
    lenient: bool = False,
    commit: str = "",
    fail_on: Literal["none", "any"] = "none",
) -> dict[str, Any]:
    """Review diffs by fixed rules, without a model: findings at their lines, in any format.

    Args:
        inputs: files of diffs, folders, git work trees, or - for standard input.
        out: folder for JSON, SARIF, a patch of the suggestions and an HTML page; without it the findings are printed.
        format: what is printed: text, json, sarif, github (the body of a review), rdjson, markdown or patch.
        range: of a work tree, as `git diff` takes it, e.g. main...HEAD; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. 'src/**'.
        max_comments: keep at most this many findings of a diff.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        commit: the revision that the new files are of, for GitHub; a work tree tells its own.
        fail_on: any: exit with 3 where anything is found.
    """
    if not inputs:
        raise InputError("no input; name diffs, folders or work trees, or - for standard input")
    folder = ResultFolder(out).beside(inputs)
    results = RuleReviewer().review(
        inputs,
        range=range,
        paths=tuple(paths or ()),
        max_comments=max_comments,
        most_changed=most_changed,
        lenient=lenient,
        commit=commit,
    )
    records: list[dict[str, Any]] = []
    failed = found = 0
    for result in folder.keep(results):
        if result.error is not None:
            failed += 1
            print(f"error: {result.source}: {result.error}", file=sys.stderr)
            records.append({"source": result.source, "error": result.error})
            continue
        found += len(result.findings)
        records.append({"source": result.source, "error": None, **result.to_dict()})
        if out is None or format != "text":
            _print(WRITERS[format](result) if format != "text" else f"{result}\n")
    code = 2 if failed else (3 if fail_on == "any" and found else 0)
    told = {"results": records, "failed": failed, "found": found, "out": out, "exit_code": code, "said": True}
    return told | ({} if out is None else {"message": f"{counted(found, 'finding')}\nresults  {out}"})


def _print(text: str) -> None:
    """Write text as it is: formats of other programs get nothing before or behind them."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


def _sources(given: Any) -> Iterator[Any]:
    for one in given:
        if isinstance(one, bytes) or one == STDIN:
            yield one
        elif Path(one).is_dir() and is_work_tree(Path(one)):
            yield Path(one)
        else:
            yield from expanded([one], SUFFIXES)


def _read(source: Any, query: ReviewQuery) -> tuple[bytes, str]:
    """A source's diff, and the revision of its new files where it tells one."""
    if isinstance(source, bytes):
        return source, ""
    if source == STDIN:
        return sys.stdin.buffer.read(), ""
    path = Path(source)
    if path.is_dir():
        return diff_of(path, query.range)
    if query.range is not None:
        raise InputError(f"{path}: is no git work tree; --range is for one")
    try:
        return path.read_bytes(), ""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _stem(path: Path) -> str:
    name = path.resolve().name
    return name.removesuffix(path.suffix) if path.suffix in SUFFIXES else name


def _failed(source: Any, why: str) -> ReviewResult:
    name = "diff" if isinstance(source, bytes) else source_name(source)
    return ReviewResult(name, error=reason(why, name))
