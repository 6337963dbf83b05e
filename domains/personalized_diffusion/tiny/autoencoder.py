"""Pre-training of the tiny base's VAE, whose latents are given: encoder and decoder learn them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from domains.personalized_diffusion.tiny import networks
from domains.personalized_diffusion.tiny.pool import Pool
from suite.training.plain import Schedule, train

DECODER = Schedule(3000, 16, lr=2.5e-3, decay=0.0)
ENCODER = Schedule(2000, 16, lr=2.5e-3, decay=0.0, seed=1)

CROP = 32
"""Pixels of the side of what the VAE is trained on."""
DEVIATION = 0.1
"""Of the VAE's posterior, whose means vary by 1."""


@dataclass(frozen=True)
class Components:
    """The principal components of patches of 8 x 8 pixels, which the VAE's latents are taught to be.

    An encoder and a decoder that meet at given latents learn apart, each by a plain regression, many times faster than
    through each other's mistakes. The first component has most of the variance; each is scaled by the fourth root of
    its own, half-way to equal variances, so that a latent's noise hides the fine before the coarse.

    Attributes:
        directions: (C, 192). mean: (192,) of the patches.
    """

    directions: Tensor
    mean: Tensor

    @classmethod
    def of(cls, pool: Pool, pictures: int = 1500) -> Components:
        """Those of a pool's first pictures, with a variance of 1 on average."""
        shown = torch.arange(min(pictures, len(pool.pixels)))
        patches = _patches(pool.batch(shown, flip=False)).transpose(1, 2).flatten(0, 1)  # (N, 192)
        mean = patches.mean(0)
        variances, directions = torch.linalg.eigh((patches - mean).T.cov())
        variances, directions = (part.flip(-1)[..., : networks.LATENT_CHANNELS] for part in (variances, directions))
        scale = variances**-0.25
        return cls((directions * scale / (variances * scale**2).mean().sqrt()).T, mean)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) as latents (B, C, H / 8, W / 8)."""
        latents = self.directions @ (_patches(pictures) - self.mean[:, None])
        return latents.unflatten(-1, (pictures.shape[-2] // networks.REDUCTION, -1))


def _patches(pictures: Tensor) -> Tensor:
    """(B, 192, number of patches)."""
    return functional.unfold(pictures, networks.REDUCTION, stride=networks.REDUCTION)


def train_autoencoder(
    pool: Pool, components: Components, decoder: Schedule = DECODER, encoder: Schedule = ENCODER
) -> AutoencoderKL:
    """A VAE whose latents are `components`: its decoder and its encoder, one after the other.

    Both see squares of 32 x 32 pixels. The decoder is given latents with some noise, the posterior's: what a denoiser
    draws is not exact either.
    """
    torch.manual_seed(decoder.seed)
    model = networks.autoencoder().train().to(memory_format=torch.channels_last)
    _as_skeleton(model)

    def pictures(schedule: Schedule) -> Tensor:
        return pool.batch(torch.randint(len(pool.sprites), (schedule.batch,)), side=CROP)

    def decoding() -> Tensor:
        shown = pictures(decoder)
        latents = components(shown)
        return _unlike(model.decode(latents + DEVIATION * torch.randn_like(latents)).sample, shown)

    def encoding() -> Tensor:
        shown = pictures(encoder)
        return functional.mse_loss(model.encode(shown).latent_dist.mean, components(shown))

    for name, loss, schedule in (("decoder", decoding, decoder), ("encoder", encoding, encoder)):
        for part, module in model.named_children():
            module.requires_grad_(name in part or part == {"decoder": "post_quant_conv", "encoder": "quant_conv"}[name])
        torch.manual_seed(schedule.seed)
        train(name, model, loss, schedule)
    model.register_to_config(scaling_factor=1.0)
    return model.to(memory_format=torch.contiguous_format).requires_grad_(True).eval()


def _unlike(drawn: Tensor, pictures: Tensor) -> Tensor:
    """Squared and absolute error of the pixels, and absolute error of their differences to the right and below."""
    error = drawn - pictures
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.square().mean() + 0.5 * error.abs().mean() + 0.1 * edges


def _as_skeleton(model: AutoencoderKL) -> None:
    """Start with silent residual branches, layers that keep the size of what passes, and a constant deviation."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    silence(model, ("conv2", "to_out.0"))
    # The last layer's second half is the logarithm of the variance; nothing trains it.
    nn.init.zeros_(model.quant_conv.weight[networks.LATENT_CHANNELS :])
    nn.init.constant_(model.quant_conv.bias[networks.LATENT_CHANNELS :], 2 * math.log(DEVIATION))


def silence(model: nn.Module, names: tuple[str, ...]) -> None:
    """Start the layers that end residual branches at zero, so that the whole starts as its skeleton."""
    for name, module in model.named_modules():
        if name.endswith(names):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
