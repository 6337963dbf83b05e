"""Parts of one cloud: which points the model sees together, from seen points to all, and against true labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.point_cloud import metrics
from domains.point_cloud.data import sampling
from domains.point_cloud.data.datasets.cloud_set import NO_PART
from domains.point_cloud.data.datasets.own_folder import PART_FIELDS, PREPARED, labelling_fields
from domains.point_cloud.data.inputs import Opened
from domains.point_cloud.inference.loaded import Ready
from domains.point_cloud.output.pictures import Drawing, part_colors
from domains.point_cloud.types import SegmentationQuery
from suite.errors import InputError

SKELETON = 0.25
"""Share of each subset of a large cloud that all subsets have in common: its farthest points."""


SPREAD = 1 << 17
"""Points that get their part from their neighbours at once; a scan of millions is done in pieces."""


def subsets_of(ready: Ready, size: int, passes: int) -> list[Tensor]:
    """Indices of subsets of at most `size` points that cover all points `passes` times.

    A large cloud's subsets share its farthest points, so that each shows the whole shape.
    """
    count = len(ready.points)
    if count <= size:
        return [torch.arange(count)]
    rng = torch.Generator().manual_seed(ready.opened.seed)
    skeleton = sampling.farthest_index(ready.points, int(SKELETON * size))
    others = torch.ones(count, dtype=torch.bool)
    others[skeleton] = False
    rest, free = others.nonzero()[:, 0], size - len(skeleton)
    subsets = []
    for _ in range(passes):
        order = rest[torch.randperm(len(rest), generator=rng)]
        # The last subset is filled up with the first points, so that all have one size.
        order = torch.cat([order, order[: -len(rest) % free]])
        subsets += [torch.cat([skeleton, part]) for part in order.split(free)]
    return subsets


def spread(points: NDArray[np.float64], ready: Ready, known: Tensor) -> Tensor:
    """Probabilities (N, P) of all points from those of the prepared ones, by their three nearest."""
    if ready.order is not None:
        placed = torch.empty_like(known)
        placed[torch.from_numpy(ready.order)] = known
        return placed
    from scipy.spatial import cKDTree

    tree = cKDTree(ready.places)
    everywhere = torch.empty(len(points), known.shape[1])
    for start in range(0, len(points), SPREAD):
        distance, index = tree.query(points[start : start + SPREAD], k=3)
        weight = torch.from_numpy(1 / (distance**2 + 1e-12)).float()
        weight = weight / weight.sum(1, keepdim=True)
        everywhere[start : start + SPREAD] = (known[torch.from_numpy(index)] * weight[..., None]).sum(1)
    return everywhere


def true_parts(opened: Opened, field: str, ids: tuple[int, ...]) -> NDArray[np.int64] | None:
    """True part ids (N,) of the file; ids that count from 0 within the category are taken as such.

    Raises:
        InputError: the field that was asked for does not exist or holds other labels.
    """
    assert opened.raw is not None
    fields = {name.lower(): values for name, values in opened.raw.fields.items()}
    if field == "auto":
        fields = labelling_fields(opened.raw)
    names = PART_FIELDS if field == "auto" else (field.lower(),)
    # A last column of one value only tells nothing; it may be anything.
    if field == "auto" and set(fields) == PREPARED and len(np.unique(fields["column6"])) > 1:
        names = ("column6",)
    found = next((fields[name] for name in names if name in fields and fields[name].ndim == 1), None)
    wanted = field != "auto"
    if found is None:
        if wanted:
            raise InputError(f"no field {field!r} for --truth; there are {', '.join(fields) or 'none'}")
        return None
    labels = np.asarray(found).astype(np.int64)
    if not wanted and not np.array_equal(labels, found):
        return None
    known = labels[labels != NO_PART]
    if len(known) and set(np.unique(known)) <= set(ids):
        return labels
    if len(known) and known.min() >= 0 and known.max() < len(ids):
        return np.where(labels == NO_PART, NO_PART, labels + ids[0])
    if wanted:
        raise InputError(f"field {field!r} holds label {labels.max()}, and the category has {len(ids)} parts")
    return None


def agreement(
    labels: NDArray[np.int64], truth: NDArray[np.int64], ids: tuple[int, ...], *, scene: bool = False
) -> dict[str, float]:
    """Accuracy and mean IoU of found against true parts (N,); points without a part do not count.

    Args:
        scene: a class that a scene neither has nor is said to have does not count; a shape's absent part counts as
            found, as the benchmarks of parts have it.
    """
    kept = (labels >= 0) & (truth != NO_PART)
    found, wanted = torch.from_numpy(labels[kept]), torch.from_numpy(truth[kept])
    if scene:
        scores = metrics.scene_segmentation(metrics.confusion_matrix(found, wanted, len(ids)))
        return {"accuracy": scores.overall, "mIoU": scores.miou}
    return {
        "accuracy": float((found == wanted).float().mean()),
        "instance mIoU": metrics.shape_iou(found, wanted, ids),
    }


def drawing_of(
    points: NDArray[np.float64], labels: NDArray[np.int64], parts: Mapping[int, str], query: SegmentationQuery
) -> Drawing:
    """The points (N, 3) that have a part, in the parts' colours."""
    kept = labels >= 0
    shown = points[kept][:, [1, 2, 0]] if query.up == "z" else points[kept]
    return Drawing(shown, part_colors(labels[kept], parts), tuple(parts.values()), query.renderer)


def scene_notes(opened: Opened) -> tuple[str, ...]:
    """What a user should know of a scene: how it was read, and whether it seems to lie on its side."""
    assert opened.cloud is not None
    width, height, depth = np.ptp(opened.cloud.points, axis=0)
    notices = opened.cloud.notes
    if height > 1.2 * min(width, depth):
        notices = (*notices, f"{height:.3g} m high on {width:.3g} x {depth:.3g} m; does z point up? try --up z")
    return notices
