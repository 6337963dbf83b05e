"""What is exported loads in the library that it is for, and does there what the adapter does here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.model.methods import MethodSettings
from domains.personalized_diffusion.official import adapter_folder as stored
from domains.personalized_diffusion.official import exports, imports
from domains.personalized_diffusion.official import weights_files as parsing
from domains.personalized_diffusion.official.changes import Kronecker, LowRank
from suite import adapters
from suite.errors import InputError
from suite.hub import weights
from tests.personalized_diffusion import networks
from tests.personalized_diffusion.networks import close, merged_weights


def same_picture(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for rounding, which guidance and the sampler's steps magnify."""
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


# peft


@pytest.mark.parametrize("factors", [(4, 4), (8, 8)])
def test_peft_loads_its_folder(factors: tuple[int, int], tmp_path: Path) -> None:
    from peft import PeftModel

    ours = networks.with_krona(factors)
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "peft", "peft")
    assert made.exact and made.opens_in == ("peft",)
    assert {path.name for path in made.path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    theirs = PeftModel.from_pretrained(networks.unet(), str(made.path)).eval()
    assert theirs.peft_config["default"].peft_type == "LOKR"
    close(networks.run(theirs), networks.run(ours))


def test_peft_loads_the_exact_lora_of_the_official_layout(tmp_path: Path) -> None:
    from peft import PeftModel

    ours = networks.with_krona((4, 8), "official")
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "peft", "peft")
    theirs = PeftModel.from_pretrained(networks.unet(), str(made.path)).eval()
    assert theirs.peft_config["default"].peft_type == "LORA"
    close(networks.run(theirs), networks.run(ours))


def test_peft_gets_one_folder_a_network(tmp_path: Path) -> None:
    from peft import PeftModel

    ours = networks.with_both((8, 8))
    folder = networks.save(ours, tmp_path / "a", text_encoder=True)
    made = exports.export(folder, tmp_path / "peft", "peft")
    wanted = networks.layer_deltas_of(ours)
    for component, network in (("unet", networks.unet()), ("text_encoder", networks.text_encoder())):
        theirs = PeftModel.from_pretrained(network, str(made.path / component)).base_model.model
        found = networks.layer_deltas(theirs)
        assert found.keys() == wanted[component].keys()
        for name, delta in found.items():
            close(delta, wanted[component][name])


def test_unequal_factors_have_no_peft_configuration(tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    with pytest.raises(InputError, match="a1 = 4, a2 = 8 has no configuration; use --to lora"):
        exports.export(folder, tmp_path / "peft", "peft")
    assert not (tmp_path / "peft").exists()


# diffusers


@pytest.fixture
def pipe(random_base: Path) -> Any:
    return pipelines.load(random_base, dtype=torch.float32, device="cpu").pipeline()


def adapted_pipe(random_base: Path, text: bool = False) -> tuple[Any, nn.Module]:
    """A pipeline whose networks carry KronA, and the network that holds the adapter."""
    base = pipelines.load(random_base, dtype=torch.float32, device="cpu")
    network = pipelines.adapted_network(base, text)
    parts = [networks.krona((4, 8))]
    if text:
        parts.append(networks.krona((4, 8), names=networks.TEXT_PROJECTIONS))
    adapters.attach(network, *parts)
    networks.fill(network, 0.1)
    return base.pipeline(), network


def picture(pipe: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    made = pipe("a red dog", num_inference_steps=2, generator=generator, output_type="latent")
    return made.images


@pytest.mark.parametrize("names", ["kohya", "diffusers"])
@pytest.mark.parametrize("text", [False, True], ids=["unet", "unet and text encoder"])
def test_diffusers_loads_the_exact_lora(names: Any, text: bool, random_base: Path, pipe: Any, tmp_path: Path) -> None:
    ours, network = adapted_pipe(random_base, text)
    folder = networks.save(network, tmp_path / "a", text_encoder=text)
    made = exports.export(folder, tmp_path / "lora.safetensors", "lora", names=names)
    assert made.exact and "diffusers" in made.opens_in
    before = picture(pipe)
    pipe.load_lora_weights(str(tmp_path), weight_name="lora.safetensors")
    found = picture(pipe)
    assert (found - before).norm() > 0.01 * before.norm()
    same_picture(found, picture(ours))


def test_diffusers_loads_lokr_of_one_factor(tmp_path: Path) -> None:
    ours = networks.with_krona((8, 8))
    folder = networks.save(ours, tmp_path / "a")
    made = exports.export(folder, tmp_path / "lokr.safetensors", "lokr", names="diffusers")
    assert made.opens_in == ("diffusers (unet.load_lora_adapter)",)
    theirs = networks.unet()
    theirs.load_lora_adapter(str(tmp_path), weight_name="lokr.safetensors", prefix="unet")
    close(networks.run(theirs), networks.run(ours))


def test_diffusers_reads_sgm_names_as_the_same_modules(tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    ours = networks.with_krona(layers=2)
    folder = networks.save(ours, tmp_path / "a")
    made = exports.export(folder, tmp_path / "sgm.safetensors", "lora", names="sgm")
    assert any(
        key.startswith("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.") for key in load_file(made.path)
    )
    theirs = networks.unet(layers=2)
    state, alphas = StableDiffusionXLPipeline.lora_state_dict(
        str(tmp_path), weight_name="sgm.safetensors", unet_config=theirs.config
    )
    theirs.load_lora_adapter(state, prefix="unet", network_alphas=alphas)
    close(networks.run(theirs), networks.run(ours))


@pytest.mark.parametrize("text", [False, True], ids=["unet", "unet and text encoder"])
def test_the_merged_pipeline_is_an_ordinary_one(
    text: bool, random_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers import StableDiffusionPipeline

    ours, network = adapted_pipe(random_base, text)
    folder = networks.save(network, tmp_path / "a", text_encoder=text)
    capfd.readouterr()
    exports.export(folder, tmp_path / "merged", "merged", base=random_base)
    assert "Writing" not in capfd.readouterr().err  # bars are for terminals
    theirs = StableDiffusionPipeline.from_pretrained(tmp_path / "merged", torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    assert theirs.unet.state_dict().keys() == pipelines.load(random_base).unet.state_dict().keys()
    same_picture(picture(theirs), picture(ours))


@pytest.mark.parametrize("method", ["full", "svdiff", "lora"])
def test_every_method_of_the_comparison_merges(method: Any, random_base: Path, tmp_path: Path) -> None:
    base = pipelines.load(random_base, dtype=torch.float32, device="cpu")
    network = pipelines.adapted_network(base, False)
    MethodSettings(method).attach(network)
    networks.fill(network, 0.05)
    ours = {name: weight.clone() for name, weight in wholly(network).items()}
    folder = networks.save(network, tmp_path / "a", method=method)
    exports.export(folder, tmp_path / "merged", "merged", base=random_base)
    theirs = pipelines.load(tmp_path / "merged", dtype=torch.float32, device="cpu").unet.state_dict()
    assert theirs.keys() == pipelines.load(random_base).unet.state_dict().keys()
    for name, weight in ours.items():
        close(theirs[name], weight)


def wholly(network: nn.Module) -> dict[str, Tensor]:
    """The weights of attention that a network computes with."""
    made = {f"{name}.weight": weight for name, weight in merged_weights(network).items()}
    return made or {name: p for name, p in network.named_parameters() if ".to_" in name and name.endswith(".weight")}


# Exactness


def test_acceptance_12_4_lokr_and_back_is_bit_exact(tmp_path: Path) -> None:
    """Acceptance 4 of the spec, first half."""
    ours = networks.with_krona((4, 8))
    folder = networks.save(ours, tmp_path / "a")
    made = exports.export(folder, tmp_path / "x.safetensors", "lokr")
    (tmp_path / "b").mkdir()
    imports.convert(made.path, tmp_path / "b")
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in "ab")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    back = adapters.load(networks.unet(), tmp_path / "b")
    assert torch.equal(networks.run(back), networks.run(ours))


@pytest.mark.parametrize("layout", ["kron", "official"])
def test_acceptance_12_4_lora_of_the_exact_rank_reproduces_the_delta(layout: str, tmp_path: Path) -> None:
    """Acceptance 4 of the spec, second half."""
    ours = networks.with_krona((4, 8), layout, scaling=-0.7)
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "lora")
    assert made.exact and made.rank == 4 * 8  # min(4, 8) * min(64 / 4, 64 / 8), in the wide blocks
    found = parsing.read(made.path).changes["unet"]
    for name, delta in networks.layer_deltas(ours).items():
        change = found[name]
        assert isinstance(change, LowRank)
        out_features, in_features = delta.shape
        assert change.rank == 4 * min(out_features // 4, in_features // 8)
        close(change.delta(), delta)


def test_acceptance_12_4_official_layout_is_refused_as_lokr(tmp_path: Path) -> None:
    """Acceptance 4 of the spec, third half."""
    folder = networks.save(networks.with_krona((4, 8), "official"), tmp_path / "a")
    with pytest.raises(InputError, match="no Kronecker product, so LoKr cannot hold it; use --to lora"):
        exports.export(folder, tmp_path / "x.safetensors", "lokr")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("layout", ["kron", "official"])
def test_truncated_lora_is_the_best_of_its_rank_and_says_its_error(layout: str, tmp_path: Path) -> None:
    ours = networks.with_krona((4, 8), layout)
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "lora-truncated", rank=5)
    found = parsing.read(made.path).changes["unet"]
    missing = total = 0.0
    for name, delta in networks.layer_deltas(ours).items():
        u, s, vt = torch.linalg.svd(delta.double())
        best = (u[:, :5] * s[:5]) @ vt[:5]
        close(found[name].delta().double(), best, 1e-4)
        missing, total = missing + float((delta - best).square().sum()), total + float(s.square().sum())
    assert not made.exact and made.rank == 5
    assert made.error == pytest.approx((missing / total) ** 0.5, rel=1e-4)


def test_an_untrained_adapter_exports_nothing_but_zeros(tmp_path: Path) -> None:
    network = networks.unet()
    adapters.attach(network, networks.krona((4, 8), layout="official"))
    made = exports.export(networks.save(network, tmp_path / "a"), tmp_path / "x.safetensors")
    assert made.exact and made.error == 0
    assert not any(change.delta().any() for change in parsing.read(made.path).changes["unet"].values())


def test_strength_and_scaling_are_in_the_numbers(tmp_path: Path) -> None:
    ours = networks.with_krona((4, 8), scaling=0.5)
    folder = networks.save(ours, tmp_path / "a")
    for to in ("lokr", "lora", "diff"):
        made = exports.export(folder, tmp_path / "x.safetensors", to, strength=2.0)
        found = parsing.read(made.path).changes["unet"]
        for name, delta in networks.layer_deltas(ours).items():
            close(found[name].delta(), 2 * delta)


def test_lora_adapters_keep_their_tensors(tmp_path: Path) -> None:
    ours = networks.with_lora()
    made = exports.export(networks.save(ours, tmp_path / "a", method="lora"), tmp_path / "x.safetensors")
    assert made.form == "lora" and made.exact
    found = parsing.read(made.path).changes["unet"]
    for name, delta in networks.layer_deltas(ours).items():
        assert found[name].scaling == 2.0
        close(found[name].delta(), delta, 1e-6)
    with pytest.raises(InputError, match="no Kronecker product"):
        exports.export(tmp_path / "a", tmp_path / "y.safetensors", "lokr")


@pytest.mark.parametrize("method", ["lokr", "loha"])
def test_pefts_own_kronecker_and_hadamard_adapters_export(method: str, tmp_path: Path) -> None:
    network = networks.unet()
    adapters.attach(network, method, targets=networks.targets(), r=2, alpha=3)
    networks.fill(network)
    folder = networks.save(network.eval(), tmp_path / "a", method=method)
    found = networks.deltas(folder)
    for name, delta in networks.layer_deltas(network).items():
        close(found["unet", name], delta)
    made = exports.export(folder, tmp_path / "x.safetensors")
    assert made.form == method and made.exact


def test_svdiff_exports_what_it_does_to_its_base(random_base: Path, tmp_path: Path) -> None:
    base = pipelines.load(random_base, dtype=torch.float32, device="cpu")
    adapters.attach(base.unet, "svdiff", targets=networks.targets())
    networks.fill(base.unet, 0.05)
    wanted = networks.layer_deltas(base.unet)
    folder = networks.save(base.unet, tmp_path / "a", method="svdiff")
    made = exports.export(folder, tmp_path / "x.safetensors", base=random_base)
    assert made.form == "diff"
    found = parsing.read(made.path).changes["unet"]
    for name, delta in wanted.items():
        close(found[name].delta(), delta)


# What is in the file besides


def test_adapters_add_up_exactly(random_base: Path, tmp_path: Path) -> None:
    """As LoRA by stacking ranks, as differences, and in the merged pipeline; never as LoKr."""
    folders, wanted = [], {}
    for number, layout in enumerate(("kron", "official")):
        network = pipelines.load(random_base, dtype=torch.float32, device="cpu").unet
        adapters.attach(network, networks.krona((4, 8), layout=layout))
        networks.fill(network, 0.1 + number / 20)
        folders.append(networks.save(network, tmp_path / layout))
        for name, delta in networks.layer_deltas(network).items():
            wanted[name] = wanted.get(name, 0) + (1.0, -0.5)[number] * delta
    also = [(folders[1], -0.5)]
    for to in ("lora", "diff", "kohya"):
        made = exports.export(folders[0], tmp_path / "x.safetensors", to, also=also)
        found = parsing.read(made.path).changes["unet"]
        assert made.exact and found.keys() == wanted.keys()
        for name, delta in wanted.items():
            close(found[name].delta(), delta)
    with pytest.raises(InputError, match="no Kronecker product"):
        exports.export(folders[0], tmp_path / "y.safetensors", "lokr", also=also)
    exports.export(folders[0], tmp_path / "merged", "merged", also=also, base=random_base)
    base = pipelines.load(random_base, dtype=torch.float32, device="cpu").unet
    both = pipelines.load(tmp_path / "merged", dtype=torch.float32, device="cpu").unet
    for name, delta in wanted.items():
        close(both.get_submodule(name).weight, base.get_submodule(name).weight + delta)


def test_adapters_of_different_bases_do_not_add_up(tmp_path: Path) -> None:
    first = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    network = networks.unet()
    name = next(name for name in networks.layer_deltas(networks.with_krona((4, 8))))
    network.set_submodule(name, nn.Linear(256, 256, bias=False))
    adapters.attach(network, "krona", targets=[name], a1=4, a2=8)
    second = networks.save(network, tmp_path / "b")
    with pytest.raises(InputError, match="for different bases"):
        exports.export(first, tmp_path / "x.safetensors", also=[(second, 1.0)])


def test_diffusers_loads_the_lora_of_a_transformer(tmp_path: Path) -> None:
    """SD3's names, by the same patterns: joint attention with its added projections left alone."""
    from diffusers import SD3Transformer2DModel

    def network() -> nn.Module:
        torch.manual_seed(0)
        sizes = {"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4, "pooled_projection_dim": 16}
        return SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, joint_attention_dim=16, caption_projection_dim=32, **sizes
        ).eval()

    def run(model: nn.Module) -> Tensor:
        torch.manual_seed(1)
        inputs = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 16), torch.randn(1, 16), torch.tensor([3])
        with torch.no_grad():
            return model(*inputs).sample

    ours = network()
    adapters.attach(ours, networks.krona((4, 8), layout="official"))
    networks.fill(ours)
    folder = networks.save(ours, tmp_path / "a", family="sd3")
    made = exports.export(folder, tmp_path / "x.safetensors", "lora", names="diffusers")
    assert all(key.startswith("transformer.transformer_blocks.") for key in load_file(made.path))
    theirs = network()
    theirs.load_lora_adapter(str(tmp_path), weight_name="x.safetensors", prefix="transformer")
    close(run(theirs), run(ours))
    made = exports.export(folder, tmp_path / "y.safetensors")
    assert all(key.startswith("lora_transformer_transformer_blocks_") for key in load_file(made.path))
    assert parsing.read(made.path).changes["transformer"].keys() == stored.read(folder).changes["transformer"].keys()


def test_metadata_tells_kohya_stability_and_us(tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    texts = weights.metadata(exports.export(folder, tmp_path / "rex.safetensors").path)
    assert texts["ss_network_module"] == "lycoris.kohya" and '"lokr"' in texts["ss_network_args"]
    assert texts["ss_resolution"] == "(64, 64)" and texts["ss_steps"] == "20" and texts["ss_seed"] == "3"
    assert texts["modelspec.title"] == "rex" and texts["modelspec.trigger_phrase"] == "sks dog"
    own = imports.Opened("", {}, texts, {}, tmp_path).facts
    assert asdict(own.trigger) == networks.FACTS["trigger"] and own.train == networks.FACTS["train"]
    texts = weights.metadata(exports.export(folder, tmp_path / "rex.safetensors", "lora-truncated", rank=4).path)
    assert texts["ss_network_module"] == "networks.lora" and texts["ss_network_dim"] == "4"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files(dtype: Any, tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    made = exports.export(folder, tmp_path / "x.safetensors", dtype=dtype)
    assert {tensor.dtype for tensor in load_file(made.path).values()} == {getattr(torch, dtype)}


def test_a_number_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    network = networks.with_krona((4, 8))
    with torch.no_grad():
        next(p for n, p in network.named_parameters() if "krona_b" in n).fill_(1e6)
    folder = networks.save(network, tmp_path / "a")
    with pytest.raises(InputError, match="too large for float16"):
        exports.export(folder, tmp_path / "x.safetensors", dtype="float16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "x.bin"}, "end it in .safetensors"),
        ({"to": "lora-truncated"}, "--rank belongs to"),
        ({"to": "lora", "rank": 3}, "--rank belongs to"),
        ({"to": "peft", "rank": 3, "out": "folder"}, "--rank belongs to"),
        ({"to": "merged", "names": "sgm", "out": "folder"}, "--names sgm is of one weights file"),
        ({"strength": float("nan")}, "strength nan"),
        ({"to": "diff", "names": "diffusers"}, "reads no full differences"),
        ({"to": "official"}, "not of the authors' layout"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((4, 8)), tmp_path / "a")
    out = tmp_path / arguments.pop("out", "official" if arguments.get("to") == "official" else "x.safetensors")
    with pytest.raises(InputError, match=message):
        exports.export(folder, out, **arguments)
    assert not out.exists()


def test_stored_kronecker_changes_are_the_layers_own(tmp_path: Path) -> None:
    for layout in ("kron", "official"):
        ours = networks.with_krona((4, 8), layout, scaling=0.5)
        found = stored.read(networks.save(ours, tmp_path / layout)).changes["unet"]
        assert all(isinstance(change, Kronecker) for change in found.values())
        for name, delta in networks.layer_deltas(ours).items():
            close(found[name].delta(), delta, 1e-6)
