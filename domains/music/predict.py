"""From prompts to pieces of music: a base with its adapter, loaded once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from domains.music.data.captions import slots
from domains.music.data.clips import Clip, clips_of
from domains.music.data.prompts import Prompt, read_prompts
from domains.music.data.sources import open_recordings
from domains.music.output.page import LONGEST, ListeningPage
from domains.music.output.result import MusicResult, Take
from domains.music.types import Composer, MusicQuery, Wave
from suite.errors import InputError
from suite.media import audio
from suite.prediction.folder import ResultFolder, Table, whole_record
from suite.prediction.inputs import Names, slug
from suite.prediction.loop import batches, only

BESIDE = 400
"""Clips of the training among which the nearest is sought."""


class MusicGenerator:
    """Prompts in, pieces of music out.

    >>> generator = MusicGenerator.from_pretrained("tiny")
    >>> generator("a slow raga in bibhas for flute", seconds=8).save("out/")
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto (bfloat16 on a GPU, else float32), float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        from domains.music.inference.loaded import load

        return cls(load(adapter, base, device, dtype))

    def __call__(self, prompt: str, **options: Any) -> MusicResult:
        """One prompt; an empty one is unconditional. Options are the fields of `MusicQuery`.

        Raises:
            InputError: it cannot be made.
        """
        return only(self.predict([prompt], **options))

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[MusicResult]:
        """Yield one result a prompt, in order; one that cannot be made yields a result with `error`.

        Args:
            inputs: one or several of: prompts (strings with a blank), files of prompts, `-` for standard input.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `MusicQuery`.

        Raises:
            InputError: an option is wrong, or the recording to go on from cannot be read.
        """
        query = MusicQuery(**options)
        _check_own(query, self.composer.facts.family)
        query = query.filled(self.composer.defaults)
        before = self._before(query)
        beside = _beside(query.beside) if query.beside else []
        folder = ResultFolder.of(out).summarise(Table("pieces", whole_record), ListeningPage(beside))
        yield from folder.keep(self._made(read_prompts(inputs), query, before))

    def _before(self, query: MusicQuery) -> Wave | None:
        """The recording to go on from, at the model's rate; its last seconds where so many are asked for."""
        if query.continue_from is None:
            return None
        path, wanted = query.continue_from, query.continue_seconds
        start = 0.0 if wanted is None else max(0.0, audio.probe(path).seconds - wanted)
        wave = audio.read(path, start=start, rate=self.composer.rate, channels=self.composer.channels).wave
        given = wave.shape[1] / self.composer.rate
        if given >= query.seconds:
            raise InputError(
                f"{path}: the prompt is longer than the audio to generate ({given:.2f} s of {query.seconds:g} s); ask "
                f"for more --seconds, or go on from its end with --continue-seconds {max(0.1, query.seconds / 2):g}"
            )
        return wave

    def _made(self, prompts: Iterable[Prompt], query: MusicQuery, before: Wave | None) -> Iterator[MusicResult]:
        names = Names()
        side_by_side = max(1, query.batch_size // query.pieces)
        for (seconds, broken), alike in groupby(prompts, lambda one: (one.seconds, one.error is not None)):
            for batch in batches(alike, side_by_side):
                if broken:
                    yield from (MusicResult(one.source, one.error, prompt=one.text, query=query) for one in batch)
                else:
                    own = query if seconds is None else replace(query, seconds=seconds)
                    yield from self._batch(batch, own, before, names)

    def _batch(
        self, prompts: Sequence[Prompt], query: MusicQuery, before: Wave | None, names: Names
    ) -> Iterator[MusicResult]:
        """Results of prompts that are made side by side; where one is wrong, each is made by itself."""
        started = time.perf_counter()
        try:
            takes = self._takes(prompts, query, before)
        except InputError as error:
            if len(prompts) == 1:
                yield MusicResult(prompts[0].source, str(error), prompt=prompts[0].text, query=query)
            else:
                for one in prompts:
                    yield from self._batch([one], query, before, names)
            return
        seconds = (time.perf_counter() - started) / len(prompts)
        continued = 0.0 if before is None or not query.keep_prompt else before.shape[1] / self.composer.rate
        for prompt, own in zip(prompts, takes, strict=True):
            yield MusicResult(
                prompt.source,
                name=names.of(slug(prompt.text or "unconditional")),
                prompt=prompt.text,
                takes=tuple(own),
                continued=continued,
                facts=self.composer.facts,
                notices=(*prompt.notices, *self._notices(prompt), *_clipping(own)),
                seconds=seconds,
                query=query,
            )

    def _takes(self, prompts: Sequence[Prompt], query: MusicQuery, before: Wave | None) -> list[list[Take]]:
        """Of each prompt its takes: the adapter's, then the frozen base's."""
        jobs = [
            (place, number, (query.seed if prompt.seed is None else prompt.seed) + number)
            for place, prompt in enumerate(prompts)
            for number in range(query.pieces)
        ]
        found: list[list[Take]] = [[] for _ in prompts]
        for frozen in (False, True) if query.before else (False,):
            for part in batches(jobs, query.batch_size):
                waves = self.composer.compose(
                    [prompts[place].text for place, _, _ in part],
                    query,
                    seeds=[seed for _, _, seed in part],
                    before=before,
                    frozen=frozen,
                )
                for (place, number, seed), wave in zip(part, waves, strict=True):
                    kept = wave if before is None or query.keep_prompt else wave[:, before.shape[1] :]
                    found[place].append(Take(kept, self.composer.rate, number, seed, frozen))
        return found

    def _notices(self, prompt: Prompt) -> tuple[str, ...]:
        """Whether an adapter that learned swapped slots is asked with the right ones."""
        learned, asked = slots(self.composer.facts.wording), slots(prompt.text)
        if learned is None or not learned.swapped or asked is None or asked.swapped:
            return ()
        return (
            "this adapter's captions have makam and usul in each other's place; it follows a prompt better that has "
            f"them so: {asked.usul} makam, {asked.makam} usul",
        )


def _check_own(query: MusicQuery, family: str) -> None:
    """Refuse what the other family's sampler would listen to: it would change nothing here."""
    own, other = ("MusicGen", "Mustango") if family == "musicgen" else ("Mustango", "MusicGen")
    foreign = ("steps",) if family == "musicgen" else ("temperature", "top_k", "top_p")
    if given := [name for name in foreign if getattr(query, name) is not None]:
        raise InputError(f"{given[0]} is an option of {other} and changes nothing in {own}; leave it out")


def _clipping(takes: Sequence[Take]) -> tuple[str, ...]:
    loud = sum(float(abs(take.wave).max(initial=0)) > 1 for take in takes)
    return (f"{loud} pieces are louder than full scale; files of them are written quieter",) if loud else ()


def _beside(source: str) -> list[Clip]:
    """Clips of the training, for the page."""
    return clips_of(open_recordings(source).recordings[:BESIDE], LONGEST)
