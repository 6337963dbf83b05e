"""What is sought as one vector: sentences, pictures and videos together, less what is not wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from domains.text_video_retrieval.inference.loaded import Encoder


@dataclass(frozen=True)
class Asked:
    """What is sought.

    Attributes:
        query: sentences. image: pictures. video: videos, to find more like them. without: sentences to be far from.
        weight: of each sentence, then each picture, then each video; 1 where left out.

    Raises:
        InputError: nothing is sought, or weights are of another number.
    """

    query: Sequence[str] = ()
    image: Sequence[Path] = ()
    video: Sequence[Path] = ()
    without: Sequence[str] = ()
    weight: Sequence[float] = ()

    def __post_init__(self) -> None:
        count = len(self.query) + len(self.image) + len(self.video)
        if not count:
            raise InputError(
                "query is empty; write what is to be seen, e.g. 'a dog runs', or give --image FILE or --video FILE"
            )
        if self.weight and len(self.weight) != count:
            raise InputError(
                f"{len(self.weight)} weights for {count} sentences, pictures and videos; give one for each"
            )

    def __str__(self) -> str:
        """In a line."""
        words = [*self.query, *(f"picture {path.name}" for path in self.image)]
        words += [f"video {path.name}" for path in self.video]
        return " + ".join(words) + (f", without {' and '.join(self.without)}" if self.without else "")


def combined(encoder: Encoder, asked: Asked) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One vector (dim,) of length 1 for all that is sought, less what is not, and what people should know.

    Raises:
        InputError: a file cannot be read, or `without` takes everything away.
    """
    import numpy as np

    notices: tuple[str, ...] = ()
    parts = []
    if asked.query:
        vectors, notices = encoder.texts(asked.query)
        parts += list(vectors)
    parts += [encoder.image(_picture(path)) for path in asked.image]
    parts += [encoder.video(path) for path in asked.video]
    shares = list(asked.weight) or [1.0] * len(parts)
    total = sum(share * part for share, part in zip(shares, parts, strict=True))
    if asked.without:
        away, more = encoder.texts(asked.without)
        total = total - away.mean(0)
        notices += more
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise InputError("the query takes away what it asks for; change --without or --weight")
    return (total / length).astype(np.float32), notices


def _picture(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: no picture that can be read ({error})") from None
