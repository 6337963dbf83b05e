"""SPMTrack (Cai et al., arXiv 2503.18338): templates, search crop and a state token through one transformer.

LoRAT (Lin et al., arXiv 2403.05231), whose backbone and head it has, is the same with one template and no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn

from domains.tracking.model import dinov2
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.heads import AnchorFreeHead
from domains.tracking.model.settings import TrackerSettings

STD = 0.02
SEARCH = 2
"""Row of the token types that search tokens have; 0 and 1 are background and foreground of templates."""


class Step(NamedTuple):
    """What a search crop gave."""

    scores: Tensor  # (batch, S, S), logits, float32
    boxes: Tensor  # (batch, S, S, 4), x1, y1, x2, y2 in parts of the crop, float32
    state: Tensor  # (batch, 1, width), to be given to the next search; empty (batch, 0, width) without a state token


class SpmTrack(nn.Module):
    """A tracker of one search crop at a time; which templates it sees and what it remembers is its caller's.

    Args:
        sizes: of the backbone. settings: of crops and tokens.
        split: query, key and value are three layers, for LoRA.
        drop_path: the rate at which paths are dropped in training.

    Attributes:
        name_or_path: folder of the base, which tells whose adapters fit.
    """

    def __init__(self, sizes: Sizes, settings: TrackerSettings, *, split: bool = False, drop_path: float = 0.0) -> None:
        super().__init__()
        self.sizes, self.settings = sizes, settings
        self.name_or_path = ""
        width = sizes.width
        self.patch_embed = PatchEmbed(None, sizes.patch, 3, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, settings.search_grid**2, width))
        self.blocks = dinov2.blocks(sizes, split=split, drop_path=drop_path)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        # The authors leave the next two as memory came, from which training sometimes did not converge.
        if settings.state_token:
            self.track_query = nn.Parameter(_drawn(1, width))
            self.query_embed = nn.Parameter(_drawn(1, width))
        self.token_type_embed = nn.Parameter(_drawn(3, width))
        self.head = AnchorFreeHead(width, settings.search_grid, settings.box_prior)

    @property
    def device(self) -> torch.device:
        return self.pos_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the tokens."""
        return self.pos_embed.dtype

    def base_tensors(self) -> dict[str, Tensor]:
        """What is the base's, query, key and value in one, whatever files it came from and whatever crops it sees."""
        own = ("track_query", "query_embed", "token_type_embed", "head.", "pos_embed")
        state = {name: value for name, value in self.state_dict().items() if not name.startswith(own)}
        for name in [name for name in state if ".qkv.q." in name]:
            parts = [state.pop(name.replace(".qkv.q.", f".qkv.{part}.")) for part in "qkv"]
            state[name.replace(".qkv.q.", ".qkv.")] = torch.cat(parts)
        return state

    def embed_template(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Tokens of template crops.

        Args:
            crop: (batch, 3, template_size, template_size), normalised.
            mask: (batch, Z, Z), 1 where the object is, row by row.

        Returns:
            (batch, Z², width).
        """
        tokens = self.patch_embed(crop.to(self.pos_embed.dtype))  # (batch, Z², width)
        side, grid = self.settings.template_grid, self.settings.search_grid
        # The first rows and columns of the search crop's table, as published, and no table of their own.
        table = self.pos_embed.view(1, grid, grid, -1)[:, :side, :side].reshape(1, side * side, -1)
        return tokens + table + self.token_type_embed[mask.flatten(1).long()].to(tokens.dtype)

    def embed_search(self, crop: Tensor) -> Tensor:
        """Tokens (batch, S², width) of search crops (batch, 3, search_size, search_size), normalised."""
        tokens = self.patch_embed(crop.to(self.pos_embed.dtype))
        return tokens + self.pos_embed + self.token_type_embed[SEARCH].to(tokens.dtype)

    def fresh_state(self, batch: int) -> Tensor:
        """What no frame has left yet, (batch, 1, width); (batch, 0, width) without a state token."""
        return self.pos_embed.new_zeros(batch, int(self.settings.state_token), self.sizes.width)

    def search(self, templates: Tensor, crop: Tensor, state: Tensor) -> Step:
        """Look for the templates' objects.

        Args:
            templates: (batch, num_templates * Z², width), of `embed_template`, the first frame's first.
            crop: (batch, 3, search_size, search_size), normalised.
            state: (batch, 1, width), what the last search left; `fresh_state` at first.
        """
        searched = self.embed_search(crop)  # (batch, S², width)
        count = searched.shape[1]
        tokens = torch.cat([self._asked(state, searched), templates, searched], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        features = tokens[:, -count:]
        if not self.settings.state_token:
            scores, boxes = self.head(features)
            return Step(scores, boxes, tokens[:, :0])
        left = tokens[:, :1]  # (batch, 1, width)
        # Half precision overflows here: the products of normalised tokens grow with the width.
        with torch.autocast(tokens.device.type, enabled=False):
            wide = features.float()
            response = (wide @ left.float().mT) * wide  # (batch, S², width)
            scores, boxes = self.head(response.to(self._head_dtype()))
        return Step(scores, boxes, left.detach())

    def _head_dtype(self) -> torch.dtype:
        return next(self.head.parameters()).dtype

    def _asked(self, state: Tensor, like: Tensor) -> Tensor:
        if not self.settings.state_token:
            return like[:, :0]
        query = (self.track_query + self.query_embed).to(like.dtype)  # (1, width)
        return state.to(like.dtype) + query

    def forward(self, templates: Sequence[Tensor], masks: Sequence[Tensor], searches: Sequence[Tensor]) -> list[Step]:
        """Search crops of consecutive frames, one after another, against the same templates.

        The state of a frame goes to the next; no gradient goes back with it.

        Args:
            templates: num_templates crops (batch, 3, template_size, template_size). masks: (batch, Z, Z) of each.
            searches: crops (batch, 3, search_size, search_size).
        """
        embedded = torch.cat([self.embed_template(*pair) for pair in zip(templates, masks, strict=True)], 1)
        state, steps = self.fresh_state(len(embedded)), []
        for crop in searches:
            steps.append(self.search(embedded, crop, state))
            state = steps[-1].state
        return steps


def _drawn(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=STD)
