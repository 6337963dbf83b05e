"""A start for pretraining that can copy already: previous-token heads and induction heads, written into the weights.

Extracting facts and mending code are mostly copying, and a network of this size needs hours of CPU time to discover
the circuit that copies (Olsson et al. 2022, "In-context Learning and Induction Heads"). Setting it by hand, in the
manner of mimetic initialisation (Trockman & Kolter 2023), leaves pretraining with what is worth learning. Nothing is
frozen.

The circuit: a head of layer 0 looks one position back, by rotary phases alone, and writes a signature of that token
beside the current one. A head of a later layer looks for positions whose signature is that of the current token, and
adds the token found there to what the output layer reads: "what came after this token before, comes now".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

_CONSTANT = 4.0  # value of the constant direction in a normalised embedding
_PEAKS = (2.0, 1.0, 0.7, 0.7, 0.5)  # weights of the fastest rotary frequencies: together they single out one offset
_SHARPNESS = 6.0  # attention logits between the previous token and its neighbours, roughly
_MATCH = 5.0  # attention logits for one standard deviation of signature similarity
_COPY = 6.0  # size of what is copied, in embeddings
_POSITION_FREE = 0.02  # rotary frequencies (radians a token) below this hold signatures


@torch.no_grad()
def write_induction(model: LlamaForCausalLM, generator: torch.Generator, scale: float = 0.1) -> None:
    """Write two previous-token heads into layer 0 and two induction heads into each of the next layers.

    Args:
        scale: standard deviation of the embeddings, which are drawn anew; the output layer must be tied to them.
    """
    config = model.config
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    embedding = model.model.embed_tokens.weight
    embedding.normal_(0, scale, generator=generator)
    embedding[:, 0] = _CONSTANT * scale * math.sqrt((width - 1) / (width - _CONSTANT**2))
    theta = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    bases = _orthonormal(width, 4 * size, generator).split(size)  # rows: directions without the constant one
    signatures, places = bases[:2], bases[2:4]
    for head in range(2):
        _look_back(model.model.layers[0].self_attn, slice(head * size, (head + 1) * size), theta)
        attention = model.model.layers[0].self_attn
        rows = slice(head * size, (head + 1) * size)
        attention.v_proj.weight[rows] = signatures[head]
        attention.o_proj.weight[:, rows] = 2.5 * scale * places[head].T
    copied = _orthonormal(width, (width - 1) // size * size, generator).split(size)
    for head, directions in enumerate(copied):
        rows = slice(head * size, (head + 1) * size)
        attention = model.model.layers[1].self_attn
        _match(attention, rows, theta, signatures[head % 2], places[head % 2])
        attention.v_proj.weight[rows] = directions
        attention.o_proj.weight[:, rows] = _COPY * scale * directions.T


def _orthonormal(width: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` orthonormal rows of `width` numbers, the first of which is 0."""
    rows = torch.linalg.qr(torch.randn(width - 1, count, generator=generator)).Q.T
    return torch.cat([torch.zeros(count, 1), rows], dim=1)


def _look_back(attention: torch.nn.Module, rows: slice, theta: Tensor) -> None:
    """Queries and keys from the constant direction, with phases whose scores peak one position back."""
    size = 2 * len(theta)
    query, key = torch.zeros(2, len(theta)), torch.zeros(2, len(theta))
    for index, weight in enumerate(_PEAKS):
        strength = math.sqrt(_SHARPNESS * weight * math.sqrt(size)) / _CONSTANT
        query[:, index] = strength * torch.stack([torch.cos(theta[index]), -torch.sin(theta[index])])
        key[0, index] = strength
    for projection, phases in ((attention.q_proj, query), (attention.k_proj, key)):
        projection.weight[rows] = 0
        projection.weight[rows, 0] = phases.flatten()


def _match(attention: torch.nn.Module, rows: slice, theta: Tensor, signature: Tensor, place: Tensor) -> None:
    """Queries read the current token's signature, keys that of the token before, where rotation is slow."""
    slow = (theta < _POSITION_FREE).repeat(2)
    strength = math.sqrt(_MATCH * math.sqrt(len(slow)) / math.sqrt(int(slow.sum())))
    for projection, directions in ((attention.q_proj, signature), (attention.k_proj, place)):
        projection.weight[rows] = strength * directions * slow[:, None]
