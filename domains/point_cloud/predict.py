"""From clouds and meshes to classes and parts: files, arrays or standard input through a backbone and its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.point_cloud import metrics
from domains.point_cloud.data import sampling
from domains.point_cloud.data.augment import scale_translate
from domains.point_cloud.data.blocks import SCENE, SIDE, TILINGS
from domains.point_cloud.data.datasets.cloud_set import part_ids
from domains.point_cloud.data.inputs import Opened, check_samples, open_all
from domains.point_cloud.inference import scenes
from domains.point_cloud.inference.insight import explain
from domains.point_cloud.inference.loaded import CloudPredictor, Ready, name_of, summarised, viewed
from domains.point_cloud.inference.parts import agreement, drawing_of, scene_notes, spread, subsets_of, true_parts
from domains.point_cloud.model import forward
from domains.point_cloud.model.manifest import Stated
from domains.point_cloud.output.pictures import Drawing
from domains.point_cloud.output.result import ClassificationResult, SegmentationResult
from domains.point_cloud.types import ClassificationQuery, SegmentationQuery
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import Names
from suite.prediction.loop import batches, each, only


class PointCloudClassifier(CloudPredictor):
    """Clouds and meshes in, classes out.

    >>> classifier = PointCloudClassifier.from_pretrained("tiny")
    >>> classifier(points).label  # points: (N, 3)
    """

    @classmethod
    def check_kind(cls, adapter: str, settings: Stated) -> None:
        if settings.parts:
            raise InputError(
                f"{adapter} cuts clouds into parts; give --task segmentation, or an adapter that classifies, e.g. tiny"
            )

    def __call__(self, cloud: Any, **options: Any) -> ClassificationResult:
        """Classify one path, array (N, 3) or `Cloud`; options are the fields of `ClassificationQuery`.

        Raises:
            InputError: it cannot be classified.
        """
        return only(self.predict([cloud], **options))

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[ClassificationResult]:
        """Yield one result an input, in order; a cloud that cannot be read or used yields one with `error`.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, arrays (N, 3), `Cloud`s.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `ClassificationQuery`.

        Raises:
            InputError: an option is out of its range.
        """
        query = ClassificationQuery(**options)
        if query.vote < 1 or query.top < 1 or query.batch_size < 1:
            raise InputError("vote, top and batch_size must be at least 1")
        check_samples(query.samples)
        folder, names = summarised(out, query, inputs), Names()
        drawn = query.view or (folder.path is not None and (query.picture or query.turntable))
        results = (
            result
            for batch in batches(self._opened(inputs, query), query.batch_size)
            for result in self._classify(batch, query, names, drawn)
        )
        kept = folder.keep(results)
        yield from viewed(kept, folder.path) if query.view else kept

    def known(self, logits: Tensor) -> bool | None:
        """Whether any known class fits a cloud of these logits (classes,); None where nobody has measured that.

        The energy score of Liu et al., arXiv 2010.03759: softmax shares are of the known classes alone, and sum to 1
        for anything.
        """
        least = self.settings.known_from
        return None if least is None else bool(logits.logsumexp(-1) >= least)

    def likeliest(self, opened: Opened, classes: Sequence[str], *, upsample: bool) -> tuple[float, str, bool | None]:
        """The likeliest of some classes for one cloud, by a plain pass, its share of the softmax over all, and `known`.

        Raises:
            InputError: the cloud cannot be used, or none of the classes is known.
        """
        ready = self.prepare(opened, upsample=upsample)
        logits = self.logits(self._copies(ready, 1))[0]
        shares = logits.softmax(-1)
        known = [name for name in classes if name in self.settings.classes]
        if not known:
            raise InputError(f"the classifier knows none of {', '.join(classes)}")
        share, name = max((float(shares[self.settings.classes.index(name)]), name) for name in known)
        return share, name, self.known(logits)

    def features(self, cloud: Any, **options: Any) -> NDArray[np.float32]:
        """The feature (2C,) that the head sees of one cloud.

        Raises:
            InputError: the cloud cannot be read or used.
        """
        query = ClassificationQuery(**options)
        [opened] = self._opened([cloud], query)
        if opened.error is not None:
            raise InputError(f"{opened.source}: {opened.error}")
        ready = self.prepare(opened, upsample=query.upsample)
        points = sampling.farthest(ready.points, self.settings.npoints)[None].to(self.device)
        with forward.head_inputs(self.model) as seen:
            self.logits(points)
        return seen[0][0].numpy()

    def _opened(self, several: Any, query: ClassificationQuery) -> Iterator[Opened]:
        return open_all(several, samples=query.samples, seed=query.seed, strict=query.strict, up=query.up)

    def _classify(
        self, batch: Sequence[Opened], query: ClassificationQuery, names: Names, drawn: bool
    ) -> Iterator[ClassificationResult]:
        """Clouds of one size go through the model side by side; results come in the order of the inputs."""
        ready: dict[int, Ready] = {}
        errors: dict[int, str] = {}
        for number, opened in enumerate(batch):
            try:
                if opened.error is not None:
                    raise InputError(opened.error)
                ready[number] = self.prepare(opened, upsample=query.upsample)
            except InputError as error:
                errors[number] = str(error)
        sampled = {n: self._copies(one, query.vote) for n, one in ready.items()}
        logits: dict[int, Tensor] = {}
        for same in self._side_by_side(sampled):
            scores = self.logits(torch.cat([sampled[n] for n in same])).view(len(same), query.vote, -1)
            logits.update(zip(same, scores.mean(1), strict=True))
        for number, opened in enumerate(batch):
            if number in errors:
                name = names.of(name_of(opened.source))
                yield ClassificationResult(opened.source, errors[number], name, query=query)
            else:
                drawing = self._drawing(ready[number], query) if drawn else None
                yield self._result(ready[number], sampled[number][0], logits[number], query, names, drawing)

    def _copies(self, ready: Ready, vote: int) -> Tensor:
        """(vote, n, 3): the farthest points, or with voting, random choices of a few more, augmented."""
        count = min(self.settings.npoints, len(ready.points))
        if vote == 1:
            return sampling.farthest(ready.points, count)[None]
        rng = torch.Generator().manual_seed(ready.opened.seed)
        return vote_copies(ready.points, count, vote, rng)

    def _side_by_side(self, sampled: dict[int, Tensor]) -> list[list[int]]:
        if self.depends_on_companions:
            return [[number] for number in sampled]
        by_size: dict[int, list[int]] = {}
        for number, points in sampled.items():
            by_size.setdefault(points.shape[1], []).append(number)
        return list(by_size.values())

    def _result(
        self,
        ready: Ready,
        points: Tensor,
        logits: Tensor,
        query: ClassificationQuery,
        names: Names,
        drawing: Drawing | None,
    ) -> ClassificationResult:
        shares = logits.softmax(-1)
        best = shares.topk(min(query.top, len(shares)))
        scores = {self.settings.classes[i]: float(s) for s, i in zip(best.values, best.indices, strict=True)}
        label, known = next(iter(scores)), self.known(logits)
        notices = ready.notices
        if known is False:
            notices = (*notices, f"no class that the adapter knows fits; {label} is the nearest")
        assert ready.opened.cloud is not None
        return ClassificationResult(
            ready.opened.source,
            name=names.of(name_of(ready.opened.source)),
            label=label,
            probability=scores[label],
            scores=scores,
            known=known,
            points_read=len(ready.opened.cloud.points),
            points_used=len(points),
            notices=notices,
            drawing=drawing,
            query=query,
        )

    def _drawing(self, ready: Ready, query: ClassificationQuery) -> Drawing:
        if query.colour == "height":
            return Drawing(ready.points[:, :3].numpy(), renderer=query.renderer)
        seen = sampling.farthest(ready.points, self.settings.npoints)
        tokens = self._tokens(seen) if query.colour in ("influence", "spectrum") else None
        return replace(explain(self.model, seen, ready.points[:, :3], query.colour, tokens), renderer=query.renderer)

    def _tokens(self, seen: Tensor) -> Tensor:
        """The patches' last tokens (G, C) of the points (n, 3) of a cloud."""
        last = self.model.blocks.cls_norm if hasattr(self.model.blocks, "cls_norm") else self.model.norm
        found: list[Tensor] = []
        hook = last.register_forward_hook(lambda *passed: found.append(passed[-1]))
        try:
            self.logits(seen[None])
        finally:
            hook.remove()
        return found[-1][0, -self.model.config.num_group :].float().cpu()


class PointCloudSegmenter(CloudPredictor):
    """Clouds and meshes in, a part for every point out.

    >>> segmenter = PointCloudSegmenter.from_pretrained("./runs/parts/adapter")
    >>> segmenter(points, category="chair").labels  # points: (N, 3); labels: (N,)
    """

    def __init__(self, model: nn.Module, settings: Stated, **options: Any) -> None:
        super().__init__(model, settings, **options)
        self._classifiers: dict[str, PointCloudClassifier | None] = {}

    def __call__(self, cloud: Any, **options: Any) -> SegmentationResult:
        """Segment one path, array (N, 3) or `Cloud`; options are the fields of `SegmentationQuery`.

        Raises:
            InputError: it cannot be segmented.
        """
        return only(self.predict([cloud], **options))

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[SegmentationResult]:
        """Yield one result an input, in order; a cloud that cannot be read or used yields one with `error`.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, arrays (N, 3), `Cloud`s.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `SegmentationQuery`.

        Raises:
            InputError: the category is unknown.
        """
        query = SegmentationQuery(**options)
        if query.category != "auto" and query.category not in self.parts:
            raise InputError(f"unknown category {query.category!r}; choose auto, {', '.join(self.parts)}")
        if query.passes is not None and query.passes < 1:
            raise InputError(f"passes is {query.passes}; give at least 1")
        check_samples(query.samples)
        folder, names = summarised(out, query, inputs), Names()
        drawn = query.view or folder.path is not None

        def failed(opened: Opened, why: str) -> SegmentationResult:
            return SegmentationResult(opened.source, why, names.of(name_of(opened.source)), query=query)

        opened = open_all(inputs, samples=query.samples, seed=query.seed, strict=query.strict, up=query.up)
        results = folder.keep(each(opened, lambda one: self._segment(one, query, names, drawn), failed))
        yield from viewed(results, folder.path) if query.view else results

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the parts of each category.

        Raises:
            InputError: the adapter was not trained for parts.
        """
        if not self.settings.parts:
            raise InputError(
                "the adapter classifies whole clouds; segmentation needs one trained for parts, e.g. tiny-parts"
            )
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

    def _segment(self, opened: Opened, query: SegmentationQuery, names: Names, drawn: bool) -> SegmentationResult:
        if opened.error is not None:
            raise InputError(opened.error)
        assert opened.cloud is not None and opened.raw is not None
        scene = self.settings.classes == SCENE
        if scene:
            category, notices, used = SCENE[0], scene_notes(opened), len(opened.cloud.points)
            found = self._scene(opened, query)
        else:
            ready = self.prepare(opened, upsample=query.upsample)
            subsets = subsets_of(ready, self.settings.npoints, query.passes or 1)
            category, told = self._category(opened, ready.points[subsets[0]], query)
            notices, used = (*ready.notices, *told), len(ready.points)
            everywhere = spread(opened.cloud.points, ready, self._scores_of_known(ready, subsets, category))
            found = metrics.restrict(everywhere, part_ids(self.parts)[category]).numpy()
        ids = part_ids(self.parts)[category]
        labels = np.full(len(opened.raw.points), -1, dtype=np.int64)
        labels[np.isfinite(opened.raw.points).all(1)] = found
        own = dict(zip(ids, self.parts[category], strict=True))
        truth = true_parts(opened, query.truth, ids)
        scores = {} if truth is None else agreement(labels, truth, ids, scene=scene)
        return SegmentationResult(
            opened.source,
            name=names.of(name_of(opened.source)),
            category=category,
            labels=labels,
            parts=own,
            counts={part: int((labels == number).sum()) for number, part in own.items()},
            scores=scores,
            points_read=len(opened.raw.points),
            points_used=used,
            notices=notices,
            truth=truth,
            cloud=opened.raw,
            drawing=drawing_of(opened.raw.points, labels, own, query) if drawn else None,
            query=query,
        )

    def _scene(self, opened: Opened, query: SegmentationQuery) -> NDArray[np.int64]:
        """The class (N,) of every usable point of a scene."""
        assert opened.cloud is not None
        places = sampling.check_size(opened.cloud.points, self.needed, upsample=False)
        points = np.concatenate([places, self.values(opened)], 1)
        return self.segment_scene(points, passes=query.passes, seed=opened.seed)

    def segment_scene(
        self, points: NDArray[np.float64], *, passes: int | None = None, seed: int = 0
    ) -> NDArray[np.int64]:
        """The class (N,) of every point of a scene, what `predict` and `evaluate` call.

        Args:
            points: (N, 3 + channels), places in metres, y up.
        """
        return scenes.segment(
            points,
            lambda block: self.scores(block, SCENE[0]),
            self.settings.npoints,
            normalise=self.settings.normalise,
            passes=passes or len(TILINGS),
            seed=seed,
            side=self.settings.block or SIDE,
        )

    def _category(self, opened: Opened, points: Tensor, query: SegmentationQuery) -> tuple[str, tuple[str, ...]]:
        """The category that is given, or that the classifier names, or whose own parts are likeliest; and notices."""
        if query.category != "auto":
            return query.category, ()
        if len(self.parts) == 1:
            return next(iter(self.parts)), ()
        classifier = self.classifier(query.classifier)
        if classifier is None:
            return self._likeliest(points), ()
        share, category, known = classifier.likeliest(opened, tuple(self.parts), upsample=query.upsample)
        doubt = ", though no category that it knows fits" if known is False else ""
        return category, (f"{category} by the classifier ({share:.0%}){doubt}; --category tells it better",)

    def classifier(self, reference: str = "auto") -> PointCloudClassifier | None:
        """What names the category of a cloud, loaded once; see `SegmentationQuery`.

        Raises:
            InputError: there is no such adapter, or it knows none of the categories.
        """
        if reference not in self._classifiers:
            wanted = None if reference == "none" else self._kin if reference == "auto" else reference
            loaded = None
            if wanted is not None:
                loaded = PointCloudClassifier.from_pretrained(wanted, device=str(self.device))
                if not set(self.parts) & set(loaded.settings.classes):
                    raise InputError(f"the classifier {wanted} knows none of {', '.join(self.parts)}")
            self._classifiers[reference] = loaded
        return self._classifiers[reference]

    def _likeliest(self, points: Tensor) -> str:
        """The category whose own parts are likeliest, summed over the points, when the model is told that category."""
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


def vote_copies(points: Tensor, count: int, vote: int, rng: torch.Generator) -> Tensor:
    """(vote, count, 3): random choices out of the farthest points, each scaled and shifted (Point-MAE's voting)."""
    pool = sampling.farthest(points, min(sampling.pool_size(count), len(points)))
    chosen = [pool[torch.randperm(len(pool), generator=rng)[:count]] for _ in range(vote)]
    copies = torch.stack(chosen)  # (vote, count, 3 + channels)
    return torch.cat([scale_translate(copies[..., :3], rng), copies[..., 3:]], -1)
