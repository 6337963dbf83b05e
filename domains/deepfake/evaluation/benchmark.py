"""The verb `benchmark`: what a detector costs on this machine: to load, a face, a video's worth of faces, memory."""

from __future__ import annotations

from typing import Any

from suite.errors import InputError

VIDEO = 32
"""Faces of a video, as the benchmarks look at it."""


def benchmark(
    *,
    adapter: str = "tiny",
    base: str | None = None,
    batch_size: int = 16,
    faces: int = 64,
    device: str = "auto",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Measure a detector on random faces: seconds to load, faces a second, GMACs a face, memory at most.

    Finding the faces is not in it: that is the detector's of faces, and depends on the pictures.

    Args:
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        batch_size: faces side by side.
        faces: how many are scored, after a batch to warm up.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.

    Raises:
        InputError: the adapter cannot be loaded, or a number is none.
    """
    import time

    import numpy as np

    from domains.deepfake.inference.loaded import FaceScorer

    for name, value in (("batch_size", batch_size), ("faces", faces)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    started = time.perf_counter()
    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device, dtype=dtype)
    loading = time.perf_counter() - started
    crops = list(np.random.default_rng(0).integers(0, 256, (batch_size, 256, 256, 3), dtype=np.uint8))
    scorer.predict_crops(crops)
    left, started = faces, time.perf_counter()
    while left > 0:
        scorer.predict_crops(crops[: min(left, batch_size)])
        left -= batch_size
    rate = faces / (time.perf_counter() - started)
    told = {
        "adapter": adapter,
        "device": str(scorer.device),
        "dtype": str(scorer.dtype).removeprefix("torch."),
        "loading_seconds": round(loading, 3),
        "faces_per_second": round(rate, 2),
        "seconds_per_video": round(VIDEO / rate, 3),
        "gmacs_per_face": round(scorer.model.macs() / 1e9, 3),
        "peak_memory_gb": round(_peak(str(scorer.device)), 3),
    }
    lines = [
        f"loading   {told['loading_seconds']} s on {told['device']}, {told['dtype']}",
        f"faces     {told['faces_per_second']} a second by {batch_size}; {told['gmacs_per_face']} GMACs each",
        f"a video   {told['seconds_per_video']} s for {VIDEO} faces, beside finding them",
        f"memory    {told['peak_memory_gb']} GB at most",
    ]
    return {"message": "\n".join(lines), **told}


def _peak(device: str) -> float:
    """GB of memory at most so far: of the GPU where it is one, else of this process."""
    import resource
    import sys

    import torch

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
