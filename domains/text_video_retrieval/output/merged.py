"""A picture of merged tokens: each patch in the colour of its token, with a line where another token begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.text_video_retrieval.output.strips import strip

Pixels = NDArray[np.uint8]


def merged(squares: Sequence[Pixels], tokens: NDArray[np.int64], times: Sequence[float], title: str) -> Image.Image:
    """The frames as the model sees them, and below them what its tokens stand for.

    Args:
        squares: N of (side, side, 3). tokens: (N, patches), the token of each patch.
    """
    count = round(tokens.shape[1] ** 0.5)
    patch = squares[0].shape[0] // count
    cells = np.stack(squares)[:, : count * patch, : count * patch]
    blocks = cells.reshape(len(cells), count, patch, count, patch, 3)
    means = blocks.mean((2, 4)).reshape(-1, 3)  # (N * patches, 3)
    _, number = np.unique(tokens.reshape(-1), return_inverse=True)
    sums = np.stack([np.bincount(number, weights=means[:, channel]) for channel in range(3)], 1)
    colours = (sums / np.bincount(number)[:, None])[number].reshape(len(cells), count, count, 3)
    painted = [
        _lined(colour, own, patch) for colour, own in zip(colours, tokens.reshape(-1, count, count), strict=True)
    ]
    rows = [strip(list(cells), times, title), strip(painted, times, f"{len(set(number.tolist()))} tokens of patches")]
    canvas = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    canvas.paste(rows[0], (0, 0))
    canvas.paste(rows[1], (0, rows[0].height))
    return canvas


def _lined(colour: NDArray[np.float64], tokens: NDArray[np.int64], patch: int) -> Pixels:
    scale = max(1, 240 // (len(tokens) * patch))  # lines of one pixel would vanish where the picture is enlarged
    side = patch * scale
    image = colour.astype(np.uint8).repeat(side, 0).repeat(side, 1)
    wide = tokens.repeat(side, 0).repeat(side, 1)
    image[1:][wide[1:] != wide[:-1]] = 255
    image[:, 1:][wide[:, 1:] != wide[:, :-1]] = 255
    return image
