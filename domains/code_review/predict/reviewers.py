"""From diffs to findings: by a model with its adapters, or by fixed rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

from domains.code_review.data import selection
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.inference import rules
from domains.code_review.inference.findings import THRESHOLD, Reviewing, merged
from domains.code_review.inference.inputs import Given, name_of, read, sources, stem_of
from domains.code_review.inference.loaded import DOMAIN, LoadedReviewer, check_at_hand
from domains.code_review.model.bundle import Bundle, find_bundle
from domains.code_review.model.wording import Task
from domains.code_review.output.result import ReviewResult
from domains.code_review.types import Diff, FilePatch, Finding, Hunk, ReviewQuery
from suite import hub
from suite.errors import InputError
from suite.prediction.inputs import Names, several
from suite.prediction.loading import stated_base
from suite.prediction.loop import each, placed

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
                standard input, a pull or merge request (`owner/name#12`, `group/project!12`, or its page's address), a
                diff's bytes, or several of these.
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
        check_at_hand(reference)
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
        check_at_hand(reference)
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


def _reviewed(
    inputs: Any, query: ReviewQuery, findings: Found, reviewer: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[ReviewResult]:
    names = Names()

    def one(source: Any) -> ReviewResult:
        given = read(source, query)
        diff = parse_diff(given.raw, query.lenient)
        if given.newer is not None:
            diff = selection.changed_since(diff, parse_diff(given.newer, query.lenient))
        left_out = dict(given.unseen) | selection.passed_over(diff, query.paths, query.most_changed)
        found, dropped = findings(list(selection.kept(diff, left_out)), given)
        kept, more = merged(found, query.max_comments)
        return ReviewResult(
            name_of(source),
            findings=kept,
            diff=diff,
            passed_over=left_out,
            dropped=dropped | more,
            commit=given.revisions.head,
            notices=(*given.notices, *diff.notices),
            name=names.of(stem_of(source)),
            base=given.revisions.base,
            start=given.revisions.start,
            request=given.request,
            reviewer=reviewer,
        )

    def failed(source: Any, why: str) -> ReviewResult:
        return ReviewResult(name_of(source), error=placed(why, name_of(source)))

    return each(sources(several(inputs, bytes)), one, failed)
