"""Released files there and back, to the bit; and what is wrong with a file said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domains.tracking import official
from domains.tracking.model import bases
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.manifest import Manifest, from_manifest
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.official import keys
from suite import adapters
from suite.errors import InputError
from suite.hub import weights
from tests.tracking import small

SIZES = {"template_size": 28, "search_size": 70}


def released(kind: str = "tmoe", swiglu: bool = False, **settings: Any) -> dict[str, Tensor]:
    """What the authors' code would have saved."""
    sizes = Sizes(2, 64, 1, "swiglu" if swiglu else "mlp", grid=4)
    lora = kind == "lora"
    model = SpmTrack(sizes, small.LORAT if lora else small.SETTINGS, split=lora)
    model = small.attached(model, "lorat" if lora else "spmtrack", **settings)
    alpha = settings.get("alpha", settings.get("lora_alpha", 64))
    ours = {name: value.detach() for name, value in keys.trained(model).items()}
    return keys.to_released(
        ours, keys.scales("lora" if lora else "tmoe", alpha, settings.get("use_rslora", False)), swiglu=swiglu
    )


def write(path: Path, state: dict[str, Tensor]) -> Path:
    """A safetensors file whatever its ending."""
    weights.write(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors").rename(path)


CASES: list[dict[str, Any]] = [
    {},
    {"swiglu": True, "alpha": 8.0, "use_rslora": True, "num_experts": 3},
    {"form": "shared_expert", "alpha": 1.0},
    {"form": "route_compression"},
    {"kind": "lora"},
    {"kind": "lora", "swiglu": True, "lora_alpha": 8},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_released_file_becomes_an_adapter_and_the_same_file_again(case: dict[str, Any], tmp_path: Path) -> None:
    state = released(**case)
    file, adapter, out = write(tmp_path / "spmtrack_base.bin", state), tmp_path / "adapter", tmp_path / "out"
    adapter.mkdir()
    out.mkdir()
    official.convert(file, adapter, **SIZES)
    official.export(adapter, out)
    [written] = out.iterdir()
    again = official.read(written)
    assert list(again) and again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) and again[name].dtype == state[name].dtype for name in state)

    base = small.write_base(tmp_path / "base", swiglu=case.get("swiglu", False))
    model, stated = from_manifest(adapter, base)
    assert adapters.count(model).trainable == 0
    assert stated.tracker.search_size == 70
    if case.get("kind") != "lora":
        [_, (_, layer), *_] = adapters.layers(model, "tmoe")
        alpha, stabilised = case.get("alpha", 64.0), case.get("use_rslora", False)
        assert layer.scaling(next(iter(layer.settings))) == alpha / (4**0.5 if stabilised else 4)


def test_an_adapter_of_the_file_tracks_as_the_model_that_was_saved(tmp_path: Path) -> None:
    """And LoRAT's merges exactly into its backbone."""
    base = small.write_base(tmp_path / "base")
    for kind, settings in (("tmoe", small.SETTINGS), ("lora", small.LORAT)):
        state = released(kind)
        (tmp_path / kind).mkdir()
        official.convert(write(tmp_path / f"{kind}.bin", state), tmp_path / kind, **SIZES)
        loaded, _ = from_manifest(tmp_path / kind, base)
        model = small.attached(
            bases.load_folder(base, settings, split=kind == "lora"), "lorat" if kind == "lora" else "spmtrack"
        )
        keys.load_trained(model, state, "the file")
        templates, masks, crop = small.inputs(settings)
        with torch.no_grad():
            [wanted] = model(templates.unbind(1), masks.unbind(1), [crop])
            [found] = loaded(templates.unbind(1), masks.unbind(1), [crop])
            assert torch.equal(found.scores, wanted.scores)
            if kind == "lora":
                adapters.merge(loaded)
                [merged] = loaded(templates.unbind(1), masks.unbind(1), [crop])
                torch.testing.assert_close(merged.scores, wanted.scores, atol=1e-5, rtol=0)
            else:
                with pytest.raises(InputError, match="gates of its 4 experts depend on the token"):
                    adapters.merge(loaded)


def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    state = released()
    (tmp_path / "out").mkdir()

    def refused(changed: dict[str, Tensor], said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            official.convert(write(tmp_path / "file.bin", changed), tmp_path / "out", **SIZES)
        assert "\n" not in str(caught.value)

    refused({k: v for k, v in state.items() if k != "query_embed"}, "1 missing keys: query_embed")
    refused({k: v for k, v in state.items() if k != "blocks.1.mlp.fc2.tmoe.routed_experts.3"}, "missing keys")
    refused({**state, "blocks.0.attn.qkv.q.linear.weight": torch.zeros(2)}, "1 unknown keys")
    refused({**state, "head.conv.weight": torch.zeros(3)}, "1 unknown keys: head.conv.weight")
    refused({**state, "query_embed": torch.full((1, 64), torch.nan)}, "query_embed holds NaN")
    refused({**state, "query_embed": torch.full((1, 64), torch.inf)}, "query_embed holds NaN or infinite")
    refused({**state, "query_embed": torch.zeros(1, 32)}, r"query_embed is \(1, 32\) and here \(1, 64\)")
    one = "blocks.1.mlp.fc2.tmoe"
    refused({**state, f"{one}.routed_experts.0": torch.zeros(64, 2)}, r"is \(64, 2\) and here \(64, 4\)")
    refused({**state, f"{one}.expert_route.weight": torch.zeros(5, 256)}, r"is \(5, 256\) and here \(4, 256\)")
    refused({**state, f"{one}.routed_experts.4": torch.zeros(64, 4)}, "unknown keys: .*routed_experts.4")
    refused({"head.x": torch.zeros(1)}, "holds no TMoE of SPMTrack and no LoRA of LoRAT")
    torch.save(state, tmp_path / "pickled.bin")
    torch.save({"model": state}, tmp_path / "pickled.pth")
    for name in ("pickled.bin", "pickled.pth"):
        with pytest.raises(InputError, match="is no safetensors file"):
            official.convert(tmp_path / name, tmp_path / "out", **SIZES)
    official.convert(tmp_path / "pickled.bin", tmp_path / "out", pickle=True, **SIZES)
    (tmp_path / "torn.bin").write_bytes(write(tmp_path / "file.bin", state).read_bytes()[:200])
    with pytest.raises(InputError, match="no whole safetensors file"):
        official.convert(tmp_path / "torn.bin", tmp_path / "out", **SIZES)


def test_an_adapter_on_a_base_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    official.convert(write(tmp_path / "file.bin", released()), tmp_path / "adapter", **SIZES)
    with pytest.raises(InputError):
        from_manifest(tmp_path / "adapter", small.write_base(tmp_path / "wide", width=128))
    with pytest.raises(InputError):
        from_manifest(tmp_path / "adapter", small.write_base(tmp_path / "deep", depth=3))
    with pytest.raises(InputError, match="states no tracker"):
        Manifest.from_dict({}, "an adapter")
