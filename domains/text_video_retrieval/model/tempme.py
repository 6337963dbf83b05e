"""TempMe (arXiv 2409.01156): CLIP's towers, the image tower reading a whole video and merging its tokens on the way.

The parts are those of transformers' `CLIPModel` under their own names. A layer of the image tower is called with what
it needs and returns what the next one needs: nothing is kept between forwards.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel
from transformers.activations import QuickGELUActivation

from domains.text_video_retrieval.model.schedule import Plan, Schedule, Step
from domains.text_video_retrieval.model.token_merging import Matching, join, match, merge


class MergingAttention(nn.Module):
    """CLIP's self-attention, which weighs tokens by what they stand for and also tells their keys."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        self.out_proj, self.heads = attention.out_proj, attention.num_heads

    def forward(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: (B, n, D). size: (B, n, 1) how many tokens each stands for; None is 1.

        Returns:
            (B, n, D), and the keys' mean over heads, (B, n, D / heads).
        """
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        # A token that stands for s tokens counts s times in every softmax.
        bias = None if size is None else size.float().log().transpose(1, 2)[:, None].to(q.dtype)  # (B, 1, 1, n)
        queries, keys, values = (part.transpose(1, 2) for part in (q, k, v))  # (B, heads, n, width)
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), k.mean(2)


class MergingLayer(nn.Module):
    """A layer of the image tower: joins clips, merges tokens across them, attends, merges inside, and has its MLP.

    Attributes:
        temporal_position: (1, clips, 1, D) added to each of the clips that a merge layer joins; other layers lack it.
    """

    def __init__(self, layer: nn.Module, step: Step, *, weighted: bool, positions: int) -> None:
        super().__init__()
        self.self_attn = MergingAttention(layer.self_attn)
        self.layer_norm1, self.mlp, self.layer_norm2 = layer.layer_norm1, layer.mlp, layer.layer_norm2
        self.step, self.weighted = step, weighted
        if positions:
            like = self.layer_norm1.weight
            zeros = torch.zeros(1, positions, 1, len(like), dtype=like.dtype, device=like.device)
            self.temporal_position = nn.Parameter(zeros, requires_grad=False)

    def forward(self, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (videos * clips, n, D) and their sizes (videos * clips, n, 1), before and after."""
        return self.traced(x, size)[:2]

    def traced(
        self, x: Tensor, size: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, tuple[Matching | None, Matching | None]]:
        """As `forward`, with which tokens were merged across clips and inside them."""
        step, across = self.step, None
        if step.join > 1:
            x, size, across = self._joined(x, size)
        attended, keys = self.self_attn(self.layer_norm1(x), size if self.weighted else None)
        inside = match(keys, step.inside, step.classes_left)
        x, size = merge(_added(attended, x), size, inside)
        return _added(feed_forward(self.mlp, self.layer_norm2(x)), x), size, (across, inside)

    def _joined(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None, Matching | None]:
        step = self.step
        if size is None:
            size = x.new_ones(*x.shape[:2], 1)
        placed = x
        if step.across and hasattr(self, "temporal_position"):
            placed = (x.unflatten(0, (-1, step.clips)) + self.temporal_position).flatten(0, 1)
        matching = match(join(x.detach(), step.join, step.classes), step.across, step.classes_left)
        x, size = merge(join(placed, step.join, step.classes), join(size, step.join, step.classes), matching)
        return x, size, matching


def _added(fresh: Tensor, x: Tensor) -> Tensor:
    """Their sum; without gradients in the memory of the first, which nobody else holds."""
    return fresh + x if torch.is_grad_enabled() else fresh.add_(x)


def feed_forward(mlp: nn.Module, x: Tensor) -> Tensor:
    """CLIP's MLP (B, n, D); without gradients its activation is taken where it stands.

    x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, whose factors the two products take along. The wide tensor is then
    written once instead of four times: memory that is asked for anew costs a tenth of the products themselves.
    """
    up, down = mlp.fc1, mlp.fc2
    is_plain = type(up) is nn.Linear and type(down) is nn.Linear and isinstance(mlp.activation_fn, QuickGELUActivation)
    if torch.is_grad_enabled() or not is_plain or torch.is_autocast_enabled(x.device.type) or up.bias is None:
        return mlp(x)
    rows = x.flatten(0, 1)  # (B * n, D)
    hidden = torch.addmm(up.bias, rows, up.weight.T, beta=_SLOPE, alpha=_SLOPE)  # (B * n, 4 D)
    functional.silu(hidden, inplace=True)
    return torch.addmm(down.bias, hidden, down.weight.T, alpha=1 / _SLOPE).view_as(x)


_SLOPE = 1.702
"""Of CLIP's quick GELU."""


class TempMe(nn.Module):
    """A CLIP that gives one vector for a video and one for a text.

    Args:
        clip: transformers' model; its parts become this one's.
        schedule: of merging. frames: of a video.

    Raises:
        InputError: the schedule does not fit the tower or the frames.
    """

    def __init__(self, clip: CLIPModel, schedule: Schedule, frames: int) -> None:
        super().__init__()
        self.clip_config, self.name_or_path = clip.config, getattr(clip, "name_or_path", "")
        vision = clip.config.vision_config
        self.plan = plan_of(vision, schedule, frames)
        self.text_model, self.vision_model = clip.text_model, clip.vision_model
        self.text_projection, self.visual_projection = clip.text_projection, clip.visual_projection
        self.logit_scale = clip.logit_scale
        layers = self.vision_model.encoder.layers
        for number, step in enumerate(self.plan.steps):
            positions = self.plan.positions.get(number, 0)
            layers[number] = MergingLayer(layers[number], step, weighted=schedule.prop_attn, positions=positions)

    @property
    def frames(self) -> int:
        """Frames of a video."""
        return self.plan.frames

    def forward(self, frames: Tensor, mask: Tensor | None, tokens: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """`encode_video` and `encode_text` of a batch."""
        return self.encode_video(frames, mask), self.encode_text(tokens, words)

    def encode_video(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The vector of each video: the mean of its frames' normalised vectors.

        Args:
            frames: (V, N, 3, H, W), normalised pictures in order of time.
            mask: (V, N) 1 for frames that count; all where left out. Others still take part in merging.

        Returns:
            (V, dim), not normalised.
        """
        vectors = self.encode_frames(frames)  # (V, N, dim)
        if mask is None:
            return vectors.mean(1)
        weights = mask.to(vectors.dtype)[..., None]
        return (vectors * weights).sum(1) / weights.sum(1).clamp(min=1)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Normalised vectors (V, N, dim), float32, of frames (V, N, 3, H, W), each having seen its neighbours."""
        videos, count = frames.shape[:2]
        if count != self.frames:
            raise ValueError(f"{count} frames of a video, and the schedule is of {self.frames}")
        x, size = self.vision_model.pre_layrnorm(self.vision_model.embeddings(frames.flatten(0, 1))), None
        for layer in self.vision_model.encoder.layers:
            x, size = layer(x, size)
        classes = self.plan.steps[-1].classes_left
        # (V * clips, classes, D) -> (V, N, D), in order of time
        x = x[:, :classes].reshape(videos, count, -1)
        vectors = self.visual_projection(self.vision_model.post_layernorm(x)).float()
        return functional.normalize(vectors, dim=-1)

    def encode_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The vector of each text, not normalised.

        Args:
            tokens: (T, L) ids; the end marker is the largest id there is.
            mask: (T, L) 1 for tokens, 0 for padding, which no token sees.
        """
        hidden = self.text_model(input_ids=tokens, attention_mask=mask).last_hidden_state  # (T, L, D)
        ends = tokens.argmax(-1)[:, None, None].expand(-1, 1, hidden.shape[-1])
        return self.text_projection(hidden.gather(1, ends)[:, 0]).float()


def plan_of(vision: Any, schedule: Schedule, frames: int) -> Plan:
    """The plan of a tower by its configuration (transformers' `CLIPVisionConfig`); no weights are needed.

    Raises:
        InputError: the schedule does not fit.
    """
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    return schedule.plan(frames, tokens, vision.num_hidden_layers)
