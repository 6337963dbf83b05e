"""The verb `evaluate`: the protocol's figures of an adapter on labelled frames, data set by data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.deepfake.evaluation.scoring import Answers


def evaluate(
    data: Sequence[str] = ("faces:unseen",),
    *,
    adapter: str = "tiny",
    base: str | None = None,
    format: str = "auto",
    compression: str = "c23",
    threshold: float | None = None,
    batch_size: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled frames: a row of video AUROCs as in the papers, and every other figure.

    Args:
        data: one or several of `faces:test|unseen[:CLIPS]`, or `PATH[:SPLIT]`; the test split where none is named.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        format: of the data: auto, lists, deepfakebench, faceforensics, dfd, celebdf, dfdc, ffiw, deepspeak or folder.
        compression: of FaceForensics++'s family: c23, c40 or raw.
        threshold: at or above it a calibrated score is called manipulated; the adapter's own where it is left out.
        batch_size: frames side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for metrics.json, the tables, scores of every frame and video, and report.html.

    Raises:
        InputError: adapter or data cannot be read.
    """
    from domains.deepfake import metrics
    from domains.deepfake.data.sources import Options, open_set
    from domains.deepfake.evaluation.scoring import answers
    from domains.deepfake.inference.loaded import FaceScorer
    from suite.scores import Scores

    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device, dtype=dtype)
    cut = scorer.stated.threshold if threshold is None else threshold
    parts: dict[str, Answers] = {}
    notices: list[str] = []
    for source in [data] if isinstance(data, str) else data:
        frames = open_set(source, Options(compression=compression), format=format, split="test")
        notices += frames.notices
        found = answers(scorer, frames, batch_size)
        parts[source] = found
        parts |= {f"{source} {name}": found.only(set(own)) for name, own in frames.groups.items()}
    temperature = scorer.stated.temperature
    figures = {
        name: metrics.report(part.paths, part.scores(temperature), part.labels, cut) for name, part in parts.items()
    }
    table = [{"data": name, **_row(own, parts[name])} for name, own in figures.items()]
    about = {
        "adapter": adapter,
        "trained_on": scorer.stated.trained_on,
        "temperature": temperature,
        "threshold": cut,
    }
    scores = Scores(
        {name: {level: metrics.rounded(own) for level, own in levels.items()} for name, levels in figures.items()},
        about,
        title="Deepfake detection: evaluation",
        tables={"figures": table, "frames": _frames(parts, temperature), "videos": _videos(parts, temperature)},
        notices=tuple(notices),
        message=_message(table),
    )
    return scores.answer(out)


def _row(levels: Mapping[str, Mapping[str, float | None]], part: Answers) -> dict[str, Any]:
    from domains.deepfake import metrics

    video, frame = levels["video"], levels["frame"]
    return {
        "videos": len({path.rpartition("/")[0] for path in part.paths}),
        "frames": len(part.paths),
        "video AUROC": metrics.shown(video["auroc"]),
        "frame AUROC": metrics.shown(frame["auroc"]),
        "video EER": metrics.shown(video["eer"]),
        "EER (DeepfakeBench)": metrics.shown(levels["deepfakebench"]["eer"]),
        "mAP": metrics.shown(video["map"]),
        "AP(fake)": metrics.shown(video["ap_fake"]),
        "accuracy": metrics.shown(video["accuracy"]),
        "balanced": metrics.shown(video["balanced_accuracy"]),
        "ECE": metrics.shown(frame["ece"]),
    }


def _frames(parts: Mapping[str, Answers], temperature: float) -> list[dict[str, Any]]:
    return [
        {"data": name, "path": path, "label": int(label), "p_fake": float(score)}
        for name, part in parts.items()
        for path, label, score in zip(part.paths, part.labels, part.scores(temperature), strict=True)
    ]


def _videos(parts: Mapping[str, Answers], temperature: float) -> list[dict[str, Any]]:
    from domains.deepfake import metrics

    found = []
    for name, part in parts.items():
        videos, means, labels = metrics.by_video(part.paths, part.scores(temperature), part.labels)
        for video, mean, label in zip(videos, means, labels, strict=True):
            found.append({"data": name, "video": video, "label": int(label), "p_fake": float(mean)})
    return found


def _message(table: Sequence[Mapping[str, Any]]) -> str:
    from suite.tables import aligned

    head = list(table[0])
    return aligned([head, *([str(row[name]) for name in head] for row in table)])
