from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from suite import hub
from suite.errors import InputError


def test_a_local_adapter_is_itself(tmp_path: Path, write_adapter) -> None:
    folder = write_adapter(tmp_path / "mine")
    assert hub.resolve(str(folder)) == folder


def test_a_run_folder_stands_for_its_adapter(tmp_path: Path, write_adapter) -> None:
    write_adapter(tmp_path / "run" / "adapter")
    assert hub.resolve(str(tmp_path / "run")) == tmp_path / "run" / "adapter"


def test_a_bundle_needs_whole_parts(tmp_path: Path, write_adapter) -> None:
    bundle = tmp_path / "bundle"
    write_adapter(bundle / "fact")
    (bundle / "suite.json").write_text("{}")
    assert hub.resolve(str(bundle)) == bundle
    (bundle / "fact" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="lacks its weights"):
        hub.resolve(str(bundle))


def test_a_folder_of_adapters_names_them(tmp_path: Path, write_adapter) -> None:
    write_adapter(tmp_path / "all" / "checkpoint-100")
    with pytest.raises(InputError, match="checkpoint-100"):
        hub.resolve(str(tmp_path / "all"))


def test_a_missing_path_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "adapter-7").mkdir()
    with pytest.raises(InputError, match=r"does not exist.*holds adapter-7"):
        hub.resolve(str(tmp_path / "adapter-8"))


@pytest.mark.parametrize("damage", ["cut", "empty", "header"])
def test_damaged_weights_are_refused(tmp_path: Path, write_adapter, damage: str) -> None:
    weights = write_adapter(tmp_path / "mine") / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes({"cut": data[:-4], "empty": b"", "header": b"\xff" * 8 + data[8:]}[damage])
    with pytest.raises(InputError, match="damaged"):
        hub.resolve(str(tmp_path / "mine"))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, write_adapter, text: str) -> None:
    (write_adapter(tmp_path / "mine") / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match="damaged"):
        hub.resolve(str(tmp_path / "mine"))


def test_a_base_is_any_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match="empty"):
        hub.resolve(str(tmp_path / "base"), kind="base")
    (tmp_path / "base" / "config.json").write_text("{}")
    assert hub.resolve(str(tmp_path / "base"), kind="base") == tmp_path / "base"


def test_tiny_is_the_domains_embedded_default(checkpoints: Path, write_adapter) -> None:
    folder = write_adapter(checkpoints / "tiny" / "music" / "adapter")
    (checkpoints / "tiny" / "music" / "base").mkdir()
    (checkpoints / "tiny" / "music" / "base" / "config.json").write_text("{}")
    assert hub.resolve("tiny", "music") == folder
    assert hub.resolve("music/tiny") == folder
    assert hub.resolve("tiny", "music", kind="base") == checkpoints / "tiny" / "music" / "base"
    with pytest.raises(InputError, match="needs its domain"):
        hub.resolve("tiny")


def test_a_base_that_domains_share_is_not_one_domains_to_rebuild(checkpoints: Path) -> None:
    for home in ("code", "tracking"):
        (checkpoints / "tiny" / home / "base").mkdir(parents=True)
        (checkpoints / "tiny" / home / "base" / "config.json").write_text("{}")
    for domain, home in (("music", "code"), ("deepfake", "code"), ("tracking", "tracking")):
        folder = checkpoints / "tiny" / home / "base"
        hub.record(folder, domain=domain, kind="base", licence="Apache-2.0")
        assert hub.resolve("tiny", domain, kind="base") == folder
    for domain, own in (("music", False), ("tracking", True)):
        (checkpoints / "tiny" / ("tracking" if own else "code") / "base" / "config.json").write_text("{1}")
        with pytest.raises(InputError, match="take it from the repository again") as raised:
            hub.resolve("tiny", domain, kind="base")
        assert (f"python -m domains.{domain}.tiny" in str(raised.value)) == own


def test_a_recorded_checkpoint_is_verified(checkpoints: Path, write_adapter) -> None:
    folder = write_adapter(checkpoints / "tiny" / "music" / "adapter")
    entry = hub.record(
        folder, domain="music", method="lora", base="tiny", licence="Apache-2.0", metric=hub.Metric("F1", 0.5, "test")
    )
    assert hub.catalogue("music") == [entry]
    assert entry.format == "peft" and set(entry.sha256) == {"adapter_config.json", "adapter_model.safetensors"}
    assert hub.resolve("tiny", "music") == folder
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 3}))
    with pytest.raises(InputError, match=r"other content than recorded in adapter_config\.json"):
        hub.resolve("tiny", "music")


def test_a_bare_repository_is_refused_with_the_right_spelling(checkpoints: Path) -> None:
    with pytest.raises(InputError, match="write hf:meta-llama/Llama-2-7b-hf"):
        hub.resolve("meta-llama/Llama-2-7b-hf", "music", kind="base")


def test_an_unknown_name_says_what_there_is(checkpoints: Path, write_adapter) -> None:
    folder = write_adapter(checkpoints / "tiny" / "music" / "adapter")
    hub.record(folder, domain="music", licence="Apache-2.0", name="melody")
    with pytest.raises(InputError, match="melody"):
        hub.resolve("melodie", "music")


def test_importing_the_hub_loads_no_heavy_library() -> None:
    code = "import suite.hub, sys; print({'torch', 'huggingface_hub', 'pooch', 'requests', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
