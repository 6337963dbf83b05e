"""From prompts to pictures of the subject: a base with one or several adapters, loaded once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from PIL import Image

from domains.personalized_diffusion.data.prompts import Prompt, name_of, read_prompts
from domains.personalized_diffusion.inference.compatibility import check_fits, folder_of, settings_of
from domains.personalized_diffusion.inference.loaded import Loaded
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.model.bases import DOMAIN, Base
from domains.personalized_diffusion.model.conditioning import CHUNKED, chunks
from domains.personalized_diffusion.model.drawing import draw
from domains.personalized_diffusion.model.families import FAMILIES
from domains.personalized_diffusion.model.manifest import Stated, TriggerWords
from domains.personalized_diffusion.output.result import (
    COLUMNS,
    MOST_ROWS,
    TABLE,
    ImagesResult,
    contact_sheet,
    table_rows,
)
from domains.personalized_diffusion.types import Picture, PromptQuery, Settings, parse_size, weighted
from suite import adapters
from suite.adapters.handle import handle_of
from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.prediction.folder import ResultFolder, Sheet, Table
from suite.prediction.inputs import Names
from suite.prediction.loading import stated_base
from suite.prediction.loop import each, only


class Personalizer:
    """Prompts in, pictures out.

    >>> personalizer = Personalizer.from_pretrained("tiny")
    >>> personalizer("a photo of sks robot in the snow")[0].save("robot.png")

    Attributes:
        base: diffusers' pipeline. trigger: token and class noun of the first adapter.
        settings: what the first adapter says of itself.
    """

    def __init__(self, base: Base, settings: Stated | None = None) -> None:
        self.settings = settings or Stated()
        self.base = base.reading(self.settings.clip_skip)
        self.trigger = self.settings.trigger or TriggerWords()
        self.network = bases.adapted_network(base, self.settings.text_encoder)
        self.loaded: list[Loaded] = []
        self.notices: list[str] = []

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto (bfloat16 on a GPU, else float32), float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        folder = folder_of(adapter)
        where = choose_device(device)
        stated = base or stated_base(adapters.read_manifest(folder)["base"]["reference"], folder, DOMAIN)
        made = cls(bases.load(stated, choose_dtype(dtype, where), where), settings_of(folder))
        made.add(adapter)
        return made

    def add(self, reference: str, weight: float = 1.0) -> None:
        """Put one more adapter on the base; all of them act together, each by its weight.

        Raises:
            InputError: it does not exist, was made for another base, or trains other components than the first.
        """
        folder = folder_of(reference)
        stated = settings_of(folder)
        if stated.text_encoder != self.settings.text_encoder:
            raise InputError(
                f"{reference}: an adapter of the denoiser alone and one of the text encoder too cannot act together "
                "live; merge one into the base first (suite personalized_diffusion export --to merged)"
            )
        check_fits(folder, self.base, reference)
        if stated.clip_skip != self.base.clip_skip:
            self.notices.append(
                f"{reference} was trained on prompts from layer {stated.clip_skip} of CLIP, counted from the last; "
                f"they are read from layer {self.base.clip_skip} here"
            )
        name = f"adapter{len(self.loaded)}" if self.loaded else "adapter"
        self.network = adapters.load(self.network, folder, name=name)
        layers = tuple(member.adapter for member in handle_of(self.network).attachment(name).members)
        self.loaded.append(Loaded(name, reference, weight, layers))
        self._act_together()

    def _act_together(self) -> None:
        adapters.activate(self.network, *(one.name for one in self.loaded))

    def __call__(self, prompt: str, **options: Any) -> list[Image.Image]:
        """Draw one prompt; options are the fields of `PromptQuery`.

        Raises:
            InputError: it cannot be drawn.
        """
        return only(self.draw([Prompt(prompt, prompt)], **options)).images

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[ImagesResult]:
        """Yield one result a prompt, in order; one that cannot be drawn yields a result with `error`.

        Args:
            inputs: one or several of: prompts (strings with a blank), paths of prompt files, `-` for standard input.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `PromptQuery`.

        Raises:
            InputError: an option is wrong, or a further adapter does not fit.
        """
        query = PromptQuery(**options)
        folder = ResultFolder.of(out).summarise(Table(TABLE, table_rows, columns=COLUMNS, guard=False))
        if query.grid:
            folder.summarise(Sheet(lambda result: result if result.images else None, contact_sheet, MOST_ROWS))
        yield from folder.keep(self._draw(read_prompts(inputs, self.trigger, query.subject), query))

    def draw(self, prompts: Iterable[Prompt], **options: Any) -> Iterator[ImagesResult]:
        """The same of prompts that were read already."""
        yield from self._draw(prompts, PromptQuery(**options))

    def _draw(self, prompts: Iterable[Prompt], query: PromptQuery) -> Iterator[ImagesResult]:
        self._add_further(query.also)
        names = Names()

        def failed(prompt: Prompt, why: str) -> ImagesResult:
            return ImagesResult(prompt.source, why, prompt=prompt.text, query=query)

        yield from each(prompts, lambda prompt: self._result(prompt, query, names), failed)

    def _add_further(self, wanted: Sequence[str]) -> None:
        known = {one.reference: place for place, one in enumerate(self.loaded)}
        for word in wanted:
            reference, weight = weighted(word)
            if reference in known:
                self.loaded[known[reference]] = replace(self.loaded[known[reference]], weight=weight)
            else:
                self.add(reference, weight)

    def _result(self, prompt: Prompt, query: PromptQuery, names: Names) -> ImagesResult:
        if prompt.error is not None:
            raise InputError(prompt.error)
        if not isinstance(prompt.text, str) or not prompt.text.strip():
            raise InputError("a prompt is a text of at least one word")
        name = name_of(prompt, names)
        started = time.perf_counter()
        settings = self._settings(prompt, query)
        seeds = [(query.seed if prompt.seed is None else prompt.seed) + number for number in range(query.images)]
        wanted: list[float | None] = [*([None] if query.before else []), *dict.fromkeys(query.strength)]
        drawn = []
        for strength in wanted:
            with self._acting(strength):
                images = draw(self.base, prompt.text, seeds, settings, query.batch_size)
            drawn += [
                Picture(image, number, seed, strength)
                for number, (image, seed) in enumerate(zip(images, seeds, strict=True))
            ]
        return ImagesResult(
            prompt.source,
            name=name,
            prompt=prompt.text,
            subject=prompt.subject,
            pictures=tuple(drawn),
            settings=settings,
            notices=tuple(self._notices(prompt, query)),
            seconds=time.perf_counter() - started,
            query=query,
        )

    def _settings(self, prompt: Prompt, query: PromptQuery) -> Settings:
        family = FAMILIES[self.base.family]
        side = self.settings.resolution or self.base.resolution
        width, height = prompt.size or (parse_size(query.size) if query.size else (side, side))
        unit = self.base.unit
        if width % unit or height % unit:
            raise InputError(f"size {width} x {height}: this base draws multiples of {unit} pixels")
        return Settings(
            width,
            height,
            prompt.steps or query.steps or family.steps,
            _first(prompt.guidance, query.guidance, family.guidance),
            query.negative if prompt.negative is None else prompt.negative,
            type(self.base.scheduler).__name__.removesuffix("Scheduler"),
            {one.reference: one.weight for one in self.loaded},
            self.base.id,
        )

    def _acting(self, strength: float | None) -> AbstractContextManager[Any]:
        """The adapters at a strength; off, to the bit of the base, at 0 and for None."""
        if not strength or not self.loaded:
            return adapters.disabled(self.network) if self.loaded else nullcontext()
        for one in self.loaded:
            for layer in one.layers:
                adapters.scale(self.network, strength * one.weight, layer)
        return nullcontext()

    def _notices(self, prompt: Prompt, query: PromptQuery) -> Iterator[str]:
        yield from self.notices
        if query.subject and not prompt.subject:
            yield f"--subject {query.subject} is of DreamBooth's prompts file, and this prompt is of none"
        if self.loaded and self.trigger.missing_from(prompt.text):
            yield f"the prompt lacks the trigger word {self.trigger.token!r}: the adapter's subject may not appear"
        if self.base.family in CHUNKED and (parts := len(chunks(prompt.text, self.base.tokenizers[0]))) > 1:
            yield f"the prompt is longer than the base reads at once: it is read in {parts} parts"


def _first(*values: float | None) -> float:
    return next(float(value) for value in values if value is not None)
