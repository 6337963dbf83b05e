"""A cloud, and what point-cloud prediction is asked for. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError
from suite.prediction.options import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLES = 8192
"""Points drawn from a mesh's surface."""

MOST_SEED = 2**63
"""Below it are the seeds that NumPy's and torch's generators both take."""

Renderer = Literal["splat", "open3d"]

Shading = Literal["height", "patches", "influence", "spectrum", "chunks"]
"""What a picture's colours tell: height; the nearest patch; how much of the pooled feature each patch gave; the energy
of each patch in the upper half of the graph's spectrum; the chunk of each patch in Morton order."""


@dataclass(frozen=True)
class Cloud:
    """Points of one file, in the file's order and units.

    Attributes:
        points: (N, 3) float64.
        fields: every other value of a point by name, (N,) or (N, k), in the file's own dtype and order.
        sampled: True where the points were drawn from a mesh's surface.
        notes: what a user should know: dropped points, vertices used for a mesh without faces, and the like.
    """

    source: str
    points: NDArray[np.float64]
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sampled: bool = False
    notes: tuple[str, ...] = ()


def _check(query: ClassificationQuery | SegmentationQuery) -> None:
    normalise(query)
    if query.seed is not None and not 0 <= query.seed < MOST_SEED:
        raise InputError(f"seed is {query.seed}; give 0 to {MOST_SEED - 1}")


@dataclass(frozen=True)
class ClassificationQuery:
    """What one classification is asked for; the fields are the options of `suite point_cloud predict`.

    Attributes:
        top: how many classes to tell, the likeliest first.
        vote: passes over augmented copies whose mean logits decide; 1 is one plain pass.
        samples: points drawn from a mesh's surface; 0 takes its vertices instead.
        seed: of drawing, thinning and voting; 0 where it is left out.
        up: axis that points up in the files; y, as the benchmarks have it, or z.
        strict: refuse points with NaN or infinite coordinates instead of dropping them.
        upsample: add points between those of a cloud that has too few.
        batch_size: clouds side by side; changes the speed, never the result.
        colour: what the colours of the pictures tell: height, patches, influence, spectrum or chunks.
        picture: write a picture of each cloud and a contact sheet.
        renderer: what draws pictures: splat, which needs nothing, or open3d, replaced by splat where it cannot draw.
        turntable: write a turning picture (GIF) of each cloud too.
        view: show the clouds in a window, or write viewer.html where there is no display.
    """

    top: int = 5
    vote: int = 1
    samples: int = SAMPLES
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

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class SegmentationQuery:
    """What one segmentation is asked for: the options of `suite point_cloud predict --task segmentation`.

    Attributes:
        category: of the shapes, which decides the parts to choose from; `auto` asks the classifier, and where there is
            none takes the category whose parts are likeliest all together.
        classifier: reference of the adapter that names the category; `auto` takes the catalogue's on the same base that
            knows the same categories, `none` the likeliest parts.
        samples: points drawn from a mesh's surface; 0 takes its vertices instead.
        seed: of drawing and of the subsets of large clouds; 0 where it is left out.
        up: axis that points up in the files: y or z.
        strict: refuse points with NaN or infinite coordinates instead of dropping them.
        upsample: add points between those of a cloud that has too few; they get no label in the output.
        passes: subsets in which each point of a large cloud takes part at least (1 where it is left out), or passes
            over a scene (4), each with the grid of its blocks shifted; their scores are averaged.
        format: of the labelled cloud: as the input, or ply, las, npy, xyz, csv or pcd.
        truth: field of the input that holds true labels, for a picture and the scores; `auto` looks for one.
        picture: write a picture of each cloud and a contact sheet.
        renderer: what draws pictures: splat, which needs nothing, or open3d, replaced by splat where it cannot draw.
        turntable: write a turning picture (GIF) of each cloud too.
        view: show the clouds in a window, or write viewer.html where there is no display.
    """

    category: str = "auto"
    classifier: str = "auto"
    samples: int = SAMPLES
    seed: int | None = None
    up: Literal["y", "z"] = "y"
    strict: bool = False
    upsample: bool = False
    passes: int | None = None
    format: Literal["input", "ply", "las", "npy", "xyz", "csv", "pcd"] = "input"
    truth: str = "auto"
    picture: bool = True
    renderer: Renderer = "splat"
    turntable: bool = False
    view: bool = False

    def __post_init__(self) -> None:
        _check(self)
