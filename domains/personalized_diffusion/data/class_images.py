"""Class images of prior preservation: drawn by the base itself where fewer than asked for are there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from domains.personalized_diffusion.data import photos
from domains.personalized_diffusion.data.captions import Trigger
from domains.personalized_diffusion.data.photos import Photo
from domains.personalized_diffusion.model.bases import Base
from domains.personalized_diffusion.model.drawing import draw
from domains.personalized_diffusion.types import Settings
from suite import adapters
from suite.errors import InputError
from suite.files import atomic_file
from suite.hub import paths
from suite.hub.checksums import sha256
from suite.prediction.loop import batches

AT_ONCE = 4
"""Pictures drawn side by side."""


@dataclass(frozen=True)
class ClassImages:
    """What the class looks like to the base, before training changes it.

    Attributes:
        count: how many; 0 is no prior preservation.
        folder: where they are; None is a folder of the cache, told apart by base, prompt, seed and settings.
        prompt: what they show; None is the instance prompt without the token.
        steps, guidance: of drawing.
    """

    count: int = 0
    folder: str | None = None
    prompt: str | None = None
    steps: int = 25
    guidance: float = 7.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"data.class_images is {self.count}; give 0 or more")

    def prompt_of(self, trigger: Trigger) -> str:
        """The class prompt: the one given, else the instance prompt without its token."""
        return trigger.class_prompt if self.prompt is None else self.prompt

    def photos(self, base: Base, trigger: Trigger, side: int, seed: int) -> list[Photo]:
        """The class images, drawn as far as they are missing. The base's adapters are off meanwhile."""
        prompt = self.prompt_of(trigger)
        folder = self._home(base, prompt, side, seed)
        folder.mkdir(parents=True, exist_ok=True)
        missing = self.count - len(photos.photo_files(folder))
        if missing > 0:
            print(f"data: drawing {missing} class images: {prompt!r}", file=sys.stderr, flush=True)
            # A number is taken whatever the suffix: what is there already is the user's.
            taken = {path.stem for path in folder.iterdir()}
            free = (number for number in count() if f"{number:05}" not in taken)
            self._draw(base, prompt, folder, list(islice(free, missing)), side, seed)
        return photos.list_photos(folder)[: self.count]

    def _home(self, base: Base, prompt: str, side: int, seed: int) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser()
        stored = base.folder / base.component
        known = sha256(base.file) if base.file else adapters.fingerprint(stored) or base.id
        key = json.dumps([known, prompt, side, seed, self.steps, self.guidance])
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return paths.cache() / "personalized_diffusion" / f"class-{name}"

    def _draw(self, base: Base, prompt: str, folder: Path, numbers: Sequence[int], side: int, seed: int) -> None:
        with adapters.disabled(base.unet):
            for chosen in batches(numbers, AT_ONCE):
                # A seed for each picture, so that a picture does not depend on which others were missing.
                seeds = [(seed << 20) + number for number in chosen]
                drawn = draw(base, prompt, seeds, Settings(side, side, self.steps, self.guidance), len(chosen))
                for number, image in zip(chosen, drawn, strict=True):
                    with atomic_file(folder / f"{number:05}.png") as temporary:
                        image.save(temporary, "PNG")
