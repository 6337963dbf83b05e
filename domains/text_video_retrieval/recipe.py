"""The recipe: TempMe on a frozen CLIP, sentences and videos of a batch against each other (arXiv 2409.01156)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint
from torchmetrics import MetricCollection

from domains.text_video_retrieval.metrics import Recall
from domains.text_video_retrieval.model import attachments, bases
from domains.text_video_retrieval.model.adamw import AdamW, cosine_factor
from domains.text_video_retrieval.model.costs import video_cost
from domains.text_video_retrieval.model.manifest import Stated
from domains.text_video_retrieval.model.schedule import Schedule
from domains.text_video_retrieval.model.similarity import contrastive_loss, gather, similarity
from domains.text_video_retrieval.model.tempme import TempMe
from suite import hub
from suite.adapters.section import AdapterSection
from suite.clip import pictures, words
from suite.errors import InputError
from suite.training import AdapterModule, Outputs
from suite.training.best import KeepBest

TEMPME: dict[str, Any] = {"preset": "tempme"}
DEFAULT_SCHEDULE: dict[str, Any] = {"preset": "vit-b-32"}


@dataclass
class RetrievalOutputs(Outputs):
    """A batch's loss, with the vectors of its sentences and videos."""

    texts: Tensor | None = None
    vectors: Tensor | None = None


class TempMeRecipe(AdapterModule):
    """Contrastive fine-tuning of both towers, the image tower merging tokens as it goes.

    Args:
        base: reference of the CLIP.
        architecture: its class and configuration, for counting without its weights.
        adapter: what is attached: `{preset: tempme, <settings>}` (one LoRA for query, key and value), `{preset: lora}`
            (one for each), `{preset: full}`, or `{method: ..., targets: ..., <settings>}` with any method of the core.
        schedule: of merging: `{preset: vit-b-32}`, `vit-b-16`, their `-64-frames`, or `image` (no merging), and in
            the authors' words merge_layer, merge_frame_num, merge_token_proportion, tome_r, frame_pos, prop_attn.
        frames: of a video.
        max_words: tokens of a sentence, start and end counted.
        text_tower: adapt the text tower too; without it sentences' vectors stay the base's.
        same_video: whether another sentence of the same video in a batch is a negative (as published) or left out.
        grad_cache: pairs that are encoded at once; their activations are recomputed, so that memory is theirs alone
            while the loss is the whole batch's. None: the whole batch.
        rates: `published` is the authors' optimiser (AdamW with eps 1e-6 and its decay after the step, warm-up from
            zero, cosine); `trainer` leaves it to the trainer.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = TEMPME,
        schedule: dict[str, Any] = DEFAULT_SCHEDULE,
        frames: int = 12,
        max_words: int = 32,
        text_tower: bool = True,
        same_video: Literal["negative", "left_out"] = "negative",
        grad_cache: int | None = None,
        rates: Literal["trainer", "published"] = "trainer",
    ) -> None:
        super().__init__(base, architecture)
        if frames < 1 or max_words < 3:
            raise InputError(f"recipe: frames is {frames} and max_words {max_words}; give at least 1 and 3")
        if grad_cache is not None and grad_cache < 1:
            raise InputError(f"recipe.grad_cache is {grad_cache}; give at least 1, or null for whole batches")
        self.adapter = AdapterSection.of(adapter, attachments.PRESETS)
        self.schedule, self.frames, self.max_words = Schedule.of(schedule), frames, max_words
        self.text_tower, self.same_video = text_tower, same_video
        self.grad_cache, self.rates = grad_cache, rates
        self.data: dict[str, Any] = {}

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":
            skeleton = bases.skeleton(self.base, self.architecture, self.schedule, self.frames)
            return attachments.attach_section(skeleton, self.adapter, text=self.text_tower)
        # Wherever it is to train: transformers would load to the device that is current, and draws differ by device.
        with torch.device("cpu"):
            model = bases.load(self.base, self.schedule, self.frames)
            return attachments.attach_section(model, self.adapter, text=self.text_tower)

    def bind(self, data: Any) -> None:
        folder = hub.resolve(self.base, bases.DOMAIN, kind="base")
        look = pictures.of_base(folder)
        data.meet(self.frames, look, words.of_base(folder, self.max_words))
        selected = data.sources["val"] or ""
        self.data = {"data": _bare(data.sources["train"]), "selected_on": _bare(selected), "fps": float(data.fps)}
        self.data["pictures"] = asdict(look)

    def compute(self, batch: dict[str, Tensor]) -> RetrievalOutputs:
        texts, vectors = self.encoded(batch)
        numbers = batch["video"]
        logits = self.logit_scale() * similarity(gather(texts), gather(vectors))  # (B, B) of all ranks
        same = None
        if self.same_video == "left_out":
            every = gather(numbers)
            same = every[:, None] == every
        losses = contrastive_loss(logits, same)
        return RetrievalOutputs(
            losses.mean(),
            losses if len(losses) == len(texts) else None,
            weight=len(texts),
            texts=texts,
            vectors=vectors,
        )

    def encoded(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Vectors of a batch's sentences and videos (B, dim), by `grad_cache` at a time."""
        inputs = (batch["tokens"], batch["words"], batch["frames"])
        if self.grad_cache is None or not torch.is_grad_enabled():
            return self._encode(*inputs)
        parts = zip(*(each.split(self.grad_cache) for each in inputs), strict=True)
        encoded = [checkpoint(self._encode, *part, use_reentrant=False) for part in parts]
        texts, vectors = zip(*encoded, strict=True)
        return torch.cat(texts), torch.cat(vectors)

    def _encode(self, tokens: Tensor, mask: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        model: Any = self.model
        return model.encode_text(tokens, mask), model.encode_video(frames)

    def logit_scale(self) -> Tensor:
        """exp of the base's scale, at most 100."""
        return self.model.logit_scale.float().clamp(max=math.log(100)).exp()

    def metrics(self) -> MetricCollection:
        return MetricCollection({"recall": Recall(), "recall_to_text": Recall(to_text=True)}, compute_groups=False)

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: dict[str, Tensor]) -> None:
        assert isinstance(outputs, RetrievalOutputs)
        metrics.update(outputs.texts, outputs.vectors, batch["video"], batch["pair"])

    def labels(self) -> dict[str, str]:
        return {
            "train/loss": "loss on training pairs",
            "val/loss": "loss on held-out pairs",
            "val/recall": "held-out sentences that find their video first, percent",
            "val/recall_to_text": "held-out videos that find their sentence first, percent",
        }

    def stated(self) -> Stated:
        """What the adapter says of itself."""
        return Stated(frames=self.frames, words=self.max_words, schedule=self.schedule, **self.data)

    def extra(self) -> dict[str, Any]:
        return replace(self.stated(), reached=self._reached()).to_dict()

    def _reached(self) -> dict[str, float]:
        """What the validation said that chose the weights; nothing before there was one."""
        callbacks: list[Any] = [] if self._trainer is None else getattr(self.trainer, "callbacks", [])
        kept = [one for one in callbacks if isinstance(one, KeepBest)]
        return {name: round(value, 4) for one in kept for name, value in sorted(one.metrics.items())}

    def costs(self) -> dict[str, str]:
        model: TempMe = self.model
        vision = model.clip_config.vision_config
        dim = model.clip_config.projection_dim
        plain = Schedule.of({"preset": "image"}).plan(self.frames, model.plan.steps[0].tokens, vision.num_hidden_layers)
        rank = int(self.adapter.settings.get("r", 8))
        return {
            "a video": str(video_cost(vision, model.plan, rank=rank, dim=dim)),
            "without merging": str(video_cost(vision, plain, rank=0, dim=dim)),
        }

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite text_video_retrieval index FOLDER --adapter {where}", 'suite text_video_retrieval search "..."']

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.rates == "trainer":
            return super().configure_optimizers()
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = AdamW(trained, lr=self.settings.lr, weight_decay=self.settings.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = self.settings.warmup
        factor: Callable[[int], float] = cosine_factor(int(warmup * steps if warmup < 1 else warmup), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def _bare(source: str) -> str:
    """A source without a path of this machine."""
    return source if source.startswith("world") else Path(source).name
