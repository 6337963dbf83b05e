"""The templates of an object: which earlier frames a frame sees, and what of the past is kept for that.

Both published policies see the first frame always and go on to later frames as time passes, so that what lies before a
quarter (`segments`) or a third (`thirds`) of the time is never seen again and is forgotten. What is left still grows
with the video. Beyond `most` templates only every second frame's is kept, then every fourth's, and so on, and the last
one kept before the wanted frame stands for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from domains.tracking.types import MemoryPolicy

MOST = 1000
"""At 196 pixels 115 MB an object; both policies are exact up to 1,334 frames."""


class Template(NamedTuple):
    """A crop around an object with what is the object in it."""

    crop: Tensor  # (3, Z', Z'), 0-255, uint8 or float32
    mask: Tensor  # (Z, Z), 1 where the object is


def template_frames(policy: MemoryPolicy, number: int) -> tuple[int, int, int]:
    """The three frames whose templates a frame sees.

    Args:
        number: of the frame, from the object's first one, which is 0; at least 1.
    """
    if number < 4:
        return ((0, 0, 0), (0, 1, 1), (0, 1, 2))[number - 1]
    if policy == "thirds":
        return 0, number // 3, 2 * number // 3
    half = number // 2
    return 0, half // 2, half + half // 2


def oldest_seen(policy: MemoryPolicy, number: int) -> int:
    """The oldest frame after the first that this frame, or any later one, sees."""
    return min(template_frames(policy, later)[1] for later in range(max(1, number), max(1, number) + 4))


@dataclass
class TemplateMemory:
    """The templates of one object by the numbers of their frames.

    Args:
        first: of the frame 0, which is always seen.
        count: templates that a frame sees: three, or the first alone.
        most: templates that are kept at most; None for no limit.
    """

    first: Template
    policy: MemoryPolicy = "segments"
    count: int = 3
    most: int | None = MOST
    stride: int = 1
    stored: dict[int, Template] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stored.setdefault(0, self.first)

    def seen_by(self, number: int) -> list[int]:
        """The keys in `stored` of the templates that a frame sees, one for each that the model takes."""
        if self.count == 1:
            return [0]
        keys = sorted(self.stored)
        # A frame without a template of its own is stood for by the last one before it.
        return [keys[bisect_right(keys, frame) - 1] for frame in template_frames(self.policy, number)]

    def add(self, number: int, template: Template) -> None:
        """Keep the template of a frame, if frames later on may see it, and forget what none will."""
        if self.count == 1:
            return
        # The newest frames are seen as they are by the first three frames alone.
        if number % self.stride == 0 or number < 4:
            self.stored[number] = template
        self.forget(number + 1)

    def forget(self, number: int) -> None:
        """Drop what no frame from this one on will see, and thin out what is left where it is too much."""
        self._drop_before(oldest_seen(self.policy, number))
        while self.most is not None and len(self.stored) > max(4, self.most):
            self.stride *= 2
            for key in [key for key in self.stored if key % self.stride]:
                del self.stored[key]

    def _drop_before(self, oldest: int) -> None:
        keys = sorted(self.stored)
        last = keys[bisect_right(keys, oldest) - 1]  # stands for `oldest`
        for key in keys:
            if 0 < key < last:
                del self.stored[key]

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(_bytes(template) for template in self.stored.values())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
