"""The verb `merging`: a picture of which patches of a video's frames the model takes for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.errors import InputError


def merging(
    video: Path,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    layers: int | None = None,
    start: float | None = None,
    end: float | None = None,
    out: Path = Path("merging.png"),
) -> dict[str, Any]:
    """Draw which patches of a video's frames are merged into one token.

    Args:
        video: the file.
        adapter: reference of the adapter, whose schedule is drawn.
        base: reference of the base; the one that the adapter names where it is left out.
        layers: merged in the first so many layers; in all where left out.
        start: second from which the video counts.
        end: up to which; to its end where left out.
        out: the picture.

    Raises:
        InputError: the video cannot be read, there are fewer layers, or `out` is no name of a PNG.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"out is {out}; give a file that ends in .png")
    import numpy as np

    from domains.text_video_retrieval.data.frames import read_clip
    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.model.tracing import token_of_patch
    from domains.text_video_retrieval.output.merged import merged
    from suite.media import sheets

    encoder = Encoder.from_pretrained(adapter, base, "cpu")
    model: Any = encoder.model
    most = len(model.plan.steps)
    if layers is not None and not 1 <= layers <= most:
        raise InputError(f"layers is {layers}; the image tower has {most}: give 1 to {most}")
    read = read_clip(video, encoder.frames, rate=encoder.stated.fps, start=start, end=end)
    tokens = token_of_patch(model, encoder.look.batch(read.pictures), layers).numpy()
    squares = [np.asarray(encoder.look.resize(picture)) for picture in read.pictures]
    file = sheets.save_png(merged(squares, tokens, read.times, video.name), out)
    left = len(np.unique(tokens))
    return {
        "message": f"{tokens.size} patches in {left} tokens after {layers or most} of {most} layers: {file}",
        "patches": int(tokens.size),
        "tokens": left,
        "files": [str(file)],
    }
