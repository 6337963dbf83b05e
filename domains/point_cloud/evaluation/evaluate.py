"""The verb `evaluate`: the benchmark's metrics of an adapter on a labelled split, and how they were obtained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError

if TYPE_CHECKING:
    pass


def evaluate(
    data: str = "shapes:test",
    *,
    adapter: str = "tiny",
    task: Literal["classification", "segmentation"] = "classification",
    base: str | None = None,
    format: str = "auto",
    variant: Literal["hardest", "objbg", "objonly"] = "hardest",
    occluded: float = 0.3,
    frozen: bool = False,
    vote: int = 1,
    vote_rounds: int = 1,
    report: Literal["mean", "best"] = "mean",
    seed: int = 0,
    batch_size: int = 32,
    passes: int | None = None,
    features: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled clouds.

    Classification: overall and mean-class accuracy. Part segmentation: instance and class mIoU, which are not the same.
    Scenes: mIoU, mean-class and overall accuracy of all points of whole scenes, from one confusion matrix.

    Args:
        data: `shapes:test[:COUNT]`, or `PATH[:SPLIT]`; the test split where none is named.
        adapter: reference of the adapter.
        task: what the adapter was trained for.
        base: reference of the base; the one that the adapter names where it is left out.
        format: of the data: auto, modelnet, modelnet-h5, modelnet-off, scanobjectnn, fewshot, shapenetpart, s3dis,
            semantic-kitti, scannet, h5, table or folder.
        variant: of ScanObjectNN: hardest (PB_T50_RS), objbg or objonly.
        occluded: largest share of a made shape's surface that is hidden.
        frozen: switch the adapter off, to see what it adds; the head stays.
        vote: passes over augmented copies of each cloud whose mean logits decide; 1 is one plain pass.
        vote_rounds: votes with seeds of their own.
        report: of several rounds: mean (and standard deviation), or best, which chooses the round on the scored data
            and is optimistic; the published voting figures are of this kind.
        seed: of the first round of votes.
        batch_size: clouds side by side.
        passes: over scenes, each with shifted blocks, whose scores are added; 4 where it is left out, as for predict.
        features: draw the head's inputs of all clouds by t-SNE; needs `out`.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for metrics.json, confusion.png, features.png and report.html.

    Raises:
        InputError: adapter or data cannot be read, do not fit, or an option is out of range.
    """
    from domains.point_cloud.evaluation import scoring

    if features and out is None:
        raise InputError("--features draws a picture: name a folder for it with --out")
    scored = scoring.score(
        data,
        adapter,
        base,
        task,
        format=format,
        variant=variant,
        occluded=occluded,
        frozen=frozen,
        device=device,
        dtype=dtype,
        vote=vote,
        rounds=vote_rounds,
        report=report,
        seed=seed,
        batch_size=batch_size,
        passes=passes,
        features=features,
    )
    return scored.report().answer(out)
