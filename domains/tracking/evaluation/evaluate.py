"""The verb `evaluate`: trackers on annotated sequences, their figures by the benchmark's rule, curves and archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

Archive = Literal["none", "auto", "got10k", "trackingnet", "pytracking", "matlab"]


def evaluate(
    data: str = "world:test",
    *,
    adapter: tuple[str, ...] = ("tiny",),
    base: str | None = None,
    peer: tuple[str, ...] = (),
    results: tuple[Path, ...] = (),
    format: str = "auto",
    memory_policy: Literal["auto", "segments", "thirds"] = "auto",
    max_frames: int | None = None,
    archive: Archive = "none",
    rasterise: bool | None = None,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Run trackers over the sequences of a data set and score them.

    AUC, precision and normalised precision of one-pass evaluation as the benchmark's tools compute them, and GOT-10k's
    AO and SR; for each sequence and attribute, too. Several trackers stand side by side.

    Args:
        data: `world:test[:COUNT]`, or `PATH[:SPLIT]` of a benchmark's folder or of sequences of one's own.
        adapter: one or several references of adapters; `none` for none.
        base: reference of the base; the one that each adapter names where it is left out.
        peer: OpenCV's trackers to compare with: csrt, kcf, mil.
        results: folders of what other trackers gave, a text file of boxes a sequence.
        format: of the data: auto, got10k, trackingnet, uav, nfs, otb, lasot, tnl2k, coco, vot, own or corners.
        memory_policy: which earlier frames are templates; auto is segments.
        max_frames: of each sequence, for a quick look; the figures are then of those.
        archive: a zip of each tracker's boxes for the benchmark's server or tools: got10k, trackingnet, pytracking,
            matlab, or auto for the benchmark's own.
        rasterise: round boxes in archives outward to whole pixels; as SPMTrack does where left out.
        workers: processes, each with a tracker of its own.
        resume: skip the sequences that the folder `--out` holds already.
        overwrite: begin anew in a folder that holds an evaluation.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for the boxes, metrics.json, tables, curves and report.html.

    Raises:
        InputError: data or trackers cannot be read, or the folder holds an evaluation.
    """
    from domains.tracking.evaluation import runs
    from domains.tracking.evaluation.scoring import TrackerEvaluation, contestants
    from suite.errors import InputError

    if workers < 1:
        raise InputError(f"workers is {workers}; give at least 1")
    if (resume or archive != "none") and out is None:
        raise InputError(f"{'--resume' if resume else '--archive'} needs --out, the folder of the evaluation")
    if out is not None and not resume and not overwrite and (out / runs.RESULTS).is_dir():
        raise InputError(f"{out}: holds an evaluation; go on with --resume, begin anew with --overwrite")
    entries = contestants(adapter, base, peer, device, dtype, "segments" if memory_policy == "auto" else memory_policy)
    if not entries and not results:
        raise InputError("no tracker; give --adapter, --peer or --results")
    evaluation = TrackerEvaluation(runs.Source(data, format), out)
    for entry in entries:
        evaluation.run(entry, workers=workers, resume=resume, most_frames=max_frames)
    for folder in results:
        evaluation.read(folder)
    if archive != "none":
        evaluation.archive(archive, rasterise)
    return evaluation.scores(_about(data, adapter, peer, results, max_frames)).answer(out)


def _about(
    data: str, adapter: Sequence[str], peer: Sequence[str], results: Sequence[Path], max_frames: int | None
) -> dict[str, Any]:
    about: dict[str, Any] = {"data": data, "adapter": ", ".join(adapter)}
    if peer:
        about["peers"] = ", ".join(peer)
    if results:
        about["results"] = ", ".join(map(str, results))
    if max_frames is not None:
        about["max_frames"] = max_frames
    return about
