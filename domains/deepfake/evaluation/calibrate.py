"""The verb `calibrate`: a temperature and thresholds from labelled frames or scores, kept with the adapter."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from domains.deepfake.evaluation.scoring import Answers
    from domains.deepfake.model.manifest import Manifest

RULES = ("eer", "youden", "fpr1", "fpr5", "fpr10")
"""Thresholds that are always kept; any other `fprN` may be asked for."""


@dataclass(frozen=True)
class Calibration:
    """How scores are to be read.

    Attributes:
        temperature: that makes the cross-entropy of frames least.
        threshold: of calibrated scores of videos, by the rule that was asked for. thresholds: by every rule.
        ece_before, ece_after: expected calibration error of frames, the latter of each half of the videos by the
            temperature of the other half: on the frames that a temperature was fitted to it would flatter.
        frames, videos: that it was fitted on.
    """

    temperature: float
    threshold: float
    thresholds: Mapping[str, float]
    ece_before: float
    ece_after: float
    frames: int
    videos: int


def calibrate(
    data: str,
    *,
    adapter: str,
    base: str | None = None,
    threshold: str = "eer",
    format: str = "auto",
    compression: str = "c23",
    batch_size: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Fit a temperature and thresholds on labelled frames that trained nothing, and store them with the adapter.

    Args:
        data: `faces:val[:CLIPS]`, or `PATH[:SPLIT]`; or a .csv of scores, as `evaluate` writes them. Never the test
            split: `evaluate` refuses frames that calibrated the adapter.
        adapter: folder of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        threshold: which one decides: eer (as many real videos called manipulated as forged ones missed), youden
            (largest balanced accuracy), or fprN, e.g. fpr5 (at most N percent of real videos called manipulated).
        format: of the data, as `evaluate` takes it.
        compression: of FaceForensics++'s family: c23, c40 or raw.
        batch_size: frames side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: write a calibrated copy there and leave the adapter as it is.

    Raises:
        InputError: adapter or data cannot be read, or the data are of a single class.
    """
    from domains.deepfake.data.frame_set import list_hash
    from domains.deepfake.inference.loaded import FaceScorer
    from domains.deepfake.model.bases import DOMAIN
    from suite import hub
    from suite.files import ADAPTER, check_replaceable
    from suite.manifest import MANIFEST

    _check_rule(threshold)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1")
    if out is not None:
        check_replaceable(out, ADAPTER)
    folder = hub.resolve(adapter, DOMAIN)
    if out is None and not adapter.startswith((".", "/", "~")):
        raise InputError(f"{adapter} is an adapter of the catalogue, which stays as it is; give --out for a copy")
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: a plain peft folder keeps no calibration; convert it first (suite adapters convert)"
        )
    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device, dtype=dtype)
    found, title = _answers(scorer, data, format, compression, batch_size)
    fitted = fit(found.paths, found.logits, found.labels, threshold)
    metrics = {**scorer.stated.metrics, "ece_before": fitted.ece_before, "ece_after": fitted.ece_after}
    stated = replace(
        scorer.stated,
        temperature=fitted.temperature,
        threshold=fitted.threshold,
        threshold_rule=threshold,
        thresholds={name: round(value, 6) for name, value in fitted.thresholds.items()},
        calibrated_on=title,
        calibrated_list=list_hash(found.paths),
        calibrated_frames=fitted.frames,
        calibrated_videos=fitted.videos,
        metrics={name: round(value, 6) for name, value in metrics.items()},
    )
    target = _written(stated, folder, out)
    lines = [
        f"temperature  {fitted.temperature:.4f}",
        f"threshold    {fitted.threshold:.4f} ({threshold})",
        f"others       {', '.join(f'{name} {value:.4f}' for name, value in fitted.thresholds.items())}",
        f"from         {fitted.frames} frames of {fitted.videos} videos",
        f"calibration error of frames  {fitted.ece_before:.4f} -> {fitted.ece_after:.4f}",
        str(target),
    ]
    return {"message": "\n".join(lines), **vars(fitted), "adapter": str(target), "data": data}


def _answers(scorer: Any, data: str, format: str, compression: str, batch_size: int) -> tuple[Answers, str]:
    """Logits of the data, and what the data are called."""
    from domains.deepfake.data.sources import Options, open_set
    from domains.deepfake.evaluation.scoring import answers, read_scores

    if Path(data).suffix.lower() == ".csv":
        return read_scores(Path(data)), Path(data).name
    frames = open_set(data, Options(compression=compression), format=format, split="val")
    return answers(scorer, frames, batch_size), frames.title or data


def _written(stated: Manifest, folder: Path, out: Path | None) -> Path:
    """Put what the adapter states into it, or into a copy."""
    import shutil

    from suite.files import ADAPTER, atomic_folder, write_text
    from suite.manifest import MANIFEST

    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    text = json.dumps({**manifest, "domain": stated.to_dict()}, indent=2) + "\n"
    if out is None:
        write_text(folder / MANIFEST, text)
        return folder
    with atomic_folder(out, ADAPTER) as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        write_text(copy / MANIFEST, text)
    return Path(out)


def fit(paths: Sequence[str], logits: NDArray[Any], labels: NDArray[Any], threshold: str = "eer") -> Calibration:
    """Temperature and thresholds from logits (frames, 2) and labels (frames,).

    Raises:
        InputError: the labels are of a single class, or there is no such rule.
    """
    import numpy as np

    from domains.deepfake import metrics
    from domains.deepfake.evaluation.scoring import Answers

    _check_rule(threshold)
    if len(np.unique(labels)) < 2:
        raise InputError("calibration needs real and manipulated frames; the data hold one class alone")
    found = Answers(list(paths), np.asarray(logits, dtype=np.float64), np.asarray(labels))
    temperature = best_temperature(found.logits, found.labels)
    names, means, of_videos = metrics.by_video(found.paths, found.scores(temperature), found.labels)
    rules = dict.fromkeys((threshold, *RULES))
    thresholds = {rule: _threshold(means, of_videos, rule) for rule in rules}
    return Calibration(
        temperature,
        thresholds[threshold],
        thresholds,
        metrics.expected_calibration_error(found.scores(), found.labels),
        metrics.expected_calibration_error(_crossed(found), found.labels),
        len(found.paths),
        len(names),
    )


def _crossed(found: Answers) -> NDArray[Any]:
    """The score of each frame by a temperature that the other half of the videos gave."""
    import numpy as np

    from domains.deepfake.metrics import video_of

    videos = [video_of(path) for path in found.paths]
    # Of each class every other video, so that both halves have both.
    half: dict[str, int] = {}
    count = [0, 0]
    for video, label in zip(videos, found.labels, strict=True):
        if video not in half:
            half[video] = count[label] % 2
            count[label] += 1
    side = np.array([half[video] for video in videos])
    scores = found.scores(1.0)
    for part in (0, 1):
        own, other = side == part, side != part
        if own.any() and len(np.unique(found.labels[other])) == 2:
            scores[own] = found.scores(best_temperature(found.logits[other], found.labels[other]))[own]
    return scores


def _check_rule(rule: str) -> None:
    percent = re.fullmatch(r"fpr(\d+(\.\d+)?)", rule)
    if rule not in RULES and not (percent and 0 < float(percent[1]) < 100):
        raise InputError(f"threshold {rule!r} is no rule; give eer, youden, or fprN with N percent, e.g. fpr5")


def best_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The temperature of least cross-entropy (Guo et al. 2017), between 1/100 and 100.

    The cross-entropy is convex in the inverse temperature, so that there is one.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    margin = np.asarray(logits[:, 1] - logits[:, 0], dtype=np.float64) * np.where(np.asarray(labels) == 1, 1, -1)

    def loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0, -margin / math.exp(log_temperature))))

    found = minimize_scalar(loss, bounds=(math.log(0.01), math.log(100)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x)) if found.fun < loss(0.0) else 1.0


def _threshold(scores: NDArray[Any], labels: NDArray[Any], rule: str) -> float:
    """A threshold in the middle between two scores of videos, where the rule is met best."""
    import numpy as np

    distinct = np.unique(scores)
    between = (distinct[1:] + distinct[:-1]) / 2 if len(distinct) > 1 else distinct
    false = np.array([(scores[labels == 0] >= cut).mean() for cut in between])
    missed = np.array([(scores[labels == 1] < cut).mean() for cut in between])
    if rule == "eer":
        return float(between[np.argmin(np.abs(false - missed) + 1e-6 * (false + missed))])
    if rule == "youden":
        return float(between[np.argmin(false + missed)])
    allowed = np.flatnonzero(false <= float(rule.removeprefix("fpr")) / 100)
    return float(between[allowed[0]]) if len(allowed) else float(min(1.0, distinct[-1] + 1e-6))
