"""The verb `onnx`: a classifier as a file for programs without us, run and compared with the model before it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LARGEST_DIFFERENCE = 1e-3
"""Of the graph's logits from the model's, whose eigenvectors are those of float32."""


def onnx(*, out: Path, adapter: str = "tiny", base: str | None = None) -> dict[str, Any]:
    """Write a classifier as an ONNX file: points (batch, N, 3) to logits (batch, classes).

    N is the number of points that the adapter was trained with: thin a cloud to its farthest points first. Centring and
    scaling are part of the graph.

    Args:
        out: the file to write.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.

    Raises:
        InputError: the adapter has no such graph, or the packages of the extra `onnx` are not installed.
    """
    import torch

    from domains.point_cloud.inference.exporting import Exportable
    from domains.point_cloud.inference.loaded import CloudPredictor
    from suite.clip import exporting

    exporting.check_packages(otherwise="")
    loaded = CloudPredictor.from_pretrained(adapter, base, "cpu")
    settings = loaded.settings
    network = Exportable(loaded.model, settings.normalise)
    example = torch.randn(2, settings.npoints, 3, generator=torch.Generator().manual_seed(0))
    placed = torch.stack([_placed(cloud, settings.normalise) for cloud in example])
    with torch.no_grad():
        wanted, found = loaded.logits(placed), network.eval()(example)
    apart = float((found - wanted).abs().max() / wanted.abs().max())
    if not apart <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"{out}: the graph differs from the model by {apart:.2g} of its largest logit")
    difference = max(apart, exporting.export(network, example, out, "onnx"))
    lines = [
        f"onnx  {out} (input: batch x {settings.npoints} x 3, output: batch x {len(settings.classes)})",
        f"differs from the model by {difference:.1e} of its largest logit",
    ]
    return {
        "file": str(out),
        "npoints": settings.npoints,
        "classes": list(settings.classes),
        "difference": difference,
        "message": "\n".join(lines),
    }


def _placed(cloud: Any, normalise: bool) -> Any:
    """A cloud (N, 3) as `predict` hands it to the model."""
    import torch

    from domains.point_cloud.data.sampling import unit_sphere

    return torch.from_numpy(unit_sphere(cloud.double().numpy())).float() if normalise else cloud
