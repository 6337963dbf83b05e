"""The verb `mine`: a data set from one's own history, in the form of CodeReviewer's files."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.code_review.data.filters import masked, reason_against
from domains.code_review.data.languages import language_of
from domains.code_review.data.readers.crer import FOLDERS
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.recorded import ChangedFile, ReviewComment, read_recorded
from domains.code_review.data.readers.work_tree import git, is_work_tree, moment
from domains.code_review.data.selection import passed_over
from domains.code_review.model.wording import Task
from domains.code_review.types import Hunk
from suite.errors import InputError
from suite.files import write_text

SPLITS = (("train", 0.8), ("valid", 0.9), ("test", 1.0))
"""With the share of files up to which each reaches, the oldest first."""

MOST_COMMITS = 5000


@dataclass(frozen=True)
class Mined:
    """One line of a file that is written.

    Attributes:
        path, when: by which it goes into a split. record: as CodeReviewer's files have it.
    """

    task: Task
    path: str
    when: str
    record: dict[str, Any]


def mine(
    source: Path,
    *,
    responses: Path | None = None,
    repo: str | None = None,
    out: Path,
    since: str | None = None,
    most_pulls: int = 500,
    dry_run: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Make training data from a repository and recorded review comments, in the form of CodeReviewer's files.

    Comments teach what to say; a comment whose lines a later commit changed, how to answer; hunks with and without
    comments, what needs a review, as many of either. A file is in one split alone, older ones in the training split.

    Args:
        source: a git work tree.
        responses: folder of saved answers of GitHub's (/repos/OWNER/NAME/pulls/comments and /pulls/N/files).
        repo: owner/name on GitHub, of which --responses is filled first, by the token in GITHUB_TOKEN; what is there
            already is not fetched again.
        out: folder for Diff_Quality_Estimation, Comment_Generation and Code_Refinement.
        since: look at commits, comments and pull requests from this date on, as git takes it.
        most_pulls: with --repo, fetch the files of this many merged pull requests, the latest first.
        dry_run: write nothing, only say how many cases there are and what is left out.
        seed: of the draw of hunks without comments.
    """
    if not source.is_dir() or not is_work_tree(source):
        raise InputError(f"{source}: is no git work tree; give the top folder of a clone")
    for place, what in ((out, "for the results"), (responses, "of saved answers")):
        if place is not None and place.is_file():
            raise InputError(f"{place}: is a file; give a folder {what}")
    if most_pulls < 1:
        raise InputError(f"most_pulls is {most_pulls}; give 1 or more")
    begin = moment(source, since) if since else ""
    if repo is not None:
        if responses is None:
            raise InputError("--repo fetches into a folder; name it by --responses")
        from domains.code_review.data.recording import record

        record(repo, responses, begin, most_pulls)
    left_out: Counter[str] = Counter()
    found = list(read_recorded(responses)) if responses is not None else []
    recent = [one for one in found if not one.when or one.when >= begin]
    if len(recent) < len(found):
        left_out["before --since"] = len(found) - len(recent)
    found = recent
    comments = list(_worth_learning([one for one in found if isinstance(one, ReviewComment)], left_out))
    plain = [one for one in found if isinstance(one, ChangedFile)] or list(_committed(source, begin))
    mined = [
        *_said(comments),
        *_answered(source, comments, left_out),
        *_needed(comments, plain, random.Random(seed), left_out),
    ]
    splits = _split(mined)
    counts = {task: {split: len(splits[split, task]) for split, _ in SPLITS} for task in FOLDERS}
    written: list[str] = []
    if not dry_run:
        for (split, task), rows in sorted(splits.items()):
            folder, start = FOLDERS[task]
            text = "".join(f"{json.dumps(row.record, ensure_ascii=False)}\n" for row in rows)
            written.append(str(write_text(out / folder / f"{start}-{split}.jsonl", text)))
    lines = [f"{task:<11} " + "  ".join(f"{split} {n}" for split, n in row.items()) for task, row in counts.items()]
    lines += [f"left out: {number} {reason}" for reason, number in left_out.most_common()]
    if responses is None:
        lines.append("no --responses: without comments there are only hunks that needed none")
    if not any(row["train"] and row["valid"] for row in counts.values()):
        lines.append("too little to train on: no task has cases for training and for validation")
    elif written:
        lines.append(f"next     suite code_review train --config CONFIG --data.train {out} --data.val {out}")
    return {"counts": counts, "left_out": dict(left_out), "files": written, "message": "\n".join(lines)}


def _worth_learning(comments: Sequence[ReviewComment], left_out: Counter[str]) -> Iterator[ReviewComment]:
    """First comments of people, that say something, once for each hunk and text."""
    known: set[str] = set()
    for one in sorted(comments, key=lambda one: (one.when, one.id)):
        why = "by a bot" if one.bot else ("a reply" if one.reply else reason_against(one.body))
        key = _normalised(f"{one.hunk}\0{one.body}")
        if not why and key in known:
            why = "said before of the same hunk"
        if why:
            left_out[why] += 1
            continue
        known.add(key)
        yield one


def _said(comments: Iterable[ReviewComment]) -> Iterator[Mined]:
    for one in comments:
        record = _record(one.id, one.hunk, one.path) | {"msg": masked(one.body), "y": 1}
        yield Mined("comment", one.path, one.when, record)


def _needed(
    comments: Sequence[ReviewComment], plain: Sequence[ChangedFile], rng: random.Random, left_out: Counter[str]
) -> Iterator[Mined]:
    """Hunks with a comment, and as many without; all of the latter where nothing was commented."""
    known: set[str] = set()
    for one in comments:
        key = _normalised(one.hunk)
        if key not in known:
            known.add(key)
            record = _record(one.id, one.hunk, one.path) | {"msg": masked(one.body), "y": 1}
            yield Mined("necessity", one.path, one.when, record)
    quiet: list[Mined] = []
    for file in plain:
        for number, hunk in enumerate(_hunks(file)):
            key = _normalised(hunk)
            if key in known or any(_begins(hunk, one.hunk) for one in comments if one.path == file.path):
                left_out["a hunk that was seen before, or drew a comment"] += 1
                continue
            known.add(key)
            record = _record(f"{file.path}:{file.when}:{number}", hunk, file.path) | {"msg": "", "y": 0}
            quiet.append(Mined("necessity", file.path, file.when, record))
    most = len(comments) or len(quiet)
    if len(quiet) > most:
        left_out["hunks without a comment, more than those with one"] += len(quiet) - most
        quiet = rng.sample(quiet, most)
    yield from quiet


def _answered(source: Path, comments: Sequence[ReviewComment], left_out: Counter[str]) -> Iterator[Mined]:
    """Comments whose line the next commits changed: what stood there, and what stands there then."""
    for one in comments:
        hunk = _next_change(source, one) if one.commit and one.line else None
        if hunk is None:
            left_out["no later commit changes the comment's line"] += 1
            continue
        old = "\n".join(line.kind + line.text for line in hunk.lines if line.kind != "+")
        new = "\n".join(line.kind + line.text for line in hunk.lines if line.kind != "-")
        record = {
            "id": one.id,
            "old": old,
            "new": new,
            "comment": masked(one.body),
            "old_hunk": one.hunk,
            "hunk": hunk.render().rstrip("\n"),
            "lang": language_of(one.path),
        }
        yield Mined("refinement", one.path, one.when, record)


def _next_change(source: Path, one: ReviewComment) -> Hunk | None:
    """The hunk of the next commit on a file that changes a comment's line, if that commit does."""
    try:
        later = git(source, "log", "--format=%H", "--reverse", f"{one.commit}..HEAD", "--", one.path).decode().split()
        if not later:
            return None
        diff = parse_diff(git(source, "diff", "--no-ext-diff", one.commit, later[0], "--", one.path))
    except InputError:
        return None
    assert one.line is not None
    for file in diff:
        for hunk in file.hunks:
            if any(line.kind == "-" and line.old is not None and abs(line.old - one.line) <= 1 for line in hunk.lines):
                return hunk
    return None


def _committed(source: Path, since: str) -> Iterator[ChangedFile]:
    """The files of commits that are no merges, the newest first."""
    words = ["log", "--no-merges", "--format=%H %cI", f"--max-count={MOST_COMMITS}"]
    words += [f"--since={since}"] if since else []
    try:
        lines = git(source, *words).decode().split("\n")
    except InputError as error:
        raise InputError(f"{error}; is there a commit?") from error
    for line in filter(None, lines):
        commit, when = line.split(" ", 1)
        shown = git(source, "show", "--no-color", "--no-ext-diff", "--format=", "-M", commit)
        try:
            diff = parse_diff(shown)
        except InputError:
            continue
        over = passed_over(diff)
        for file in diff:
            if file.path not in over:
                yield ChangedFile(file.path, "".join(hunk.render() for hunk in file.hunks), when)


def _hunks(file: ChangedFile) -> list[str]:
    """The hunks of a patch, each with its header."""
    starts = [match.start() for match in re.finditer(r"^@@ ", file.patch, flags=re.MULTILINE)]
    return [file.patch[a:b].rstrip("\n") for a, b in zip(starts, [*starts[1:], len(file.patch)], strict=True)]


def _begins(hunk: str, commented: str) -> bool:
    """Whether a commented hunk, which ends at its line, is the beginning of this one."""
    rows, first = hunk.split("\n")[1:], commented.split("\n")[1:]
    return bool(first) and rows[: len(first)] == first


def _record(name: str, hunk: str, path: str) -> dict[str, Any]:
    return {"id": name, "patch": hunk, "path": path, "lang": language_of(path)}


def _normalised(text: str) -> str:
    """A hash of a text without numbers of lines, blanks and case: near copies have the same."""
    rows = [row for row in text.split("\n") if not row.startswith("@@ ")]
    return hashlib.sha256("".join("".join(rows).split()).lower().encode("utf-8", "surrogateescape")).hexdigest()


def _split(mined: Sequence[Mined]) -> dict[tuple[str, Task], list[Mined]]:
    """Rows by split and task: each file in one split, by the time of its last row."""
    last: dict[str, str] = {}
    for one in mined:
        last[one.path] = max(last.get(one.path, ""), one.when)
    order = sorted(last, key=lambda path: (last[path], path))
    split_of = {
        path: next(name for name, share in SPLITS if number < share * len(order)) for number, path in enumerate(order)
    }
    found: dict[tuple[str, Task], list[Mined]] = defaultdict(list)
    for one in mined:
        found[split_of[one.path], one.task].append(one)
    return found
