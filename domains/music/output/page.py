"""A page that plays what was made, each piece beside a recording of the training that is nearest in its caption."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domains.music.data.clips import Clip
from domains.music.output.result import MusicResult
from suite.errors import InputError
from suite.media import audio
from suite.media.report import Report

PAGE = "listen.html"

EMBEDDED_RATE = 16_000
"""Hz of clips that lie in the page itself, because they are parts of longer files or made."""
LONGEST = 30.0
"""Seconds of such a clip."""


@dataclass
class ListeningPage:
    """The page of a prediction (a summary of `ResultFolder`).

    Attributes:
        beside: clips of the training.
    """

    beside: Sequence[Clip] = ()

    def __post_init__(self) -> None:
        self.results: list[MusicResult] = []

    def add(self, result: MusicResult) -> None:
        """Take note of one result."""
        if result.error is None:
            self.results.append(result)

    def finish(self, folder: Path) -> list[Path]:
        """Write `listen.html`."""
        if not self.results:
            return []
        facts = self.results[0].facts
        page = Report("What was made", f"{facts.adapter or 'no adapter'} on {facts.base}")
        page.facts({"licences": facts.licences} if facts.licences else {"pieces": len(self.results)})
        for notice in facts.notices:
            page.text(f"Note: {notice}")
        for result in self.results:
            page.section(result.prompt or "without a prompt")
            for take in result.takes:
                by = "the frozen base" if take.frozen else "the adapter" if facts.adapter else "the base"
                page.audio(result.file_of(take), f"made by {by}, seed {take.seed}")
            picture = folder / f"{result.name}.png"
            if picture.is_file():
                page.image(picture, alt=f"spectrogram of {result.prompt}")
            if (clip := nearest(result.prompt, self.beside)) is not None:
                _play(page, clip, folder)
        return [page.save(folder / PAGE)]


def nearest(prompt: str, clips: Sequence[Clip]) -> Clip | None:
    """The clip whose caption is nearest to a prompt; None without clips."""
    if not clips:
        return None
    wanted = prompt.lower().split()
    return max(clips, key=lambda clip: difflib.SequenceMatcher(None, wanted, clip.caption.lower().split()).ratio())


def _play(page: Report, clip: Clip, folder: Path) -> None:
    """A clip of the training: its own file where it is all of it, else within the page."""
    said = f"from the training: {clip.caption or clip.recording.name}"
    if clip.recording.licence:
        said += f" ({clip.recording.licence})"
    source = clip.recording.source
    if isinstance(source, Path) and clip.start == 0 and clip.recording.start is None and clip.whole:
        page.audio(Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix(), said)
        return
    try:
        wave = clip.sound(EMBEDDED_RATE, 1)[:, : round(LONGEST * EMBEDDED_RATE)]
    except InputError as error:
        page.text(f"Note: {error}")
        return
    page.audio(audio.encode(wave, EMBEDDED_RATE, "ogg"), said, kind="audio/ogg")
