"""DreamBooth training (Ruiz et al., arXiv 2208.12242) with KronA (Marjit et al., arXiv 2402.17412) or its rivals."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from domains.personalized_diffusion.data.captions import Trigger
from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases, losses, methods, skeleton
from domains.personalized_diffusion.model.bases import Base, identity, lent
from domains.personalized_diffusion.model.conditioning import CHUNKED, Conditioning, side_by_side
from domains.personalized_diffusion.model.denoising import Timesteps, denoising_of
from domains.personalized_diffusion.model.latents import scaled_latents
from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.output.card import adapter_card
from domains.personalized_diffusion.output.samples import Samples, draw_samples
from suite import adapters, hub
from suite.adapters.nf4 import quantize_model
from suite.errors import InputError
from suite.files import write_text
from suite.training import AdapterModule, Outputs
from suite.training.caches import TensorCache

Weights = Literal["auto", "float32", "bfloat16", "float16", "nf4"]
DIFFUSEKRONA: dict[str, Any] = {"preset": "diffusekrona"}
LIBRARIES = ("torch", "diffusers", "transformers", "peft")


def _within_the_section(name: str) -> Callable[[Any], str]:
    return lambda value: f"adapter: {{preset: ..., {name}: {value}}}"


class DreamBoothRecipe(AdapterModule):
    """Teach a text-to-image base one subject from a few photos.

    Args:
        base: reference of the base, a diffusers pipeline of one of the families (`model/families.py`).
        architecture: configurations of its networks, for counting without weights.
        adapter: what is attached: `{preset: ..., <settings>}`, or any method as `{method: ..., targets: ...}`. The
            presets are `diffusekrona` and what it is compared with: `lora`, `lokr`, `loha`, `svdiff`, `full`. They
            take settings of their method (krona's `init`, `dropout`, `on_indivisible`) and
            `projections`: which of the attention's, by letter: `kqvo`, `kv`, ...; or `targets`, a regular expression
            over names of modules: `.*(to_[kqv]|ff.net.2)`;
            `factors` of diffusekrona: (a1, a2) for every projection, or by letter, `{k: [4, 64], v: [8, 64]}`;
            `layout` of diffusekrona: `kron` is the paper's, `official` the authors' code's;
            `rank` of lora, lokr and loha.
        text_encoder: adapt CLIP text encoders too; T5 stays frozen.
        text_lr: their learning rate; the trainer's by default.
        clip_skip: the layer of SD 1.x's and 2.x's text encoder that prompts are read from, counted from the last, which
            is 1; 2 is usual for bases that were trained so. The adapter remembers it.
        start: reference of an adapter to train on from; its settings replace the method's.
        prior_weight: of the class images' loss.
        snr_gamma: min-SNR weighting, usually 5; none by default.
        noise_offset: shifts the noise's mean by channel; 0 by default.
        timesteps: which noise levels are trained: `sampling` (uniform, logit_normal), `mean`, `std`, `lowest`,
            `highest`, `shift`.
        samples: a grid of pictures during training: `every`, `prompts` or `file`, `images`, `steps`, `guidance`,
            `seed`.
        weights: type of the frozen networks: `auto` is bfloat16 on a GPU and float32 elsewhere; `nf4` packs the
            denoiser's linear layers into 4 bits.
        low_memory: keep the text encoders and the VAE off the GPU but when they are needed, and let the VAE work in
            tiles.
    """

    renamed = {
        "method": lambda value: f"adapter: {{preset: {'diffusekrona' if value == 'krona' else value}}}",
        "options": lambda value: "adapter: {preset: ..., <each option>}",
        **{name: _within_the_section(name) for name in ("factors", "projections", "layout", "rank")},
    }

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = DIFFUSEKRONA,
        text_encoder: bool = False,
        text_lr: float | None = None,
        clip_skip: int = 1,
        start: str | None = None,
        prior_weight: float = 1.0,
        snr_gamma: float | None = None,
        noise_offset: float = 0.0,
        timesteps: dict[str, Any] | None = None,
        samples: dict[str, Any] | None = None,
        weights: Weights = "auto",
        low_memory: bool = False,
    ) -> None:
        super().__init__(base, architecture)
        self.change = methods.MethodSettings.of(adapter)
        self.text_encoder, self.text_lr, self.start = text_encoder, text_lr, start
        self.clip_skip = clip_skip
        self.prior_weight, self.snr_gamma, self.noise_offset = prior_weight, snr_gamma, noise_offset
        self.timesteps = Timesteps.of(timesteps)
        self.samples = Samples.of(samples) if samples else None
        if self.samples:
            self.samples.asked()
        self.weights, self.low_memory = weights, low_memory
        self.trigger: Trigger | None = None
        self._drawn = -1
        # In a list: a module as an attribute would become a part of this one, and of its checkpoints.
        self._data: list[PhotoData] = []

    @cached_property
    def backbone(self) -> Base:
        """The base, loaded once, on the CPU until training starts."""
        dtype = self.base_dtype if self.weights in ("auto", "nf4") else self.weights
        base = bases.load(self.base, dtype, "cpu").reading(self.clip_skip)
        if self.weights == "nf4":
            quantize_model(base.unet)
        if self.low_memory and hasattr(base.vae, "enable_tiling"):
            base.vae.enable_tiling()
        return base

    def bind(self, data: L.LightningDataModule) -> None:
        """Let the photos be trained on this base."""
        if isinstance(data, PhotoData):
            self._data, self.trigger = [data], data.trigger
            data.bind(self.backbone, self.settings.seed)

    def prepare(self) -> None:
        _ = self.backbone

    @property
    def data(self) -> PhotoData | None:
        """The photos, once they are known."""
        return self._data[0] if self._data else None

    def build(self) -> nn.Module:
        """The denoiser, or the denoiser and text encoders, with the adapter."""
        network = bases.network(self.networks())
        if self.start is not None and torch.get_default_device().type != "meta":
            return adapters.load(network, hub.resolve(self.start, bases.DOMAIN), trainable=True)
        return self.change.attach(network, advise=self.base != "tiny")

    def networks(self) -> dict[str, nn.Module]:
        """What is adapted, by component name; shapes alone on the meta device."""
        if torch.get_default_device().type != "meta":
            return bases.adapted_parts(self.backbone, self.text_encoder)
        parts = skeleton.skeleton(self.architecture or skeleton.read_architecture(self.base))
        kept = {name: module for name, module in parts.items() if name in ("unet", "transformer")}
        return {**kept, **(bases.clip_encoders(parts) if self.text_encoder else {})}

    def comparisons(self) -> dict[str, int]:
        """LoRA of rank 4 on the same projections, full DreamBooth of the same networks, and KronA's other factors."""
        plain = bases.network(self.networks())
        sizes = methods.projection_sizes(plain, self.change)
        where = "projections" if self.change.targets is None else "layers"
        networks = " and ".join(name.replace("_", " ") for name in self.networks())
        known = {
            f"LoRA of rank 4 on the same {where}": 4 * sum(out + into for out, into in sizes),
            f"full DreamBooth of the {networks}": adapters.count(plain).total,
        }
        others = methods.other_factors(sizes) if self.change.method == "krona" else {}
        return known | {
            f"factors ({a1}, {a2})": number for (a1, a2), number in others.items() if (a1, a2) != self.change.factors
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The text encoders' parameters in groups of their own, at their own rate."""
        groups = super().parameter_groups()
        if self.text_lr is None:
            return groups
        own = {id(p) for name, p in self.named_parameters() if name.startswith("model.text_encoder")}
        split = []
        for group in groups:
            for rate, chosen in ((group["lr"], False), (self.text_lr, True)):
                members = [p for p in group["params"] if (id(p) in own) == chosen]
                if members:
                    split.append({**group, "params": members, "lr": rate})
        return split

    def configure_model(self) -> None:
        fresh = not hasattr(self, "model")
        super().configure_model()
        if fresh and torch.get_default_device().type != "meta":
            self.denoising = denoising_of(
                self.backbone, self.timesteps, snr_gamma=self.snr_gamma, noise_offset=self.noise_offset
            )

    def compute(self, batch: Mapping[str, Any]) -> Outputs:
        """The denoising error of a batch as `domains.personalized_diffusion.data.samples.collate` makes it."""
        base = self.backbone
        asked = self.denoising.ask(scaled_latents(base, batch))
        said = self.conditioning(batch["captions"])
        predicted = self.denoising.answer(base.unet, asked, said, batch["time_ids"])
        errors = losses.denoising_loss(predicted, asked.target, asked.weight, batch.get("mask"))
        if not batch["prior"]:
            loss, weight = errors.mean(), len(errors)
        else:
            loss, _, _ = losses.prior_preservation(errors, self.prior_weight)
            weight = len(errors) // 2
        if self.training:
            losses.check_finite(loss, self.global_step)
        return Outputs(loss, errors, weight=weight)

    def conditioning(self, captions: list[str]) -> Conditioning:
        """Captions as the denoiser reads them; each is encoded once while the text encoders are frozen."""
        base = self.backbone
        if self.text_encoder:
            return base.encode(captions)
        empty = (lambda: self._encoded("")) if base.family in CHUNKED else None
        said = side_by_side([self._encoded(caption) for caption in captions], empty)
        return said.to(self.device, _dtype_of(base.unet))

    def _encoded(self, caption: str) -> Conditioning:
        base = self.backbone

        @torch.no_grad()
        def make() -> dict[str, Tensor]:
            with lent(base.text_encoders, self.device):
                said = base.encode([caption])
            return {"embeds": said.embeds} | ({} if said.pooled is None else {"pooled": said.pooled})

        return Conditioning(**self._cache.get(("text", caption, "chunks", self.clip_skip, *self._text_ids), make))

    @cached_property
    def _cache(self) -> TensorCache:
        return self.data.cache if self.data is not None else TensorCache()

    @cached_property
    def _text_ids(self) -> tuple[str, ...]:
        return tuple(f"{identity(module, self.backbone)}/{module.dtype}" for module in self.backbone.text_encoders)

    def on_fit_start(self) -> None:
        self._place()

    def on_validation_start(self) -> None:
        self._place()

    def on_train_start(self) -> None:
        if not self.text_encoder and self.data is not None:
            for caption in self.data.captions():
                self._encoded(caption)
        self._drawn = self.trainer.global_step
        if self.samples and self.trainer.global_step == 0:
            self._draw(0)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Gradients that accumulate give many batches one step, which the last batch of an epoch may end early.
        step = self.trainer.global_step
        if self.samples and step > self._drawn and step % self.samples.every == 0:
            self._draw(step)

    def _draw(self, step: int) -> None:
        self._drawn = step
        if not self.trainer.is_global_zero or self.samples is None:
            return
        base, side = self.backbone, self.data.side if self.data is not None else self.backbone.resolution
        path = Path(self.trainer.default_root_dir) / "samples" / f"step_{step:06}.png"
        self.eval()
        with self.trainer.precision_plugin.forward_context(), lent([*base.text_encoders, base.vae], self.device):
            try:
                draw_samples(base, self.samples, side, path, f"step {step}")
            except InputError as error:
                print(f"samples: none at step {step}: {error}", file=sys.stderr, flush=True)
        self.train()

    def _place(self) -> None:
        """Move what is frozen beside the adapted network; in low memory only while it is used."""
        if not self.low_memory:
            self.backbone.to(self.device)

    def labels(self) -> dict[str, str]:
        return {"train/loss": "denoising loss on training photos", "val/loss": "denoising loss on held-out photos"}

    def extra(self) -> dict[str, Any]:
        return self.stated().to_dict()

    def stated(self) -> Stated:
        """What the adapter says of itself."""
        data, base, settings = self.data, self.backbone, self.settings
        train: dict[str, Any] = {
            "steps": self.global_step,
            "max_steps": settings.max_steps if settings.max_steps > 0 else None,
            "lr": settings.lr,
            "text_lr": self.text_lr,
            "seed": settings.seed,
            "optimizer": settings.optimizer,
            "scheduler": settings.scheduler,
            "accumulate_grad_batches": settings.accumulate_grad_batches,
            **(data.record() if data else {}),
            "prior_weight": self.prior_weight,
            "snr_gamma": self.snr_gamma,
            "noise_offset": self.noise_offset or None,
            "prediction_type": base.scheduler.config.get("prediction_type"),
            "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        }
        return Stated(
            **self.change.record(),
            family=base.family,
            base=None if self.base.startswith((".", "/", "~")) else self.base,
            trigger=self.trigger,
            text_encoder=self.text_encoder,
            clip_skip=self.clip_skip,
            resolution=data.side if data else base.resolution,
            train=train,
        )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter with a card that tells trigger, licence of the base, and credits of the photos."""
        super().save_adapter(folder)
        stated = self.stated()
        photos = [shot.photo.path for shot in self.data.shots.get("train", [])] if self.data else []
        parameters = adapters.count(self.model).trainable
        write_text(folder / "README.md", adapter_card(stated, parameters=parameters, photos=photos))

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        said = self.trigger.prompt if self.trigger else "a photo of the subject"
        return [f'suite personalized_diffusion predict "{said}" --adapter {where} --out out/']


def _dtype_of(module: nn.Module) -> torch.dtype:
    """The type that a network's inputs want; packed weights do not say it, so whatever is not packed does."""
    return next(p.dtype for p in module.parameters() if p.is_floating_point())
