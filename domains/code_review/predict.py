"""From diffs to findings: by a model with its adapters, or by fixed rules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

from domains.code_review.data import selection
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.inference import changes, rules
from domains.code_review.inference.findings import THRESHOLD, Reviewing, merged
from domains.code_review.inference.inputs import Given, is_pull_request, name_of, read, sources, stem_of
from domains.code_review.inference.loaded import DOMAIN, LoadedReviewer
from domains.code_review.model.bundle import Bundle, find_bundle
from domains.code_review.model.wording import Task
from domains.code_review.output.formats import WRITERS
from domains.code_review.output.plain import clean
from domains.code_review.output.result import ReviewResult
from domains.code_review.types import MOST_CHANGED, Diff, FilePatch, Finding, Hunk, ReviewQuery, counted
from suite import hub
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import several
from suite.prediction.loading import stated_base
from suite.prediction.loop import each, reason

if TYPE_CHECKING:
    from domains.code_review.data.github import GitHub

Format = Literal["text", "json", "sarif", "github", "gitlab", "rdjson", "markdown", "html", "patch"]
Found = Callable[[list[FilePatch], Given], tuple[list[Finding], dict[str, int]]]
"""What a reviewer says of a diff's files, and what it dropped, by reason."""


class RuleReviewer:
    """A reviewer without a model, by a few fixed rules: a baseline, and a way to try every output format.

    >>> for result in RuleReviewer().review("change.diff"):
    ...     print(result)
    """

    def review(self, inputs: Any, **options: Any) -> Iterator[ReviewResult]:
        """Yield one result a diff, in order; a bad input is one with its error.

        Args:
            inputs: a diff's path, a folder (its .diff and .patch files, or, of a git work tree, its changes), `-` for
                standard input, a pull request (`owner/name#12` or its page's address), a diff's bytes, or several of
                these.
            options: fields of `ReviewQuery`.
        """
        return _reviewed(inputs, ReviewQuery(**options), self._findings)

    def _findings(self, files: list[FilePatch], given: Given) -> tuple[list[Finding], dict[str, int]]:
        return [one for file in files for one in rules.review(file)], {}


class CodeReviewer(LoadedReviewer):
    """Diffs in, comments at their lines out, with patches that apply.

    >>> reviewer = CodeReviewer.from_pretrained("tiny")
    >>> for result in reviewer.predict("change.diff"):
    ...     print(result)
    """

    @classmethod
    def from_pretrained(
        cls,
        adapter: str | None = "tiny",
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        *,
        necessity: str | None = None,
        comment: str | None = None,
        refinement: str | None = None,
        template: str | None = None,
        strict_base: bool = False,
    ) -> Self:
        """Find adapters and base; nothing big is loaded yet.

        Args:
            adapter: reference of a folder with an adapter for each task, or of one task's; None: only those below.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto, float32, bfloat16, float16, or nf4 (weights in 4 bit).
            necessity, comment, refinement: references of the tasks' adapters, in place of those of `adapter`.
            template: name of the prompts that the adapters must have been trained with.
            strict_base: refuse a base with other weights than the adapters were trained on.

        Raises:
            InputError: adapter or base does not exist, nothing says what an adapter is for, or it knows other prompts.
        """
        given: dict[Task, str | None] = {"necessity": necessity, "comment": comment, "refinement": refinement}
        bundle = Bundle() if adapter is None else find_bundle(hub.resolve(adapter, DOMAIN, kind="adapter"))
        for task, reference in given.items():
            if reference is not None:
                bundle = bundle.with_part(task, hub.resolve(reference, DOMAIN, kind="adapter"))
        if not set(bundle.parts) - {"refinement"}:
            raise InputError(
                f"{adapter or 'no adapter'}: nothing tells which hunks need a review, or what to say of them; "
                "give --necessity or --comment, too"
            )
        for task, own in bundle.templates.items():
            if template is not None and own.name != template:
                raise InputError(
                    f"the adapter for {task} was trained with the prompts {own.name}, not {template}; "
                    "leave --template out"
                )
        named = ", ".join(dict.fromkeys(filter(None, given.values() if adapter is None else [adapter])))
        reference = base or stated_base(bundle.base, next(iter(bundle.parts.values())), DOMAIN)
        return cls(bundle, adapter=named, base=reference, device=device, dtype=dtype, strict_base=strict_base)

    @classmethod
    def for_task(
        cls, task: Task, adapter: str, base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """One task's adapter alone, its own folder or the one of a folder with several.

        Raises:
            InputError: adapter or base does not exist, or it is for another task.
        """
        bundle = Bundle().with_part(task, hub.resolve(adapter, DOMAIN, kind="adapter"))
        reference = base or stated_base(bundle.base, bundle.parts[task], DOMAIN)
        return cls(bundle, adapter=adapter, base=reference, device=device, dtype=dtype)

    @property
    def threshold(self) -> float:
        """From which chance on a hunk needs a review, as the adapter states it."""
        return THRESHOLD if self.bundle.threshold is None else self.bundle.threshold

    def predict(self, inputs: Any, **options: Any) -> Iterator[ReviewResult]:
        """Yield one result a diff, in order; a bad input is one with its error.

        Args:
            inputs: as `RuleReviewer.review` takes them.
            options: fields of `ReviewQuery`.
        """
        query = ReviewQuery(**options)
        return _reviewed(inputs, query, lambda files, given: self._findings(files, given, query), self._named())

    def review(self, files: Diff | Iterable[FilePatch], **options: Any) -> list[Finding]:
        """The findings of parsed files, sorted by file and line."""
        found, _ = self._findings(list(files), Given(b""), query := ReviewQuery(**options))
        return list(merged(found, query.max_comments)[0])

    def necessity(self, files: Diff | Iterable[FilePatch]) -> list[tuple[FilePatch, Hunk, float]]:
        """Every hunk with the chance that it needs a review, one forward each.

        Raises:
            InputError: no adapter tells it.
        """
        self._need("necessity")
        pairs = [(file, hunk) for file in files for hunk in file.hunks if hunk.changed]
        session = self.session(ReviewQuery())
        chances = session.chances([session.about("necessity", hunk, file.path) for file, hunk in pairs])
        return [(*pair, chance) for pair, chance in zip(pairs, chances, strict=True)]

    def refine(self, code: str, comment: str, path: str = "") -> str:
        """Code as it is after a comment was answered.

        Args:
            path: of its file, whose ending tells the language.

        Raises:
            InputError: no adapter does it, or the code is too long.
        """
        self._need("refinement")
        session = self.session(ReviewQuery())
        [written] = session.refined([session.answering(code, comment, path)], [code])
        if written is None:
            raise InputError(f"code of {len(code):,} characters has no room in the base, with its revision")
        return written.text

    def _findings(
        self, files: list[FilePatch], given: Given, query: ReviewQuery
    ) -> tuple[list[Finding], dict[str, int]]:
        if not any(hunk.changed for file in files for hunk in file.hunks):
            return [], {}
        threshold = self.threshold if query.threshold is None else query.threshold
        reviewing = Reviewing(self.session(query), query, threshold, engine=self._named()["adapter"])
        return reviewing.findings(files, given.files), dict(reviewing.dropped)

    def _named(self) -> dict[str, Any]:
        """What reviews, for readers elsewhere, to whom a path of this machine means nothing."""
        known = {"base": self.base, "adapter": self.adapter}
        named = {what: what if name.startswith((".", "/", "~")) else name for what, name in known.items()}
        return {**named, "templates": {task: template.name for task, template in self.bundle.templates.items()}}

    def _need(self, task: Task) -> None:
        if task not in self.bundle.parts:
            raise InputError(f"{self.adapter} has no adapter for {task}; it has {', '.join(self.bundle.parts)}")


def predict(
    inputs: list[str],
    *,
    adapter: str = "tiny",
    base: str | None = None,
    necessity: str | None = None,
    comment: str | None = None,
    refinement: str | None = None,
    template: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    strict_base: bool = False,
    out: Path | None = None,
    format: Format = "text",
    threshold: float | None = None,
    suggest: bool = True,
    anchor: Literal["change", "likelihood"] = "change",
    max_new_tokens: int = 128,
    batch_size: int = 16,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    num_beams: int = 1,
    repetition_penalty: float = 1.0,
    min_confidence: float = 0.0,
    cache: bool = True,
    range: str | None = None,
    paths: list[str] | None = None,
    max_comments: int | None = None,
    most_changed: int = MOST_CHANGED,
    lenient: bool = False,
    since: str = "",
    context: int | None = None,
    commit: str = "",
    base_commit: str = "",
    post: bool = False,
    fail_on: Literal["none", "any"] = "none",
) -> dict[str, Any]:
    """Review diffs by a model and its adapters: comments at their lines and patches that apply, in any format.

    An adapter for commits says of each how likely it brings in a defect, or writes its message.

    Args:
        inputs: files of diffs, saved answers of GitHub's, CodeReviewer's .jsonl files, folders, git work trees, pull
            requests (owner/name#12 or the page's address, read with GITHUB_TOKEN where it is set), or - for stdin.
        adapter: reference of a folder with an adapter for each task, or of one task's.
        base: reference of the base; the one that the adapter names where it is left out.
        necessity: reference of the adapter that says which hunks need a review; alone with --comment and --refinement
            it replaces --adapter.
        comment: reference of the adapter that writes comments.
        refinement: reference of the adapter that answers comments with code.
        template: name of the prompts that the adapters must have been trained with.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        strict_base: refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it.
        out: folder for JSON, SARIF, a patch of the suggestions and an HTML page; without it the findings are printed.
        format: what is printed: text, json, sarif, github (the body of a review), gitlab (discussions), rdjson,
            markdown, html or patch.
        threshold: a chance of at least this calls for a review; the adapter's own where it is left out.
        suggest: ask for new code, too, where there is a comment.
        anchor: where a comment stands: change (the end of the first change) or likelihood (one forward a line).
        max_new_tokens: longest comment.
        batch_size: hunks side by side.
        temperature: of drawing tokens; 0 takes the likeliest.
        top_p: draw from the likeliest tokens that together have this chance.
        seed: of the drawing.
        num_beams: go on with this many beginnings of a text at once; 1 takes the likeliest token each time.
        repetition_penalty: above 1 makes tokens less likely that stand in the prompt or were written before.
        min_confidence: show no comment whose tokens are less likely than this, as the geometric mean.
        cache: take what the same model said of the same hunk before, from disk.
        range: of a work tree, as `git diff` takes it, e.g. main...HEAD; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. 'src/**'.
        max_comments: keep at most this many findings of a diff.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        since: look only at hunks in which something changed after this commit, of a work tree or a pull request.
        context: unchanged lines of a work tree around each change; as many as git shows by default.
        commit: the revision that the new files are of, for GitHub and GitLab; a work tree tells its own.
        base_commit: the one that the old files are of, for GitLab; a range of a work tree tells its own.
        post: put the review on its pull request, by the token in GITHUB_TOKEN; what is sent is shown first.
        fail_on: any: exit with 3 where anything is found.
    """
    given = {name: value for name, value in locals().items() if name in _QUERY}
    parts = {"necessity": necessity, "comment": comment, "refinement": refinement}
    alone = adapter == "tiny" and any(parts.values())
    github = _check_inputs(inputs, post)
    if not alone and (task := changes.task_of(adapter)) is not None:
        if any(parts.values()) or post or format not in ("text", "json"):
            raise InputError(
                f"{adapter} is for {task} of commits: it reviews nothing, and prints text or, with --json, data"
            )
        options = {name: given[name] for name in ("range", "batch_size", "max_new_tokens", "num_beams")}
        options |= {} if threshold is None else {"threshold": threshold}
        return changes.say(task, inputs, adapter, base, device, dtype, out, **options)
    reviewer = CodeReviewer.from_pretrained(
        None if alone else adapter, base, device, dtype, template=template, strict_base=strict_base, **parts
    )
    results = reviewer.predict(inputs, **given | {"paths": tuple(paths or ())})
    return _told(inputs, results, out, format, fail_on, github)


def review(
    inputs: list[str],
    *,
    out: Path | None = None,
    format: Format = "text",
    range: str | None = None,
    paths: list[str] | None = None,
    max_comments: int | None = None,
    most_changed: int = MOST_CHANGED,
    lenient: bool = False,
    since: str = "",
    context: int | None = None,
    commit: str = "",
    base_commit: str = "",
    post: bool = False,
    fail_on: Literal["none", "any"] = "none",
) -> dict[str, Any]:
    """Review diffs by fixed rules, without a model: findings at their lines, in any format.

    Args:
        inputs: files of diffs, saved answers of GitHub's, CodeReviewer's .jsonl files, folders, git work trees, pull
            requests (owner/name#12 or the page's address, read with GITHUB_TOKEN where it is set), or - for stdin.
        out: folder for JSON, SARIF, a patch of the suggestions and an HTML page; without it the findings are printed.
        format: what is printed: text, json, sarif, github (the body of a review), gitlab (discussions), rdjson,
            markdown, html or patch.
        range: of a work tree, as `git diff` takes it, e.g. main...HEAD; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. 'src/**'.
        max_comments: keep at most this many findings of a diff.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        since: look only at hunks in which something changed after this commit, of a work tree or a pull request.
        context: unchanged lines of a work tree around each change; as many as git shows by default.
        commit: the revision that the new files are of, for GitHub and GitLab; a work tree tells its own.
        base_commit: the one that the old files are of, for GitLab; a range of a work tree tells its own.
        post: put the review on its pull request, by the token in GITHUB_TOKEN; what is sent is shown first.
        fail_on: any: exit with 3 where anything is found.
    """
    given = {name: value for name, value in locals().items() if name in _QUERY}
    github = _check_inputs(inputs, post)
    results = RuleReviewer().review(inputs, **given | {"paths": tuple(paths or ())})
    return _told(inputs, results, out, format, fail_on, github)


_QUERY = {one.name for one in fields(ReviewQuery)}


def _check_inputs(inputs: list[str], post: bool) -> GitHub | None:
    """Where reviews are posted to; None where they are not."""
    if not inputs:
        raise InputError("no input; name diffs, folders, work trees or pull requests, or - for standard input")
    if not post:
        return None
    if other := next((one for one in inputs if not is_pull_request(one)), None):
        raise InputError(f"{other}: --post is for pull requests; give one as owner/name#12")
    from domains.code_review.output.posting import check_postable

    return check_postable()


def _reviewed(
    inputs: Any, query: ReviewQuery, findings: Found, reviewer: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[ReviewResult]:
    def one(source: Any) -> ReviewResult:
        given = read(source, query)
        diff = parse_diff(given.raw, query.lenient)
        if given.newer is not None:
            diff = selection.changed_since(diff, parse_diff(given.newer, query.lenient))
        left_out = selection.passed_over(diff, query.paths, query.most_changed)
        found, dropped = findings(list(selection.kept(diff, left_out)), given)
        kept, more = merged(found, query.max_comments)
        return ReviewResult(
            name_of(source),
            findings=kept,
            diff=diff,
            passed_over=left_out,
            dropped=dropped | more,
            commit=given.revisions.head,
            notices=diff.notices,
            name=stem_of(source),
            base=given.revisions.base,
            start=given.revisions.start,
            pull=given.pull,
            reviewer=reviewer,
        )

    def failed(source: Any, why: str) -> ReviewResult:
        return ReviewResult(name_of(source), error=reason(why, name_of(source)))

    return each(sources(several(inputs, bytes)), one, failed)


def _told(
    inputs: list[str],
    results: Iterable[ReviewResult],
    out: Path | None,
    format: Format,
    fail_on: str,
    github: GitHub | None,
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
            posted = {} if github is None else {"posted": _posted(result, github)}
        except InputError as error:
            failed += 1
            why = reason(error, result.source)
            print(f"error: {result.source}: {why}", file=sys.stderr)
            records.append({"source": result.source, "error": why})
            continue
        found += len(result.findings)
        files = {} if out is None else {"files": [str(file) for file in folder.files]}
        records.append({"source": result.source, "error": None, **result.to_dict(), **files, **posted})
    code = 2 if failed else (3 if fail_on == "any" and found else 0)
    done = len(records) - failed
    told = {"results": records, "done": done, "failed": failed, "found": found, "out": out}
    told |= {"exit_code": code, "said": True}
    return told | ({} if out is None else {"message": f"{counted(found, 'finding')}\nresults  {out}"})


def _posted(result: ReviewResult, github: GitHub) -> str:
    """Post a review, and say so."""
    from domains.code_review.output.posting import post

    said = post(result, github)
    print(said, file=sys.stderr)
    return said


def _print(text: str) -> None:
    """Write text as it is: formats of other programs get nothing before or behind them."""
    buffer = getattr(sys.stdout, "buffer", None)  # a stream in memory has none
    if buffer is None:
        sys.stdout.write(clean(text))
    else:
        buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
