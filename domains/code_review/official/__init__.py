"""The authors' files <-> ours: LoRA and LLaMA-Adapter of Lit-LLaMA, which LLaMA-Reviewer is trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from domains.code_review.model.wording import LLAMA_REVIEWER, TASKS, Task
from domains.code_review.official import lit_llama
from suite import adapters
from suite.adapters.handle import handle_of
from suite.adapters.state import load_saved_state
from suite.errors import InputError
from suite.files import read_json, write_text
from suite.hub import weights
from suite.manifest import MANIFEST

LORA_FILE, PREFIX_FILE = "lit-llama-lora-finetuned.pth", "lit-llama-adapter-finetuned.pth"


def convert(
    source: Path,
    out: Path,
    *,
    task: Task,
    alpha: float = 16.0,
    heads: int = 32,
    base: str = "hf:huggyllama/llama-7b",
) -> None:
    """Turn a file of Lit-LLaMA into an adapter of ours: a LoRA for peft, or the method `llama_adapter`.

    Args:
        source: the file, `.pth` or safetensors. out: an existing, empty folder.
        task: what the adapter was trained for; the file does not say.
        alpha: of a LoRA; the file does not say that either.
        heads: attention heads of the base, by which rows of queries are ordered.
        base: reference of the base in transformers' form.

    Raises:
        InputError: the file is none of Lit-LLaMA's, or its tensors do not go together; names the tensor.
    """
    if task not in TASKS:
        raise InputError(f"task {task!r} is none of {', '.join(TASKS)}")
    state = weights.read(source)
    if any(lit_llama.is_prefix(name) for name in state):
        converted = lit_llama.prefix_to_ours(state, heads)
        model = _prefix_host(state, heads)
    else:
        converted = lit_llama.lora_to_peft(state, heads)
        model = _lora_host(state, heads, alpha)
    [member] = handle_of(model).attachment(None).members
    load_saved_state(model, member, converted, str(source))
    told = {"task": task, "template": LLAMA_REVIEWER.to_dict()}
    adapters.save(model, out, base=base, extra=told)
    # The skeleton that it sat on has the base's widths and nothing else of it.
    manifest = read_json(out / MANIFEST) | {"base": {"reference": base, "fingerprint": None, "class": None}}
    write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def export(source: Path, out: Path, *, heads: int = 32) -> None:
    """Write an adapter as the file that Lit-LLaMA reads.

    Args:
        source: the adapter's folder. out: an existing, empty folder.
        heads: attention heads of its base.

    Raises:
        InputError: it is no LoRA of queries and values, nor a `llama_adapter`, of a Llama.
    """
    state = _saved(source)
    if any("llama_adapter" in name for name in state):
        torch.save(lit_llama.prefix_to_lit(state), out / PREFIX_FILE)
    else:
        torch.save(lit_llama.lora_to_lit(state, heads), out / LORA_FILE)


def _saved(folder: Path) -> dict[str, Tensor]:
    manifest = adapters.read_manifest(folder)
    if len(manifest["adapters"]) != 1:
        raise InputError(f"{folder}: holds {len(manifest['adapters'])} adapters; Lit-LLaMA's files hold one each")
    return weights.read(folder / manifest["adapters"][0]["folder"] / "adapter_model.safetensors")


def _lora_host(state: Mapping[str, Tensor], heads: int, alpha: float) -> nn.Module:
    lora = {name: value for name, value in state.items() if name.endswith("lora_B")}
    if not lora:
        raise InputError("the file holds neither a LoRA nor a LLaMA-Adapter of Lit-LLaMA's")
    rank = next(iter(lora.values())).shape[1]
    width = next(iter(lora.values())).shape[0] // 2
    model = _skeleton(width, _layers(lora), heads)
    return adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=rank, lora_alpha=alpha, lora_dropout=0.05)


def _prefix_host(state: Mapping[str, Tensor], heads: int) -> nn.Module:
    prompts = {name: value for name, value in state.items() if name.endswith("adapter_wte.weight")}
    if not prompts:
        raise InputError("the file holds gates of a LLaMA-Adapter and no prompts")
    length, width = next(iter(prompts.values())).shape
    sizes: dict[str, Any] = {"adapter_len": length, "adapter_layers": len(prompts)}
    return adapters.attach(_skeleton(width, _layers(prompts), heads), "llama_adapter", **sizes)


def _layers(state: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[2]) for name in state)


def _skeleton(width: int, layers: int, heads: int) -> nn.Module:
    """A Llama of these sizes without weights, for an adapter to sit on."""
    if width % heads:
        raise InputError(f"a width of {width} is no multiple of {heads} heads; give --option heads=N of the base")
    config = LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=64, vocab_size=64
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)
