"""Pipes, devices and files without end in the place of files of settings: refused at once, by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from suite import adapters, hub
from suite.errors import InputError
from suite.files import MOST_BYTES, read_text
from suite.hub import index
from suite.training import load_config

# Before they were refused, reading these did not come back.
pytestmark = pytest.mark.timeout(20)
WORDS = r"pipe or a device"


def pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")
    return path


def endless(path: Path) -> Path:
    """A file of terabytes that takes no room."""
    path.touch()
    os.truncate(path, 2**41)
    return path


@pytest.fixture(params=[pipe, device, endless], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    return request.param


def test_a_file_of_settings(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"settings.*(pipe or a device|more than 16 MiB)") as caught:
        read_text(make(tmp_path / "settings"))
    assert "\n" not in str(caught.value)


def test_a_file_that_tells_no_size_is_read_to_the_limit_alone(tmp_path: Path) -> None:
    assert "Linux" in read_text("/proc/version")
    (tmp_path / "long").write_text("x" * 11)
    with pytest.raises(InputError, match="long has more than"):
        read_text(tmp_path / "long", most=10)
    assert len(read_text(tmp_path / "long", most=11)) == 11 < MOST_BYTES


def test_a_configuration(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny\.yaml.*(pipe or a device|more than 16 MiB)"):
        load_config(make(tmp_path / "tiny.yaml"))


@pytest.mark.parametrize("kind", ["adapter", "base"])
@pytest.mark.parametrize("make", [pipe, device])
def test_a_reference(make: Callable[[Path], Path], kind: index.Kind, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=WORDS):
        hub.resolve(str(make(tmp_path / "given")), kind=kind)


@pytest.mark.parametrize("name", ["adapter_config.json", "suite.json", "other.safetensors", "part/adapter_config.json"])
@pytest.mark.parametrize("make", [pipe, device])
def test_a_file_of_an_adapter(
    make: Callable[[Path], Path], name: str, write_adapter: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "mine")
    (folder / "part").mkdir()
    made = make(folder / name)
    for kind in ("adapter", "base"):
        with pytest.raises(InputError, match=f"{made}.*{WORDS}"):
            hub.resolve(str(folder), kind=kind)


def test_an_endless_configuration_of_an_adapter(write_adapter: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine")
    endless(folder / "adapter_config.json")
    with pytest.raises(InputError, match=r"adapter_config\.json has more than 16 MiB"):
        hub.resolve(str(folder))
    with pytest.raises(InputError, match=r"adapter_config\.json has more than 16 MiB"):
        adapters.read_manifest(folder)


def test_an_endless_catalogue(checkpoints: Path) -> None:
    endless(checkpoints / "index.yaml")
    with pytest.raises(InputError, match=r"index\.yaml has more than 16 MiB"):
        index.catalogue()


def test_settings_of_the_domains(make: Callable[[Path], Path], tmp_path: Path) -> None:
    from domains.personalized_diffusion.data.dreambooth import read_protocol
    from domains.personalized_diffusion.data.prompts import read_prompts
    from domains.relation_extraction.model.schema import Schema
    from domains.relation_extraction.model.templates import read_templates

    path = make(tmp_path / "settings.yaml")
    words = r"settings\.yaml.*(pipe or a device|more than 16 MiB|no such|neither)"
    for read in (Schema.load, lambda path: read_templates(path, analysing=False), read_protocol):
        with pytest.raises(InputError, match=words):
            read(path)
    [prompt] = read_prompts([path])
    assert prompt.error and re.search("pipe or a device|more than 16 MiB", prompt.error)
