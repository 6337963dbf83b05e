"""The verb `calibrate`: a temperature and a threshold from labelled frames, kept with the adapter."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = Literal["eer", "balanced", "fpr5", "fpr10"]


@dataclass(frozen=True)
class Calibration:
    """How scores are to be read.

    Attributes:
        temperature: that makes the cross-entropy least. threshold: of calibrated scores of videos.
        ece_before, ece_after: expected calibration error of frames.
    """

    temperature: float
    threshold: float
    ece_before: float
    ece_after: float


def calibrate(
    data: str,
    *,
    adapter: str,
    base: str | None = None,
    threshold: Rule = "eer",
    format: str = "auto",
    compression: str = "c23",
    batch_size: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Fit a temperature and a threshold on labelled frames that trained nothing, and store them with the adapter.

    Args:
        data: `faces:val[:CLIPS]`, or `PATH[:SPLIT]`; never the test split.
        adapter: folder of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        threshold: eer (as many real videos called manipulated as forged ones missed), balanced (largest balanced
            accuracy), fpr5 or fpr10 (at most so many percent of real videos called manipulated).
        format: of the data, as `evaluate` takes it.
        compression: of FaceForensics++'s family: c23, c40 or raw.
        batch_size: frames side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: write a calibrated copy there and leave the adapter as it is.

    Raises:
        InputError: adapter or data cannot be read, or the data are of a single class.
    """
    import shutil

    from domains.deepfake.data.sources import Options, open_set
    from domains.deepfake.evaluation.scoring import answers
    from domains.deepfake.inference.loaded import FaceScorer
    from domains.deepfake.model.bases import DOMAIN
    from suite import hub
    from suite.files import ADAPTER, atomic_folder, write_text
    from suite.manifest import MANIFEST

    folder = hub.resolve(adapter, DOMAIN)
    if out is None and not adapter.startswith((".", "/", "~")):
        raise InputError(f"{adapter} is an adapter of the catalogue, which stays as it is; give --out for a copy")
    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device, dtype=dtype)
    frames = open_set(data, Options(compression=compression), format=format, split="val")
    found = answers(scorer, frames, batch_size)
    fitted = fit(found.paths, found.logits, found.labels, threshold)
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: a plain peft folder keeps no calibration; convert it first (suite adapters convert)"
        )
    metrics = {**scorer.stated.metrics, "ece_before": fitted.ece_before, "ece_after": fitted.ece_after}
    stated = replace(
        scorer.stated,
        temperature=fitted.temperature,
        threshold=fitted.threshold,
        calibrated_on=frames.title or data,
        metrics={name: round(value, 6) for name, value in metrics.items()},
    )
    target = folder if out is None else Path(out)
    if out is not None:
        with atomic_folder(out, ADAPTER) as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
    manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    manifest["domain"] = stated.to_dict()
    write_text(target / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    lines = [
        f"temperature  {fitted.temperature:.4f}",
        f"threshold    {fitted.threshold:.4f} ({threshold})",
        f"calibration error of frames  {fitted.ece_before:.4f} -> {fitted.ece_after:.4f}",
        str(target),
    ]
    return {"message": "\n".join(lines), **vars(fitted), "adapter": str(target), "data": data}


def fit(paths: Sequence[str], logits: NDArray[Any], labels: NDArray[Any], threshold: Rule = "eer") -> Calibration:
    """Temperature and threshold from logits (frames, 2) and labels (frames,).

    Raises:
        InputError: the labels are of a single class.
    """
    import numpy as np

    from domains.deepfake import metrics
    from domains.deepfake.evaluation.scoring import Answers

    if len(np.unique(labels)) < 2:
        raise InputError("calibration needs real and manipulated frames; the data hold one class alone")
    found = Answers(list(paths), np.asarray(logits, dtype=np.float64), np.asarray(labels))
    temperature = best_temperature(found.logits, found.labels)
    scores = found.scores(temperature)
    _, videos, of_videos = metrics.by_video(found.paths, scores, found.labels)
    return Calibration(
        temperature,
        _threshold(videos, of_videos, threshold),
        metrics.expected_calibration_error(found.scores(), found.labels),
        metrics.expected_calibration_error(scores, found.labels),
    )


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


def _threshold(scores: NDArray[Any], labels: NDArray[Any], rule: Rule) -> float:
    """A threshold in the middle between two scores of videos, where the rule is met best."""
    import numpy as np

    distinct = np.unique(scores)
    between = (distinct[1:] + distinct[:-1]) / 2 if len(distinct) > 1 else distinct
    false = np.array([(scores[labels == 0] >= cut).mean() for cut in between])
    missed = np.array([(scores[labels == 1] < cut).mean() for cut in between])
    if rule == "eer":
        return float(between[np.argmin(np.abs(false - missed) + 1e-6 * (false + missed))])
    if rule == "balanced":
        return float(between[np.argmin(false + missed)])
    allowed = np.flatnonzero(false <= int(rule.removeprefix("fpr")) / 100)
    return float(between[allowed[0]]) if len(allowed) else float(min(1.0, distinct[-1] + 1e-6))
