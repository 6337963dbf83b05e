from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from suite import hub
from suite.errors import InputError
from suite.hub import weights
from tests.hub.server import Served, Site

NAMES = ["layer.lora_A.weight"]


def convert(source: Path, out: Path, rank: int = 2) -> None:
    """The converter of a made-up authors' format: one torch file of `net.A`."""
    state = weights.rename(weights.read(source), [(r"net\.A", NAMES[0])], where=source.name)
    weights.check_keys(state, NAMES, where=source.name)
    weights.write(state, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))


def careless(source: Path, out: Path) -> None:
    (out / "notes.txt").write_text("no adapter here")


def export(source: Path, out: Path) -> None:
    torch.save({"net.A": weights.read(source / "adapter_model.safetensors")[NAMES[0]]}, out / "official.pth")


@pytest.fixture(autouse=True)
def official(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("made_up_official")
    module.convert, module.careless, module.export = convert, careless, export
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.fixture
def released(tmp_path: Path) -> Path:
    torch.save({"net.A": torch.ones(2, 4)}, tmp_path / "released.pth")
    return tmp_path / "released.pth"


def test_a_release_becomes_an_adapter_and_back(tmp_path: Path, released: Path, official: str) -> None:
    out = hub.convert(str(released), tmp_path / "mine", f"{official}:convert", rank=4)
    assert out == tmp_path / "mine" and hub.resolve(str(out)) == out
    assert hub.show(str(out))["parts"]["."] == {"method": "lora", "rank": 4, "tensors": 1, "parameters": 8}
    back = hub.export(str(out), tmp_path / "back", f"{official}:export")
    for _ in range(2):
        assert torch.equal(weights.read(back / "official.pth")["net.A"], torch.ones(2, 4))
        hub.export(str(out), back, f"{official}:export")
    (back / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        hub.export(str(out), back, f"{official}:export")


def test_unknown_and_missing_keys_leave_nothing(tmp_path: Path, released: Path, official: str) -> None:
    torch.save({"net.A": torch.ones(1), "net.B": torch.ones(1)}, released)
    with pytest.raises(InputError, match=r"1 unknown keys: net\.B"):
        hub.convert(str(released), tmp_path / "mine", f"{official}:convert")
    torch.save({}, released)
    with pytest.raises(InputError):
        hub.convert(str(released), tmp_path / "mine", f"{official}:convert")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["released.pth"]


def test_a_failed_conversion_keeps_the_old_folder(tmp_path: Path, released: Path, official: str, write_adapter) -> None:
    old = write_adapter(tmp_path / "mine")
    with pytest.raises(TypeError, match="wrote no adapter"):
        hub.convert(str(released), old, f"{official}:careless")
    assert hub.resolve(str(old)) == old


def test_a_domain_without_other_formats_says_so(tmp_path: Path, released: Path) -> None:
    with pytest.raises(InputError, match="reads no other format"):
        hub.convert(str(released), tmp_path / "mine", "domains.nothing.official:convert")


def test_an_official_entry_is_converted_when_it_is_resolved(
    site: Site, checkpoints: Path, released: Path, official: str
) -> None:
    data = released.read_bytes()
    site.files["/released.pth"] = Served(data)
    entry = {
        "source": f"{site.address}/released.pth",
        "format": "official",
        "converter": f"{official}:convert",
        "licence": "MIT",
        "sha256": {"released.pth": hashlib.sha256(data).hexdigest()},
    }
    (checkpoints / "index.yaml").write_text(yaml.safe_dump({"adapters": {"music/authors": entry}}))
    assert hub.listing("music")[0]["cached"] is False
    found = hub.resolve("authors", "music")
    assert weights.shapes(found / "adapter_model.safetensors") == {NAMES[0]: (2, 4)}
    assert hub.listing("music")[0]["cached"] is True
    assert hub.resolve("authors", "music") == found
    assert len(site.ranges("/released.pth")) == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".zip"])
def test_an_exported_file_is_an_adapter_again(tmp_path: Path, write_adapter, suffix: str) -> None:
    folder = write_adapter(tmp_path / "mine")
    file = hub.export(str(folder), tmp_path / f"mine{suffix}")
    found = hub.resolve(str(file))
    assert json.loads((found / "adapter_config.json").read_text()) == {"peft_type": "LORA", "r": 2}
    assert torch.equal(weights.read(found / "adapter_model.safetensors")[NAMES[0]], torch.ones(2, 4))


def test_a_bundle_fits_no_single_file(tmp_path: Path, write_adapter) -> None:
    write_adapter(tmp_path / "bundle" / "part")
    (tmp_path / "bundle" / "suite.json").write_text("{}")
    with pytest.raises(InputError, match=r"export it as \.zip"):
        hub.export(str(tmp_path / "bundle"), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"end it in \.safetensors or \.zip"):
        hub.export(str(tmp_path / "bundle"), tmp_path / "a.rar")
    assert not list(tmp_path.glob("a.*"))


def test_weights_alone_are_no_adapter(tmp_path: Path, released: Path) -> None:
    file = weights.write({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"without their adapter's configuration.*suite adapters convert"):
        hub.resolve(str(file))
    with pytest.raises(InputError, match=r"a torch file, not an adapter.*suite adapters convert"):
        hub.resolve(str(released))
