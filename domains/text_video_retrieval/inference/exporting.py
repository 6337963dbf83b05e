"""The verb `export`: both towers as files for programs without us, checked against the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def export(
    out: Path,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    format: Literal["torchscript", "onnx"] = "torchscript",
) -> dict[str, Any]:
    """Write both towers, the adapter folded in, as files that need no suite.

    `video` takes (videos, frames, 3, side, side), `text` takes (texts, tokens); both give vectors of length 1. How
    pictures and sentences become these is in `towers.json` and the tokenizer beside them.

    Args:
        out: folder of the files.
        adapter: reference of the adapter; `none` takes a CLIP as it is.
        base: reference of the base; the one that the adapter names where it is left out.
        format: torchscript or onnx.

    Raises:
        InputError: adapter or base does not exist, or ONNX is not installed.
    """
    import json
    from dataclasses import asdict

    import torch

    from domains.text_video_retrieval.inference.loaded import NONE, Encoder
    from domains.text_video_retrieval.inference.towers import TextTower, VideoTower
    from suite import adapters
    from suite.clip import exporting
    from suite.files import atomic_folder, write_text

    encoder = Encoder.from_pretrained(adapter, base, "cpu", "float32")
    if adapter != NONE:
        adapters.merge(encoder.model)
    side, suffix = encoder.look.size, exporting.SUFFIXES[format]
    frames = torch.randn(2, encoder.frames, 3, side, side, generator=torch.Generator().manual_seed(0))
    sentences = encoder.words(["a picture", "a red square moves left"])
    differences = {}
    with atomic_folder(out) as temporary:
        for name, tower, example in (
            ("video", VideoTower(encoder.model), frames),
            ("text", TextTower(encoder.model), sentences),
        ):
            differences[name] = exporting.export(tower, example, temporary / f"{name}{suffix}", format)
        encoder.words.tokenizer.save_pretrained(temporary)
        about = {
            "frames": encoder.frames,
            "fps": encoder.stated.fps,
            "tokens": encoder.words.length,
            "padding": 0,
            "pictures": asdict(encoder.look),
        }
        write_text(temporary / "towers.json", json.dumps(about, indent=2) + "\n")
    files = sorted(str(path) for path in out.iterdir())
    worst = max(differences.values())
    return {"message": "\n".join([*files, f"differs from the model by {worst:.1g}"]), "files": files, **differences}
