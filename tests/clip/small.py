"""A small CLIP with random weights, and OpenAI's layout of one written out plainly, to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

SIZES: dict[str, Any] = {
    "projection_dim": 24,
    "vision_config": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
        "image_size": 32,
        "patch_size": 8,
    },
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "hidden_act": "quick_gelu",
        "vocab_size": 60,
        "max_position_embeddings": 12,
        "bos_token_id": 58,
        "eos_token_id": 59,
    },
}


def small_clip(seed: int = 0) -> CLIPModel:
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(**SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that a swapped one shows
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:  # (length, batch, width)
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        hidden = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))


def _blocks(width: int, layers: int) -> nn.Module:
    transformer = nn.Module()
    transformer.resblocks = nn.ModuleList(Block(width, width // 64) for _ in range(layers))
    return transformer


class OpenAILayout(nn.Module):
    """The two towers from their description (Radford et al. 2021), under the names of OpenAI's files."""

    def __init__(self) -> None:
        super().__init__()
        vision, text, dim = SIZES["vision_config"], SIZES["text_config"], SIZES["projection_dim"]
        width, patch = vision["hidden_size"], vision["patch_size"]
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.visual.class_embedding = nn.Parameter(torch.randn(width))
        self.visual.positional_embedding = nn.Parameter(torch.randn((vision["image_size"] // patch) ** 2 + 1, width))
        self.visual.ln_pre, self.visual.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.visual.transformer = _blocks(width, vision["num_hidden_layers"])
        self.visual.proj = nn.Parameter(torch.randn(width, dim))
        self.token_embedding = nn.Embedding(text["vocab_size"], text["hidden_size"])
        self.positional_embedding = nn.Parameter(torch.randn(text["max_position_embeddings"], text["hidden_size"]))
        self.transformer = _blocks(text["hidden_size"], text["num_hidden_layers"])
        self.ln_final = nn.LayerNorm(text["hidden_size"])
        self.text_projection = nn.Parameter(torch.randn(text["hidden_size"], dim))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_image(self, pixels: Tensor) -> Tensor:
        patches = self.visual.conv1(pixels).flatten(2).transpose(1, 2)  # (batch, patches, width)
        first = self.visual.class_embedding.expand(len(pixels), 1, -1)
        x = self.visual.ln_pre(torch.cat([first, patches], 1) + self.visual.positional_embedding).transpose(0, 1)
        for block in self.visual.transformer.resblocks:
            x = block(x, None)
        return self.visual.ln_post(x[0]) @ self.visual.proj

    def encode_text(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = (self.token_embedding(tokens) + self.positional_embedding[:length]).transpose(0, 1)
        mask = torch.full((length, length), float("-inf")).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        x = self.ln_final(x).transpose(0, 1)  # (batch, length, width)
        return x[torch.arange(len(x)), tokens.argmax(1)] @ self.text_projection
