"""Released files of methods of selection and representation as peft folders: converters for `suite adapters`.

Each reads a file or folder and fills a folder: `convert(source, out, **options)`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from suite.adapters.methods.representation import loreft as interventions
from suite.adapters.released import PREFIX, read_state, write_folder
from suite.errors import InputError


def loreft(source: Path, out: Path, *, base: str = "", positions: str = "f7+l7") -> None:
    """A folder of pyreft's as an adapter of `loreft`; two interventions of a block are untied ones.

    Args:
        source: the folder, with an `intkey_layer_..._comp_block_output_...bin` for each intervention.
        out: the folder to fill.
        base: the model that it is for.
        positions: which tokens it edits, which the files do not say.

    Raises:
        InputError: there is no intervention at a block's output, or one of another kind.
    """
    files = {file.name: read_state(file) for file in sorted(source.glob("intkey_*.bin"))}
    try:
        blocks = interventions.official_blocks(files)
    except (ValueError, KeyError) as error:
        raise InputError(f"{source}: {error}: this is no folder of LoReFT at blocks' outputs") from error
    if not blocks:
        raise InputError(f"{source}: there are no interventions (intkey_layer_...bin) in it")
    state = {
        f"{PREFIX}model.layers.{number}.suite_loreft.loreft_{name}": tensor.float().contiguous()
        for number, tensors in sorted(blocks.items())
        for name, tensor in tensors.items()
    }
    parts, width, r = next(iter(blocks.values()))["rotate"].shape
    config = {"peft_type": "LOREFT", "r": r, "width": width, "positions": positions, "tied": parts == 1}
    names = [f"model.layers.{number}" for number in sorted(blocks)]
    write_folder(out, {**config, **_shared(base), "target_modules": names}, state)


def neuroada(source: Path, out: Path, *, base: str = "", k: int = 1) -> None:
    """NeuroAda's `weight_new` and `weight_position_new` as an adapter of `neuroada`.

    Args:
        source: the file. out: the folder to fill.
        base: the model that it is for.
        k: connections of a neuron, which the file does not say.

    Raises:
        InputError: values or their places are missing, or are not `k` a neuron.
    """
    given = read_state(source)
    state: dict[str, Tensor] = {}
    places = [key.removesuffix(".weight_new") for key in given if key.endswith(".weight_new")]
    for place in places:
        values, indices = given[f"{place}.weight_new"], given.get(f"{place}.weight_position_new")
        if indices is None or indices.shape != values.shape or values.numel() % k:
            raise InputError(f"{source}: {place} has {values.numel()} values, which are not those of k={k} with places")
        state[f"{PREFIX}{place}.suite_neuroada.neuroada_delta"] = values.float().contiguous()
        state[f"{PREFIX}{place}.suite_neuroada.neuroada_indices"] = indices.to(torch.int32).contiguous()
    if not state:
        raise InputError(f"{source}: there are no bypasses (weight_new) in it")
    write_folder(out, {"peft_type": "NEUROADA", "k": k, **_shared(base), "target_modules": places}, state)


def lofit(source: Path, out: Path, *, base: str = "", num_heads: int = 32) -> None:
    """LoFiT's offsets `attn_v.<head>` as an adapter of `lofit`: of the heads that have one other than 0.

    Args:
        source: the file. out: the folder to fill.
        base: the model that it is for. num_heads: of a layer of it.

    Raises:
        InputError: the file has no offsets.
    """
    found: dict[str, dict[int, Tensor]] = {}
    for key, value in read_state(source).items():
        place, middle, head = key.partition(".self_attn.attn_v.")
        if middle and head.isdigit() and value.any():
            found.setdefault(f"{place}.self_attn.o_proj", {})[int(head)] = value.float()
    if not found:
        raise InputError(f"{source}: no head has an offset (self_attn.attn_v.<head>) in it")
    heads = {place: sorted(offsets) for place, offsets in found.items()}
    state = {
        f"{PREFIX}{place}.lofit_offset": torch.stack([found[place][h] for h in own]) for place, own in heads.items()
    }
    config = {"peft_type": "LOFIT", "stage": "offset", "num_heads": num_heads, "heads": heads}
    write_folder(out, {**config, **_shared(base), "target_modules": [*heads]}, state)


def _shared(base: str) -> dict[str, object]:
    named = {"base_model_name_or_path": base} if base else {}
    return {**named, "task_type": "CAUSAL_LM", "inference_mode": True}
