"""The study's adapters through the adapter core: LoRA, (IA)^3 and prompt tuning on four families of bases."""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from domains.unit_tests.model import study
from suite import adapters
from suite.adapters.handle import handle_of
from suite.adapters.state import saved_state
from tests.golden.kinds.code_review_model import below, close, gradients, load
from tests.golden.registry import Case, kind


@kind("unit_tests/lora_codegen")
def adapted(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    architecture = {key: value for key, value in config["model"].items() if key != "transformers_version"}
    named = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
    model = AutoModelForCausalLM.from_config(named, attn_implementation="eager").eval()
    state = below(tensors, "weights/base/")
    if "embed_tokens.weight" in state:  # saved from inside a wrapper, without the prefix
        state = {name if name.startswith("lm_head") else f"model.{name}": value for name, value in state.items()}
    found = model.load_state_dict(state, strict=False)
    assert not found.unexpected_keys and found.missing_keys in ([], ["lm_head.weight"]), found
    model.requires_grad_(False)
    ids, labels, mask = tensors["input/ids"], tensors["input/labels"], tensors["input/right_pad_mask"]
    close(model(ids).logits, tensors["output/logits_base"])
    model = adapters.attach(model, given(config))
    load(model, below(tensors, "weights/adapter/"))
    logits = model(ids).logits
    close(logits, tensors["output/logits"])
    loss = cross_entropy(logits, labels)
    close(loss, tensors["output/loss"].squeeze())
    # Padding is masked by attention and has no loss.
    padded = model(ids, attention_mask=mask).logits
    close(cross_entropy(padded, labels.masked_fill(mask == 0, -100)), tensors["output/loss_right_padded"].squeeze())
    loss.backward()
    [member] = handle_of(model).attachment(None).members
    with gradients(model):
        ours = saved_state(model, member)
    for name, wanted in below(tensors, "output/grad/").items():
        key = name.replace(".default", "").replace("prompt_encoder.embedding.weight", "prompt_embeddings")
        close(ours[key], wanted)
    if "output/logits_merged" in tensors:
        adapters.merge(model)
        close(model(ids).logits, tensors["output/logits_merged"])
        for name, wanted in below(tensors, "output/merged/").items():
            module, _, part = name.rpartition(".")
            close(getattr(model.get_submodule(module).base_layer, part), wanted)


for name in ("ia3_llama", "ia3_qwen2_bias", "ia3_bigcode", "prompt_tuning_llama"):
    kind(f"unit_tests/{name}")(adapted)


def given(config: dict) -> dict:
    """The case's settings in the core's words; targets are those that the study has for the family."""
    peft = dict(config["peft"])
    method = {"LORA": "lora", "IA3": "ia3", "PROMPT_TUNING": "prompt_tuning"}[peft.pop("peft_type")]
    known = study.settings(config["model"]["model_type"], method)
    assert set(known.get("targets", ())) == set(peft.pop("target_modules", ()))
    changed = {key: value for key, value in peft.items() if key not in ("task_type", "feedforward_modules", "bias")}
    return {**known, **changed}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The shifted loss; virtual tokens stand before the text and have none."""
    logits = logits[:, -labels.shape[1] :]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@kind("unit_tests/keys")
def keys(case: Case) -> None:
    """Names and shapes that the study's adapters save on five bases, from the meta device."""
    expected: dict[tuple[str, str], dict[str, list[int]]] = {}
    for row in case.rows():
        expected.setdefault((row["base"].lower(), row["method"]), {})[row["key"]] = json.loads(row["shape"])
    named = {name.lower(): base for name, base in study.BASES.items()}
    for base in sorted({base for base, _ in expected}):
        architecture = dict(named[base].architecture)
        kind_of = architecture.pop("model_type")
        with torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind_of, **architecture))
            for method in study.METHODS:
                wanted = expected[base, method]
                adapted_model = adapters.attach(model, study.settings(kind_of, method))
                [member] = handle_of(adapted_model).attachment(None).members
                if method == "prompt_tuning":  # peft copies its one tensor to the CPU, which meta tensors cannot be
                    prompt = adapted_model.prompt_encoder[member.adapter].embedding.weight
                    found = {"prompt_embeddings": list(prompt.shape)}
                else:
                    found = {key: list(value.shape) for key, value in saved_state(adapted_model, member).items()}
                assert found == wanted, (base, method)
                adapters.detach(adapted_model)
