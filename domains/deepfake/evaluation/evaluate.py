"""The verb `evaluate`: the protocol's figures of an adapter on labelled frames, data set by data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError

if TYPE_CHECKING:
    from domains.deepfake.data.frame_set import FrameSet
    from domains.deepfake.evaluation.scoring import Answers
    from domains.deepfake.inference.loaded import FaceScorer
    from domains.deepfake.metrics import Reduction

NoFace = Literal["exclude", "half"]


def evaluate(
    data: Sequence[str] = ("faces:unseen",),
    *,
    adapter: str = "tiny",
    base: str | None = None,
    format: str = "auto",
    compression: str = "c23",
    threshold: float | str | None = None,
    reduce: Literal["mean", "median"] = "mean",
    no_face: NoFace = "exclude",
    corrupt: Sequence[str] = (),
    batch_size: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled frames: a row of video AUROCs as in the papers, and every other figure.

    Args:
        data: one or several of `faces:test|unseen[:CLIPS]`, or `PATH[:SPLIT]`; the test split where none is named.
            Several that are one data set are joined by commas, and may be named: `CDF=real.txt,fake.txt`.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        format: of the data: auto, lists, deepfakebench, faceforensics, faceshifter, dfd, celebdf, dfdc, ffiw, deepspeak
            or folder.
        compression: of FaceForensics++'s family: c23, c40 or raw.
        threshold: at or above it a calibrated score is called manipulated: a number, or a rule of the adapter's
            calibration; the adapter's own where it is left out.
        reduce: frames to a video: the mean of their scores, or the median as GenD offers.
        no_face: videos without a face are left out (exclude), or scored 0.5 (half); how many there are is said.
        corrupt: score the data once more for each of these, joined by commas: jpeg:QUALITY, blur:SIGMA,
            resize:SIDE[:FILTER].
        batch_size: frames side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for metrics.json, the tables, scores of every frame and video, curves, and report.html.

    Raises:
        InputError: adapter or data cannot be read, or the adapter was calibrated on these very frames.
    """
    from domains.deepfake import metrics
    from domains.deepfake.data.corruption import corrupted, corruption
    from domains.deepfake.data.sources import Options, open_set, open_sets, parsed
    from domains.deepfake.inference.loaded import FaceScorer
    from suite.scores import Scores

    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1")
    sources, ways = _several(data), _several(corrupt)
    for way in ways:
        corruption(way)
    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device, dtype=dtype)
    cut, origin = scorer.stated.cut(threshold)
    parts: dict[str, Answers] = {}
    notices: list[str] = []
    options = Options(compression=compression)
    for source, joint in map(parsed, sources):
        if len(joint) == 1:
            frames = open_set(joint[0], options, format=format, split="test")
        else:
            frames = open_sets(joint, options, format=format, split="test")
        _check_unused(scorer, frames, source)
        notices += [*frames.notices, *_coverage(frames, source, no_face)]
        parts |= _parts(scorer, frames, source, batch_size, no_face)
        for way in ways:
            parts |= _parts(scorer, corrupted(frames, way), f"{source} {way}", batch_size, no_face, groups=False)
    temperature = scorer.stated.temperature
    figures = {
        name: metrics.report(part.paths, part.scores(temperature), part.labels, cut, reduce)
        for name, part in parts.items()
    }
    table = [{"data": name, **_row(own, parts[name])} for name, own in figures.items()]
    about = {
        "adapter": adapter,
        "trained_on": scorer.stated.trained_on,
        "temperature": temperature,
        "threshold": cut,
        "threshold_from": origin,
        "compression": compression,
        "videos_are": f"the {reduce} of their frames' scores",
        "videos_without_face": {"exclude": "left out", "half": "scored 0.5"}[no_face],
    }
    scores = Scores(
        {name: _record(levels, parts[name], temperature, cut, reduce) for name, levels in figures.items()},
        about,
        title="Deepfake detection: evaluation",
        tables={
            "figures": table,
            "frames": _frames(parts, temperature),
            "videos": _videos(parts, temperature, reduce),
            "predictions": _predictions(parts, temperature),
        },
        pictures=_pictures(parts, temperature, cut, reduce),
        notices=tuple(notices),
        message=_message(table),
    )
    return scores.answer(out)


def _several(words: Sequence[str] | str) -> list[str]:
    return [words] if isinstance(words, str) else list(words)


def _parts(
    scorer: FaceScorer, frames: FrameSet, name: str, batch_size: int, no_face: NoFace, *, groups: bool = True
) -> dict[str, Answers]:
    """Answers to a data set, and to each of its parts that are scored apart."""
    from domains.deepfake.evaluation.scoring import answers

    found = answers(scorer, frames, batch_size)
    parts = {f"{name} {group}": found.only(set(own)) for group, own in frames.groups.items()} if groups else {}
    if no_face == "half":
        found = found.undecided([video.path for video in frames.missing], [video.label for video in frames.missing])
    return {name: found, **parts}


def _check_unused(scorer: FaceScorer, frames: FrameSet, source: str) -> None:
    """Refuse the very frames that the threshold and temperature were chosen on."""
    from domains.deepfake.data.frame_set import list_hash

    stated = scorer.stated
    if stated.calibrated_list and stated.calibrated_list == list_hash(frame.path for frame in frames.frames):
        raise InputError(
            f"{source}: the adapter was calibrated on these very frames ({stated.calibrated_on}), so that its figures "
            "on them would flatter it; evaluate on others, or calibrate on others"
        )


def _coverage(frames: FrameSet, source: str, no_face: NoFace) -> list[str]:
    """What became of videos without a face: left unsaid it changes figures unseen."""
    if not frames.missing:
        return []
    videos = len(frames.videos) + len(frames.missing)
    treated = "left out" if no_face == "exclude" else "scored 0.5"
    return [f"{source}: {len(frames.missing)} of {videos} videos have no face and are {treated}"]


def _row(levels: Mapping[str, Mapping[str, float | None]], part: Answers) -> dict[str, Any]:
    from domains.deepfake import metrics

    video, frame = levels["video"], levels["frame"]
    return {
        "videos": len({metrics.video_of(path) for path in part.paths}),
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


def _record(
    levels: Mapping[str, Mapping[str, float | None]], part: Answers, temperature: float, cut: float, reduce: Reduction
) -> dict[str, Any]:
    """Every figure of a data set for `metrics.json`; confusion by true label, then called label."""
    from domains.deepfake import metrics

    record: dict[str, Any] = {level: metrics.rounded(own) for level, own in levels.items()}
    if absent := {"real", "manipulated"} - part.classes:
        record["undefined_because"] = f"only {(part.classes or absent).pop()} present"
    for level, (scores, labels) in part.levels(temperature, reduce).items():
        record[level]["confusion"] = metrics.confusion(scores, labels, cut).tolist()
    return record


def _frames(parts: Mapping[str, Answers], temperature: float) -> list[dict[str, Any]]:
    return [
        {"data": name, "path": path, "label": int(label), "p_fake": float(score), "logit": float(logits[1] - logits[0])}
        for name, part in parts.items()
        for path, label, score, logits in zip(
            part.paths, part.labels, part.scores(temperature), part.logits, strict=True
        )
    ]


def _predictions(parts: Mapping[str, Answers], temperature: float) -> list[dict[str, Any]]:
    """The released code's table: every frame once, four digits."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts.values():
        for path, label, score in zip(part.paths, part.labels, part.scores(temperature), strict=True):
            row = {"files": path, "labels": int(label), "prob_class_0": f"{1 - score:.4f}"}
            found.setdefault(path, {**row, "prob_class_1": f"{score:.4f}"})
    return list(found.values())


def _videos(parts: Mapping[str, Answers], temperature: float, reduce: Reduction) -> list[dict[str, Any]]:
    from domains.deepfake import metrics

    found = []
    for name, part in parts.items():
        videos, means, labels = metrics.by_video(part.paths, part.scores(temperature), part.labels, reduce=reduce)
        for video, mean, label in zip(videos, means, labels, strict=True):
            found.append({"data": name, "video": video, "label": int(label), "p_fake": float(mean)})
    return found


def _pictures(
    parts: Mapping[str, Answers], temperature: float, cut: float, reduce: Reduction
) -> dict[str, Callable[[Path], list[Path]]]:
    """By data set, what draws its curves."""
    from suite.prediction.inputs import Names, slug

    names = Names()

    def drawer(name: str, part: Answers) -> Callable[[Path], list[Path]]:
        file = f"curves.{names.of(slug(name))}.png"

        def drawn(folder: Path) -> list[Path]:
            from domains.deepfake.output import curves

            return [curves.draw(part.levels(temperature, reduce), cut, name, folder / file)]

        return drawn

    return {f"Curves: {name}": drawer(name, part) for name, part in parts.items()}


def _message(table: Sequence[Mapping[str, Any]]) -> str:
    from suite.tables import aligned

    head = list(table[0])
    return aligned([head, *([str(row[name]) for name in head] for row in table)])
