"""What point-cloud prediction is asked for and what it gives. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from domains.point_cloud.data.clouds import Cloud

Renderer = Literal["splat", "open3d"]

Shading = Literal["height", "patches", "influence", "spectrum", "chunks"]
"""What a picture's colours tell: height; the nearest patch; how much of the pooled feature each patch gave; the energy
of each patch in the upper half of the graph's spectrum; the chunk of each patch in Morton order."""


@dataclass(frozen=True)
class ClassificationQuery:
    """What one classification is asked for; the fields are the options of `suite point_cloud predict`.

    Attributes:
        top: how many classes to tell, the likeliest first.
        vote: passes over augmented copies whose mean logits decide; 1 is one plain pass.
        samples: points drawn from a mesh's surface.
        seed: of drawing, thinning and voting; the file's own hash where it is left out.
        up: axis that points up in the files; y, as the benchmarks have it, or z.
        strict: refuse points with NaN or infinite coordinates instead of dropping them.
        upsample: add points between those of a cloud that has too few.
        batch_size: clouds side by side; changes the speed, never the result.
        colour: what the colours of the pictures tell: height, patches, influence, spectrum or chunks.
        picture: write a picture of each cloud and a contact sheet.
        renderer: what draws pictures: splat, which needs nothing, or open3d, replaced by splat where it cannot draw.
        turntable: write a turning picture (GIF) of each cloud too.
        view: show the clouds in a window, or write viewer.html where there is no display.
        out: folder of the results.
    """

    top: int = 5
    vote: int = 1
    samples: int = 8192
    seed: int | None = None
    up: Literal["y", "z"] = "y"
    strict: bool = False
    upsample: bool = False
    batch_size: int = 16
    colour: Shading = "height"
    picture: bool = True
    renderer: Renderer = "splat"
    turntable: bool = False
    view: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Drawing:
    """What a picture of a result shows: points (N, 3) and their colours (N, 3) in 0-255, None by height."""

    points: NDArray[Any]
    colors: NDArray[Any] | None = None
    legend: tuple[str, ...] = ()
    renderer: Renderer = "splat"

    @cached_property
    def image(self) -> NDArray[Any]:
        """The cloud seen from the front left, drawn once for its own picture and the contact sheet."""
        from domains.point_cloud.output import pictures

        return pictures.render(self)


@dataclass(frozen=True)
class ClassificationResult:
    """What one cloud is, or the `error` that says why that is not known.

    Attributes:
        source: the file, or what the caller's array is called.
        name: of its files, unique within one prediction.
        label: the likeliest class. probability: its share of the softmax.
        scores: probabilities of the likeliest classes, in falling order.
        points_read: points of the file, or drawn from its surface. points_used: those that the model saw.
        notices: what the user should know, one line each.
    """

    source: str
    error: str | None = None
    name: str = ""
    label: str = ""
    probability: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    points_read: int = 0
    points_used: int = 0
    notices: tuple[str, ...] = ()
    drawing: Drawing | None = None
    query: ClassificationQuery = field(default_factory=ClassificationQuery)

    def __str__(self) -> str:
        others = ", ".join(f"{name} {share:.0%}" for name, share in list(self.scores.items())[1:3])
        lines = [f"{self.source}: {self.label} {self.probability:.1%}" + (f"  ({others})" if others else "")]
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the drawing, ready for `json.dumps`."""
        return {
            "label": self.label,
            "probability": self.probability,
            "scores": dict(self.scores),
            "points_read": self.points_read,
            "points_used": self.points_used,
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>.json` and, where the query asks for them, pictures; return the files."""
        from domains.point_cloud.output import pictures

        return pictures.save_result(self, Path(folder), f"{self.label} {self.probability:.0%}")


@dataclass(frozen=True)
class SegmentationQuery:
    """What one segmentation is asked for: the options of `suite point_cloud predict --task segmentation`.

    Attributes:
        category: of the shapes, which decides the parts to choose from; `auto` takes the category whose parts are
            likeliest all together.
        samples: points drawn from a mesh's surface.
        seed: of drawing and of the subsets of large clouds; the file's own hash where it is left out.
        up: axis that points up in the files: y or z.
        strict: refuse points with NaN or infinite coordinates instead of dropping them.
        upsample: add points between those of a cloud that has too few; they get no label in the output.
        passes: subsets in which each point of a large cloud takes part at least; their scores are averaged.
        format: of the labelled cloud: as the input, or ply, las, npy, xyz, csv or pcd.
        truth: field of the input that holds true labels, for a picture and the scores; `auto` looks for one.
        picture: write a picture of each cloud and a contact sheet.
        renderer: what draws pictures: splat, which needs nothing, or open3d, replaced by splat where it cannot draw.
        turntable: write a turning picture (GIF) of each cloud too.
        view: show the clouds in a window, or write viewer.html where there is no display.
        out: folder of the results.
    """

    category: str = "auto"
    samples: int = 8192
    seed: int | None = None
    up: Literal["y", "z"] = "y"
    strict: bool = False
    upsample: bool = False
    passes: int = 1
    format: Literal["input", "ply", "las", "npy", "xyz", "csv", "pcd"] = "input"
    truth: str = "auto"
    picture: bool = True
    renderer: Renderer = "splat"
    turntable: bool = False
    view: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class SegmentationResult:
    """A part for every point of one cloud, in the file's order, or the `error` that says why there is none.

    Attributes:
        category: given, or found.
        labels: (N,) ids of parts, one for every point of the file; -1 where its coordinates are NaN. Ids count
            through all categories, as in the data that the model was trained with.
        parts: names of the category's parts by id.
        counts: points of each part by name.
        scores: accuracy and mean IoU where the file holds true labels.
        cloud: the input, for writing it back with its labels.
    """

    source: str
    error: str | None = None
    name: str = ""
    category: str = ""
    labels: NDArray[Any] | None = None
    parts: Mapping[int, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    points_read: int = 0
    points_used: int = 0
    notices: tuple[str, ...] = ()
    truth: NDArray[Any] | None = None
    cloud: Cloud | None = None
    drawing: Drawing | None = None
    query: SegmentationQuery = field(default_factory=SegmentationQuery)

    def __str__(self) -> str:
        total = max(1, sum(self.counts.values()))
        shares = ", ".join(f"{name} {count / total:.0%}" for name, count in self.counts.items())
        lines = [f"{self.source}: {self.category}: {shares}"]
        if self.scores:
            lines.append("  against the file's labels: " + ", ".join(f"{k} {v:.1%}" for k, v in self.scores.items()))
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but clouds and labels, ready for `json.dumps`; labels go into the labelled cloud."""
        return {
            "category": self.category,
            "parts": {str(number): name for number, name in self.parts.items()},
            "counts": dict(self.counts),
            "scores": dict(self.scores),
            "points_read": self.points_read,
            "points_used": self.points_used,
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write the cloud with its labels, `<name>.json` and, where the query asks for them, pictures."""
        from domains.point_cloud.output import labelled as writing
        from domains.point_cloud.output import pictures

        assert self.cloud is not None and self.labels is not None
        colors = pictures.part_colors(self.labels, self.parts)
        labelled = writing.write_labelled(self.cloud, self.labels, Path(folder), self.name, self.query.format, colors)
        return [labelled, *pictures.save_result(self, Path(folder), self.category)]
