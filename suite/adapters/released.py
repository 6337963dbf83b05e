"""Adapter files of other people's code, in layouts of their own, as peft folders: converters for `suite adapters`.

Each reads a file or folder and fills a folder: `convert(source, out, **options)`. What a method's own file can read
(`official_tensors`) it reads; here stand the files of methods that are peft's, and of old forks of peft.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file
from torch import Tensor

from suite.adapters.methods.prompt import dept, llama_adapter
from suite.adapters.methods.reparameterized import triadaptlora
from suite.errors import InputError, one_line
from suite.files import read_json, write_text
from suite.manifest import CONFIG

PREFIX = "base_model.model."


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a pickle of tensors and nothing else.

    Raises:
        InputError: it holds anything else.
    """
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # of whatever kind: the file is a stranger's
        raise InputError(f"{file}: this is no file of tensors alone ({one_line(error)})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file}: this is no file of tensors by name")
    return dict(state)


def tfew_ia3(source: Path, out: Path, *, base: str = "bigscience/T0_3B") -> None:
    """T-Few's released (IA)^3 vectors as an adapter of peft's `ia3`.

    Theirs scale what comes out of `wi_1`, peft's what goes into `wo`, which is the same.

    Args:
        source: the file, e.g. `t03b_ia3_finish.pt`.
        out: the folder to fill.
        base: the model that it is for.

    Raises:
        InputError: it holds other tensors than those of (IA)^3.
    """
    vector = re.compile(r"(.*\.(?:SelfAttention|EncDecAttention)\.[kv]|.*\.DenseReluDense)(\.wi_1)?\.multi_lora_b")
    state: dict[str, Tensor] = {}
    for key, value in read_state(source).items():
        found = vector.fullmatch(key)
        if found is None or value.dim() != 2 or value.shape[1] != 1:
            raise InputError(f"{source}: {key} {tuple(value.shape)} is no vector of (IA)^3")
        place = f"{found[1]}.wo" if found[2] else found[1]
        row = value.T if found[2] else value  # peft: (1, in) of feed-forward modules, (out, 1) of the others
        state[f"{PREFIX}{place}.ia3_l"] = row.float().contiguous()
    if not state:
        raise InputError(f"{source}: there are no vectors of (IA)^3 in it")
    config = {
        "peft_type": "IA3",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": base,
        "target_modules": ["k", "v", "wo"],
        "feedforward_modules": ["wo"],
        "inference_mode": True,
    }
    write_folder(out, config, state)


def dept_prompt(source: Path, out: Path) -> None:
    """DePT's released folder, of a fork of peft, as an adapter of `dept`.

    Raises:
        InputError: it is of another method, or its file lacks or holds other tensors.
    """
    theirs = _fork_config(source, "PROMPT_TUNING_LORA")
    state = dept.official_tensors(read_state(_weights(source)))
    sizes = ("num_virtual_tokens", "num_transformer_submodules", "token_dim", "num_attention_heads", "num_layers")
    config = {"peft_type": "DEPT", **_shared(theirs, *sizes, "r", "lora_alpha", "max_length")}
    write_folder(out, config, {f"dept_{name}": tensor.float().contiguous() for name, tensor in state.items()})


def llama_adapter_prompts(
    source: Path, out: Path, *, base: str = "huggyllama/llama-7b", layers: int = 32, adapter_len: int = 10
) -> None:
    """LLaMA-Adapter's released prompts and gates as an adapter of `llama_adapter`.

    Args:
        source: the file, e.g. `llama_adapter_len10_layer30_release.pth`.
        out: the folder to fill.
        base: the model that it is for, as transformers' Llama.
        layers: of that model.
        adapter_len: prompts of a layer.

    Raises:
        InputError: the file is of other sizes, lacks a gate, or holds something else.
    """
    state = {}
    for key, tensor in llama_adapter.official_tensors(read_state(source), layers, adapter_len).items():
        number, name = key.split(".")
        place = f"{PREFIX}model.layers.{number}.self_attn.suite_llama_adapter.llama_adapter_{name}"
        state[place] = tensor.float().contiguous()
    config: dict[str, Any] = {"peft_type": "LLAMA_ADAPTER", "task_type": "CAUSAL_LM", "base_model_name_or_path": base}
    config |= {"adapter_len": adapter_len, "adapter_layers": len(state) // 2, "inference_mode": True}
    write_folder(out, config, state)


def paca(source: Path, out: Path) -> None:
    """A folder of PaCA's fork of peft as an adapter of `paca`."""
    theirs = _fork_config(source, "PACA")
    config = {"peft_type": "PACA", "r": theirs["r"], "alpha": theirs.get("paca_alpha", theirs["r"])}
    config |= _shared(theirs, "target_modules", "rank_pattern", "alpha_pattern")
    state: dict[str, Tensor] = {}
    for key, tensor in read_state(_weights(source)).items():
        place, _, name = key.rpartition(".")
        if name not in ("paca_w", "paca_indices"):
            raise InputError(f"{source}: {key} is no tensor of PaCA")
        child = "w" if name == "paca_w" else "indices"
        state[f"{place}.suite_paca.paca_{child}"] = tensor.contiguous()
    write_folder(out, config, state)


def bottleneck(source: Path, out: Path) -> None:
    """A folder of LLM-Adapters' fork of peft as an adapter of `series_adapter` or `parallel_adapter`."""
    theirs = _fork_config(source, "BOTTLENECK")
    method = "parallel_adapter" if theirs.get("use_parallel_adapter") else "series_adapter"
    config: dict[str, Any] = {"peft_type": method.upper()}
    config |= _shared(theirs, "target_modules", "bottleneck_size", "non_linearity")
    config |= {"dropout": theirs.get("adapter_dropout", 0.0), "scaling": theirs.get("scaling", 1.0)}
    state: dict[str, Tensor] = {}
    for key, tensor in read_state(_weights(source)).items():
        place, _, name = key.removesuffix(".weight").rpartition(".")
        if name not in ("adapter_down", "adapter_up"):
            raise InputError(f"{source}: {key} is no matrix of a bottleneck adapter")
        state[f"{place}.suite_{method}.{method}_{name.removeprefix('adapter_')}"] = tensor.contiguous()
    write_folder(out, config, state)


def triadapt(source: Path, out: Path) -> None:
    """A folder of TriAdaptLoRA's fork of peft as an adapter of `triadaptlora`."""
    theirs = _fork_config(source, "TRIADAPTLORA")
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_state(_weights(source)).items():
        place, found, rest = key.partition(".lora_")
        if not found:
            raise InputError(f"{source}: {key} is no tensor of TriAdaptLoRA")
        name, _, number = rest.rpartition(".")
        layers.setdefault(place, {})[f"lora_{name.split('.')[0]}.default.{number}"] = tensor
    state: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for place, official in layers.items():
        ours = triadaptlora.official_tensors(official)
        ranks[re.escape(place.removeprefix(PREFIX))] = len(ours["lora_A"])
        state |= {f"{place}.triadaptlora_{name}": tensor.contiguous() for name, tensor in ours.items()}
    config = {"peft_type": "TRIADAPTLORA", "alpha": theirs.get("lora_alpha", 8), "rank_pattern": ranks}
    config |= {"r": theirs.get("reference_rank", 8), "add_r": theirs.get("incre_rank_num")}
    config |= _shared(theirs, "target_modules", "init_rank")
    write_folder(out, config, state)


def _shared(theirs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Settings of the same name, and those that every peft folder has."""
    names = (*names, "base_model_name_or_path", "task_type", "inference_mode")
    return {name: theirs[name] for name in names if theirs.get(name) is not None}


def _fork_config(source: Path, method: str) -> dict[str, Any]:
    config = read_json(source / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != method:
        found = config.get("peft_type") if isinstance(config, dict) else config
        raise InputError(f"{source / CONFIG}: peft_type is {found!r}, not {method}")
    return config


def _weights(source: Path) -> Path:
    for name in (SAFETENSORS_WEIGHTS_NAME, "adapter_model.bin"):
        if (source / name).is_file():
            return source / name
    raise InputError(f"{source}: there is neither {SAFETENSORS_WEIGHTS_NAME} nor adapter_model.bin")


def write_folder(out: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    write_text(out / CONFIG, json.dumps({**config}, indent=2) + "\n")
    save_file(dict(state), out / SAFETENSORS_WEIGHTS_NAME, {"format": "pt"})
