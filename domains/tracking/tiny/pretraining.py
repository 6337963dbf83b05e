"""Pre-training of the small DINOv2: what of one view is where in another, and what is under patches that are not shown.

Two views of one still scene, moved, turned, scaled and coloured apart, go through the transformer as one sequence, as
crops do in a tracker. Patches of one view are to be those of the other that show the same (dense contrastive learning:
VADeR, Pinheiro et al., arXiv 2011.05499), those of the larger view are to say how far what the other shows reaches
(UP-DETR, Dai et al., arXiv 2011.09094), and hidden ones are to be predicted, for which the other may be looked at
(CroCo, Weinzaepfel et al., arXiv 2210.10716). Where things are is known from how the views were cut, around figures of
kinds that no sequence has. Nothing moves, nothing is followed, and no figure's box or outline is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from domains.tracking.data import world
from domains.tracking.data.crops import normalised
from domains.tracking.model.heads import reference_points
from domains.tracking.model.losses import overlaps
from suite.training.kept import Progress
from suite.training.plain import Schedule, train

SCHEDULE = Schedule(steps=1600, batch=40, lr=2e-3, warmup=100, decay=0.02, betas=(0.9, 0.98))
BOUNDS = Schedule(steps=800, batch=40, lr=1e-3, warmup=50, decay=0.02, betas=(0.9, 0.98), seed=1)
"""Matches and hidden patches first; then also where views end, which patches can say once they know their match."""
SCENES, PAIRS = 800, 6
"""Scenes, and pairs of views cut out of each."""
SIDE, SMALL_SIDE, PATCH, WIDTH, DEPTH, HEADS = 140, 70, 14, 64, 4, 2
GRID, SMALL_GRID = SIDE // PATCH, SMALL_SIDE // PATCH
HIDDEN = 0.25
"""Share of the larger view's patches that are not shown."""
SMALL = 0.1
"""How large embeddings of patches and places are at first."""
POOLED = 7
"""Pixels of a side of a patch, as it is to be predicted."""
TEMPERATURE = 0.1
PREDICTED, BOUNDED = 5.0, 3.0
"""Weights of the prediction of pixels, and in `BOUNDS` of where a view ends, against that of matches."""


class Pairs(NamedTuple):
    """Views of scenes, and which patch of one shows what a patch of the other does."""

    small: Tensor  # (pairs, 3, SMALL_SIDE, SMALL_SIDE), uint8
    large: Tensor  # (pairs, 3, SIDE, SIDE), uint8
    to_large: Tensor  # (pairs, SMALL_GRID²), patches of the large view, -1 where there is none
    to_small: Tensor  # (pairs, GRID²), patches of the small view, -1 where there is none
    boxes: Tensor  # (pairs, 4), of what the small view shows, x1, y1, x2, y2 in parts of the large view

    def take(self, chosen: Tensor) -> Pairs:
        """Some of them."""
        return Pairs(*(each[chosen] for each in self))


class View(NamedTuple):
    """A square cut out of a scene: `scene = turn @ view + shift`."""

    side: int
    turn: NDArray[np.float64]  # (2, 2)
    shift: NDArray[np.float64]  # (2,)

    def picture(self, scene: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(side, side, 3), coloured anew; what is outside of the scene has its mean colour."""
        mean = tuple(int(channel) for channel in np.asarray(scene).mean((0, 1)))
        (a, b), (c, d) = self.turn
        numbers = (a, b, self.shift[0], c, d, self.shift[1])
        cut = scene.transform(
            (self.side, self.side), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR, fillcolor=mean
        )
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            cut = kind(cut).enhance(rng.uniform(0.85, 1.15))
        return np.asarray(cut)

    def matches(self, other: View, size: tuple[int, int]) -> NDArray[np.int64]:
        """For each patch the one of the other view in which its middle is; -1 where it is in none."""
        grid = np.arange(self.side // PATCH) * PATCH + PATCH / 2
        middles = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)  # (patches, 2), x and y
        places = middles @ self.turn.T + self.shift
        cells = np.floor((places - other.shift) @ np.linalg.inv(other.turn).T / PATCH).astype(np.int64)
        count = other.side // PATCH
        inside = ((cells >= 0) & (cells < count)).all(1) & ((places >= 0) & (places < size)).all(1)
        return np.where(inside, cells[:, 1] * count + cells[:, 0], -1)

    def box_in(self, other: View) -> NDArray[np.float64]:
        """The box of the other view that what this one shows reaches to, clipped: (4,), in parts of its side."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * self.side @ self.turn.T + self.shift  # (4, 2)
        there = (corners - other.shift) @ np.linalg.inv(other.turn).T / other.side
        return np.concatenate([there.min(0), there.max(0)]).clip(0, 1)


def pairs(scenes: int = SCENES) -> Pairs:
    """All pairs of views of the first `scenes` scenes."""
    found = [pair for number in range(scenes) for pair in views(number)]
    small, large, *places = (torch.from_numpy(np.stack(each)) for each in zip(*found, strict=True))
    to_large, to_small, boxes = places
    return Pairs(_channels_first(small), _channels_first(large), to_large, to_small, boxes.float())


def views(number: int) -> Iterator[tuple[NDArray[Any], ...]]:
    """Pairs of one still scene, as `Pairs` holds them."""
    scene, rng = world.still_scene(number), np.random.default_rng([1, number])
    picture = Image.fromarray(scene.picture(0))
    for _ in range(PAIRS):
        actor = scene.actors[int(rng.integers(len(scene.actors)))]
        middle = actor.places[0] + rng.uniform(-15, 15, 2)
        scale = math.exp(rng.uniform(math.log(0.45), math.log(1.1)))
        small = _view(SMALL_SIDE, middle, scale, rng)
        scale *= math.exp(rng.uniform(math.log(0.8), math.log(1.9)))
        large = _view(SIDE, middle + rng.uniform(-42, 42, 2) / scale, scale, rng)
        size = (scene.width, scene.height)
        yield (
            small.picture(picture, rng),
            large.picture(picture, rng),
            small.matches(large, size),
            large.matches(small, size),
            small.box_in(large),
        )


def _view(side: int, middle: NDArray[np.float64], scale: float, rng: np.random.Generator) -> View:
    """A view around a place, turned a little."""
    angle = math.radians(rng.uniform(-20, 20))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / scale
    return View(side, turn, middle - turn @ np.full(2, side / 2))


def _channels_first(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2).contiguous()


def new(seed: int = 0) -> Dinov2Model:
    """The untrained transformer: pictures of 140 pixels in patches of 14 through four blocks."""
    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        layerscale_value=0.5,
    )
    vit = Dinov2Model(config)
    # As they are drawn, patches would be a hundred times as large as places, which no step of minutes makes up for; and
    # a tracker's kinds of tokens, which start as small as places do, would not be seen either.
    with torch.no_grad():
        vit.embeddings.patch_embeddings.projection.weight.mul_(SMALL)
        vit.embeddings.position_embeddings[:, 1:] = SMALL * places(GRID, WIDTH)
    return vit


def places(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (1, grid * grid, width), in -1 to 1."""
    rates = math.pi / grid * 2 ** torch.linspace(0, math.log2(grid), width // 4)  # (width / 4,)
    waves = torch.arange(grid)[:, None] * rates
    line = torch.cat([waves.sin(), waves.cos()], 1)  # (grid, width / 2)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], -1).reshape(1, grid * grid, width)


class Losses(NamedTuple):
    """What one batch gives."""

    matched: Tensor
    predicted: Tensor
    bounded: Tensor


class Answers(nn.Module):
    """The transformer with what answers and is thrown away: layers for patches and for boxes, a score of no match."""

    def __init__(self, vit: Dinov2Model) -> None:
        super().__init__()
        self.vit = vit
        self.predict = nn.Linear(vit.config.hidden_size, 3 * POOLED * POOLED)
        self.sides = nn.Linear(vit.config.hidden_size, 4)
        self.nowhere = nn.Parameter(torch.tensor(3.0))

    def tokens(self, small: Tensor, large: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Both views through one transformer: (batch, SMALL_GRID², width) and (batch, GRID², width).

        The small view has the first rows and columns of the table of places, as a tracker's templates have.
        """
        embeddings = self.vit.embeddings
        table = embeddings.position_embeddings[:, 1:].view(1, GRID, GRID, -1)
        own = embeddings.patch_embeddings(small) + table[:, :SMALL_GRID, :SMALL_GRID].flatten(1, 2)
        both = torch.cat([embeddings(large, bool_masked_pos=hidden), own], 1)  # (batch, 1 + GRID² + SMALL_GRID², width)
        out = self.vit.layernorm(self.vit.encoder(both).last_hidden_state)[:, 1:]
        return out[:, GRID**2 :], out[:, : GRID**2]

    def losses(self, pairs: Pairs, hidden: Tensor) -> Losses:
        """Cross-entropy of matches both ways, the mean difference of what is predicted of hidden patches, and how badly
        the boxes that patches of the large view give of the small one overlap with the true ones.

        Args:
            hidden: (batch, GRID²), bool, patches of the large view.
        """
        small, large = normalised(pairs.small), normalised(pairs.large)
        of_small, of_large = self.tokens(small, large, hidden)
        patches = _patches(functional.avg_pool2d(large, PATCH // POOLED), POOLED)  # (batch, GRID², 3 * POOLED²)
        predicted = functional.smooth_l1_loss(self.predict(of_large[hidden]), patches[hidden])
        alike = functional.normalize(of_small, dim=-1) @ functional.normalize(of_large, dim=-1).mT / TEMPERATURE
        # What looks like nothing in particular can't be told from its neighbours: it counts less.
        there = _weighed(alike, pairs.to_large, _patches(small, PATCH))
        # Most patches of the large view are nowhere in the small one, which is to be known too.
        nowhere = self.nowhere.expand(len(large), GRID**2, 1)
        back = torch.cat([alike.mT, nowhere], -1)  # (batch, GRID², SMALL_GRID² + 1)
        target = torch.where(pairs.to_small < 0, SMALL_GRID**2, pairs.to_small)
        matched = there + _weighed(back, target, _patches(large, PATCH))
        return Losses(matched, predicted, self._bounded(of_large, pairs))

    def _bounded(self, of_large: Tensor, pairs: Pairs) -> Tensor:
        """Mean of 1 - generalised IoU over the patches (batch, GRID², width) that are in both views."""
        places = reference_points(GRID).flatten(0, 1)  # (GRID², 2)
        left_top, right_bottom = self.sides(of_large).sigmoid().split(2, -1)
        found = torch.cat([places - left_top, places + right_bottom], -1)  # (batch, GRID², 4)
        generalised = overlaps(found, pairs.boxes[:, None].expand_as(found))[1]  # (batch, GRID²)
        return (1 - generalised)[pairs.to_small >= 0].mean()


def _patches(pictures: Tensor, side: int) -> Tensor:
    """(batch, patches, 3 * side²)."""
    return functional.unfold(pictures, side, stride=side).mT


def _weighed(scores: Tensor, targets: Tensor, patches: Tensor) -> Tensor:
    """Cross-entropy (batch, n, classes) against (batch, n), -1 left out, patches by how much is in them."""
    each = functional.cross_entropy(scores.mT, targets, ignore_index=-1, reduction="none")  # (batch, n)
    weights = (patches.std(-1) + 0.1) * (targets >= 0)
    return (each * weights).sum() / weights.sum().clamp(min=1e-6)


def hidden_patches(batch: int, rng: torch.Generator) -> Tensor:
    """Which patches are hidden, in squares of two by two: (batch, patches), bool."""
    coarse = torch.rand(batch, GRID // 2, GRID // 2, generator=rng)
    order = coarse.flatten(1).argsort(1).argsort(1)
    hidden = (order < round(HIDDEN * order.shape[1])).view_as(coarse)
    return hidden.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)


def pretrain(
    pool: Pairs,
    vit: Dinov2Model,
    schedule: Schedule = SCHEDULE,
    progress_file: Path | None = None,
    *,
    bounded: float = 0.0,
) -> Dinov2Model:
    """Train the transformer by one schedule, with answering layers of its own; it comes back in evaluation mode.

    Args:
        progress_file: where it is kept how far the training is, so that it goes on after a stop.
        bounded: weight of where the small view ends.
    """
    rng = torch.Generator().manual_seed(schedule.seed)
    model = Answers(vit)

    def loss() -> Tensor:
        chosen = torch.randint(len(pool.small), (schedule.batch,), generator=rng)
        losses = model.losses(pool.take(chosen), hidden_patches(schedule.batch, rng))
        loss = losses.matched + PREDICTED * losses.predicted
        return loss + bounded * losses.bounded if bounded else loss

    model.train()
    progress = Progress(progress_file, rng, f"{schedule} {len(pool.small)}")
    train("base", model, loss, schedule, progress=progress)
    progress.finish()
    return vit.eval()


def pretrained(
    pool: Pairs, schedules: tuple[Schedule, Schedule] = (SCHEDULE, BOUNDS), progress_file: Path | None = None
) -> Dinov2Model:
    """The transformer by both schedules.

    Args:
        progress_file: as for `pretrain`; the second one's is beside it.
    """
    first, second = schedules
    beside = None if progress_file is None else progress_file.with_stem(f"{progress_file.stem}_bounds")
    vit = new(first.seed)
    if beside is None or not beside.is_file():  # which holds all that the first one taught
        pretrain(pool, vit, first, progress_file)
    return pretrain(pool, vit, second, beside, bounded=BOUNDED)
