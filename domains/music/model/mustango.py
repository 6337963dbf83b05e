"""Mustango's UNet: latent diffusion on mel spectrograms under text, beats and chords, of diffusers' parts.

Melechovsky et al., Mustango: Toward Controllable Text-to-Music Generation, arXiv 2311.08355. Every level with
cross-attention applies three transformers in a row: to the text, to the beats and to the chords. Where the published
adapters sit there is a `Point`: one in each such block, shared by its layers, and one on what the UNet gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from suite.adapters.methods.additive.sequences import Point

MASKED = -10000.0
"""What the original adds to the scores of padding; a row of padding alone attends to all of it alike."""


@dataclass(frozen=True)
class Condition:
    """What a level attends to.

    Attributes:
        states: (B, length, cross-attention width). mask: (B, length), true where there is something.
    """

    states: Tensor
    mask: Tensor

    def bias(self, dtype: torch.dtype) -> Tensor:
        """Added to the scores of attention (B, 1, length)."""
        return (MASKED * (1 - self.mask.to(dtype)))[:, None]


TRANSFORMERS = ("attentions", "attentions2", "attentions3")
"""Lists of a block's transformers, named as in the published file: to text, beats and chords."""


def _run(function: Callable[..., Any], checkpointed: bool, *args: Any) -> Any:
    if checkpointed and torch.is_grad_enabled():
        return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)
    return function(*args)


class MusicBlock(nn.Module):
    """Residual blocks, each followed by the three transformers where the level has them.

    Args:
        inputs: channels that each residual block reads. channels: that they give.
        heads: of attention; None: a level without. layers: with transformers; as many as residual blocks by default.
    """

    def __init__(
        self, inputs: Sequence[int], channels: int, heads: int | None, shared: _Shared, layers: int | None = None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock2D(
                in_channels=read,
                out_channels=channels,
                temb_channels=shared.time_width,
                eps=shared.eps,
                groups=shared.groups,
            )
            for read in inputs
        )
        self.has_attention = heads is not None
        if heads is not None:
            for name in TRANSFORMERS:
                own = (shared.transformer(channels, heads) for _ in range(layers or len(inputs)))
                setattr(self, name, nn.ModuleList(own))
            self.adapted = Point(channels, axis=1)

    def attend(self, h: Tensor, layer: int, conditions: Sequence[Condition]) -> Tensor:
        """The three transformers of a layer, one after another."""
        for name, condition in zip(TRANSFORMERS, conditions, strict=True):
            transformer = getattr(self, name)[layer]
            h = transformer(
                h,
                encoder_hidden_states=condition.states,
                encoder_attention_mask=condition.bias(h.dtype),
                return_dict=False,
            )[0]
        return h


@dataclass(frozen=True)
class _Shared:
    """Sizes that all blocks have."""

    time_width: int
    cross_width: int
    groups: int
    eps: float
    linear: bool
    upcast: bool

    def transformer(self, channels: int, heads: int) -> Transformer2DModel:
        return Transformer2DModel(
            heads,
            channels // heads,
            in_channels=channels,
            num_layers=1,
            cross_attention_dim=self.cross_width,
            norm_num_groups=self.groups,
            use_linear_projection=self.linear,
            upcast_attention=self.upcast,
        )


class DownBlock(MusicBlock):
    """A level on the way down: the adapter after every layer, before what the way up takes over."""

    def __init__(
        self, read: int, channels: int, layers: int, heads: int | None, shared: _Shared, *, last: bool
    ) -> None:
        super().__init__([read, *[channels] * (layers - 1)], channels, heads, shared)
        self.downsamplers = None if last else nn.ModuleList([Downsample2D(channels, use_conv=True, name="op")])

    def forward(
        self, h: Tensor, time: Tensor, conditions: Sequence[Condition], checkpointed: bool
    ) -> tuple[Tensor, list[Tensor]]:
        kept = []
        for number, resnet in enumerate(self.resnets):
            h = _run(self._layer, checkpointed, h, time, number, resnet, conditions)
            kept.append(h)
        for down in self.downsamplers or ():
            h = down(h)
            kept.append(h)
        return h, kept

    def _layer(
        self, h: Tensor, time: Tensor, number: int, resnet: nn.Module, conditions: Sequence[Condition]
    ) -> Tensor:
        h = resnet(h, time)
        return self.adapted(self.attend(h, number, conditions)) if self.has_attention else h


class UpBlock(MusicBlock):
    """A level on the way up: the adapter once, after the last layer; takes what it needs off the end of `kept`."""

    def __init__(self, inputs: Sequence[int], channels: int, heads: int | None, shared: _Shared, *, last: bool) -> None:
        super().__init__(inputs, channels, heads, shared)
        self.upsamplers = None if last else nn.ModuleList([Upsample2D(channels, use_conv=True)])

    def forward(
        self, h: Tensor, kept: list[Tensor], time: Tensor, conditions: Sequence[Condition], checkpointed: bool
    ) -> Tensor:
        for number, resnet in enumerate(self.resnets):
            h = torch.cat([h, kept.pop()], 1)
            h = _run(self._layer, checkpointed, h, time, number, resnet, conditions)
        if self.has_attention:
            h = self.adapted(h)
        for up in self.upsamplers or ():
            h = up(h)
        return h

    def _layer(
        self, h: Tensor, time: Tensor, number: int, resnet: nn.Module, conditions: Sequence[Condition]
    ) -> Tensor:
        h = resnet(h, time)
        return self.attend(h, number, conditions) if self.has_attention else h


class MidBlock(MusicBlock):
    """The lowest level: the adapter between the transformers and the second residual block."""

    def __init__(self, channels: int, heads: int, shared: _Shared) -> None:
        super().__init__([channels, channels], channels, heads, shared, layers=1)

    def forward(self, h: Tensor, time: Tensor, conditions: Sequence[Condition], checkpointed: bool) -> Tensor:
        h = self.resnets[0](h, time)
        h = _run(self.attend, checkpointed, h, 0, conditions)
        return self.resnets[1](self.adapted(h), time)


class MustangoUNet(ModelMixin, ConfigMixin):
    """The UNet.

    Args:
        in_channels, out_channels: of the latents. block_out_channels: of the levels.
        attention: whether each level on the way down has transformers; the way up mirrors it.
        attention_head_dim: heads of each level, which diffusers calls so.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int = 8,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        attention: tuple[bool, ...] = (True, True, True, False),
        attention_head_dim: tuple[int, ...] = (5, 10, 20, 20),
        layers_per_block: int = 2,
        cross_attention_dim: int = 1024,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        use_linear_projection: bool = True,
        upcast_attention: bool = True,
    ) -> None:
        super().__init__()
        widths, heads = list(block_out_channels), list(attention_head_dim)
        time_width = 4 * widths[0]
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_width)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        shared = _Shared(
            time_width, cross_attention_dim, norm_num_groups, norm_eps, use_linear_projection, upcast_attention
        )
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            DownBlock(
                widths[max(0, n - 1)],
                widths[n],
                layers_per_block,
                heads[n] if attention[n] else None,
                shared,
                last=n == last,
            )
            for n in range(len(widths))
        )
        self.mid_block = MidBlock(widths[-1], heads[-1], shared)
        # What the way down keeps, from its end: a level's layers, and what it read.
        self.up_blocks = nn.ModuleList()
        for n in reversed(range(len(widths))):
            below = widths[min(last, n + 1)]
            skips = [*[widths[n]] * layers_per_block, widths[max(0, n - 1)]]
            inputs = [(below if place == 0 else widths[n]) + skip for place, skip in enumerate(skips)]
            self.up_blocks.append(UpBlock(inputs, widths[n], heads[n] if attention[n] else None, shared, last=n == 0))
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[0], eps=norm_eps)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        self.adapted = Point(out_channels, axis=1)
        self.gradient_checkpointing = False

    def forward(
        self, sample: Tensor, timestep: Tensor | int, text: Condition, beats: Condition, chords: Condition
    ) -> Tensor:
        """What the noise, or the velocity, of `sample` (B, C, H, W) is at `timestep` (B,)."""
        conditions = (text, beats, chords)
        checkpointed = self.gradient_checkpointing and self.training
        steps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        time = self.time_embedding(self.time_proj(steps).to(sample.dtype))  # (B, time width)
        h = self.conv_in(sample)
        kept = [h]
        for block in self.down_blocks:
            h, new = block(h, time, conditions, checkpointed)
            kept += new
        h = self.mid_block(h, time, conditions, checkpointed)
        for block in self.up_blocks:
            h = block(h, kept, time, conditions, checkpointed)
        return self.adapted(self.conv_out(nn.functional.silu(self.conv_norm_out(h))))
