"""A backbone with its adapter, loaded once, and a cloud as it takes it: what classifier and segmenter share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.point_cloud.data import sampling
from domains.point_cloud.data.channels import values_of
from domains.point_cloud.data.inputs import Opened
from domains.point_cloud.data.readers import formats
from domains.point_cloud.model import forward
from domains.point_cloud.model.manifest import BANK, Stated, from_manifest
from domains.point_cloud.model.prior import PointPrior, prior_of
from domains.point_cloud.output import viewer
from domains.point_cloud.output.pictures import Drawing
from domains.point_cloud.output.result import MOST_CARDS, Result, card, contact_sheet
from domains.point_cloud.types import ClassificationQuery, SegmentationQuery
from suite import adapters, hub
from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.hub import weights
from suite.prediction.folder import ResultFolder, Sheet, Table, whole_record
from suite.prediction.loading import choose

DOMAIN = "point_cloud"

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Ready:
    """A cloud as the model takes it.

    Attributes:
        points: (n, 3 + channels) float32, thinned and normalised. places: the same points where the input has them, y
            up.
        order: which point of the input each is, where they are all of its points; None where they are not.
    """

    opened: Opened
    points: Tensor
    places: NDArray[np.float64]
    order: NDArray[np.int64] | None
    notices: tuple[str, ...]


class CloudPredictor:
    """A backbone with its adapter, loaded once; what classifier and segmenter share.

    Args:
        model: a backbone with adapters, in evaluation mode.
        settings: how clouds are prepared.
        prior: Point-PEFT's memory, where the adapter has one.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(formats.READERS)

    _kin: str | None = None
    """The classifier that names the categories of one that cuts into parts, where there is one."""

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
        device = choose_device(device)
        computed = choose_dtype(dtype, device, auto=torch.float32)
        chosen = choose(adapter, base, DOMAIN)
        settings = Stated.from_dict(chosen.settings, chosen.folder)
        cls.check_kind(adapter, settings)
        model = from_manifest(chosen.folder, chosen.base_folder())
        bank = chosen.folder / BANK
        prior = prior_of(model, weights.read(bank)["bank"]) if bank.is_file() else None
        loaded = cls(model, settings, prior=prior, device=device, dtype=computed)
        loaded._kin = _classifier_of(chosen.base, settings)
        return loaded

    @classmethod
    def check_kind(cls, adapter: str, settings: Stated) -> None:
        """Refuse an adapter of the other task, before its weights are read.

        Raises:
            InputError: it is one.
        """

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
        if self.settings.inputs and places is not opened.cloud.points:
            raise InputError(
                "points between those of a cloud have places alone, and the adapter sees more; leave out --upsample"
            )
        notices = [*opened.cloud.notes, *sampling.place_notes(places, self.settings.normalise)]
        far = sampling.strays(places) if self.settings.normalise else np.zeros(len(places), dtype=bool)
        if far.any() and len(places) - int(far.sum()) >= self.needed:
            notices.append(f"{int(far.sum())} stray points far from all others do not count")
            index = np.flatnonzero(~far)
        else:
            index = np.arange(len(places))
        # An order that the content chooses: the file's own would decide where sampling starts.
        if len(index) <= sampling.MOST:
            index = index[sampling.canonical_order(places[index])]
        points = sampling.unit_sphere(places[index]) if self.settings.normalise else places[index]
        kept = sampling.thin(points, sampling.MOST, opened.seed)
        if len(kept) < len(points):
            notices.append(f"{len(kept)} of {len(points)} points drawn at random before sampling")
            kept = kept[sampling.canonical_order(points[kept])]
        if len(kept) < self.settings.npoints:
            notices.append(f"{len(kept)} points, the model was trained with {self.settings.npoints}")
        index = index[kept]
        whole = places is opened.cloud.points and len(index) == len(places)
        seen = points[kept]
        if self.settings.inputs:
            seen = np.concatenate([seen, self.values(opened)[index]], 1)
        seen = torch.from_numpy(seen.astype(np.float32))
        return Ready(opened, seen, places[index], index if whole else None, tuple(notices))

    def values(self, opened: Opened) -> NDArray[np.float32]:
        """What the model sees of each point beside its place, (N, channels).

        Raises:
            InputError: the cloud has no such values.
        """
        assert opened.cloud is not None
        if not self.settings.inputs:
            return np.empty((len(opened.cloud.points), 0), dtype=np.float32)
        return values_of(opened.cloud.fields, self.settings.inputs, opened.up)

    def logits(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        """Logits of points (B, N, 3) on the CPU, in float32."""
        points = points.to(self.device)
        category = None if category is None else category.to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self._mixed):
            return forward.predict_logits(self.model, points, category=category, prior=self.prior).float().cpu()

    @property
    def _mixed(self) -> bool:
        return self.dtype != torch.float32


def _classifier_of(base: str, settings: Stated) -> str | None:
    """The embedded classifier on the same base that knows every category of an adapter for parts."""
    if not settings.parts:
        return None
    for entry in hub.catalogue(DOMAIN, "adapter"):
        if entry.embedded and entry.base == base:
            section = adapters.read_manifest(hub.resolve(entry.reference, kind="adapter"))["domain"]
            if not section.get("parts") and set(settings.parts) <= set(section.get("classes", ())):
                return entry.reference
    return None


def summarised(
    out: ResultFolder | str | Path | None, query: ClassificationQuery | SegmentationQuery, inputs: Any
) -> ResultFolder:
    """The folder of results, which says of all of them what the query asks for: tables and a contact sheet."""
    known = [inputs] if isinstance(inputs, str | Path) else inputs if isinstance(inputs, Sequence) else []
    folder = ResultFolder.of(out).beside(known).summarise(Table("predictions", whole_record, jsonl=True))
    return folder.summarise(Sheet(card, contact_sheet, MOST_CARDS)) if query.picture else folder


def viewed(results: Iterable[R], out: Path | None) -> Iterator[R]:
    """The results; after the last one all are shown."""
    drawings: list[tuple[str, Drawing]] = []
    for result in results:
        if result.drawing is not None:
            drawings.append((f"{Path(result.source).name}: {result.caption}", result.drawing))
        yield result
    viewer.show(drawings, out)


def name_of(source: str) -> str:
    """What the files of an input's result are called after."""
    return Path(source).name.replace(" ", "_") or "cloud"
