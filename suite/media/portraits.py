"""Made portraits: people from the front, drawn by formulas, each part where we know that it is.

No picture of anybody is in them. A person (`person(seed)`) keeps skin, hair, features, clothes and room; a `Pose` is
how they hold their head, look and speak in one frame. The same seed, pose and size give the same pixels on every
machine, up to rounding.
"""

from __future__ import annotations

from suite.media.people import CLOTHES, EYES, HAIRS, ROOMS, SKINS, Person, Pose, person
from suite.media.portrait_painting import Painting, Portrait

__all__ = ["CLOTHES", "EYES", "HAIRS", "ROOMS", "SKINS", "Person", "Portrait", "Pose", "draw", "person"]


def draw(who: Person, pose: Pose = Pose(), size: int = 256) -> Portrait:  # noqa: B008 - frozen
    """Draw a person.

    Args:
        size: side of the square, in pixels.
    """
    painting = Painting(who, pose, size)
    painting.room()
    painting.hair_behind()
    painting.body()
    painting.head()
    painting.eyes()
    painting.nose()
    painting.mouth()
    if who.beard:
        painting.beard()
    painting.brows()
    painting.hair_before()
    if who.glasses:
        painting.glasses()
    return painting.finished()
