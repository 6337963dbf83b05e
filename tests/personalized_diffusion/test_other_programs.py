"""Adapters from and for other programs: names, kinds, precision, headers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.official import exports, forms, imports, weights_files
from domains.personalized_diffusion.official.changes import LowRank
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import adapters, training
from suite.errors import InputError
from suite.hub import references, repository, weights
from suite.training import TrainerConfig
from tests.personalized_diffusion import networks
from tests.personalized_diffusion.made import SMALL, pictures, refused

ONE = torch.ones(2048, 1)


@pytest.mark.parametrize("to", ["kohya", "lora", "peft"])
def test_use_11_half_precision_is_not_exact_and_says_its_error(to: Any, tmp_path: Path) -> None:
    ours = networks.with_krona((8, 8))
    folder = networks.save(ours, tmp_path / "a")
    out = tmp_path / ("out" if to == "peft" else "x.safetensors")
    made = exports.export(folder, out, to, dtype="bfloat16")
    assert not made.exact and 1e-4 < made.error < 1e-2
    if to != "peft":
        found = weights_files.read(out).changes["unet"]
        wanted = networks.layer_deltas(ours)
        missing = sum(float((found[name].delta() - delta).square().sum()) for name, delta in wanted.items())
        total = sum(float(delta.square().sum()) for delta in wanted.values())
        assert made.error == pytest.approx((missing / total) ** 0.5, rel=0.05)
    assert exports.export(folder, tmp_path / "whole.safetensors").exact


def test_use_11_a_merged_pipeline_in_half_precision_says_its_error(
    random_base: Path, adapter: Path, tmp_path: Path
) -> None:
    whole = exports.export(adapter, tmp_path / "whole", "merged", base=random_base)
    half = exports.export(adapter, tmp_path / "half", "merged", base=random_base, dtype="bfloat16")
    assert whole.exact and whole.error == 0
    plain, merged, rounded = (
        bases.load(folder, torch.float32, "cpu").unet.state_dict() for folder in (random_base, whole.path, half.path)
    )
    changed = [name for name in plain if not torch.equal(plain[name], merged[name])]
    missing = sum(float((rounded[name] - merged[name]).square().sum()) for name in changed)
    total = sum(float((merged[name] - plain[name]).square().sum()) for name in changed)
    assert not half.exact and half.error == pytest.approx((missing / total) ** 0.5, rel=1e-3)


def test_use_17_files_are_said_to_open_where_they_do(tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((8, 8), layers=2), tmp_path / "a")
    lokr = exports.export(folder, tmp_path / "a.safetensors", "lokr", names="diffusers")
    assert lokr.opens_in == ("diffusers (unet.load_lora_adapter)",)  # its load_lora_weights takes LoRA alone
    changes = {"unet": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": LowRank(ONE.T[:, :768], ONE)}}
    assert forms.opens_in(changes, "lora", "sgm") == ("ComfyUI",)  # SD 1.x: others know these names of SDXL alone
    wide = {"unet": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": LowRank(ONE.T, ONE)}}
    assert "diffusers" in forms.opens_in(wide, "lora", "sgm")


def test_use_17_headers_tell_what_was_trained(random_base: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for folder, names in (("3_sks robot", ("a.png", "b.png")), ("2_sks robot at night", ("c.png",))):
        pictures(photos / folder, *names)
    (photos / "3_sks robot" / "a.txt").write_text("a sks robot, snow, blue sky")
    (photos / "3_sks robot" / "b.txt").write_text("a sks robot, snow")
    recipe = DreamBoothRecipe(str(random_base), adapter=SMALL, clip_skip=2)
    settings = TrainerConfig(max_steps=1, accumulate_grad_batches=2, accelerator="cpu", optimizer="sgd")
    data = PhotoData(str(photos), noun="robot", batch_size=2)
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    texts = weights.metadata(exports.export(run.adapter, tmp_path / "x.safetensors").path)
    tags = {
        "3_sks robot": {"a sks robot": 2, "snow": 2, "blue sky": 1},
        "2_sks robot at night": {"sks robot at night": 1},
    }
    assert json.loads(texts["ss_tag_frequency"]) == tags
    assert texts["ss_num_train_images"] == "8"  # as often as an epoch shows them
    assert texts["ss_total_batch_size"] == "4" and texts["ss_gradient_accumulation_steps"] == "2"
    assert texts["ss_optimizer"] == "sgd" and texts["ss_lr_scheduler"] == "linear" and texts["ss_clip_skip"] == "2"
    bucket = {"resolution": [world.SIZE, world.SIZE], "count": 3}
    assert json.loads(texts["ss_bucket_info"]) == {"buckets": {"0": bucket}}
    assert texts["modelspec.prediction_type"] == "v"
    content = (tmp_path / "x.safetensors").read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert texts["sshs_model_hash"] == digest and texts["modelspec.hash_sha256"] == f"0x{digest}"
    nothing = weights.metadata(
        exports.export(networks.save(networks.with_krona(), tmp_path / "n"), tmp_path / "n.safetensors").path
    )
    assert "ss_tag_frequency" not in nothing  # nobody knows what its captions were


FLUX = {"double_blocks_0_img_attn_qkv": (4, 32, 96), "single_blocks_1_linear1": (4, 32, 224)}


def low(down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(sum(down))
    return {
        "lora_down.weight": torch.randn(down, generator=generator),
        "lora_up.weight": torch.randn(up, generator=generator),
        "alpha": torch.tensor(2.0),
    }


def file_of(path: Path, modules: dict[str, dict[str, Any]]) -> Path:
    save_file({f"{name}.{part}": value for name, parts in modules.items() for part, value in parts.items()}, path)
    return path


@pytest.mark.parametrize("style", ["lora_unet_{}", "diffusion_model.{}"], ids=["kohya", "ComfyUI"])
def test_use_08_flux_under_its_authors_names_becomes_diffusers_modules(style: str, tmp_path: Path) -> None:
    parts = {name: low((rank, into), (out, rank)) for name, (rank, into, out) in FLUX.items()}
    names = {name: name.replace("s_0_", "s.0.").replace("s_1_", "s.1.").replace("n_q", "n.q") for name in parts}
    shown = {name: name if style.startswith("lora") else names[name] for name in parts}
    file = file_of(tmp_path / "flux.safetensors", {style.format(shown[name]): part for name, part in parts.items()})
    changes = weights_files.read(file).changes
    assert list(changes) == ["transformer"]
    both = {name: 0.5 * part["lora_up.weight"] @ part["lora_down.weight"] for name, part in parts.items()}
    double, single = both.values()
    wanted = {"single_transformer_blocks.1.proj_mlp": single[96:]}
    for number, letter in enumerate("qkv"):
        rows = slice(32 * number, 32 * number + 32)
        wanted[f"transformer_blocks.0.attn.to_{letter}"] = double[rows]
        wanted[f"single_transformer_blocks.1.attn.to_{letter}"] = single[rows]
    found = changes["transformer"]
    assert found.keys() == wanted.keys()
    for name, delta in wanted.items():
        networks.close(found[name].delta(), delta)


def test_use_08_locon_of_sdxls_own_block_names_is_for_diffusers_modules(command: Any, tmp_path: Path) -> None:
    modules = {
        "lora_unet_input_blocks_1_0_in_layers_2": ("down_blocks.0.resnets.0.conv1", (3, 3)),
        "lora_unet_input_blocks_3_0_op": ("down_blocks.0.downsamplers.0.conv", (3, 3)),
        "lora_unet_input_blocks_4_0_skip_connection": ("down_blocks.1.resnets.0.conv_shortcut", (1, 1)),
        "lora_unet_middle_block_2_out_layers_3": ("mid_block.resnets.1.conv2", (3, 3)),
        "lora_unet_output_blocks_2_2_conv": ("up_blocks.0.upsamplers.0.conv", (3, 3)),
        "lora_unet_output_blocks_3_0_emb_layers_1": ("up_blocks.1.resnets.0.time_emb_proj", ()),
        "lora_unet_out_2": ("conv_out", (3, 3)),
    }
    parts = {name: low((2, 8, *kernel), (8, 2, *(1 for _ in kernel))) for name, (_, kernel) in modules.items()}
    file = file_of(tmp_path / "locon.safetensors", parts)
    assert set(weights_files.read(file).changes["unet"]) == {name for name, _ in modules.values()}
    code, out, err = command("import", file, tmp_path / "mine")
    assert code == 0 and "exact" in out, err


def test_use_08_loha_stays_loha(tmp_path: Path) -> None:
    network = networks.unet()
    adapters.attach(network, "loha", targets=networks.targets(), r=2, alpha=3)
    networks.fill(network)
    wanted = networks.layer_deltas(network)
    made = exports.export(networks.save(network, tmp_path / "a", method="loha"), tmp_path / "x.safetensors")
    assert made.form == "loha" and made.exact and "ComfyUI" in made.opens_in
    (tmp_path / "b").mkdir()
    imports.convert(made.path, tmp_path / "b")
    assert adapters.read_manifest(tmp_path / "b")["domain"]["method"] == "loha"
    back = networks.layer_deltas(adapters.load(networks.unet(), tmp_path / "b"))
    assert back.keys() == wanted.keys()
    for name, delta in wanted.items():
        networks.close(back[name], delta)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"oft_blocks": torch.ones(2, 2, 2), "alpha": ONE[0]}, "OFT"),
        ({f"{half}.weight": ONE.clone() for half in ("a1", "a2", "b1", "b2")}, "GLoRA"),
        ({"weight": ONE, "on_input": torch.tensor(True)}, "IA3"),
    ],
)
def test_use_08_methods_that_cannot_be_read_are_named(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = file_of(tmp_path / "x.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": parts})
    with pytest.raises(InputError, match=words):
        weights_files.read(file)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", ("whole base", "--base")),
        ("control_model.input_blocks.0.0.weight", ("ControlNet",)),
        ("controlnet_cond_embedding.conv_in.weight", ("ControlNet",)),
        ("emb_params", ("textual inversion", "load_textual_inversion")),
        ("clip_g", ("textual inversion",)),
        ("image_proj.proj.weight", ("IP-Adapter",)),
        ("base_model.model.mid_block.attn.to_q.vera_lambda_b", ("VeRA",)),
    ],
)
def test_use_08_what_is_no_adapter_of_weights_is_named(
    key: str, words: tuple[str, ...], command: Any, tmp_path: Path
) -> None:
    save_file({key: ONE}, tmp_path / "x.safetensors")
    refused(command("import", tmp_path / "x.safetensors", tmp_path / "mine"), "x.safetensors", *words)


def test_use_08_words_beside_a_lora_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    file = file_of(tmp_path / "x.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": low((2, 8), (8, 2))})
    save_file({**load_file(file), "bundle_emb.dog.string_to_param.*": ONE}, file)
    assert set(weights_files.read(file).changes["unet"]) == {"mid_block.attentions.0.proj_in"}
    assert "embeddings of words" in capsys.readouterr().err


def test_use_08_norms_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    name = "lora_unet_mid_block_attentions_0"
    norm = {"w_norm": torch.ones(8), "b_norm": torch.ones(8)}
    file = file_of(tmp_path / "x.safetensors", {f"{name}_norm": norm, f"{name}_proj_in": low((2, 8), (8, 2))})
    assert set(weights_files.read(file).changes["unet"]) == {"mid_block.attentions.0.proj_in"}
    assert "norm" in capsys.readouterr().err


def dora(folder: Path, random_base: Path) -> tuple[Path, dict[str, Any]]:
    """A trained-looking DoRA on the random base, and the weights that it computes with."""
    loaded = bases.load(random_base, torch.float32, "cpu")
    adapters.attach(loaded.unet, "lora", targets=networks.targets(), r=2, lora_alpha=4, use_dora=True)
    networks.fill(loaded.unet, 0.1)
    saved = networks.save(loaded.unet, folder, method="lora")
    adapters.merge(loaded.unet)
    return saved, {
        name: layer.get_base_layer().weight.detach().clone()
        for name, layer in loaded.unet.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def test_use_07_dora_merges_and_exports_and_comes_back(random_base: Path, tmp_path: Path) -> None:
    folder, wanted = dora(tmp_path / "a", random_base)
    exports.export(folder, tmp_path / "merged", "merged", base=random_base)
    merged = bases.load(tmp_path / "merged", torch.float32, "cpu").unet
    for name, weight in wanted.items():
        networks.close(merged.get_submodule(name).weight, weight)

    made = exports.export(folder, tmp_path / "x.safetensors")
    state = load_file(made.path)
    assert made.form == "lora" and sum(key.endswith(".dora_scale") for key in state) == len(wanted)
    plain = bases.load(random_base, torch.float32, "cpu").unet
    for name, weight in wanted.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        up, down = state[f"{key}.lora_up.weight"], state[f"{key}.lora_down.weight"]
        # As ComfyUI and LyCORIS compute it: https://arxiv.org/abs/2402.09353, equation 5.
        changed = plain.get_submodule(name).weight + state[f"{key}.alpha"] / len(down) * up @ down
        networks.close(state[f"{key}.dora_scale"] * changed / changed.norm(dim=1, keepdim=True), weight, 1e-4)

    (tmp_path / "b").mkdir()
    imports.convert(made.path, tmp_path / "b")
    back = bases.load(random_base, torch.float32, "cpu").unet
    adapters.merge(adapters.load(back, tmp_path / "b"))
    for name, weight in wanted.items():
        networks.close(back.get_submodule(name).get_base_layer().weight, weight, 1e-4)
    for to in ("diff", "lokr"):
        with pytest.raises(InputError, match="DoRA"):
            exports.export(folder, tmp_path / "y.safetensors", to)


def test_use_14_of_a_pipelines_repository_one_set_of_weights_is_wanted() -> None:
    unet = "unet/diffusion_pytorch_model"
    wanted = ["model_index.json", "unet/config.json", f"{unet}.safetensors", "scheduler/scheduler_config.json"]
    wanted += ["text_encoder/model-00001-of-00002.safetensors", "text_encoder/model.safetensors.index.json"]
    spare = ["sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors", f"{unet}.fp16.safetensors"]
    spare += [f"{unet}.non_ema.safetensors", "text_encoder/model.fp16-00001-of-00002.safetensors"]
    spare += ["text_encoder/model.safetensors.index.fp16.json"]
    reference = references.HubRepository("org/name")
    assert set(repository._wanted(reference, dict.fromkeys([*wanted, *spare]), False)) == set(wanted)
    plain = ["config.json", "model.safetensors", "model.fp16.safetensors"]  # no pipeline: nothing is left out
    assert set(repository._wanted(reference, dict.fromkeys(plain), False)) == set(plain)
