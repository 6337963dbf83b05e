"""Mustango's recipe: adapters in a frozen UNet learn to take the noise off latents of recordings.

The published settings of arXiv 2506.21298 stand in configs/music/mustango.yaml.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from domains.music.model import bases, diffusion, mustango_adapters, mustango_base
from domains.music.model.manifest import Manifest, in_words
from domains.music.recipe.carded import CardedRecipe
from suite import adapters, hub
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.training import Outputs

MUSTANGO: dict[str, Any] = {"preset": "conv"}


class MustangoRecipe(CardedRecipe):
    """Velocity of the noise on latents of recordings, under their captions; adapters inside a frozen Mustango.

    Args:
        base: folder of a Mustango in parts.
        architecture: fields of `MustangoUNet` that differ from the released one's; for counting without weights.
        adapter: what is attached: `{preset: published}` (1 x 1 convolutions with a LayerNorm, 1,502,841 parameters),
            `{preset: conv}` (the same, starting at the identity), `{preset: lora}`, or any method of the core.
        snr: how samples are weighed by their noise: v, published or none. gamma: where the weight stops to grow.
        dropout: share of clips that train without text, beats and chords together, and without each by itself.
        val_timestep: the one that validation measures at.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = MUSTANGO,
        snr: diffusion.SnrForm = "v",
        gamma: float = diffusion.GAMMA,
        dropout: float = 0.05,
        val_timestep: int = 500,
    ) -> None:
        super().__init__(base, architecture)
        if gamma <= 0 or not 0 <= dropout <= 1:
            raise InputError(f"recipe: gamma is {gamma} and dropout {dropout}; give more than 0, and a share")
        self.adapter = AdapterSection.of(adapter, mustango_adapters.PRESETS)
        self.snr, self.gamma, self.dropout, self.val_timestep = snr, gamma, dropout, val_timestep
        self.schedule = diffusion.scheduler()
        self.data: dict[str, Any] = {}

    def bind(self, data: Any) -> None:
        data.setup()  # recordings that are not there are known before a base is loaded
        data.bind(mustango_base.MustangoEncoder(hub.resolve(self.base, bases.DOMAIN, kind="base")))
        self.data = dict(data.record())

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":
            made = mustango_base.shape(self.architecture)
        else:
            made = mustango_base.load(hub.resolve(self.base, bases.DOMAIN, kind="base"), self.base_dtype)
        return mustango_adapters.attach_section(made, self.adapter)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        latents = batch["latents"].float()
        size, device = len(latents), latents.device
        noise = torch.randn(latents.shape, device="cpu").to(device)
        steps = int(self.schedule.config.num_train_timesteps)
        timesteps = torch.randint(steps, (size,), device="cpu").to(device)
        if self.training:
            batch = self._dropped(batch)
        else:
            timesteps = torch.full_like(timesteps, self.val_timestep)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        predicted = self.model(noisy, timesteps, batch).float()
        error = (predicted - diffusion.target(self.schedule, latents, noise, timesteps)).square()
        weighed = error.flatten(1).mean(1) * diffusion.weights(self.schedule, timesteps, self.snr, self.gamma)
        return Outputs(weighed.mean(), weighed)

    def _dropped(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with masks cleared: of all conditions together, and of each by itself."""
        masks = ("text_mask", "beat_mask", "chord_mask")
        drawn = torch.rand(1 + len(masks), len(batch["text_mask"]), device="cpu").to(batch["text_mask"].device)
        gone = drawn < self.dropout
        return {**batch, **{name: batch[name] * ~(gone[0] | gone[n])[:, None] for n, name in enumerate(masks, 1)}}

    def labels(self) -> dict[str, str]:
        return {"train/loss": "error on training clips", "val/loss": "error on held-out clips"}

    def extra(self) -> dict[str, Any]:
        return Manifest(
            family="mustango",
            rate=mustango_base.RATE,
            trained_on=in_words(self.data),
            wording=str(self.data.get("caption", "")),
            licences=tuple(map(str, self.data.get("licences", ()))),
        ).to_dict()

    def costs(self) -> dict[str, str]:
        trainable, total = adapters.count(self.model)
        return {"base": f"{total - trainable:,} parameters"}
