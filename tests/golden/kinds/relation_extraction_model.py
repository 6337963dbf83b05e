"""Adapters of relation extraction: AutoRE's files through the converter into the adapter core, and their names."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from transformers import MistralConfig, MistralForCausalLM

from domains.relation_extraction.model.bundle import find_bundle, load_bundle
from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.official import convert
from domains.relation_extraction.recipe import RelationExtractionRecipe
from suite import adapters
from suite.adapters.handle import handle_of
from suite.adapters.state import saved_state
from suite.generation.kvcache import Rows
from suite.training.config import load_config
from tests.golden.registry import Case, kind

CONFIGS = Path(__file__).parents[3] / "configs" / "relation_extraction"
PUBLISHED = {
    "mistral-7b r100": "mistral_7b.yaml",
    "mistral-7b r300": "d_r_h_f_desc.yaml",
    "vicuna-7b r100": "vicuna_7b.yaml",
    "chatglm3-6b r100 (derived from its config, not instantiated)": "chatglm3_6b.yaml",
}


@kind("relation_extraction/lora_three_adapters")
def lora_three_adapters(case: Case) -> None:
    tensors = case.tensors()
    model = MistralForCausalLM(MistralConfig(**case.config["model"], attn_implementation=case.config["attn"]))
    model.load_state_dict(_below(tensors, "weights/base/"))
    model.eval().requires_grad_(False)
    ids, labels = tensors["input/input_ids"], tensors["input/labels"]
    _close(model(ids).logits, tensors["output/base/logits"])
    _same_greedy(model, tensors, "base", case.config["greedy"]["max_new_tokens"])
    with TemporaryDirectory() as folder:
        released, ours = Path(folder, "released"), Path(folder, "ours")
        _write_released(released, tensors, case.config["lora"])
        ours.mkdir()
        convert(released, ours)
        bundle = find_bundle(ours)
        assert bundle.settings["protocol"] == "autore-official/D_R_H_F_desc"
        assert bundle.settings["template"] == "mistral"
        model = load_bundle(model, bundle)
    for step in STEPS:
        adapters.activate(model, step, trainable=True)
        logits = model(ids).logits
        _close(logits, tensors[f"output/{step}/logits"])
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        _close(loss, tensors[f"output/{step}/loss"].squeeze())
        _same_gradients(model, loss, _below(tensors, f"output/{step}/grad/"), step)
        _same_greedy(model, tensors, step, case.config["greedy"]["max_new_tokens"])
        if merged := _below(tensors, f"output/{step}/merged/"):
            adapters.merge(model)
            for name, expected in merged.items():
                module = model.get_submodule(name.removesuffix(".weight"))
                _close(module.base_layer.weight, expected)
            _close(model(ids).logits, tensors[f"output/{step}/logits"])
            adapters.unmerge(model)


@kind("relation_extraction/keys")
def keys(case: Case) -> None:
    """Names, shapes and types of the tensors that the published configurations save, from the meta device."""
    expected: dict[str, dict[str, tuple[list[int], str]]] = {}
    for row in case.rows():
        expected.setdefault(row["config"], {})[row["key"]] = (json.loads(row["shape"]), row["dtype"])
    assert expected.keys() == PUBLISHED.keys()
    for name, file in PUBLISHED.items():
        config = load_config(CONFIGS / file)
        recipe = RelationExtractionRecipe(base=config.base, architecture=config.architecture, **config.recipe)
        with torch.device("meta"):
            model = recipe.build()
        handle = handle_of(model)
        for adapter in adapters.attached(model):
            (member,) = handle.attachment(adapter).members
            state = saved_state(model, member)
            found = {key: (list(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()}
            assert found == expected[name], f"{name}, adapter {adapter}"


def _write_released(root: Path, tensors: dict[str, torch.Tensor], lora: dict) -> None:
    """A bundle as AutoRE's training leaves it: several checkpoints, pickled weights, peft 0.10's configuration."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2",
        "r": lora["r"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "target_modules": lora["target_modules"],
        "bias": "none",
    }
    for step in lora["adapters"]:
        for number in (90, 1200):
            folder = root / step / f"checkpoint-{number}"
            folder.mkdir(parents=True)
            (folder / "adapter_config.json").write_text(json.dumps(config))
            state = _below(tensors, f"weights/{step}/")
            if number == 90:
                state = {key: value + 1 for key, value in state.items()}
            torch.save(state, folder / "adapter_model.bin")


def _same_gradients(model: torch.nn.Module, loss: torch.Tensor, expected: dict[str, torch.Tensor], step: str) -> None:
    parameters = dict(model.named_parameters())
    for key, gradient in expected.items():
        name = key.removeprefix("base_model.model.").replace(".weight", f".{step}.weight")
        (found,) = torch.autograd.grad(loss, [parameters[name]], retain_graph=True)
        _close(found, gradient)


@torch.no_grad()
def _same_greedy(model: torch.nn.Module, tensors: dict[str, torch.Tensor], step: str, count: int) -> None:
    ids, real = tensors["input/gen_ids_left_padded"], tensors["input/gen_attention_mask"].bool()
    rows = Rows.empty(len(ids), ids.device)
    answers = []
    # The case was made with a minimum length: the end token is never chosen.
    for _ in range(count):
        logits = rows.forward(model, ids, real)
        logits[:, 2] = -torch.inf
        ids = logits.argmax(dim=-1, keepdim=True)
        real = torch.ones_like(ids, dtype=torch.bool)
        answers.append(ids)
    assert torch.equal(torch.cat(answers, dim=1), tensors[f"output/{step}/greedy"])


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
