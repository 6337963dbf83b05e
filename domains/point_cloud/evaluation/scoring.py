"""Scoring a predictor on a labelled set: what `evaluate` reports, and every figure's provenance with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.point_cloud import metrics
from domains.point_cloud.data.augment import scale_translate
from domains.point_cloud.data.blocks import SCENE, SIDE, TILINGS
from domains.point_cloud.data.datamodule import CloudSamples
from domains.point_cloud.data.datasets.cloud_set import NO_PART, CloudSet, Options, part_ids
from domains.point_cloud.data.inputs import Opened
from domains.point_cloud.data.sampling import farthest
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.model import forward
from domains.point_cloud.predict import CloudPredictor, PointCloudClassifier, PointCloudSegmenter
from domains.point_cloud.types import Cloud
from suite import adapters
from suite.errors import InputError
from suite.media import confusion, tsne
from suite.scores import Drawn, Scores


@dataclass(frozen=True)
class CloudScores:
    """Figures of one evaluation.

    Attributes:
        metrics: values in [0, 1] by name; a name says when a value is optimistic.
        provenance: what was scored, and how: split, protocol, voting, what the adapter says of its own selection.
        confusion: (classes, classes) counts, targets in rows.
        per_class: accuracy or mIoU of each class or category present.
        seconds: wall time of prediction. clouds: how many.
        features: what the head saw of each cloud, (clouds, 2C), with the labels (clouds,), where they were asked for.
    """

    metrics: dict[str, float]
    provenance: dict[str, Any]
    classes: tuple[str, ...]
    per_class: dict[str, float]
    confusion: Tensor | None
    clouds: int
    seconds: float
    notices: tuple[str, ...] = field(default=())
    features: tuple[Tensor, Tensor] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {
            "metrics": self.metrics,
            "provenance": self.provenance,
            "per_class": self.per_class,
            "confusion": None if self.confusion is None else self.confusion.long().tolist(),
            "classes": list(self.classes),
            "clouds": self.clouds,
            "seconds": round(self.seconds, 3),
            "notices": list(self.notices),
        }

    def report(self) -> Scores:
        """What people read, and the files: for classes `confusion.png`, for features `features.png` and `.svg`."""
        how = ", ".join(f"{name} {value}" for name, value in self.provenance.items() if value not in (None, ""))
        lines = [f"{name}  {value:.4f}" for name, value in self.metrics.items()]
        pictures: dict[str, Drawn] = {}
        if (counts := self.confusion) is not None:
            pictures["Confusion"] = lambda folder: [confusion.save(counts, self.classes, folder / "confusion.png")]
        if (features := self.features) is not None:
            pictures["Features, by t-SNE"] = lambda folder: tsne.save(*features, self.classes, folder)
        return Scores(
            self.metrics,
            self.provenance,
            title="Point clouds: evaluation",
            shown={"By class": [{"class": name, "score": f"{value:.4f}"} for name, value in self.per_class.items()]},
            pictures=pictures,
            notices=self.notices,
            message="\n".join([*lines, f"on {self.clouds} clouds in {self.seconds:.1f} s ({how})"]),
            record=self.to_dict(),
        )


def score(
    data: str,
    adapter: str,
    base: str | None = None,
    task: str = "classification",
    *,
    format: str = "auto",
    variant: str = "hardest",
    occluded: float = 0.3,
    frozen: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 32,
    features: bool = False,
    passes: int | None = None,
    **settings: Any,
) -> CloudScores:
    """Load an adapter and score it; see `evaluate` for the arguments.

    Raises:
        InputError: adapter or data cannot be read, or their classes differ.
    """
    _check_settings(task, batch_size, passes, features, settings)
    kind = PointCloudSegmenter if task == "segmentation" else PointCloudClassifier
    predictor = kind.from_pretrained(adapter, base, device, dtype)
    if task == "segmentation" and not predictor.settings.parts:
        raise InputError(f"{adapter} classifies whole clouds; give --task classification, or one trained for parts")
    npoints = predictor.settings.npoints
    options = Options(
        variant=variant,
        npoints=npoints,
        parts=task == "segmentation",
        occluded=occluded,
        block=predictor.settings.block,
        inputs=predictor.settings.inputs,
    )
    clouds = _matched(open_set(data, options, format=format, split="test"), predictor)
    with adapters.disabled(predictor.model) if frozen else nullcontext():
        if isinstance(predictor, PointCloudSegmenter):
            scored = segmentation(predictor, clouds, batch_size, passes)
        else:
            scored = classification(predictor, clouds, batch_size=batch_size, features=features, **settings)
    scored.provenance.update({"data": data, "adapter": "off" if frozen else adapter, **_selection(predictor)})
    return scored


def _check_settings(
    task: str, batch_size: int, passes: int | None, features: bool, settings: Mapping[str, Any]
) -> None:
    """Refuse, before anything is loaded, what is out of range or of the other task.

    Raises:
        InputError: one is.
    """
    vote, rounds, report = settings.get("vote", 1), settings.get("rounds", 1), settings.get("report", "mean")
    if min(vote, rounds, batch_size) < 1:
        raise InputError("vote, vote_rounds and batch_size must be at least 1")
    if task != "segmentation":
        if passes is not None:
            raise InputError("passes are those over scenes; leave out --passes")
        if report == "best" and rounds == 1:
            raise InputError("--report best chooses one of several rounds; give --vote-rounds 2 or more")
    elif features:
        raise InputError("features are those of the classification head; leave out --features")
    elif (vote, rounds, report) != (1, 1, "mean") or settings.get("seed"):
        raise InputError("segmentation has no votes; leave out --vote, --vote-rounds, --report and --seed")


def classification(
    predictor: PointCloudClassifier,
    clouds: CloudSet,
    *,
    vote: int = 1,
    rounds: int = 1,
    report: str = "mean",
    seed: int = 0,
    batch_size: int = 32,
    features: bool = False,
) -> CloudScores:
    """Overall and mean-class accuracy, of one pass or of votes.

    Args:
        features: keep what the head sees of each cloud, for a picture.

    Raises:
        InputError: a setting is out of range.
    """
    if min(vote, rounds, batch_size) < 1:
        raise InputError("vote, vote_rounds and batch_size must be at least 1")
    if vote == 1 and rounds > 1:
        raise InputError("several rounds of one plain pass are the same; give --vote 2 or more")
    if features and vote > 1:
        raise InputError("features are those of one plain pass; leave out --vote or --features")
    started = time.perf_counter()
    target = torch.from_numpy(clouds.labels)
    normalise, npoints = predictor.settings.normalise, predictor.settings.npoints
    samples = CloudSamples(clouds, npoints, training=vote > 1, normalise=normalise, parts=False)
    with forward.head_inputs(predictor.model) as seen:
        found = [_labels(predictor, samples, vote, seed + number, batch_size) for number in range(rounds)]
    all_scores = [metrics.classification(one, target, len(clouds.classes)) for one in found]
    named, shown, notices = _reported(all_scores, vote, report)
    present = shown.confusion.sum(1) > 0
    per_class = {
        name: float(shown.confusion[i, i] / shown.confusion[i].sum())
        for i, name in enumerate(clouds.classes)
        if present[i]
    }
    how = {
        "split": clouds.protocol,
        "vote": vote,
        "rounds": rounds,
        "report": report if rounds > 1 else "",
        "seed": seed,
    }
    return CloudScores(
        named,
        how,
        clouds.classes,
        per_class,
        shown.confusion,
        len(clouds),
        time.perf_counter() - started,
        notices,
        (torch.cat(seen), target) if features else None,
    )


def energies(predictor: PointCloudClassifier, clouds: CloudSet, batch_size: int = 32) -> Tensor:
    """The log-sum-exp of the logits of each cloud, (S,), by one plain pass, as `predict` makes it."""
    found = []
    for number in range(len(clouds)):
        loaded = clouds.load(number)[0].astype(np.float64)
        values = dict(zip(predictor.settings.inputs, loaded[:, 3:].T, strict=True))
        cloud = Cloud(clouds.names[number], loaded[:, :3], values)
        ready = predictor.prepare(Opened(cloud.source, cloud, cloud))
        found.append(farthest(ready.points, predictor.settings.npoints))
    sizes = {len(points) for points in found}
    step = 1 if predictor.depends_on_companions or len(sizes) > 1 else batch_size
    parts = [predictor.logits(torch.stack(found[n : n + step])) for n in range(0, len(found), step)]
    return torch.cat(parts).logsumexp(-1)


def _reported(
    scores: list[metrics.ClassificationScores], vote: int, report: str
) -> tuple[dict[str, float], metrics.ClassificationScores, tuple[str, ...]]:
    """The figures under names that say how they came about, the scores whose details are shown, and notices."""
    if len(scores) == 1:
        suffix = "" if vote == 1 else f" (vote of {vote})"
        [only] = scores
        return {f"overall accuracy{suffix}": only.overall, f"mean-class accuracy{suffix}": only.mean_class}, only, ()
    suffix = f" (vote of {vote}, {len(scores)} rounds)"
    if report == "best":
        best = max(scores, key=lambda one: one.overall)
        notice = "the best round was chosen on the scored clouds themselves, so its figures are optimistic"
        suffix = f" of the best round, chosen on the scored data{suffix}"
        return (
            {f"overall accuracy{suffix}": best.overall, f"mean-class accuracy{suffix}": best.mean_class},
            best,
            (notice,),
        )
    overall, per_class = [one.overall for one in scores], [one.mean_class for one in scores]
    named = {
        f"overall accuracy, mean{suffix}": mean(overall),
        f"overall accuracy, sample std{suffix}": stdev(overall),
        f"mean-class accuracy, mean{suffix}": mean(per_class),
    }
    return named, scores[0], ()


def _labels(predictor: PointCloudClassifier, samples: CloudSamples, vote: int, seed: int, batch_size: int) -> Tensor:
    """The label (S,) of each cloud."""
    npoints = predictor.settings.npoints
    rng = torch.Generator().manual_seed(seed)
    labels = []
    for batch in _batches(len(samples), 1 if predictor.depends_on_companions else batch_size):
        pools = [samples.cloud(number)[0] for number in batch]
        if vote == 1:
            logits = predictor.logits(torch.stack([pool[:npoints] for pool in pools]))
            labels.append(logits.argmax(-1))
            continue
        passes = []
        for _ in range(vote):
            drawn = [pool[torch.randperm(len(pool), generator=rng)[:npoints]] for pool in pools]
            copies = torch.stack(drawn)  # (B, npoints, 3 + channels)
            moved = torch.cat([scale_translate(copies[..., :3], rng), copies[..., 3:]], -1)
            passes.append(predictor.logits(moved))
        labels.append(metrics.vote(torch.stack(passes)))
    return torch.cat(labels)


def segmentation(
    predictor: PointCloudSegmenter, clouds: CloudSet, batch_size: int = 32, passes: int | None = None
) -> CloudScores:
    """Instance and class mIoU of shapes, or the scores of scenes.

    Args:
        passes: over scenes, as `predict` takes them.

    Raises:
        InputError: a setting is out of range, or no point of a cloud has a part.
    """
    if passes is not None and passes < 1:
        raise InputError(f"passes is {passes}; give at least 1")
    if clouds.whole is not None:
        return scenes(predictor, clouds.whole, passes)
    started = time.perf_counter()
    samples = CloudSamples(
        clouds, predictor.settings.npoints, training=False, normalise=predictor.settings.normalise, parts=True
    )
    ids = part_ids(clouds.parts)
    predictions: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in _batches(len(samples), 1 if predictor.depends_on_companions else batch_size):
        taken = [samples[number] for number in batch]
        names = [clouds.classes[int(clouds.labels[number])] for number in batch]
        scores = predictor.logits(torch.stack([one["points"] for one in taken]), predictor.one_hot(names))
        for one, sample, name in zip(scores, taken, names, strict=True):
            known = sample["parts"] != NO_PART
            predictions.append(metrics.restrict(one, ids[name])[known])
            targets.append(sample["parts"][known])
    how = {"split": clouds.protocol, "points": f"{predictor.settings.npoints} of each cloud, drawn with a fixed seed"}
    seconds = time.perf_counter() - started
    categories = [clouds.classes[int(label)] for label in clouds.labels]
    found = metrics.part_segmentation(predictions, targets, categories, dict(ids))
    named = {
        "instance mIoU": found.instance_miou,
        "class mIoU": found.class_miou,
        "point accuracy": found.accuracy,
        "mean-part accuracy": found.class_accuracy,
    }
    return CloudScores(named, how, clouds.classes, found.categories, None, len(clouds), seconds)


def scenes(predictor: PointCloudSegmenter, whole: CloudSet, passes: int | None = None) -> CloudScores:
    """mIoU, mean-class and overall accuracy of scenes: every labelled point, found as `predict` finds it."""
    started = time.perf_counter()
    names = whole.parts[SCENE[0]]
    confusion = torch.zeros(len(names), len(names), dtype=torch.float64)
    for number in range(len(whole)):
        points, labels = whole.load(number)
        if labels is None or not (labels != NO_PART).any():
            raise InputError(f"{whole.names[number]}: no point has a class, so that there is nothing to score")
        found = predictor.segment_scene(points.astype(np.float64), passes=passes)
        known = labels != NO_PART
        confusion += metrics.confusion_matrix(
            torch.from_numpy(found[known]), torch.from_numpy(labels[known]), len(names)
        )
    scores = metrics.scene_segmentation(confusion)
    named = {"mIoU": scores.miou, "mean-class accuracy": scores.mean_class, "overall accuracy": scores.overall}
    per_class = {name: float(value) for name, value in zip(names, scores.iou, strict=True) if not value.isnan()}
    side = predictor.settings.block or SIDE
    how = {"split": whole.protocol, "points": f"all, in columns of {side:g} m", "passes": passes or len(TILINGS)}
    seconds = time.perf_counter() - started
    return CloudScores(named, how, tuple(names), per_class, confusion, len(whole), seconds)


def _matched(clouds: CloudSet, predictor: CloudPredictor) -> CloudSet:
    """The clouds with labels numbered as the model numbers its classes.

    Raises:
        InputError: the data have a class that the model does not know, or the parts of a category differ.
    """
    known = predictor.settings.classes
    unknown = [name for name in clouds.classes if name not in known]
    if unknown:
        raise InputError(
            f"the data have the class {unknown[0]!r}, which the adapter does not know; it knows {', '.join(known)}"
        )
    own = predictor.settings.parts
    if own is not None and any(len(own[name]) != len(parts) for name, parts in clouds.parts.items()):
        raise InputError(
            "the data's categories have other numbers of parts than the adapter's; score the set it was trained on"
        )
    if clouds.classes == known:
        return clouds
    if own is not None:
        raise InputError("part ids count through all categories; score data that have every category of the adapter")
    renamed = np.array([known.index(name) for name in clouds.classes])
    return replace(clouds, classes=known, labels=renamed[clouds.labels])


def _selection(predictor: CloudPredictor) -> dict[str, Any]:
    """What the adapter says of how it was chosen."""
    chosen = predictor.settings.selected_on
    return {"selected on": chosen} if chosen else {}


def _batches(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))
