"""Prompts and prefixes inside attentions, against the authors' code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.adapters.methods.prompt import apt, dept, llama_adapter
from tests.golden.layers import TOLERANCE, fill, group
from tests.golden.registry import Case, kind


@kind("methods_weight/llama_adapter_v1")
def llama_adapter_v1(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = _llama(group(tensors, "weights/"), config)
    adapters.attach(model, "llama_adapter", adapter_len=config["adapter_len"], adapter_layers=config["adapter_layer"])
    weights = group(tensors, "weights/")
    trained = {key: value for key, value in weights.items() if key == "adapter_query.weight" or key.endswith("gate")}
    official = llama_adapter.official_tensors(trained, config["n_layers"], config["adapter_len"])
    for number in range(config["n_layers"] - config["adapter_layer"], config["n_layers"]):
        fill(model.model.layers[number].self_attn.suite_llama_adapter, group(official, f"{number}."))
    logits = model(tensors["input/tokens"]).logits[:, -1]
    torch.testing.assert_close(logits, tensors["output/logits_last"], atol=1e-4, rtol=0.0)

    alone = _llama(weights, config)
    adapters.attach(alone, "llama_adapter", adapter_len=config["adapter_len"], targets=["layers.0.self_attn"])
    attention, x = alone.model.layers[0].self_attn, tensors["input/attn_x"]
    gate = weights["layers.0.attention.gate"].flatten()
    fill(attention.suite_llama_adapter, {"prompt": tensors["input/attn_adapter"][0], "gate": gate})
    positions = alone.model.rotary_emb(x, torch.arange(x.shape[1])[None])
    y, _ = attention(x, position_embeddings=positions, attention_mask=None)
    torch.testing.assert_close(y, tensors["output/attn_y(layer0)"], atol=1e-4, rtol=0.0)


def _llama(weights: dict[str, Tensor], config: dict[str, int]) -> nn.Module:
    """transformers' Llama with the authors' weights, whose rotary pairs neighbours, not halves."""
    heads, dim = config["n_heads"], config["dim"]
    sizes = dict(
        vocab_size=config["vocab_size"],
        hidden_size=dim,
        intermediate_size=len(weights["layers.0.feed_forward.w1.weight"]),
        num_hidden_layers=config["n_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        rms_norm_eps=config["norm_eps"],
    )
    model = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    names = {
        "tok_embeddings": "model.embed_tokens",
        "norm": "model.norm",
        "output": "lm_head",
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    state = {}
    for key, value in weights.items():
        place, found, inside = key.removesuffix(".weight"), "", ""
        if place.startswith("layers."):
            _, number, inside = place.split(".", 2)
            found = f"model.layers.{number}."
        if (inside or place) not in names:
            continue
        if inside in ("attention.wq", "attention.wk"):
            value = value.view(heads, -1, 2, dim).transpose(1, 2).reshape(value.shape)
        state[f"{found}{names[inside or place]}.weight"] = value
    model.load_state_dict(state)
    return model


@kind("methods_weight/prompt_variants")
def prompt_variants(case: Case) -> None:
    tensors = case.tensors()
    _apt(tensors, case.config["apt_block"])
    _dept(tensors, case.config["dept_embedding"])


class _Attention(nn.Module):
    """An attention that mixes nothing: what goes into its projection is given."""

    def __init__(self, width: int, inside: Tensor) -> None:
        super().__init__()
        self.proj, self.inside = nn.Linear(width, width, bias=False), inside
        nn.init.eye_(self.proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.inside)


def _apt(tensors: dict[str, Tensor], config: dict[str, int]) -> None:
    model = nn.ModuleDict({"attn": _Attention(config["dim"], tensors["input/apt_block/attn_output_before_proj"])})
    adapters.attach(model, "apt", targets=["attn"], tokens=config["num_prompts"], hidden=config["hidden"])
    fill(model["attn"].suite_apt, apt.official_tensors(group(tensors, "weights/apt_block/")))
    y = model["attn"](tensors["input/apt_block/attn_input"])
    torch.testing.assert_close(y, tensors["output/apt_block/y"], **TOLERANCE)


def _dept(tensors: dict[str, Tensor], config: dict[str, float]) -> None:
    weights = group(tensors, "weights/dept_embedding/")
    words = weights.pop("word_embeddings.weight")
    sizes = dict(vocab_size=len(words), hidden_size=words.shape[1], intermediate_size=8, num_hidden_layers=1)
    base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=1, num_key_value_heads=1)).eval()
    base.model.embed_tokens.load_state_dict({"weight": words})
    same = ("num_virtual_tokens", "r", "lora_alpha", "max_length")
    model = adapters.attach(base, "dept", task_type="CAUSAL_LM", **{name: config[name] for name in same})
    encoder = model.prompt_encoder["default"]
    encoder.load_state_dict(dept.official_tensors(weights))
    seen: list[Tensor] = []
    base.model.register_forward_pre_hook(lambda _m, _a, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True)
    model(tensors["input/dept_embedding/input_ids"])
    torch.testing.assert_close(seen[0], tensors["output/dept_embedding/inputs_embeds"], **TOLERANCE)
