"""From prompts to pictures of the subject: a base with one or several adapters, loaded once."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from domains.personalized_diffusion.data.prompts import Names, Prompt, Trigger, parse_size, read_prompts
from domains.personalized_diffusion.devices import choose_device, choose_dtype
from domains.personalized_diffusion.evaluation import folders
from domains.personalized_diffusion.inference.compatibility import check_fits, folder_of, settings_of
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.model.bases import Base
from domains.personalized_diffusion.output import pictures
from domains.personalized_diffusion.types import ImagesResult, Picture, PromptQuery, Settings
from suite import adapters
from suite.adapters.handle import handle_of
from suite.errors import InputError
from suite.files import write_text
from suite.media.sheets import save_png

SAMPLING: dict[str, tuple[int, float]] = {
    "tiny": (20, 2.0),
    "sd15": (50, 7.0),
    "sd21": (50, 7.0),
    "sdxl": (50, 5.0),
    "sd3": (28, 7.0),
    "flux": (28, 3.5),
}
"""Steps and guidance of a family where they are not told: the authors' for Stable Diffusion, diffusers' for others."""


@dataclass(frozen=True)
class Loaded:
    """An adapter on the base.

    Attributes:
        name: of the attachment. reference: as the user wrote it. weight: its share among several.
        layers: names of its tensors in the model.
    """

    name: str
    reference: str
    weight: float
    layers: tuple[str, ...]


class Personalizer:
    """Prompts in, pictures out.

    >>> personalizer = Personalizer.from_pretrained("tiny")
    >>> personalizer("a photo of sks robot in the snow")[0].save("robot.png")

    Attributes:
        base: diffusers' pipeline. trigger: token and class noun of the first adapter.
        settings: the `domain` section of the first adapter's manifest.
    """

    def __init__(self, base: Base, settings: dict[str, Any] | None = None) -> None:
        self.base, self.settings = base, settings or {}
        trigger = self.settings.get("trigger") or {}
        self.trigger = Trigger(str(trigger.get("token") or ""), str(trigger.get("noun") or ""))
        self.network = pipelines.adapted_network(base, bool(self.settings.get("text_encoder")))
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
        manifest = adapters.read_manifest(folder)
        reference = base or manifest["base"]["reference"]
        if not reference:
            raise InputError(f"{folder}: the adapter does not name its base; give one with --base")
        where = choose_device(device)
        loaded = pipelines.load(_grammar(reference), choose_dtype(dtype, where), where)
        made = cls(loaded, settings_of(folder))
        made.add(adapter)
        return made

    def add(self, reference: str, weight: float = 1.0) -> None:
        """Put one more adapter on the base; all of them act together, each by its weight.

        Raises:
            InputError: it does not exist, was made for another base, or trains other components than the first.
        """
        folder = folder_of(reference)
        settings = settings_of(folder)
        if bool(settings.get("text_encoder")) != bool(self.settings.get("text_encoder")):
            raise InputError(
                f"{reference}: an adapter of the denoiser alone and one of the text encoder too cannot act together "
                "live; merge one into the base first (suite personalized_diffusion export --to merged)"
            )
        check_fits(folder, self.base, reference)
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
        [result] = self.draw([Prompt(prompt, prompt)], **options)
        if result.error is not None:
            raise InputError(f"{result.source}: {result.error}")
        return result.images

    def predict(self, inputs: Any, **options: Any) -> Iterator[ImagesResult]:
        """Yield one result a prompt, in order; one that cannot be drawn yields a result with `error`.

        Args:
            inputs: one or several of: prompts (strings with a blank), paths of prompt files, `-` for standard input.
            **options: the fields of `PromptQuery`.

        Raises:
            InputError: an option is wrong, or a further adapter does not fit.
        """
        query = PromptQuery(**options)
        yield from self._draw(read_prompts(inputs, self.trigger, query.subject), query)

    def draw(self, prompts: Iterable[Prompt], **options: Any) -> Iterator[ImagesResult]:
        """The same of prompts that were read already."""
        yield from self._draw(prompts, PromptQuery(**options))

    def _draw(self, prompts: Iterable[Prompt], query: PromptQuery) -> Iterator[ImagesResult]:
        _check(query)
        self._add_further(query.also)
        names, results = Names(), []
        for prompt in prompts:
            try:
                if prompt.error is not None:
                    raise InputError(prompt.error)
                result = self._result(prompt, query, names.of(prompt))
            except InputError as error:
                result = ImagesResult(prompt.source, str(error), prompt=prompt.text, query=query)
            if query.out is not None:
                results.append(result)
            yield result
        if query.out is not None:
            _summarise(results, query)

    def _add_further(self, wanted: Sequence[str]) -> None:
        known = {one.reference: place for place, one in enumerate(self.loaded)}
        for word in wanted:
            reference, weight = weighted(word)
            if reference in known:
                self.loaded[known[reference]] = replace(self.loaded[known[reference]], weight=weight)
            else:
                self.add(reference, weight)

    def _result(self, prompt: Prompt, query: PromptQuery, name: str) -> ImagesResult:
        started = time.perf_counter()
        settings = self._settings(prompt, query)
        seeds = [(query.seed if prompt.seed is None else prompt.seed) + number for number in range(query.images)]
        wanted: list[float | None] = [*([None] if query.before else []), *dict.fromkeys(query.strength)]
        drawn = []
        for strength in wanted:
            with self._acting(strength):
                images = self._images(prompt.text, seeds, settings, query.batch_size)
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
            notices=tuple(self._notices(prompt)),
            seconds=time.perf_counter() - started,
            query=query,
        )

    def _settings(self, prompt: Prompt, query: PromptQuery) -> Settings:
        steps, guidance = SAMPLING[self.base.family]
        side = self.settings.get("resolution") or self.base.resolution
        width, height = prompt.size or (parse_size(query.size) if query.size else (side, side))
        unit = self.base.pipe.vae_scale_factor
        if width % unit or height % unit:
            raise InputError(f"size {width} x {height}: this base draws multiples of {unit} pixels")
        chosen = prompt.steps or query.steps or steps
        if not 1 <= chosen <= 1000:
            raise InputError(f"{chosen} steps: give 1 to 1000")
        return Settings(
            width,
            height,
            chosen,
            _first(prompt.guidance, query.guidance, guidance),
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

    def _images(self, text: str, seeds: Sequence[int], settings: Settings, side_by_side: int) -> list[Image.Image]:
        pipe = self.base.pipeline()
        images: list[Image.Image] = []
        negative = {"negative_prompt": settings.negative} if self.base.family != "flux" else {}
        for start in range(0, len(seeds), side_by_side):
            some = seeds[start : start + side_by_side]
            # Noise from the CPU, an own generator a picture: the same picture on every device, in every batch.
            generators = [torch.Generator("cpu").manual_seed(seed) for seed in some]
            given = {name: [value] * len(some) for name, value in negative.items()}
            with torch.inference_mode():
                found = pipe(
                    prompt=[text] * len(some),
                    width=settings.width,
                    height=settings.height,
                    num_inference_steps=settings.steps,
                    guidance_scale=settings.guidance,
                    generator=generators,
                    output_type="pt",
                    **given,
                ).images
            images += _to_pictures(found)
        return images

    def _notices(self, prompt: Prompt) -> Iterator[str]:
        yield from self.notices
        if self.loaded and self.trigger.missing_from(prompt.text):
            yield f"the prompt lacks the trigger word {self.trigger.token!r}: the adapter's subject may not appear"
        tokenizer = self.base.tokenizers[0]
        longest = tokenizer.model_max_length
        count = len(tokenizer(prompt.text, truncation=False, verbose=False).input_ids)
        if self.base.family in ("tiny", "sd15", "sd21", "sdxl") and count > longest:
            yield f"the prompt is {count} tokens long and the base reads {longest}: its end is not read"

    def next_steps(self, out: Path | None) -> list[str]:
        """What to look at after a prediction."""
        if out is None or not (out / SHEET).is_file():
            return []
        return [f"open {out / SHEET}"]


SHEET = "contact_sheet.png"


def weighted(word: str) -> tuple[str, float]:
    """Reference and weight of `REF` or `REF@WEIGHT`.

    Raises:
        InputError: the weight is no finite number.
    """
    reference, _, weight = word.rpartition("@")
    if not reference:
        return word, 1.0
    try:
        value = float(weight)
    except ValueError:
        return word, 1.0  # hf:org/name@revision
    if not math.isfinite(value):
        raise InputError(f"{word}: weight {weight} is no finite number")
    return reference, value


def _grammar(reference: str) -> str:
    """A hub id as plain peft folders state it, in the suite's own spelling."""
    return (
        f"hf:{reference}"
        if reference.count("/") == 1 and reference[0] not in "./~" and ":" not in reference
        else reference
    )


def _first(*values: float | None) -> float:
    return next(float(value) for value in values if value is not None)


def _check(query: PromptQuery) -> None:
    if query.images < 1 or query.batch_size < 1:
        raise InputError("images and batch-size must be at least 1")
    if query.steps is not None and query.steps < 1:
        raise InputError(f"{query.steps} steps: give at least 1")
    if not query.strength or not all(map(math.isfinite, query.strength)):
        raise InputError("strength must be one or several finite numbers, e.g. 1 or 0.5,0.75,1")
    if query.seed < 0:
        raise InputError(f"seed {query.seed} must not be negative")
    if query.size is not None:
        parse_size(query.size)


def _to_pictures(found: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [0, 1] as pictures.

    Raises:
        InputError: they hold NaN, as of a VAE in half precision.
    """
    if not torch.isfinite(found).all():
        raise InputError(
            "the pictures came out as NaN: use --dtype float32 or bfloat16 (SDXL's VAE overflows in float16), "
            "or an adapter trained with a lower rate"
        )
    pixels = (found.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(np.ascontiguousarray(one)) for one in pixels]


def _summarise(results: Sequence[ImagesResult], query: PromptQuery) -> None:
    """Write the table that `evaluate` reads, and the contact sheet."""
    assert query.out is not None
    done = [result for result in results if result.error is None]
    if not done:
        return
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(folders.COLUMNS)
    for result in done:
        subject = result.subject or "subject"
        for picture in result.pictures:
            if picture.strength == query.strength[0]:
                path = f"{result.name}/{pictures.file_stem(picture, result)}.png"
                writer.writerow([path, result.prompt, subject])
    write_text(query.out / folders.TABLE, file.getvalue())
    if query.grid:
        save_png(pictures.contact_sheet(done), query.out / SHEET)
