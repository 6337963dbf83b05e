"""The verb `onnx`: a detector as a file for programs without us, run and compared with the model before it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def onnx(
    *, out: Path, adapter: str = "tiny", base: str | None = None, format: Literal["onnx", "torchscript"] = "onnx"
) -> dict[str, Any]:
    """Write a detector with its adapter merged: pixels (batch, 3, side, side) to calibrated probabilities (batch, 2).

    Pixels are those of an aligned face, scaled to the tower's side, from 0 to 1; normalisation and temperature are part
    of the graph.

    Args:
        out: the file to write.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        format: onnx, or torchscript.

    Raises:
        InputError: there is no such adapter, or the packages of the extra `onnx` are not installed.
    """
    import torch

    from domains.deepfake.inference.graph import Exportable
    from domains.deepfake.inference.loaded import FaceScorer
    from suite import adapters
    from suite.clip import exporting

    loaded = FaceScorer.from_pretrained(adapter, base, "cpu")
    side = loaded.preprocessing.size
    example = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    wanted = loaded.predict_crops(loaded.preprocessing.normalize(255 * example.movedim(1, -1)))
    adapters.merge(loaded.model)
    network = Exportable(loaded.model, loaded.preprocessing, loaded.stated.temperature).eval()
    with torch.no_grad():
        apart = float(abs(network(example)[:, 1].double().numpy() - wanted).max())
    if not apart <= exporting.LARGEST_DIFFERENCE:
        raise RuntimeError(f"{out}: the graph differs from the model by {apart:.2g}")
    difference = max(apart, exporting.export(network, example, out, format))
    lines = [
        f"{format}  {out} (input: batch x 3 x {side} x {side} in 0-1, output: batch x 2, real and manipulated)",
        f"differs from the model by {difference:.1e}; likely manipulated from {loaded.stated.threshold:.3f} on",
    ]
    return {
        "file": str(out),
        "side": side,
        "threshold": loaded.stated.threshold,
        "difference": difference,
        "message": "\n".join(lines),
    }
