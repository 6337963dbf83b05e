"""What personalized diffusion is asked for and what it gives. Imports neither torch nor numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PromptQuery:
    """What one prediction is asked for; the fields are the options of `suite personalized_diffusion predict`.

    Attributes:
        images: how many pictures of each prompt.
        seed: of the first picture; the next has the next seed. A prompt's line may state its own.
        steps: of the sampler; the base's own number where it is left out.
        guidance: how strongly the prompt is followed; the base's own where it is left out.
        size: side of the pictures in pixels, or WIDTHxHEIGHT; the base's own where it is left out.
        negative: what the pictures should not show.
        strength: how strongly the adapter acts: 1 as trained, 0 not at all; several draw the same seeds at each.
        also: further adapters on the same base, each a reference, or REF@WEIGHT.
        before: draw the frozen base with the same seeds too, for comparison.
        subject: of a DreamBooth prompt file: whose 25 prompts are drawn, e.g. dog6.
        batch_size: pictures side by side; changes the speed, and a picture by rounding at most.
        grid: write a grid of each prompt's pictures and a contact sheet of all.
        out: folder of the results.
    """

    takes_text: ClassVar[bool] = True

    images: int = 4
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size: str | None = None
    negative: str = ""
    strength: tuple[float, ...] = (1.0,)
    also: tuple[str, ...] = ()
    before: bool = False
    subject: str | None = None
    batch_size: int = 4
    grid: bool = True
    out: Path | None = None


@dataclass(frozen=True)
class Picture:
    """One image and what it was drawn with.

    Attributes:
        number: of the image among those of its prompt, from 0.
        strength: of the adapter; None for the frozen base.
    """

    image: Image
    number: int
    seed: int
    strength: float | None = 1.0

    @property
    def digest(self) -> str:
        """sha256 over size and pixels: two pictures of one digest are the same."""
        return hashlib.sha256(repr(self.image.size).encode() + self.image.tobytes()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """How the pictures of one prompt were drawn, every default filled in. Sizes are pixels."""

    width: int
    height: int
    steps: int
    guidance: float
    negative: str = ""
    scheduler: str = ""
    adapters: Mapping[str, float] = field(default_factory=dict)
    base: str = ""


@dataclass(frozen=True)
class ImagesResult:
    """The pictures of one prompt, or the `error` that says why there are none.

    Attributes:
        source: the prompt, or FILE:LINE where it stands.
        name: of its folder, unique within one prediction; SUBJECT/NUMBER for DreamBooth's prompts.
        prompt: as the model read it. subject: of DreamBooth's protocol, else empty.
        pictures: by strength, then by seed.
        notices: what the user should know, one line each.
        seconds: that drawing took.
    """

    source: str
    error: str | None = None
    name: str = ""
    prompt: str = ""
    subject: str = ""
    pictures: tuple[Picture, ...] = ()
    settings: Settings | None = None
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    query: PromptQuery = field(default_factory=PromptQuery)

    @property
    def images(self) -> list[Image]:
        """The pictures of the adapter at the first strength asked for, in the order of their seeds."""
        first = self.query.strength[0]
        return [picture.image for picture in self.pictures if picture.strength == first]

    @property
    def grid(self) -> Image:
        """All pictures in one: seeds in columns; the frozen base and each strength in rows."""
        from domains.personalized_diffusion.output import pictures

        return pictures.result_grid(self)

    def __str__(self) -> str:
        size = f"{self.settings.width} x {self.settings.height}" if self.settings else ""
        lines = [f"{self.source}: {len(self.pictures)} pictures, {size} px, {self.seconds:.1f} s"]
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels, ready for `json.dumps`; each picture by the sha256 of its pixels."""
        from dataclasses import asdict

        return {
            "name": self.name,
            "prompt": self.prompt,
            "subject": self.subject,
            "settings": asdict(self.settings) if self.settings else None,
            "pictures": [
                {"number": one.number, "seed": one.seed, "strength": one.strength, "sha256": one.digest}
                for one in self.pictures
            ],
            "notices": list(self.notices),
            "seconds": round(self.seconds, 3),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>/0.png`, `1.png`, …, `result.json` and, where the query asks for it, `grid.png`.

        Pictures of the frozen base are `<n>_base.png`, those of further strengths `<n>_strength_<s>.png`; every PNG
        carries its settings as text, as Stable Diffusion's web interfaces write them.
        """
        from domains.personalized_diffusion.output import pictures

        return pictures.save_result(self, Path(folder))
