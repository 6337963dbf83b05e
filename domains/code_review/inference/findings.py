"""From what the models say of hunks to findings: anchored, with suggestions that apply, none said twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from domains.code_review.data.hosts.files import RequestedFiles
from domains.code_review.data.parts import parts
from domains.code_review.data.readers.work_tree import NewFiles
from domains.code_review.inference.anchors import anchor, at, finding, fingerprint, over
from domains.code_review.inference.suggestions import check, fits_in, suggestion
from domains.code_review.inference.texts import code_flaw, flaw, tidy
from domains.code_review.model.wording import Task
from domains.code_review.types import FilePatch, Finding, Hunk, Line, ReviewQuery, Suggestion

if TYPE_CHECKING:
    from domains.code_review.inference.session import Session, Written

THRESHOLD = 0.5
"""Of a decision whose adapter states none."""


Files = NewFiles | RequestedFiles


@dataclass(frozen=True)
class Asked:
    """What a model reads at once: a hunk, or a part of one that is too long.

    Attributes:
        part: what is read. hunk: that it is of.
    """

    file: FilePatch
    hunk: Hunk
    part: Hunk


@dataclass
class Judged:
    """What was found of one hunk so far."""

    asked: Asked
    need: float | None = None
    said: Written | None = None
    suggested: Suggestion | None = None


@dataclass
class Reviewing:
    """One review on its way.

    Attributes:
        engine: the adapter's name, which findings carry.
        dropped: what was not given, by reason.
    """

    session: Session
    query: ReviewQuery
    threshold: float = THRESHOLD
    engine: str = ""
    dropped: Counter[str] = field(default_factory=Counter)

    def findings(self, files: Iterable[FilePatch], new_files: Files | None = None) -> list[Finding]:
        """What is said of the files' hunks, in their order.

        Args:
            new_files: where the files may be read as they are after the diff.
        """
        asked = [one for file in files for one in self._asked(file)]
        judged = self._needing([Judged(one) for one in asked])
        if "comment" in self.session.templates:
            self._comment(judged)
            if self.query.suggest and "refinement" in self.session.templates:
                self._refine([one for one in judged if one.said is not None], new_files)
        return [self._finding(one) for one in judged if one.said is not None or one.need is not None]

    def _asked(self, file: FilePatch) -> Iterator[Asked]:
        for hunk in file.hunks:
            if not hunk.changed:
                continue
            for part in parts(hunk, lambda one: self.session.fits(one, file.path)):
                yield Asked(file, hunk, part)

    def _needing(self, judged: Sequence[Judged]) -> list[Judged]:
        """Those whose chance reaches the threshold; all of them where no adapter tells it."""
        if "necessity" not in self.session.templates:
            return list(judged)
        prompts = [self._prompt("necessity", one.asked) for one in judged]
        for one, chance in zip(judged, self.session.chances(prompts), strict=True):
            one.need = chance
        return [one for one in judged if one.need is not None and one.need >= self.threshold]

    def _comment(self, judged: Sequence[Judged]) -> None:
        prompts = [self._prompt("comment", one.asked) for one in judged]
        for one, written in zip(judged, self.session.written("comment", prompts), strict=True):
            text = tidy(written.text)
            if why := flaw(text):
                self.dropped[f"{why} comment"] += 1
            elif math.exp(written.logprob) < self.query.min_confidence:
                self.dropped["comment below --min-confidence"] += 1
            else:
                one.said = replace(written, text=text)

    def _refine(self, judged: Sequence[Judged], new_files: Files | None) -> None:
        chosen = [one for one in judged if one.asked.part.new_count and not one.asked.file.unsafe]
        codes = ["\n".join(line.text.removesuffix("\r") for line in one.asked.part.side("RIGHT")) for one in chosen]
        prompts = [
            self.session.answering(code, one.said.text, one.asked.file.path)
            for code, one in zip(codes, chosen, strict=True)
            if one.said is not None
        ]
        for one, written in zip(chosen, self.session.refined(prompts, codes), strict=True):
            if written is None:
                self.dropped["suggestion: the hunk is too long"] += 1
            elif why := self._suggest(one, written, new_files):
                self.dropped[f"suggestion: {why}"] += 1

    def _suggest(self, one: Judged, written: Written, new_files: Files | None) -> str:
        """Keep what the model wrote as a suggestion, or say why not."""
        if not written.complete:
            return "not finished"
        text = written.text.split("\n### ")[0]
        if why := code_flaw(text):
            return why
        file, part = one.asked.file, one.asked.part
        content = new_files.read(file.path) if new_files is not None else None
        if content is not None and not fits_in(part, content):
            content = None  # another state of the file, or another file of that name
        made = suggestion(file, part, text, content)
        if made is None:
            return "changes nothing, or cannot be placed"
        if content is not None and (why := check(file, made, content)):
            return why
        one.suggested = made
        return ""

    def _finding(self, one: Judged) -> Finding:
        file, hunk, said = one.asked.file, one.asked.hunk, one.said
        gone = file.new_path is None
        place = anchor(one.asked.part, gone)
        if said is not None and self.query.anchor == "likelihood":
            place = at(one.asked.part, self._likeliest(one.asked, said.text), gone)
        elif one.suggested is not None:
            # A hunk's first change need not be the one that the comment is about; the new code says which is.
            place = over(one.asked.part, one.suggested.start, one.suggested.end)
        rule = "review/needs-review" if said is None else "review/comment"
        found = finding(
            file,
            hunk,
            place,
            rule,
            comment="" if said is None else said.text,
            need=one.need,
            logprob=None if said is None else said.logprob,
            suggestion=one.suggested,
            engine=self.engine,
        )
        # Parts of one hunk are told apart by their own lines.
        return replace(found, fingerprint=fingerprint(found.path, one.asked.part.changed, rule))

    def _prompt(self, task: Task, asked: Asked) -> str:
        return self.session.about(task, asked.part, asked.file.path)

    def _likeliest(self, asked: Asked, comment: str) -> Line:
        """The changed line without which the comment is least likely."""
        changed = [number for number, line in enumerate(asked.part.lines) if line.kind != " "]
        if len(changed) == 1:
            return asked.part.lines[changed[0]]
        without = [
            replace(asked.part, lines=asked.part.lines[:number] + asked.part.lines[number + 1 :], header="")
            for number in changed
        ]
        prompts = [self.session.about("comment", one, asked.file.path) for one in without]
        scores = self.session.logprobs("comment", prompts, comment)
        return asked.part.lines[changed[min(range(len(scores)), key=scores.__getitem__)]]


def merged(found: list[Finding], most: int | None) -> tuple[tuple[Finding, ...], Counter[str]]:
    """Findings in order of file and line without repetitions, and how many were dropped, by reason.

    The same words in one file are said once, where they come first.
    """
    dropped: Counter[str] = Counter()
    kept: dict[tuple[str, str], Finding] = {}
    for one in found:
        key = (one.path, " ".join(one.comment.casefold().split()))
        if one.comment and key in kept:
            dropped["repeated in the same file"] += 1
        else:
            kept[key if one.comment else (one.path, f"{one.hunk}\0{one.line}")] = one
    chosen = list(kept.values())
    if most is not None and len(chosen) > most:
        dropped["beyond --max-comments"] += len(chosen) - most
        chosen = sorted(chosen, key=lambda one: -(one.need or 0.0))[:most]
    chosen.sort(key=lambda one: (one.path, one.line, one.rule))
    return tuple(chosen), dropped
