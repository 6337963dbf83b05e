from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from suite import hub
from suite.errors import InputError
from suite.hub import weights


class Payload:
    """What runs a command where it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def evil(path: Path, witness: Path, how: str) -> Path:
    state = {"layer.lora_A.weight": torch.ones(2, 4), "note": Payload(witness)}
    if how == "plain":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    return path


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_a_payload_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    witness = tmp_path / "witness"
    file = evil(tmp_path / "weights.pth", witness, how)
    with pytest.raises(InputError, match="only tensors and plain values") as caught:
        weights.read(file)
    assert "\n" not in str(caught.value) and not witness.exists()


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_an_adapter_with_a_payload_leaves_nothing(tmp_path: Path, cache: Path, write_adapter, how: str) -> None:
    folder = write_adapter(tmp_path / "mine")
    (folder / "adapter_model.safetensors").unlink()
    evil(folder / "adapter_model.bin", tmp_path / "witness", how)
    with pytest.raises(InputError, match="refused"):
        hub.resolve(str(folder))
    assert not (tmp_path / "witness").exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_pickled_weights_become_safetensors(tmp_path: Path, cache: Path, write_adapter) -> None:
    folder = write_adapter(tmp_path / "mine")
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"layer.lora_A.weight": torch.ones(2, 4)}, folder / "adapter_model.bin")
    found = hub.resolve(str(folder))
    assert found.is_relative_to(cache)
    assert sorted(path.name for path in found.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert torch.equal(weights.read(found / "adapter_model.safetensors")["layer.lora_A.weight"], torch.ones(2, 4))
    assert hub.resolve(str(folder)) == found


def test_a_sharded_base_becomes_safetensors(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(1)}, folder / "pytorch_model-00002-of-00002.bin")
    shards = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    found = hub.resolve(str(folder), kind="base")
    index = json.loads((found / "model.safetensors.index.json").read_text())
    assert {key: list(weights.read(found / shard)) for key, shard in index["weight_map"].items()} == {
        "a": ["a"],
        "b": ["b"],
    }


def test_nested_dictionaries_are_found_or_named(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "one.pth")
    torch.save({"model": {"a": torch.ones(1)}, "ema": {"a": torch.zeros(1)}}, tmp_path / "two.pth")
    assert list(weights.read(tmp_path / "one.pth")) == ["a"]
    assert weights.contents(tmp_path / "one.pth")["epoch"] == 3
    with pytest.raises(InputError, match=r"under model, ema .*name the section"):
        weights.read(tmp_path / "two.pth")
    assert weights.read(tmp_path / "two.pth", section="ema")["a"].item() == 0
    with pytest.raises(InputError, match="no section 'student'; it has model, ema"):
        weights.read(tmp_path / "two.pth", section="student")


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "list", "zip"])
def test_what_is_no_torch_file_is_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "weights.pth"
    torch.save([1] if damage == "list" else {"a": torch.ones(100)}, file)
    if damage in ("empty", "cut", "text"):
        file.write_bytes({"empty": b"", "cut": file.read_bytes()[:-50], "text": b"<html>404</html>"}[damage])
    if damage == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a.txt", "a")
    with pytest.raises(InputError) as caught:
        weights.read(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_shared_storage_is_written_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    file = weights.write({"whole": whole, "turned": whole.T, "same": whole}, tmp_path / "a.safetensors", {"k": "v"})
    assert torch.equal(weights.read(file)["turned"], whole.T)
    assert weights.metadata(file) == {"format": "pt", "k": "v"}
    assert weights.shapes(file) == {"whole": (2, 3), "turned": (3, 2), "same": (2, 3)}
    with safe_open(file, framework="pt") as opened:
        assert len(opened.keys()) == 3


def test_renaming_lists_what_it_does_not_know() -> None:
    state = {f"blocks.{index}.a": torch.ones(1) for index in range(3)}
    rules = [(r"blocks\.(\d+)\.a", r"layers.\1.lora_A")]
    assert list(weights.rename(state, rules)) == ["layers.0.lora_A", "layers.1.lora_A", "layers.2.lora_A"]
    with pytest.raises(InputError, match=r"the release: 2 unknown keys: head\.weight, norm"):
        weights.rename({**state, "head.weight": torch.ones(1), "norm": torch.ones(1)}, rules, where="the release")
    assert list(weights.rename({"head.weight": torch.ones(1)}, rules, ignore=[r"head\..*"])) == []
    with pytest.raises(InputError, match=r"both become layers\.x"):
        weights.rename(state, [(r"blocks\..*", "layers.x")])


def test_checking_keys_lists_both_sides() -> None:
    weights.check_keys({"a", "b"}, ["b", "a"])
    with pytest.raises(InputError, match="the file: 1 missing keys: b; 1 unknown keys: c"):
        weights.check_keys({"a", "c"}, {"a", "b"}, where="the file")
    with pytest.raises(InputError, match="and 8 more"):
        weights.check_keys([], [str(index) for index in range(20)])
