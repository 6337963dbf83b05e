"""What prediction gives: the faces of one picture or video with their scores, and the files of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from domains.deepfake.output import pictures
from domains.deepfake.types import SCOPE, DetectionQuery
from suite.files import write_text
from suite.media import plots, sheets, style
from suite.media.sheets import Pixels

MANIPULATED, UNSUSPICIOUS = "likely manipulated", "no sign of manipulation"

NO_FACE = "no_face"

MOST_CARDS = 60
"""Results on a contact sheet; the tables list them all."""

MOST_TRACKS = 6
"""People whose curves a timeline shows."""

SHORTEST = 0.25
"""Share of the frames with a face that a track must have to decide over a video."""

Status = Literal["ok", "no_face"]


@dataclass(frozen=True)
class ScoredFace:
    """A face in a picture or frame.

    Attributes:
        frame: index of the frame among those decoded; None where a stream does not count. time: seconds; None for
            pictures.
        face_id: of the track, 0 for the first.
        box: left, top, right, bottom, pixels of the picture. landmarks: (5, 2) in the same.
        det_score: of the detector. p_fake: calibrated probability of manipulated.
        low_quality: the face is small, or the detector doubts it. crop: file of the aligned face, where it is kept.
        pixels: the aligned face. heat: (side, side) in 0-1, where asked for.
    """

    frame: int | None
    time: float | None
    face_id: int
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    det_score: float
    p_fake: float
    low_quality: bool = False
    crop: str = ""
    pixels: Pixels | None = field(default=None, repr=False, compare=False)
    heat: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class How:
    """By what a result came about.

    Attributes:
        threshold, temperature: of the decision. threshold_from: where the threshold comes from, in words.
        adapter, detector: which ones.
        trained_on: what the adapter says of its data.
        notices: what holds for every input, since it comes of detector or adapter.
    """

    threshold: float = 0.5
    threshold_from: str = "uncalibrated"
    temperature: float = 1.0
    adapter: str = ""
    detector: str = ""
    trained_on: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectionResult:
    """The faces of one picture or video, or the `error` that says why there are none; `no_face` is no error.

    Attributes:
        name: of its files, unique within one prediction.
        kind: picture or video.
        status: ok, or no_face.
        faces: of all frames in order.
        frames_read: frames that were looked at.
        notices: what the user should know, one line each.
        picture: the picture, or of a video the frame with the most suspicious face.
        suspicious: of a video its most suspicious frames, each its time and a small copy with boxes.
    """

    source: str
    error: str | None = None
    name: str = ""
    kind: Literal["picture", "video"] = "picture"
    status: Status = "ok"
    faces: tuple[ScoredFace, ...] = ()
    frames_read: int = 0
    times: tuple[float, ...] = ()
    how: How = field(default_factory=How)
    notices: tuple[str, ...] = ()
    picture: Pixels | None = field(default=None, repr=False, compare=False)
    suspicious: tuple[tuple[float, Pixels], ...] = field(default=(), repr=False, compare=False)
    query: DetectionQuery = field(default_factory=DetectionQuery)

    @property
    def standing_notices(self) -> tuple[str, ...]:
        """Those of `notices` that hold for every input."""
        return self.how.notices

    @property
    def tracks(self) -> dict[int, list[ScoredFace]]:
        """Faces by track."""
        found: dict[int, list[ScoredFace]] = {}
        for face in self.faces:
            found.setdefault(face.face_id, []).append(face)
        return found

    @property
    def p_fake(self) -> float | None:
        """The score: of a picture its most suspicious face's; of a video the highest mean over a track.

        A track that shows in fewer than a quarter of the frames with a face does not decide. None without a face.
        """
        if not self.faces:
            return None
        if self.kind == "picture":
            return max(face.p_fake for face in self.faces)
        longest = max(map(len, self.tracks.values()))
        least = min(longest, SHORTEST * self.frames_with_face)
        return max(float(np.mean([f.p_fake for f in own])) for own in self.tracks.values() if len(own) >= least)

    @property
    def frames_with_face(self) -> int:
        return len({face.time for face in self.faces}) if self.kind == "video" else int(bool(self.faces))

    @property
    def decision(self) -> str:
        """In words; `no_face` where there is nothing to judge."""
        if self.p_fake is None:
            return NO_FACE
        return MANIPULATED if self.p_fake >= self.how.threshold else UNSUSPICIOUS

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Time and the highest score of each frame with a face."""
        best: dict[float, float] = {}
        for face in self.faces:
            if face.time is not None:
                best[face.time] = max(best.get(face.time, 0.0), face.p_fake)
        return sorted(best.items())

    @property
    def suspicious_span(self) -> tuple[float, float] | None:
        """The longest run of frames at or above the threshold, in seconds; None where there is none."""
        runs: list[tuple[float, float]] = []
        begun: float | None = None
        for time, score in self.curve:
            if score < self.how.threshold:
                begun = None
            elif begun is None:
                begun = time
                runs.append((time, time))
            else:
                runs[-1] = (begun, time)
        return max(runs, key=lambda run: (run[1] - run[0], -run[0]), default=None)

    @property
    def caption(self) -> str:
        """What its picture says."""
        return "no face" if self.p_fake is None else f"{self.decision}: {self.p_fake:.2f}"

    def __str__(self) -> str:
        if self.p_fake is None:
            what = "frame" if self.kind == "video" else "picture"
            head = f"{self.source}: no face found in the {what}{'s' if self.kind == 'video' else ''}; nothing to judge"
        else:
            count = len(self.tracks)
            seen = f" over {self.frames_with_face} frames" if self.kind == "video" else ""
            head = (
                f"{self.source}: {self.decision}, score {self.p_fake:.3f} ({count} face{'s' * (count > 1)}{seen}; "
                f"threshold {self.how.threshold:.3f}, {self.how.threshold_from})"
            )
            if self.kind == "video" and (span := self.suspicious_span):
                head += f", most suspicious from {span[0]:.1f} to {span[1]:.1f} s"
        return "\n".join([head, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """The summary and its faces, ready for `json.dumps`."""
        scores = [face.p_fake for face in self.faces]
        span = self.suspicious_span
        return {
            "kind": self.kind,
            "status": self.status,
            "decision": self.decision,
            "p_fake": self.p_fake,
            "p_fake_mean": float(np.mean(scores)) if scores else None,
            "p_fake_median": float(np.median(scores)) if scores else None,
            "p_fake_max": max(scores, default=None),
            "n_frames_read": self.frames_read,
            "n_frames_with_face": self.frames_with_face,
            "n_tracks": len(self.tracks),
            "suspicious_from_s": span[0] if span else None,
            "suspicious_to_s": span[1] if span else None,
            "threshold": self.how.threshold,
            "threshold_from": self.how.threshold_from,
            "temperature": self.how.temperature,
            "adapter": self.how.adapter,
            "detector": self.how.detector,
            "scope": SCOPE.format(trained_on=self.how.trained_on or "unknown"),
            "notices": list(self.notices),
            "faces": [_of_face(face) for face in self.faces],
        }

    def with_crops(self) -> DetectionResult:
        """The same, its faces naming the files that their crops will be."""
        faces = (replace(face, crop=f"{self.name}.face{number}.png") for number, face in enumerate(self.faces))
        return replace(self, faces=tuple(faces))

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>.json`, and what the query asks for: annotated pictures, crops, heatmaps, a timeline."""
        home = Path(folder)
        files = []
        for number, face in enumerate(self.faces):
            stem = f"{self.name}.face{number}"
            if face.pixels is not None and face.crop:
                files.append(sheets.save_png(face.pixels, home / face.crop))
            if face.pixels is not None and face.heat is not None:
                files.append(sheets.save_png(pictures.heat_card(face.pixels, face.heat), home / f"{stem}.heat.png"))
        record = {"source": self.source, **self.to_dict()}
        files.insert(0, write_text(home / f"{self.name}.json", json.dumps(record, indent=2) + "\n"))
        if self.picture is not None and self.query.annotate and self.kind == "picture":
            files.append(sheets.save_png(annotated(self), home / f"{self.name}.annotated.png"))
        if self.kind == "video" and len(self.curve) > 1:
            files.append(plots.save(timeline(self), home / f"{self.name}.timeline.png"))
        if self.suspicious and self.query.annotate:
            shown = [sheets.caption(picture, f"{time:.1f} s") for time, picture in self.suspicious]
            files.append(sheets.save_png(sheets.sheet(shown, columns=3), home / f"{self.name}.suspicious.png"))
        return files


def timeline(result: DetectionResult) -> Figure:
    """The scores of each person through a video, and the threshold; who shows longest where there are many."""
    tracks = sorted(result.tracks.items(), key=lambda track: (-len(track[1]), track[0]))
    shown = sorted(tracks[:MOST_TRACKS])
    title = f"{Path(result.source).name}: score by frame"
    if len(tracks) > MOST_TRACKS:
        title += f" ({MOST_TRACKS} of {len(tracks)} faces)"
    curves = {f"face {track}": [(f.time or 0.0, f.p_fake) for f in own] for track, own in shown}
    figure = plots.curves(curves, title=title, x="seconds", y="score")
    [axes] = figure.axes
    axes.set_ylim(-0.02, 1.05)
    axes.axhline(result.how.threshold, color=style.INK, linestyle="--", linewidth=1, label="threshold")
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def annotated(result: DetectionResult) -> Pixels:
    """The picture with the boxes and scores of its faces; of a video those of the frame that is shown."""
    assert result.picture is not None
    faces: Sequence[ScoredFace] = result.faces
    if result.kind == "video" and faces:
        worst = max(faces, key=lambda face: face.p_fake)
        faces = [face for face in faces if face.time == worst.time]
    return pictures.boxes(result.picture, [(f.box, f.p_fake) for f in faces])


def _of_face(face: ScoredFace) -> dict[str, Any]:
    left, top, right, bottom = (round(side, 2) for side in face.box)
    return {
        "frame": face.frame,
        "time_s": face.time,
        "face_id": face.face_id,
        "box_x1": left,
        "box_y1": top,
        "box_x2": right,
        "box_y2": bottom,
        "det_score": round(face.det_score, 4),
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks],
        "p_fake": face.p_fake,
        "low_quality": face.low_quality,
        "crop": face.crop,
    }


def rows(result: DetectionResult) -> list[Mapping[str, Any]]:
    """A row a face for the tables; one without scores for what has no face, or could not be read."""
    about = {"path": result.source, "kind": result.kind, "status": "error" if result.error else result.status}
    how = {
        "temperature": result.how.temperature,
        "threshold": result.how.threshold,
        "adapter": result.how.adapter,
        "detector": result.how.detector,
    }
    if result.error is not None or not result.faces:
        return [{**about, "error": result.error or "", **how}]
    called = [MANIPULATED if face.p_fake >= result.how.threshold else UNSUSPICIOUS for face in result.faces]
    flagged = ["low_quality" if face.low_quality else "" for face in result.faces]
    return [
        {**about, "error": "", **_of_face(face), "decision": word, "flag": flag, **how}
        for face, word, flag in zip(result.faces, called, flagged, strict=True)
    ]


def summary(result: DetectionResult) -> list[Mapping[str, Any]]:
    """The row of a whole input."""
    if result.error is not None:
        return [{"path": result.source, "status": "error", "error": result.error}]
    record = result.to_dict()
    left_out = ("faces", "scope", "notices")
    return [{"path": result.source, **{name: value for name, value in record.items() if name not in left_out}}]


def card(result: DetectionResult) -> Pixels:
    """A small picture for the contact sheet; what was refused gets its name and the reason."""
    name = Path(result.source).name
    if result.error is not None:
        return sheets.refusal(name, result.error.replace(result.source, name), pictures.CARD)
    if result.picture is None:
        return sheets.refusal(name, result.caption, pictures.CARD)
    shown = pictures.fitted(annotated(result), pictures.CARD)
    return sheets.caption(sheets.caption(shown, result.caption), name)


def contact_sheet(cards: Sequence[Pixels], path: Path) -> Path:
    """All cards in one picture."""
    return sheets.save_png(sheets.sheet(cards, columns=min(6, max(1, round((1.6 * len(cards)) ** 0.5)))), path)
