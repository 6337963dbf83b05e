"""Adapters of code review: Lit-LLaMA's files and peft's through the adapter core."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaModel

from domains.code_review.official import lit_llama
from suite import adapters
from suite.adapters.handle import handle_of
from suite.adapters.state import load_saved_state, saved_state
from tests.golden.registry import Case, kind


@kind("code_review/lit_lora")
def lit_lora(case: Case) -> None:
    """The published product, unmerged and merged, with gradients, on the converted base."""
    tensors, config = case.tensors(), case.config
    lora, heads = below(tensors, "weights/", "lora_"), config["n_head"]
    model = llama(tensors, config)
    ids = tensors["input/ids"]
    close(model(ids).logits, tensors["output/logits_base"])
    adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=config["r"], lora_alpha=config["alpha"])
    load(model, lit_llama.lora_to_peft(lora, heads))
    logits = model(ids).logits
    close(logits, tensors["output/logits_unmerged"])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    close(loss, tensors["output/loss"].squeeze())
    loss.backward()
    with gradients(model):
        [member] = handle_of(model).attachment(None).members
        found = lit_llama.lora_to_lit(saved_state(model, member), heads)
    for name, wanted in below(tensors, "output/grad/").items():
        close(found[name], wanted, 1e-4)
    adapters.merge(model)
    close(model(ids).logits, tensors["output/logits_merged"])
    merged = {}
    for number in range(config["n_layer"]):
        attention = model.model.layers[number].self_attn
        for part in "qkv":
            projection = getattr(attention, f"{part}_proj")
            weight = getattr(projection, "base_layer", projection).weight
            merged[f"model.layers.{number}.self_attn.{part}_proj.weight"] = weight.detach()
    fused = lit_llama.base_to_lit(merged, heads)
    for name, wanted in below(tensors, "output/merged/").items():
        close(fused[name], wanted, 1e-6)


@kind("code_review/lit_to_hf")
def lit_to_hf(case: Case) -> None:
    tensors, heads = case.tensors(), case.config["n_head"]
    lit, peft = below(tensors, "weights/lit/"), below(tensors, "weights/peft/")
    made = lit_llama.lora_to_peft(lit, heads)
    assert made.keys() == peft.keys() and all(torch.equal(made[name], peft[name]) for name in peft)
    back = lit_llama.lora_to_lit(made, heads)
    assert back.keys() == lit.keys() and all(torch.equal(back[name], lit[name]) for name in lit)
    base, wanted = below(tensors, "weights/lit_base/"), below(tensors, "weights/hf/")
    found = lit_llama.base_to_transformers(base, heads)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    rest = Case(case.path.with_name("lit_lora.safetensors"), "code_review/lit_lora")
    model = llama(rest.tensors() | {f"weights/{name}": value for name, value in base.items()}, case.config)
    close(model(tensors["input/ids"]).logits, tensors["output/logits_hf_base"], 2e-5)
    adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=case.config["r"], lora_alpha=case.config["alpha"])
    load(model, made)
    close(model(tensors["input/ids"]).logits, tensors["output/logits_hf_lora"], 2e-5)


def llama(tensors: Mapping[str, Tensor], config: Mapping[str, int]) -> nn.Module:
    """Lit-LLaMA's base of a case as transformers' class."""
    state = lit_llama.base_to_transformers(below(tensors, "weights/"), config["n_head"])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config["padded_vocab_size"],
            hidden_size=config["n_embd"],
            intermediate_size=state["model.layers.0.mlp.gate_proj.weight"].shape[0],
            num_hidden_layers=config["n_layer"],
            num_attention_heads=config["n_head"],
            max_position_embeddings=config["block_size"],
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
        )
    )
    model.load_state_dict(state)
    return model.eval()


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    [member] = handle_of(model).attachment(None).members
    load_saved_state(model, member, state, "the case")


@contextmanager
def gradients(model: nn.Module) -> Iterator[None]:
    """Gradients in the place of the trained values, to be read under the names that are saved."""
    trained = [parameter for parameter in model.parameters() if parameter.grad is not None]
    values = [parameter.data for parameter in trained]
    for parameter in trained:
        parameter.data = parameter.grad
    try:
        yield
    finally:
        for parameter, value in zip(trained, values, strict=True):
            parameter.data = value


def below(tensors: Mapping[str, Tensor], start: str, containing: str = "") -> dict[str, Tensor]:
    found = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    return {name: value for name, value in found.items() if containing in name}


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    assert found.detach().numpy() == pytest.approx(wanted.numpy(), abs=tolerance, rel=0)


@kind("code_review/adaption_prompt_hf")
def adaption_prompt_hf(case: Case) -> None:
    tensors, config = case.tensors(), dict(case.config)
    prompt = {"adapter_len": config.pop("adapter_len"), "adapter_layers": config.pop("adapter_layers")}
    config.pop("note")
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager")).eval()
    model.load_state_dict(below(tensors, "weights/base/"))
    ids, mask = tensors["input/ids"], tensors["input/left_pad_mask"]
    close(model(ids).logits, tensors["output/logits_base"])
    before = model(ids).logits.detach()
    model = adapters.attach(model, "adaption_prompt", targets=None, **prompt)
    # Gates begin at zero: the first step is the base's, bit for bit.
    assert torch.equal(model(ids).logits, before)
    close(before, tensors["output/logits_gate0"])
    load(model, below(tensors, "weights/adapter/"))
    logits = model(ids).logits
    close(logits, tensors["output/logits"])
    padded = model(ids, attention_mask=mask).logits
    seen = mask.bool()
    close(padded[seen], tensors["output/logits_left_padded"][seen])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    close(loss, tensors["output/loss"].squeeze())
    loss.backward()
    [member] = handle_of(model).attachment(None).members
    with gradients(model):
        found = saved_state(model, member)
    for name, wanted in below(tensors, "output/grad/").items():
        close(found[name], wanted, 1e-4)


kind("code_review/adaption_prompt_hf_gqa")(adaption_prompt_hf)


@kind("code_review/telly")
def telly(case: Case) -> None:
    """Trained parameters of UniXcoder for every number of frozen layers, from the meta device."""
    data = case.json()
    with torch.device("meta"):
        config = RobertaConfig(
            vocab_size=51416, max_position_embeddings=1026, type_vocab_size=10, num_hidden_layers=12, hidden_size=768
        )
        model = RobertaModel(config)
        assert sum(parameter.numel() for parameter in model.parameters()) == data["trainable"]["base"]
        for depth in range(12):
            model = adapters.attach(model, "telly", frozen=depth)
            assert adapters.count(model).trainable == data["trainable"][str(depth)]
            model = adapters.detach(model)
        # The clone detector's head reads two snippets, each a vector of 768 numbers.
        head = nn.Sequential(nn.Linear(2 * 768, 768), nn.Linear(768, 2))
        assert sum(parameter.numel() for parameter in head.parameters()) == data["clone_detection_head"]
        layer = model.encoder.layer[0]
        assert sum(parameter.numel() for parameter in layer.parameters()) == data["layer"]


@kind("code_review/lit_adapter")
def lit_adapter(case: Case) -> None:
    """Gated prefixes a head: on a text, with closed gates, with one gate for all heads, decoded with a cache."""
    tensors, config = case.tensors(), case.config
    prefix = {name: value for name, value in below(tensors, "weights/").items() if lit_llama.is_prefix(name)}
    model = llama(tensors, config)
    ids = tensors["input/ids"]
    base = model(ids).logits.detach()
    sizes = {"adapter_len": config["adapter_prompt_length"]}
    adapters.attach(model, "llama_adapter", adapter_layers=config["n_layer"] - config["adapter_start_layer"], **sizes)
    assert torch.equal(model(ids).logits, base)
    close(base, tensors["output/logits_gate0"])
    load(model, lit_llama.prefix_to_ours(prefix, config["n_head"]))
    logits = model(ids).logits
    close(logits, tensors["output/logits"])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    close(loss, tensors["output/loss"].squeeze())
    loss.backward()
    [member] = handle_of(model).attachment(None).members
    with gradients(model):
        found = lit_llama.prefix_to_lit(saved_state(model, member))
    wanted = below(tensors, "output/grad/")
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        close(found[name], gradient, 1e-4)
    model.zero_grad()
    read, steps = tensors["input/prompt"], []
    cache = None
    with torch.no_grad():
        for token in tensors["output/greedy_tokens"][0]:
            out = model(read, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[:, -1])
            assert int(steps[-1].argmax()) == int(token)
            read = token.reshape(1, 1)
    close(torch.stack(steps, 1), tensors["output/greedy_step_logits"])
    # Older files have one gate a layer.
    legacy = {name: value[:, 0].flatten()[:1] if "gating" in name else value for name, value in prefix.items()}
    load(model, lit_llama.prefix_to_ours(legacy, config["n_head"]))
    close(model(ids).logits, tensors["output/logits_legacy_scalar_gate"])


@kind("code_review/keys")
def keys(case: Case) -> None:
    """Names and shapes of the files for LLaMA-7B: Lit-LLaMA's and peft's, made of one another without weights."""
    expected: dict[str, dict[str, list[int]]] = {}
    for row in case.rows():
        expected.setdefault(row["file"], {})[row["key"]] = json.loads(row["shape"])

    def empty(name: str) -> dict[str, Tensor]:
        return {key: torch.empty(shape, device="meta") for key, shape in expected[name].items()}

    def shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
        return {key: list(value.shape) for key, value in state.items()}

    assert shapes(lit_llama.lora_to_peft(empty("lit-lora-r16"), 32)) == expected["peft-lora-r16"]
    assert shapes(lit_llama.lora_to_lit(empty("peft-lora-r16"), 32)) == expected["lit-lora-r16"]
    made = lit_llama.lora_to_peft(empty("lit-lora-r8"), 32)
    assert shapes(lit_llama.lora_to_lit(made, 32)) == expected["lit-lora-r8"]
    assert (
        shapes(lit_llama.prefix_to_lit(lit_llama.prefix_to_ours(empty("lit-adapter"), 32))) == expected["lit-adapter"]
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32))
    counts = {}
    for name, method, settings in (
        ("peft-lora-r16", "lora", {"targets": ["q_proj", "v_proj"], "r": 16}),
        ("lora r8", "lora", {"targets": ["q_proj", "v_proj"], "r": 8}),
        ("peft-adaption-prompt", "adaption_prompt", {"targets": None, "adapter_len": 10, "adapter_layers": 30}),
        ("lit-adapter", "llama_adapter", {"adapter_len": 10, "adapter_layers": 30}),
    ):
        with torch.device("meta"):
            adapted = adapters.attach(model, method, **settings)
        counts[name] = adapters.count(adapted).trainable
        [member] = handle_of(adapted).attachment(None).members
        state = saved_state(adapted, member)
        if name == "lit-adapter":
            state = lit_llama.prefix_to_lit(state)
        if name in expected:
            assert shapes(state) == expected[name], name
        model = adapters.detach(adapted)
    published = {"peft-lora-r16": 8_388_608, "lora r8": 4_194_304}
    assert counts == published | {"peft-adaption-prompt": 1_228_830, "lit-adapter": 1_229_760}
