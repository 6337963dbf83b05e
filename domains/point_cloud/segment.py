"""A part for every point: files, folders, arrays or standard input through a segmentation model and its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.point_cloud import metrics
from domains.point_cloud.data import inputs as opening
from domains.point_cloud.data import points as sampling
from domains.point_cloud.data.datasets.cloud_set import part_ids
from domains.point_cloud.data.datasets.own_folder import PART_FIELDS
from domains.point_cloud.data.inputs import Names, Opened
from domains.point_cloud.output import pictures
from domains.point_cloud.predict import CloudPredictor, Ready, Summary
from domains.point_cloud.types import Drawing, SegmentationQuery, SegmentationResult
from suite.errors import InputError

SKELETON = 0.25
"""Share of each subset of a large cloud that all subsets have in common: its farthest points."""


class PointCloudSegmenter(CloudPredictor):
    """Clouds and meshes in, a part for every point out.

    >>> segmenter = PointCloudSegmenter.from_pretrained("./runs/parts/adapter")
    >>> segmenter(points, category="chair").labels  # points: (N, 3); labels: (N,)
    """

    def __call__(self, cloud: Any, **options: Any) -> SegmentationResult:
        """Segment one path, array (N, 3) or `Cloud`; options are the fields of `SegmentationQuery`.

        Raises:
            InputError: it cannot be segmented.
        """
        [result] = self.predict([cloud], **options)
        if result.error is not None:
            raise InputError(f"{result.source}: {result.error}")
        return result

    def predict(self, inputs: Any, **options: Any) -> Iterator[SegmentationResult]:
        """Yield one result an input, in order; a cloud that cannot be read or used yields one with `error`.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, arrays (N, 3), `Cloud`s.
            **options: the fields of `SegmentationQuery`.

        Raises:
            InputError: the category is unknown.
        """
        query = SegmentationQuery(**options)
        if query.category != "auto" and query.category not in self.parts:
            raise InputError(f"unknown category {query.category!r}; choose auto, {', '.join(self.parts)}")
        if query.passes < 1:
            raise InputError(f"passes is {query.passes}; give at least 1")
        opened = opening.open_all(inputs, samples=query.samples, seed=query.seed, strict=query.strict, up=query.up)
        summary, names = Summary(query), Names()
        for one in opened:
            try:
                if one.error is not None:
                    raise InputError(one.error)
                result = self._segment(one, query, names)
            except InputError as error:
                result = SegmentationResult(one.source, str(error), names.of(one.source), query=query)
            summary.add(result, result.category)
            yield result
        summary.finish()

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the parts of each category.

        Raises:
            InputError: the adapter was not trained for parts.
        """
        if not self.settings.parts:
            raise InputError("the adapter classifies whole clouds; segmentation needs one trained for parts")
        return self.settings.parts

    def scores(self, points: Tensor, category: str | None) -> Tensor:
        """Log-probabilities (B, N, P) of points (B, N, 3) of one category; None where the model takes none."""
        return self.logits(points, None if category is None else self.one_hot([category] * len(points)))

    def one_hot(self, categories: list[str]) -> Tensor | None:
        """The categories as the model takes them, (B, categories); None where it takes none, as for scenes."""
        known = self.model.head_config.categories
        if not known:
            return None
        index = torch.tensor([self.settings.classes.index(name) for name in categories])
        return torch.nn.functional.one_hot(index, known).float()

    def _segment(self, opened: Opened, query: SegmentationQuery, names: Names) -> SegmentationResult:
        ready = self.prepare(opened, upsample=query.upsample)
        assert opened.cloud is not None and opened.raw is not None
        subsets = self._subsets(ready, query.passes)
        category = self._category(ready.points[subsets[0]]) if query.category == "auto" else query.category
        known = self._scores_of_known(ready, subsets, category)
        everywhere = self._spread(opened.cloud.points, ready, known)
        ids = part_ids(self.parts)[category]
        labels = np.full(len(opened.raw.points), -1, dtype=np.int64)
        labels[np.isfinite(opened.raw.points).all(1)] = metrics.restrict(everywhere, ids).numpy()
        own = dict(zip(ids, self.parts[category], strict=True))
        truth = self._truth(opened, query, ids)
        scores = {} if truth is None else _agreement(labels, truth, ids)
        return SegmentationResult(
            opened.source,
            name=names.of(opened.source),
            category=category,
            labels=labels,
            parts=own,
            counts={part: int((labels == number).sum()) for number, part in own.items()},
            scores=scores,
            points_read=len(opened.raw.points),
            points_used=len(ready.points),
            notices=ready.notices,
            truth=truth,
            cloud=opened.raw,
            drawing=_drawing(opened.raw.points, labels, own, query),
            query=query,
        )

    def _subsets(self, ready: Ready, passes: int) -> list[Tensor]:
        """Indices of subsets of at most `npoints` that cover all points `passes` times.

        A large cloud's subsets share its farthest points, so that each shows the whole shape.
        """
        count, size = len(ready.points), self.settings.npoints
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

    def _category(self, points: Tensor) -> str:
        """The category whose own parts are likeliest, summed over the points, when the model is told that category."""
        if len(self.parts) == 1:
            return next(iter(self.parts))
        ids = part_ids(self.parts)
        sums = {name: float(self.scores(points[None], name)[0][:, list(own)].exp().sum()) for name, own in ids.items()}
        return max(sums, key=lambda name: sums[name])

    def _scores_of_known(self, ready: Ready, subsets: list[Tensor], category: str) -> Tensor:
        """Mean probabilities (n, P) of the prepared points over the subsets that they are in."""
        total: Tensor | None = None
        times = torch.zeros(len(ready.points))
        step = 1 if self.depends_on_companions else 8
        for start in range(0, len(subsets), step):
            index = torch.stack(subsets[start : start + step])
            found = self.scores(ready.points[index], category).exp()
            if total is None:
                total = torch.zeros(len(ready.points), found.shape[-1])
            total.index_add_(0, index.flatten(), found.flatten(0, 1))
            times.index_add_(0, index.flatten(), torch.ones(index.numel()))
        assert total is not None
        return total / times[:, None]

    def _spread(self, points: NDArray[np.float64], ready: Ready, known: Tensor) -> Tensor:
        """Probabilities (N, P) of all points from those of the prepared ones, by their three nearest."""
        if ready.whole:
            return known
        from scipy.spatial import cKDTree

        distance, index = cKDTree(ready.places).query(points, k=3)
        weight = torch.from_numpy(1 / (distance**2 + 1e-12)).float()
        weight = weight / weight.sum(1, keepdim=True)
        return (known[torch.from_numpy(index)] * weight[..., None]).sum(1)

    def _truth(self, opened: Opened, query: SegmentationQuery, ids: tuple[int, ...]) -> NDArray[np.int64] | None:
        """True part ids (N,) of the file; ids that count from 0 within the category are taken as such.

        Raises:
            InputError: the field that was asked for does not exist or holds other labels.
        """
        assert opened.raw is not None
        fields = {name.lower(): values for name, values in opened.raw.fields.items()}
        names = PART_FIELDS if query.truth == "auto" else (query.truth.lower(),)
        found = next((fields[name] for name in names if name in fields and fields[name].ndim == 1), None)
        wanted = query.truth != "auto"
        if found is None:
            if wanted:
                raise InputError(f"no field {query.truth!r} for --truth; there are {', '.join(fields) or 'none'}")
            return None
        labels = np.asarray(found).astype(np.int64)
        if set(np.unique(labels)) <= set(ids):
            return labels
        if labels.min() >= 0 and labels.max() < len(ids):
            return labels + ids[0]
        if wanted:
            raise InputError(f"field {query.truth!r} holds label {labels.max()}, and the category has {len(ids)} parts")
        return None


def _agreement(labels: NDArray[np.int64], truth: NDArray[np.int64], ids: tuple[int, ...]) -> dict[str, float]:
    kept = labels >= 0
    found, wanted = torch.from_numpy(labels[kept]), torch.from_numpy(truth[kept])
    return {
        "accuracy": float((found == wanted).float().mean()),
        "instance mIoU": metrics.shape_iou(found, wanted, ids),
    }


def _drawing(
    points: NDArray[np.float64], labels: NDArray[np.int64], parts: Mapping[int, str], query: SegmentationQuery
) -> Drawing | None:
    if query.out is None and not query.view:
        return None
    kept = labels >= 0
    shown = points[kept][:, [1, 2, 0]] if query.up == "z" else points[kept]
    return Drawing(shown, pictures.part_colors(labels[kept], parts), tuple(parts.values()), query.renderer)
