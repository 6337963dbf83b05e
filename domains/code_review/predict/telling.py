"""What the verbs answer: results printed, written and posted as they come, and what became of them all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from domains.code_review.data.hosts.naming import is_request, named_request
from domains.code_review.inference.inputs import name_of
from domains.code_review.output.change_result import ChangeResult
from domains.code_review.output.formats import WRITERS
from domains.code_review.output.plain import clean
from domains.code_review.output.result import ReviewResult
from domains.code_review.types import ReviewQuery
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.loop import placed
from suite.tables import counted

Format = Literal["text", "json", "sarif", "github", "gitlab", "rdjson", "markdown", "html", "patch"]
QUERY = {one.name for one in fields(ReviewQuery)}
"""Options that are a review's own, not the command's."""


def check(inputs: Sequence[str], post: bool) -> None:
    """Refuse what is wrong before anything is read.

    Raises:
        InputError: there is no input, or one that is to be posted to is no request, or there is no token for it.
    """
    if not inputs:
        raise InputError("no input; name diffs, folders, work trees, pull or merge requests, or - for standard input")
    if not post:
        return
    from domains.code_review.output.posting import check_postable

    for one in inputs:
        request = named_request(one) if is_request(one) else None
        if request is None:
            raise InputError(
                f"{name_of(one)}: --post is for pull requests and merge requests; give owner/name#12, or an address"
            )
        check_postable(request)


def tell(
    inputs: Sequence[str],
    results: Iterable[ReviewResult],
    out: Path | None,
    format: Format,
    fail_on: str,
    post: bool,
) -> dict[str, Any]:
    """Print, write and post results as they come, and say what became of them all."""
    folder = ResultFolder(out).beside(inputs)
    records: list[dict[str, Any]] = []
    failed = found = 0
    for result in folder.keep(results):
        try:
            if result.error is not None:
                raise InputError(result.error)
            written = WRITERS[format](result) if format != "text" else f"{result}\n"
            if out is None or format != "text":
                _print(written)
            if format == "patch" and not written:
                print(f"notice: {result.source}: no finding has a suggestion; the patch is empty", file=sys.stderr)
            posted = {"posted": _posted(result)} if post else {}
        except InputError as error:
            failed += 1
            why = placed(error, result.source)
            _print_error(result.source, why)
            records.append({"source": result.source, "error": why})
            continue
        found += len(result.findings)
        files = {} if out is None else {"files": [str(file) for file in folder.files]}
        records.append({"source": result.source, "error": None, **result.to_dict(), **files, **posted})
    code = 2 if failed else (3 if fail_on == "any" and found else 0)
    done = len(records) - failed
    told = {"results": records, "done": done, "failed": failed, "found": found, "exit_code": code}
    return told | _ending(folder, format, f"{counted(found, 'finding')}\n")


def tell_of_commits(
    inputs: Sequence[str], results: Iterable[ChangeResult], out: Path | None, format: Format
) -> dict[str, Any]:
    """The same of commits."""
    folder = ResultFolder(out).beside(inputs)
    records, failed = [], 0
    for result in folder.keep(results):
        record = result.to_dict()
        records.append(record)
        if result.error is None:
            _print(f"{result if format == 'text' else json.dumps(record, ensure_ascii=False, indent=2)}\n")
        else:
            failed += 1
            _print_error(result.source, result.error)
    told = {"results": records, "done": len(records) - failed, "failed": failed, "exit_code": 2 if failed else 0}
    return told | _ending(folder, format)


def _ending(folder: ResultFolder, format: Format, words: str = "") -> dict[str, Any]:
    """What is said at the end where there is a folder of results; beside other formats than text on standard error."""
    steps = folder.next_steps()
    told = {"out": folder.path, "said": True, "next": steps}
    if folder.path is None:
        return told
    message = "\n".join([f"{words}results  {folder.path}", *(f"next     {step}" for step in steps)])
    if format == "text":
        return told | {"message": message}
    print(message, file=sys.stderr)
    return told


def _posted(result: ReviewResult) -> str:
    """Post a review, and say so."""
    from domains.code_review.output.posting import post

    said = post(result)
    print(said, file=sys.stderr)
    return said


def _print_error(source: str, why: str) -> None:
    print(f"error: {source}{'' if why.startswith(':') else ': '}{why}", file=sys.stderr)


def _print(text: str) -> None:
    """Write text as it is: formats of other programs get nothing before or behind them."""
    buffer = getattr(sys.stdout, "buffer", None)  # a stream in memory has none
    if buffer is None:
        sys.stdout.write(clean(text))
    else:
        buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
