"""A vision tower with a head of two outputs: pictures of one aligned face to real (0) or manipulated (1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from domains.deepfake.model import class_token

HeadKind = Literal["LinearNorm", "linear"]
"""`LinearNorm` sees the feature on the unit sphere (arXiv 2503.19683, section 3.2), `linear` as the tower gives it."""

REAL, FAKE = 0, 1


class Scored(NamedTuple):
    """What the head says of features.

    Attributes:
        logits: (batch, 2), real and manipulated, float32.
        embeddings: (batch, width), the features on the unit sphere, whatever the head sees.
    """

    logits: Tensor
    embeddings: Tensor


class ForgeryClassifier(nn.Module):
    """CLIP's vision tower and a linear head on its pooled token.

    The feature is the class token after `post_layernorm`, not the projection into the space that pictures and texts
    share.

    Args:
        vision_model: a `CLIPVisionModel` of transformers, or a tower that is called as one.
        kind: of the head.
    """

    def __init__(self, vision_model: nn.Module, kind: HeadKind = "LinearNorm") -> None:
        super().__init__()
        self.vision_model = vision_model
        self.kind = kind
        self.head = nn.Linear(vision_model.config.hidden_size, 2)

    @property
    def side(self) -> int:
        """Patches along a side of the picture."""
        config = self.vision_model.config
        return int(config.image_size // config.patch_size)

    @property
    def first_patch(self) -> int:
        """Where the patches begin among the tokens: after the class token, and DINOv3's registers."""
        return 1 + int(getattr(self.vision_model.config, "num_register_tokens", 0))

    def macs(self) -> int:
        """Multiplications and additions for one face: patch embedding, projections, attention, feed-forward layers."""
        config = self.vision_model.config
        tokens = self.side**2 + 1 + getattr(config, "num_register_tokens", 0)
        width, inner = config.hidden_size, config.intermediate_size
        layer = tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width
        pooling = self.vision_model.pooling_macs(tokens) if hasattr(self.vision_model, "pooling_macs") else 0
        return int(self.side**2 * 3 * config.patch_size**2 * width + config.num_hidden_layers * layer + pooling)

    def features(self, pixels: Tensor) -> Tensor:
        """Normalised pictures (batch, 3, side, side) to features (batch, width), float32."""
        if class_token.fits(self.vision_model):
            return class_token.pooled(self.vision_model, pixels).float()
        return self.vision_model(pixel_values=pixels).pooler_output.float()

    def classify(self, features: Tensor) -> Scored:
        """Features (batch, width) to logits and embeddings, in float32 also where the tower computes in half."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            embeddings = functional.normalize(features, dim=1)
            seen = embeddings if self.kind == "LinearNorm" else features
            return Scored(self.head(seen), embeddings)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pictures (batch, 3, side, side) to logits (batch, 2)."""
        return self.classify(self.features(pixels)).logits

    def patch_logits(self, pixels: Tensor) -> Tensor:
        """How much each patch looks manipulated to the head: (batch, rows, columns), manipulated minus real.

        Every last token goes through the last norm and the head as the class token does. No training asked the
        patches for an answer of their own: it is a hint where to look.
        """
        tokens = self.vision_model(pixel_values=pixels).last_hidden_state[:, self.first_patch :]
        # CLIP norms the class token alone, DINOv3 all of them.
        last = getattr(self.vision_model, "post_layernorm", None)
        normed = (tokens if last is None else last(tokens)).float()  # (batch, patches, width)
        with torch.autocast(normed.device.type, enabled=False):
            seen = functional.normalize(normed, dim=-1) if self.kind == "LinearNorm" else normed
            logits = self.head(seen)  # (batch, patches, 2)
        return (logits[..., FAKE] - logits[..., REAL]).view(len(pixels), self.side, self.side)
