from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml

from suite import hub
from suite.errors import InputError
from suite.hub import paths

ENTRY = {"source": "tiny/music/adapter", "format": "peft", "licence": "MIT"}


def test_the_suites_own_catalogue_is_readable_and_whole() -> None:
    assert (paths.checkpoints() / "index.yaml").is_file()
    for entry in hub.catalogue():
        assert entry.licence and entry.format
        if entry.embedded:
            assert hub.verify(entry.reference, kind=entry.kind)["files"] == dict(entry.sha256)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("adapters: [", "is not YAML"),
        ("- a", "sections adapters and bases"),
        ("models: {}", "sections adapters and bases"),
        (yaml.safe_dump({"adapters": {"tiny": ENTRY}}), "must be domain/name"),
        (yaml.safe_dump({"adapters": {"a/b": {**ENTRY, "licence": ""}}}), r"lacks \['licence'\]"),
        (yaml.safe_dump({"adapters": {"a/b": {**ENTRY, "sha1": "x"}}}), r"unknown fields \['sha1'\]"),
        (yaml.safe_dump({"adapters": {"a/b": {**ENTRY, "metric": {"f1": 1}}}}), "name, value and data"),
        (yaml.safe_dump({"adapters": {"a/b": {**ENTRY, "format": "official"}}}), "needs a converter"),
        (yaml.safe_dump({"adapters": {"a/b": {**ENTRY, "source": "https://a/b"}}}), "needs its sha256"),
    ],
)
def test_a_wrong_catalogue_names_the_fault(checkpoints: Path, content: str, message: str) -> None:
    (checkpoints / "index.yaml").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        hub.catalogue()
    assert "\n" not in str(caught.value)


def test_recording_renews_one_entry_and_keeps_the_rest(checkpoints: Path, write_adapter) -> None:
    (checkpoints / "index.yaml").write_text(
        "# heading\n" + yaml.safe_dump({"adapters": {"music/other": {**ENTRY, "source": "hf:org/name"}}})
    )
    folder = write_adapter(checkpoints / "tiny" / "music" / "adapter")
    for value in (0.5, 0.75):
        hub.record(folder, domain="music", licence="Apache-2.0", metric=hub.Metric("F1", value, "made-up data"))
    entries = {entry.reference: entry for entry in hub.catalogue()}
    assert set(entries) == {"music/tiny", "music/other"}
    assert entries["music/tiny"].metric == hub.Metric("F1", 0.75, "made-up data")
    assert (checkpoints / "index.yaml").read_text().startswith("# heading\n")


def test_only_embedded_checkpoints_are_recorded(checkpoints: Path, tmp_path: Path, write_adapter) -> None:
    with pytest.raises(InputError, match="is not inside"):
        hub.record(write_adapter(tmp_path / "elsewhere"), domain="music", licence="MIT")


def test_showing_downloads_nothing(checkpoints: Path, write_adapter) -> None:
    write_adapter(checkpoints / "tiny" / "music" / "adapter")
    assert hub.show("tiny", "music")["parts"]["."]["parameters"] == 8
    assert hub.show("hf:org/name")["folder"] is None
    assert hub.show("https://127.0.0.1:9/a.zip")["folder"] is None


def test_a_copy_of_a_base_is_renewed_and_nothing_else(tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    (base / "unet").mkdir(parents=True)
    (base / "unet" / "config.json").write_text("{}")
    for _ in range(2):
        assert hub.pull(str(base), kind="base", out=out) == out
        assert hub.verify(str(out), kind="base")["files"] == hub.verify(str(base), kind="base")["files"]
    (out / "unet" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds unet/notes\.txt"):
        hub.pull(str(base), kind="base", out=out)


def test_verifying_reads_every_byte(checkpoints: Path, write_adapter) -> None:
    folder = write_adapter(checkpoints / "tiny" / "music" / "adapter")
    hub.record(folder, domain="music", licence="MIT")
    file = folder / "adapter_model.safetensors"
    report = hub.verify("tiny", "music")
    assert report["files"][file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert report["format"] == "peft" and report["size"] == sum(path.stat().st_size for path in folder.iterdir())
    state = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"damaged: .*adapter_model\.safetensors"):
        hub.verify("tiny", "music")
    os.utime(
        file, ns=(state.st_atime_ns, state.st_mtime_ns)
    )  # same size and time: the receipt is fooled, verify is not
    with pytest.raises(InputError, match=r"damaged: .*adapter_model\.safetensors"):
        hub.verify("tiny", "music")


@pytest.mark.parametrize("name", ["optimizer.pt", "hf_token"])
def test_what_should_stay_here_is_not_pushed(tmp_path: Path, write_adapter, name: str) -> None:
    folder = write_adapter(tmp_path / "mine")
    (folder / name).write_text("secret")
    with pytest.raises(InputError, match=f"{name}; take them out"):
        hub.push(folder, "hf:org/name")


@pytest.mark.parametrize("reference", ["tiny", "./here", "https://host/a"])
def test_only_repositories_are_pushed_to(tmp_path: Path, write_adapter, reference: str) -> None:
    with pytest.raises(InputError, match="write hf:org/name"):
        hub.push(write_adapter(tmp_path / "mine"), reference)
