"""Other programs' files become adapters of ours that do the same, and what they are is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from domains.personalized_diffusion.model import methods
from domains.personalized_diffusion.official import exchange, exports, imports, naming
from domains.personalized_diffusion.official import processor_keys as official
from domains.personalized_diffusion.official import weights_files as parsing
from domains.personalized_diffusion.official.changes import Dense, Kronecker, LowRank, fit_all, fitted, low_rank
from suite import adapters
from suite.errors import InputError
from tests.personalized_diffusion import networks


def brought_in(file: Path, out: Path, **options: Any) -> Path:
    out.mkdir()
    imports.convert(file, out, **options)
    return out


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def same_changes(folder: Path, wanted: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    network = adapters.load(networks.unet(), folder)
    found = networks.layer_deltas(network)
    assert found.keys() == wanted.keys()
    for name, delta in wanted.items():
        close(found[name], delta, tolerance)


# Full size: acceptance 3 of the spec


@pytest.fixture(scope="session")
def sdxl() -> nn.Module:
    """SDXL's UNet without weights."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )


def official_state(network: nn.Module, shapes: Any) -> dict[str, Tensor]:
    """A file under the authors' keys, whose pairs have the shapes that `shapes(out, in)` gives."""
    state = {}
    for name in methods.adapted(network):
        layer = network.get_submodule(name)
        for half, shape in zip(("down", "up"), shapes(layer.out_features, layer.in_features), strict=True):
            state[official.key_of("unet", name, half)] = torch.full(shape, 0.01)
    return state


def krona_shapes(out: int, into: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (64, 4), (out // 4, into // 64)


def lora_shapes(out: int, into: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (4, into), (out, 4)


def test_acceptance_12_3_a_full_size_official_file_loads_and_is_told_from_lora(sdxl: nn.Module) -> None:
    state = official_state(sdxl, krona_shapes)
    assert len(state) == 1120
    changes = parsing.parse(state)
    assert parsing.describe(state, changes) == "KronA" and len(changes["unet"]) == 560
    assert all(isinstance(c, Kronecker) and c.official and c.a.shape == (4, 64) for c in changes["unet"].values())
    imports.check_shapes(changes, {"unet": sdxl})
    pairs = official.parse(state)["unet"]
    official.check(pairs, sdxl)
    lora = official_state(sdxl, lora_shapes)
    assert len(lora) == 1120 and lora.keys() == state.keys()
    changes = parsing.parse(lora)
    assert parsing.describe(lora, changes) == "LoRA"
    assert all(isinstance(c, LowRank) and c.rank == 4 for c in changes["unet"].values())
    with pytest.raises(InputError, match=r"is LoRA \(rank 4\), not KronA"):
        official.check(official.parse(lora)["unet"], sdxl)


def test_every_full_size_module_has_its_names_and_they_lead_back(sdxl: nn.Module) -> None:
    modules = methods.adapted(sdxl)
    assert len(modules) == 560
    for names in ("kohya", "sgm", "diffusers", "lycoris"):
        foreign = {naming.foreign("unet", module, names) for module in modules}
        assert len(foreign) == 560
        assert {naming.native(name) for name in foreign} == {("unet", module) for module in modules}
    table = {  # the spec's table
        "down_blocks.1.attentions.0": "input_blocks_4_1",
        "down_blocks.1.attentions.1": "input_blocks_5_1",
        "down_blocks.2.attentions.0": "input_blocks_7_1",
        "down_blocks.2.attentions.1": "input_blocks_8_1",
        "mid_block.attentions.0": "middle_block_1",
        **{f"up_blocks.{b}.attentions.{i}": f"output_blocks_{3 * b + i}_1" for b in (0, 1) for i in range(3)},
    }
    found = {module.partition(".transformer")[0]: naming.foreign("unet", module, "sgm") for module in modules}
    assert {
        block: name.partition("_transformer")[0].removeprefix("lora_unet_") for block, name in found.items()
    } == table


def test_an_adapter_for_another_base_is_told_by_family(sdxl: nn.Module) -> None:
    changes = {"unet": {name: Dense(torch.zeros(320, 768)) for name in ("x.attn2.to_k", "x.attn2.to_v")}}
    with pytest.raises(
        InputError, match=r"for SD 1.x \(cross-attention width 768\).*base is SDXL .*2048.* no such module"
    ):
        imports.check_shapes(changes, {"unet": sdxl})


# Files made by others


def test_official_files_of_both_networks(tmp_path: Path) -> None:
    ours = networks.with_both((4, 8), "official")
    folder = networks.save(ours, tmp_path / "a", text_encoder=True)
    exports.export(folder, tmp_path / "official", "official")
    state = load_file(tmp_path / "official" / "pytorch_lora_weights.safetensors")
    assert any(key.startswith("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear") for key in state)
    found = brought_in(tmp_path / "official", tmp_path / "b")
    network = adapters.load(nn.ModuleDict({"unet": networks.unet(), "text_encoder": networks.text_encoder()}), found)
    wanted = networks.layer_deltas(ours)
    assert all(torch.equal(delta, wanted[name]) for name, delta in networks.layer_deltas(network).items())
    facts = adapters.read_manifest(found)["domain"]
    assert (facts["layout"], facts["factors"], facts["text_encoder"]) == ("official", [4, 8], True)


def test_the_authors_converter_takes_their_files_alone(tmp_path: Path) -> None:
    from suite import hub

    folder = networks.save(networks.with_krona((4, 8), "official"), tmp_path / "a")
    hub.export(f"{folder}", tmp_path / "theirs", "domains.personalized_diffusion.official:export")
    converter = "domains.personalized_diffusion.official:convert"
    back = hub.convert(f"{tmp_path}/theirs", tmp_path / "back", converter, token="sks", noun="dog")
    first, second = (load_file(place / "adapter_model.safetensors") for place in (folder, back))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    lokr = exports.export(networks.save(networks.with_lora(), tmp_path / "b"), tmp_path / "x.safetensors").path
    with pytest.raises(InputError, match="is LoRA, not the authors' KronA; use suite personalized_diffusion import"):
        hub.convert(f"{lokr}", tmp_path / "c", converter)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("names", ["kohya", "diffusers"])
def test_lora_stays_lora(names: Any, tmp_path: Path) -> None:
    ours = networks.with_lora()
    file = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "lora", names=names).path
    folder = brought_in(file, tmp_path / "b", token="sks", noun="dog")
    same_changes(folder, networks.layer_deltas(ours))
    manifest = adapters.read_manifest(folder)
    assert manifest["domain"]["method"] == "lora" and manifest["domain"]["trigger"]["token"] == "sks"


def test_lora_by_diffusers_own_hand(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    ours = networks.with_lora()
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(ours))
    found = parsing.read(tmp_path / "pytorch_lora_weights.safetensors")
    assert found.kind == "LoRA"
    for name, delta in networks.layer_deltas(ours).items():
        close(2 * found.changes["unet"][name].delta(), delta)  # without its metadata, diffusers too reads alpha = r


def test_lokr_by_lycoris_own_hand(tmp_path: Path) -> None:
    """Whole and decomposed factors, as its network saves them."""
    wrapper = pytest.importorskip("lycoris.wrapper")
    for number, options in enumerate(({"full_matrix": True}, {"decompose_both": True, "linear_dim": 2})):
        wrapper.LycorisNetwork.apply_preset({"target_name": [".*attn1.*"], "target_module": []})
        network = networks.unet()
        settings = {"linear_dim": 4, "linear_alpha": 2.0, "algo": "lokr", "factor": 4, **options}
        theirs = wrapper.create_lycoris(network, 1.0, preset="full", **settings)
        theirs.apply_to()
        networks.fill(theirs)
        file = tmp_path / f"{number}.safetensors"
        theirs.save_weights(str(file), torch.float32, {})
        state = load_file(file)
        keep = {key: value for key, value in state.items() if "_attn1_to_" in key}
        save_file(keep, file)
        found = parsing.read(file)
        assert found.kind == "LoKr"
        modules = {lora.lora_name: lora for lora in theirs.loras}
        assert found.changes["unet"]
        for name, change in found.changes["unet"].items():
            with torch.no_grad():
                delta = modules[f"lycoris_{name.replace('.', '_')}"].get_diff_weight(1.0)[0]
            close(change.delta(), delta.reshape(change.shape))


def test_a_plain_peft_folder_is_imported(tmp_path: Path) -> None:
    from peft import LoKrConfig, get_peft_model

    settings = {"r": 64, "alpha": 32, "decompose_factor": 4}  # alpha / r counts in peft even for whole factors
    theirs = get_peft_model(networks.unet(), LoKrConfig(target_modules=["to_q", "to_v"], **settings))
    networks.fill(theirs)
    theirs.save_pretrained(tmp_path / "peft")
    folder = brought_in(tmp_path / "peft", tmp_path / "b")
    assert adapters.read_manifest(folder)["domain"]["method"] == "krona"
    same_changes(folder, networks.layer_deltas(theirs.base_model.model))


# Fitting


def test_what_is_krona_is_found_again_whole() -> None:
    torch.manual_seed(0)
    for was_official in (False, True):
        change = Kronecker(torch.randn(4, 8), torch.randn(8, 6), 0.7, was_official)
        near, held = fitted(Dense(change.delta()), 4, 8, official=was_official)
        assert held == pytest.approx(1, abs=1e-6)
        close(near.delta(), change.delta())
        _, other = fitted(Dense(change.delta()), 4, 8, official=not was_official)
        assert other < 0.9


def test_lora_becomes_krona_with_its_energy_told(tmp_path: Path) -> None:
    ours = networks.with_lora(rank=1)
    file = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors").path
    folder = brought_in(file, tmp_path / "b", factors=(4, 8))
    facts = adapters.read_manifest(folder)["domain"]
    wanted = networks.layer_deltas(ours)
    found = networks.layer_deltas(adapters.load(networks.unet(), folder))
    total = sum(float(delta.square().sum()) for delta in wanted.values())
    missing = sum(float((delta - found[name]).square().sum()) for name, delta in wanted.items())
    assert facts["source"]["captured_energy"] == pytest.approx(1 - missing / total, abs=1e-5)
    assert 0.05 < facts["source"]["captured_energy"] < 0.95
    assert (facts["method"], facts["layout"], facts["factors"]) == ("krona", "kron", [4, 8])


def test_the_fit_is_the_best_there_is() -> None:
    """No other pair of factors is nearer: gradient descent from the fit finds nothing."""
    torch.manual_seed(0)
    delta = torch.randn(8, 12)
    near, held = fitted(Dense(delta), 2, 4)
    a, b = near.a.clone().requires_grad_(), near.b.clone().requires_grad_()
    (torch.kron(a, b) - delta).square().sum().backward()
    assert a.grad.abs().max() < 1e-4 and b.grad.abs().max() < 1e-4
    for _ in range(20):
        x, y = torch.randn(2, 4), torch.randn(4, 3)
        product = torch.kron(x, y)
        share = float((product * delta).sum() ** 2 / product.square().sum() / delta.square().sum())
        assert share < held


def test_an_empty_change_is_fitted_by_an_empty_one() -> None:
    made, held = fit_all({"unet": {"to_q": Dense(torch.zeros(8, 8))}}, (2, 4))
    assert held == 1 and not made["unet"]["to_q"].delta().any()
    assert low_rank(Dense(torch.zeros(8, 8)))[0].rank == 1


# What cannot be read says why


def _state(**parts: Tensor) -> dict[str, Tensor]:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    return {f"{name}.{part.replace('__', '.')}": value for part, value in parts.items()}


ONE = torch.ones(4, 4)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (_state(lokr_w1=ONE), "has lokr_w1 but not lokr_w2_a, lokr_w2_b; the file is incomplete"),
        (_state(lora_up__weight=ONE), "but not down"),
        (_state(lokr_w1=ONE, lokr_w2=ONE * float("nan")), "hold NaN or Inf"),
        (_state(lokr_w1=ONE, lokr_w2_a=ONE, lokr_w2_b=ONE, lokr_t2=torch.ones(4, 4, 3, 3)), "LoKr with a Tucker core"),
        (_state(lora_down__weight=ONE, lora_up__weight=ONE, dora_scale=ONE), "is DoRA"),
        (
            _state(lora_down__weight=ONE, lora_up__weight=ONE, lora_mid__weight=ONE),
            "LoRA of a convolution with a Tucker",
        ),
        (_state(diff=ONE, diff_b=ONE), "changes a bias"),
        ({f"key{n}": ONE for n in range(7)}, "7 keys of no known format: key0, key1, key2, key3, key4$"),
        ({}, "holds no tensors"),
    ],
)
def test_files_that_cannot_be_read(state: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        parsing.read(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": (4, 8), "rank": 3}, "give one of them"),
        ({"factors": (5, 8)}, r"factors \(5, 8\) do not divide"),
        ({}, "give the factors to fit KronA to them"),
    ],
)
def test_imports_that_need_another_word(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    ours = networks.with_krona((4, 8))
    file = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "diff").path
    with pytest.raises(InputError, match=message):
        brought_in(file, tmp_path / "b", **options)


def test_a_difference_becomes_lora_of_a_rank(tmp_path: Path) -> None:
    ours = networks.with_krona((4, 8))
    file = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "diff").path
    folder = brought_in(file, tmp_path / "b", rank=4 * 8)
    assert adapters.read_manifest(folder)["domain"]["source"]["captured_energy"] == pytest.approx(1)
    same_changes(folder, networks.layer_deltas(ours))


def test_torch_files_are_read_only_when_asked(tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in _state(lokr_w1=ONE, lokr_w2=ONE).items()}
    torch.save(state, tmp_path / "x.bin")
    with pytest.raises(InputError, match="--pickle reads a torch file's plain tensors"):
        imports.open_adapter(tmp_path / "x.bin")
    assert imports.open_adapter(tmp_path / "x.bin", pickle=True).kind == "LoKr"

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Bomb()}, tmp_path / "bomb.bin")
    with pytest.raises(InputError, match="refused"):
        imports.open_adapter(tmp_path / "bomb.bin", pickle=True)
    assert not (tmp_path / "ran").exists()


def test_headers_of_others_are_text_and_no_more(tmp_path: Path) -> None:
    texts = {
        "modelspec.trigger_phrase": "rex\x1b[31m" + "x" * 5000,
        "peft_suite": json.dumps({"train": {"steps": 1}, "family": ["not", "a", "name"]}),
        "ss_tag_frequency": "__import__('os').abort()",
    }
    save_file(_state(lokr_w1=ONE, lokr_w2=ONE.clone()), tmp_path / "x.safetensors", metadata=texts)
    facts = imports.open_adapter(tmp_path / "x.safetensors").facts
    assert len(facts.trigger.token) <= 200 and "\x1b" not in facts.trigger.token
    assert not facts.family and facts.train == {"steps": 1}
    texts["peft_suite"] = '{"train": "' + "x" * 2_000_000 + '"}'
    save_file(_state(lokr_w1=ONE, lokr_w2=ONE.clone()), tmp_path / "x.safetensors", metadata=texts)
    assert not imports.open_adapter(tmp_path / "x.safetensors").facts.train


# The verbs


def test_inspect_export_and_import_as_commands(tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((4, 8), "official"), tmp_path / "a")
    seen = exchange.inspect(f"{folder}")
    assert seen["is"] == "KronA" and seen["layout"] == "official" and seen["trigger"] == "sks dog"
    assert seen["factors"] == {"(4, 8)": seen["adapts"]["unet"]}
    assert seen["parameters"] == adapters.count(networks.with_krona((4, 8))).trainable
    assert f"export {folder} adapter.safetensors --to lora (LoKr cannot hold this layout)" in seen["next"]
    assert "None" not in seen["message"] and "exact at rank 32" in seen["message"]
    made = exchange.export(f"{folder}", tmp_path / "x.safetensors")
    assert made["form"] == "lora" and made["rank"] == 32 and "of rank 32, exact" in made["message"]
    seen = exchange.inspect(f"{tmp_path}/x.safetensors", metadata=True)
    assert seen["is"] == "LoRA" and seen["metadata"]["modelspec.title"] == "x"
    assert seen["next"].endswith(f"import {tmp_path}/x.safetensors ./mine")
    with pytest.raises(InputError, match="--layout official is of the KronA that --factors fit"):
        exchange.import_(f"{tmp_path}/x.safetensors", tmp_path / "c", layout="official")
    back = exchange.import_(f"{tmp_path}/x.safetensors", tmp_path / "b", factors="4,8", layout="official")
    assert back["method"] == "krona" and back["captured_energy"] == pytest.approx(1, abs=1e-5)
    same_changes(tmp_path / "b", networks.layer_deltas(networks.with_krona((4, 8), "official")))
    with pytest.raises(InputError, match="two positive whole numbers"):
        exchange.import_(f"{tmp_path}/x.safetensors", tmp_path / "c", factors="4")


def test_commands_take_their_options_and_answer_bad_input_in_one_line(tmp_path: Path) -> None:
    from suite.cli.calling import run

    folder = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    out = tmp_path / "x.safetensors"
    answer = run("suite x export", exchange.export, [f"{folder}", str(out), "--to", "lora", "--also", f"{folder}=0.5"])
    assert answer.code == 0 and "form      lora of rank 64, exact" in answer.message  # both ranks, stacked
    wanted = networks.layer_deltas(networks.with_krona((4, 8)))
    for name, change in parsing.read(out).changes["unet"].items():
        close(change.delta(), 1.5 * wanted[name])
    for words, message in (
        (["--to", "lokr", "--also", f"{folder}"], "no Kronecker product"),
        (["--to", "zip"], "zip"),
        (["--to", "lora-truncated"], "--rank belongs to"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            run("suite x export", exchange.export, [f"{folder}", str(out), *words])
        assert "\n" not in str(caught.value)
