"""From clouds and meshes to classes: files, folders, arrays or standard input through a backbone and its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.point_cloud.data import clouds, inputs
from domains.point_cloud.data import points as sampling
from domains.point_cloud.data.augment import scale_translate
from domains.point_cloud.data.inputs import Opened
from domains.point_cloud.inference.insight import explain
from domains.point_cloud.model import forward
from domains.point_cloud.model.manifest import Stated, from_manifest
from domains.point_cloud.model.prior import PointPrior, prior_of
from domains.point_cloud.output import pictures, tables, viewer
from domains.point_cloud.types import ClassificationQuery, ClassificationResult, Drawing, SegmentationQuery
from suite import adapters, hub
from suite.errors import InputError
from suite.hub import weights

DOMAIN = "point_cloud"
BANK = "bank.safetensors"

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Ready:
    """A cloud as the model takes it.

    Attributes:
        points: (n, 3) float32, thinned and normalised. places: the same points where the input has them, y up.
        whole: whether they are all of the input's points, in its order.
    """

    opened: Opened
    points: Tensor
    places: NDArray[np.float64]
    whole: bool
    notices: tuple[str, ...]


class CloudPredictor:
    """A backbone with its adapter, loaded once; what classifier and segmenter share.

    Args:
        model: a backbone with adapters, in evaluation mode.
        settings: how clouds are prepared.
        prior: Point-PEFT's memory, where the adapter has one.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(clouds.READERS)

    def __init__(
        self,
        model: nn.Module,
        settings: Stated,
        *,
        prior: PointPrior | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.model, self.settings, self.prior = model.to(self.device).eval(), settings, prior
        outputs = getattr(model, "head_config", None) is None and model.config.cls_dim
        if outputs and outputs != len(settings.classes):
            raise InputError(f"the adapter names {len(settings.classes)} classes and its head has {outputs} outputs")

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a backbone and an adapter.

        Args:
            adapter: reference of the adapter.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto (float32), float32, bfloat16 or float16; distances and bases stay in float32.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        folder = hub.resolve(adapter, DOMAIN, kind="adapter")
        manifest = adapters.read_manifest(folder)
        settings = Stated.from_dict(manifest["domain"], folder)
        reference = base or manifest["base"]["reference"]
        if not reference:
            raise InputError(f"{folder}: the adapter does not name its base; give one with --base")
        model = from_manifest(folder, hub.resolve(reference, DOMAIN, kind="base"))
        bank = folder / BANK
        prior = prior_of(model, weights.read(bank)["bank"]) if bank.is_file() else None
        return cls(model, settings, prior=prior, device=_device(device), dtype=_dtype(dtype))

    @property
    def needed(self) -> int:
        """Fewest distinct points of a cloud: as many as patches, and as one patch holds."""
        return self.model.config.least_points

    @property
    def depends_on_companions(self) -> bool:
        """Whether a cloud's result changes with the clouds beside it, as in the authors' released modes."""
        modes = [
            getattr(config, name, None)
            for module in self.model.modules()
            for config in (getattr(module, "settings", None) or {}).values()
            for name in ("basis", "indexing")
        ]
        return "released" in modes

    def prepare(self, opened: Opened, *, upsample: bool = False) -> Ready:
        """The points that the model sees of one cloud.

        Raises:
            InputError: it has too few distinct points, or cannot be normalised.
        """
        assert opened.cloud is not None
        places = sampling.check_size(opened.cloud.points, self.needed, upsample)
        notices = [*opened.cloud.notes, *sampling.place_notes(places, self.settings.normalise)]
        points = sampling.unit_sphere(places) if self.settings.normalise else places
        kept = sampling.thin(points, sampling.MOST, opened.seed)
        if len(kept) < len(points):
            notices.append(f"{len(kept)} of {len(points)} points drawn at random before sampling")
        if len(kept) < self.settings.npoints:
            notices.append(f"{len(kept)} points, the model was trained with {self.settings.npoints}")
        whole = places is opened.cloud.points and len(kept) == len(places)
        return Ready(opened, torch.from_numpy(points[kept].astype(np.float32)), places[kept], whole, tuple(notices))

    def logits(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        """Logits of points (B, N, 3) on the CPU, in float32."""
        points = points.to(self.device)
        category = None if category is None else category.to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self._mixed):
            return forward.predict_logits(self.model, points, category=category, prior=self.prior).float().cpu()

    @property
    def _mixed(self) -> bool:
        return self.dtype != torch.float32

    def next_steps(self, out: Path | None) -> list[str]:
        """What to look at after a prediction."""
        return (
            [] if out is None else [f"open {out / 'contact_sheet.png'}"] if (out / "contact_sheet.png").exists() else []
        )


class PointCloudClassifier(CloudPredictor):
    """Clouds and meshes in, classes out.

    >>> classifier = PointCloudClassifier.from_pretrained("tiny")
    >>> classifier(points).label  # points: (N, 3)
    """

    def __call__(self, cloud: Any, **options: Any) -> ClassificationResult:
        """Classify one path, array (N, 3) or `Cloud`; options are the fields of `ClassificationQuery`.

        Raises:
            InputError: it cannot be classified.
        """
        [result] = self.predict([cloud], **options)
        if result.error is not None:
            raise InputError(f"{result.source}: {result.error}")
        return result

    def predict(self, inputs: Any, **options: Any) -> Iterator[ClassificationResult]:
        """Yield one result an input, in order; a cloud that cannot be read or used yields one with `error`.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, arrays (N, 3), `Cloud`s.
            **options: the fields of `ClassificationQuery`.
        """
        query = ClassificationQuery(**options)
        if query.vote < 1 or query.top < 1 or query.batch_size < 1:
            raise InputError("vote, top and batch_size must be at least 1")
        summary = Summary(query)
        names = Names()
        for batch in _batches(self._opened(inputs, query), query.batch_size):
            for result in self._classify(batch, query, names):
                summary.add(result, f"{result.label} {result.probability:.0%}")
                yield result
        summary.finish()

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
        return inputs.open_all(several, samples=query.samples, seed=query.seed, strict=query.strict, up=query.up)

    def _classify(
        self, batch: Sequence[Opened], query: ClassificationQuery, names: Names
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
                yield ClassificationResult(opened.source, errors[number], names.of(opened.source), query=query)
            else:
                yield self._result(ready[number], sampled[number][0], logits[number], query, names)

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
        self, ready: Ready, points: Tensor, logits: Tensor, query: ClassificationQuery, names: Names
    ) -> ClassificationResult:
        shares = logits.softmax(-1)
        best = shares.topk(min(query.top, len(shares)))
        scores = {self.settings.classes[i]: float(s) for s, i in zip(best.values, best.indices, strict=True)}
        label = next(iter(scores))
        assert ready.opened.cloud is not None
        return ClassificationResult(
            ready.opened.source,
            name=names.of(ready.opened.source),
            label=label,
            probability=scores[label],
            scores=scores,
            points_read=len(ready.opened.cloud.points),
            points_used=len(points),
            notices=ready.notices,
            drawing=self._drawing(ready, points, query),
            query=query,
        )

    def _drawing(self, ready: Ready, points: Tensor, query: ClassificationQuery) -> Drawing | None:
        if not (query.picture or query.turntable or query.view) or (query.out is None and not query.view):
            return None
        if query.colour == "height":
            return Drawing(ready.points.numpy(), renderer=query.renderer)
        seen = sampling.farthest(ready.points, self.settings.npoints)
        tokens = self._tokens(seen) if query.colour in ("influence", "spectrum") else None
        return replace(explain(self.model, seen, ready.points, query.colour, tokens), renderer=query.renderer)

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


def vote_copies(points: Tensor, count: int, vote: int, rng: torch.Generator) -> Tensor:
    """(vote, count, 3): random choices out of the farthest points, each scaled and shifted (Point-MAE's voting)."""
    pool = sampling.farthest(points, min(sampling.pool_size(count), len(points)))
    chosen = [pool[torch.randperm(len(pool), generator=rng)[:count]] for _ in range(vote)]
    return scale_translate(torch.stack(chosen), rng)


class Summary:
    """What a prediction says of all its inputs together: tables and the contact sheet, written at its end."""

    def __init__(self, query: ClassificationQuery | SegmentationQuery) -> None:
        self.out = None if query.out is None else Path(query.out)  # in Python a folder may be a string
        self.sheet, self.view = query.picture, query.view
        self.records: list[dict[str, Any]] = []
        self.cards: list[pictures.Pixels] = []
        self.drawings: list[tuple[str, Drawing]] = []

    def add(self, result: pictures.Result, caption: str) -> None:
        """Take note of one result."""
        self.records.append({"source": result.source, "error": result.error, **result.to_dict()})
        if self.view and result.drawing is not None:
            self.drawings.append((f"{Path(result.source).name}: {caption}", result.drawing))
        if self.sheet and self.out is not None and len(self.cards) < pictures.MOST_CARDS:
            self.cards.append(pictures.card(result, caption))

    def finish(self) -> None:
        """Write what there is to write, and show what is to be seen."""
        if self.out is not None and self.records:
            tables.write(self.records, self.out)
            if self.cards:
                pictures.contact_sheet(self.cards, self.out / "contact_sheet.png")
        if self.view:
            viewer.show(self.drawings, self.out)


Names = inputs.Names


def _batches(opened: Iterator[Opened], size: int) -> Iterator[list[Opened]]:
    while batch := list(islice(opened, size)):
        yield batch


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device}: no GPU that torch can use here; use --device cpu")
    return device


def _dtype(dtype: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32
    if dtype not in _DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; choose auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
