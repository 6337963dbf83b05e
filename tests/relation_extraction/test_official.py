from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file

from domains.relation_extraction.model.bundle import check_part, find_bundle, load_bundle
from domains.relation_extraction.official import convert, export
from suite import adapters
from suite.errors import InputError
from tests.generation.small_model import mistral

BASE = "mistralai/Mistral-7B-Instruct-v0.2"


@pytest.fixture
def released(tmp_path):
    """A bundle as AutoRE's training leaves it, on the small Mistral."""
    root = tmp_path / "ckpt" / "mistral"
    for step in ("relation", "subject", "fact"):
        for number in (700, 1200):
            write_adapter(root / step / f"checkpoint-{number}", seed=number)
            (root / step / f"checkpoint-{number}" / "optimizer.pt").write_bytes(b"not ours")
    return root


def write_adapter(folder, seed=0, binary=True, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": BASE,
        "r": 4,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "inference_mode": True,
        "fan_in_fan_out": False,
        "layers_pattern": None,
        "megatron_config": None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    source = torch.Generator().manual_seed(seed)
    state = {}
    for layer in range(2):
        for name, out in (("q_proj", 32), ("v_proj", 16)):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            state[f"{key}.lora_A.weight"] = torch.randn(4, 32, generator=source)
            state[f"{key}.lora_B.weight"] = torch.randn(out, 4, generator=source)
    torch.save(state, folder / "adapter_model.bin")
    return state


def test_released_bundle_becomes_ours_and_loads(released, tmp_path):
    ours = tmp_path / "ours"
    ours.mkdir()
    convert(released, ours)
    assert not list(ours.rglob("*.bin")) + list(ours.rglob("optimizer*"))
    bundle = find_bundle(ours)
    assert (bundle.layout, bundle.base, bundle.settings["template"]) == ("three", f"hf:{BASE}", "mistral")
    assert bundle.settings["protocol"] == "autore-official/D_R_H_F_desc"
    assert len(bundle.settings["schema"]["relations"]) == 96
    model = load_bundle(mistral(), bundle)
    assert adapters.attached(model) == ["relation", "subject", "fact"]
    newest = torch.load(released / "fact" / "checkpoint-1200" / "adapter_model.bin", weights_only=True)
    assert torch.equal(load_file(ours / "fact" / "adapter_model.safetensors")[min(newest)], newest[min(newest)])


def test_released_bundle_loads_as_it_is(released):
    bundle = find_bundle(released)
    assert bundle.official
    assert {part.name for part in bundle.parts.values()} == {"checkpoint-1200"}
    ids = torch.arange(10).unsqueeze(0)
    model = load_bundle(mistral(), bundle)
    adapters.activate(model, "fact")
    direct = model(ids).logits
    assert not torch.allclose(direct, mistral()(ids).logits, atol=1e-3)
    older = load_bundle(mistral(), find_bundle(released, checkpoint=700))
    adapters.activate(older, "fact")
    assert not torch.allclose(direct, older(ids).logits, atol=1e-3)


def test_there_and_back(released, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    convert(released, ours)
    export(ours, theirs, checkpoint=1200, binary=True)
    for step in ("relation", "subject", "fact"):
        folder = theirs / step / "checkpoint-1200"
        original = released / step / "checkpoint-1200"
        found = torch.load(folder / "adapter_model.bin", weights_only=True)
        expected = torch.load(original / "adapter_model.bin", weights_only=True)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert json.loads((folder / "adapter_config.json").read_text()) == json.loads(
            (original / "adapter_config.json").read_text()
        )


def test_export_leaves_out_what_peft_0_10_refuses(tmp_path):
    """A configuration of a newer peft has fields that the pinned one raises on."""
    write_adapter(tmp_path / "ours", exclude_modules=None, use_qalora=False)
    export(tmp_path / "ours", tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs" / "checkpoint-0" / "adapter_config.json").read_text())
    assert not {"exclude_modules", "use_qalora"} & config.keys()
    assert config["r"] == 4


def test_a_single_adapter_is_a_bundle_too(tmp_path):
    write_adapter(tmp_path / "one" / "checkpoint-30")
    bundle = find_bundle(tmp_path / "one")
    assert (bundle.layout, list(bundle.parts)) == ("single", ["joint"])


def test_acceptance_13_12_missing_step_says_where_it_was_looked_for(released):
    for folder in (released / "subject").iterdir():
        (folder / "adapter_config.json").unlink()
    with pytest.raises(
        InputError, match=r"lacks the adapter of step `subject`.*checkpoint-1200, checkpoint-700"
    ) as error:
        find_bundle(released)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no adapter there"):
        find_bundle(released.parent)


def test_rank_must_be_what_the_configuration_says(tmp_path):
    write_adapter(tmp_path / "a", r=100)
    with pytest.raises(InputError, match=r"r=100, but .*lora_A\.weight has rank 4"):
        check_part(tmp_path / "a")


def test_base_of_another_family_is_refused(tmp_path):
    write_adapter(tmp_path / "a", base_model_name_or_path="lmsys/vicuna-7b-v1.5")
    with pytest.raises(InputError, match=r"trained on lmsys/vicuna-7b-v1\.5, but the loaded base is a mistral"):
        load_bundle(mistral(), find_bundle(tmp_path / "a"))


def test_unknown_base_needs_its_template(tmp_path):
    write_adapter(tmp_path / "a", base_model_name_or_path="someone/else")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="does not tell the chat template"):
        convert(tmp_path / "a", out)
    convert(tmp_path / "a", out, template="vicuna")
    assert find_bundle(out).settings["template"] == "vicuna"


def test_a_wording_that_is_not_shipped_stays_with_the_bundle(tmp_path, released):
    file, out = tmp_path / "templates.json", tmp_path / "out"
    answers = dict.fromkeys(("relation", "subject", "fact"), "{s}")
    file.write_text(json.dumps({"answers": answers}))
    out.mkdir()
    convert(released, out, protocol="autore-official/D_R_H_F_desc_chinese", protocol_templates=file)
    assert find_bundle(out).settings["protocol_templates"] == {"answers": answers}


def test_pickles_with_more_than_tensors_are_refused(tmp_path):
    write_adapter(tmp_path / "a")
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (tmp_path / "a" / "adapter_model.bin").write_bytes(pickle.dumps({"x": Payload()}))
    with pytest.raises(InputError):
        check_part(tmp_path / "a")
    assert not marker.exists()


def test_missing_weights_are_named(tmp_path):
    write_adapter(tmp_path / "a")
    (tmp_path / "a" / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match=r"none of adapter_model\.safetensors, adapter_model\.bin"):
        check_part(tmp_path / "a")
