"""LoReFT: hidden states are moved, inside a low-rank subspace, to where a linear map of them points.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, equation 2:

    h + R^T (phi(W h + b) - R h),    R (r, d) with orthonormal rows
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, locations, parse_positions, reft_info


class LoreftConfig(ReftConfig):
    """Settings of LoReFT."""


@tuner(reft_info("loreft", "2 * hidden * r + r"), LoreftConfig)
class Loreft(Reft):
    """R^T (phi(W h + b) - R h)."""

    parameter_names: ClassVar = ("rotate", "weight", "bias")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        rotation = self.rotation(adapter, part)  # (d, r)
        return (self.source(h, adapter, part) - h @ rotation) @ rotation.T


def official_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What pyreft saves of one intervention, or of both of an untied pair in turn, as one block's tensors."""
    return {name: state[theirs][None] for name, theirs in _NAMES.items()}


_NAMES = {"rotate": "rotate_layer", "weight": "weight", "bias": "bias"}


def official_blocks(files: Mapping[str, Mapping[str, Tensor]]) -> dict[int, dict[str, Tensor]]:
    """pyreft's files by name (`intkey_layer_3_comp_block_output_unit_pos_nunit_1#0.bin`) as tensors by block.

    Raises:
        ValueError: a file is of another place than a block's output.
    """
    blocks: dict[int, list[dict[str, Tensor]]] = {}
    for name in sorted(files, key=lambda name: int(name.rpartition("#")[2].partition(".")[0])):
        found = re.fullmatch(r"intkey_layer_(\d+)_comp_block_output_unit_pos_nunit_1#\d+(\.bin)?", name)
        if found is None:
            raise ValueError(f"{name} is no intervention at a block's output, which loreft takes")
        blocks.setdefault(int(found[1]), []).append(official_tensors(files[name]))
    return {
        block: {name: torch.cat([part[name] for part in parts]) for name in _NAMES} for block, parts in blocks.items()
    }


def official_files(layers: Mapping[int, Reft], adapter: str = "default") -> dict[str, dict[str, Tensor]]:
    """The other way round: what pyreft reads, by file name."""
    files = {}
    parts = [
        (block, layer, part) for block, layer in layers.items() for part in range(len(layer.tensor("bias", adapter)))
    ]
    for number, (block, layer, part) in enumerate(parts):
        files[f"intkey_layer_{block}_comp_block_output_unit_pos_nunit_1#{number}.bin"] = {
            "rotate_layer": layer.rotation(adapter, part).detach(),
            "weight": layer.tensor("weight", adapter)[part].detach(),
            "bias": layer.tensor("bias", adapter)[part].detach(),
        }
    return files


def official_locations(positions: str, length: int, interventions: int, tied: bool, pad: int = -1) -> list[list[int]]:
    """pyreft's lists of edited tokens for a prompt of `length` tokens, one a intervention; untied, prefixes first."""
    counts = parse_positions(positions)
    assert counts is not None
    prefix, suffix = (own[0].tolist() for own in locations(*counts, torch.tensor([0]), torch.tensor([length])))
    if tied or not all(counts):
        return [_padded(prefix + suffix, sum(counts), pad)] * interventions
    half = interventions // 2
    return [_padded(prefix, max(counts), pad)] * half + [_padded(suffix, max(counts), pad)] * (interventions - half)


def _padded(places: list[int], length: int, pad: int) -> list[int]:
    kept = [place for place in places if place >= 0]
    return kept + [pad] * (length - len(kept))
