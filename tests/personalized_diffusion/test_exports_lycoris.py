"""Exports opened by LyCORIS itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from domains.personalized_diffusion.official import exports
from tests.personalized_diffusion import networks
from tests.personalized_diffusion.networks import close, merged_weights


def lycoris_merges(file: Path, network: nn.Module, text: nn.Module | None = None) -> None:
    """Merge a kohya file into networks by LyCORIS's own code for kohya's trainer."""
    from lycoris.config import PRESET
    from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights

    class Named(nn.Module):
        """CLIP as kohya's trainer holds it: version 5 of transformers left `text_model.` out of its names."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.text_model = inner

    LycorisNetworkKohya.apply_preset(PRESET["attn-mlp"])
    text = None if text is None else Named(text)
    made, state = create_network_from_weights(1.0, str(file), None, text, network)
    assert len(made.unet_loras) + len(made.text_encoder_loras) == len({key.split(".")[0] for key in state})
    made.merge_to(text, network, state, torch.float32, "cpu")


@pytest.mark.parametrize(
    ("factors", "layout", "to", "form"),
    [
        ((4, 4), "kron", "kohya", "lokr"),
        ((4, 4), "kron", "lokr", "lokr"),
        ((4, 8), "kron", "lora", "lora"),
        ((4, 8), "official", "kohya", "lora"),
        ((4, 8), "official", "diff", "diff"),
    ],
)
def test_lycoris_merges_a_kohya_file(factors: Any, layout: str, to: Any, form: str, tmp_path: Path) -> None:
    pytest.importorskip("lycoris")
    ours = networks.with_krona(factors, layout)
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", to)
    assert (made.form, made.exact) == (form, True) and "LyCORIS/kohya" in made.opens_in
    theirs = networks.unet()
    lycoris_merges(made.path, theirs)
    for name, weight in merged_weights(ours).items():
        close(theirs.get_submodule(name).weight, weight)


def test_lycoris_merges_both_networks(tmp_path: Path) -> None:
    pytest.importorskip("lycoris")
    ours = networks.with_both((4, 4))
    made = exports.export(networks.save(ours, tmp_path / "a", text_encoder=True), tmp_path / "x.safetensors")
    theirs = nn.ModuleDict({"unet": networks.unet(), "text_encoder": networks.text_encoder()})
    lycoris_merges(made.path, theirs["unet"], theirs["text_encoder"])
    for name, weight in merged_weights(ours).items():
        close(theirs.get_submodule(name).weight, weight)


def test_lycoris_forms_any_factors(tmp_path: Path) -> None:
    """Its loader works a1 = a2 out of the shapes; its functional form takes the tensors as they are."""
    functional = pytest.importorskip("lycoris.functional.lokr")
    ours = networks.with_krona((4, 8))
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors")
    assert made.form == "lokr" and made.opens_in == ("ComfyUI", "A1111/Forge")
    state = load_file(made.path)
    for name, delta in networks.layer_deltas(ours).items():
        key = f"lora_unet_{name.replace('.', '_')}"
        w1, w2 = state[f"{key}.lokr_w1"], state[f"{key}.lokr_w2"]
        assert w1.shape == (4, 8)
        close(functional.diff_weight(w1, None, None, w2, None, None, None), delta)
        close(functional.make_kron(w1, w2, 1.0), delta)


def test_lycoris_cannot_take_a_first_factor_larger_than_the_second(tmp_path: Path) -> None:
    """It makes the smaller half w1: with (8, 8) on 32 outputs, 4 x 8 and not 8 x 4. The export says so beforehand."""
    pytest.importorskip("lycoris")
    made = exports.export(networks.save(networks.with_krona((8, 8)), tmp_path / "a"), tmp_path / "x.safetensors")
    assert made.form == "lokr" and "LyCORIS/kohya" not in made.opens_in
    with pytest.raises(RuntimeError, match="size"):
        lycoris_merges(made.path, networks.unet())


def test_lycoris_wrapper_loads_its_own_names(tmp_path: Path) -> None:
    wrapper = pytest.importorskip("lycoris.wrapper")
    ours = networks.with_krona((4, 4))
    made = exports.export(networks.save(ours, tmp_path / "a"), tmp_path / "x.safetensors", "lokr", names="lycoris")
    theirs = networks.unet()
    network, state = wrapper.create_lycoris_from_weights(1.0, str(made.path), theirs)
    assert len(network.loras) == len({key.split(".")[0] for key in state}) == len(networks.layer_deltas(ours))
    network.apply_to()
    close(networks.run(theirs), networks.run(ours))
