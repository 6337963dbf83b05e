"""The hub's client reads HF_ENDPOINT when it is imported: every case runs in a process of its own."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub.server import COMMIT, Served, Site

COMPLAINT_OF = """
def complaint_of(reference):
    try:
        hub.resolve(reference)
    except ValueError as error:
        return str(error)
"""
RunHub = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(site: Site, cache: Path) -> RunHub:
    """Print what `call` gives in a fresh process that believes the test's server to be the hub."""

    def run(call: str, largest_file: int = 0, prelude: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        environment = {
            **os.environ,
            "HF_ENDPOINT": site.address,
            "HF_HOME": str(cache.parent / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SUITE_CACHE": str(cache),
            **variables,
        }
        environment.pop("HF_TOKEN", None)
        return subprocess.run(
            [
                sys.executable,
                "-c",
                f"from suite import hub\nfrom suite.hub import repository\n{prelude}\nprint({call})",
            ],
            env=environment,
            preexec_fn=limit if largest_file else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def repository(site: Site, tmp_path: Path, write_adapter) -> dict[str, Served]:
    """`org/name` with an adapter in `sub` and files that nobody here reads."""
    folder = write_adapter(tmp_path / "uploaded")
    files = {f"sub/{path.name}": Served(path.read_bytes()) for path in folder.iterdir()}
    files |= {"README.md": Served(b"# card"), "sub/model.onnx": Served(b"x"), "sub/training_args.bin": Served(b"x")}
    site.repositories["org/name"] = files
    return files


def found(finished: subprocess.CompletedProcess[str]) -> Path:
    assert finished.returncode == 0, finished.stderr
    return Path(finished.stdout.strip().splitlines()[-1])


def complaint(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("suite.errors.InputError: "), finished.stderr
    return last.removeprefix("suite.errors.InputError: ")


def half_written(cache: Path) -> list[str]:
    return [str(path) for path in cache.rglob("*") if path.suffix in (".incomplete", ".part")]


def test_a_folder_of_a_repository_is_fetched_and_found_again_offline(run: RunHub, site: Site, repository) -> None:
    folder = found(run("hub.resolve('hf:org/name:sub')"))
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (folder / "adapter_model.safetensors").read_bytes() == repository["sub/adapter_model.safetensors"].data
    assert not (folder.parent / "README.md").exists()
    for offline in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": site.address, "HF_HUB_OFFLINE": "true"}):
        assert found(run("hub.resolve('hf:org/name:sub')", **offline)) == folder


def test_offline_is_one_sentence_with_the_command(run: RunHub, site: Site) -> None:
    unreachable = complaint(run("hub.resolve('hf:org/name@v1:sub')", HF_ENDPOINT="http://127.0.0.1:9"))
    assert unreachable == (
        "hf:org/name@v1:sub is not on this machine and 127.0.0.1:9 cannot be reached; "
        "when online run: suite adapters pull hf:org/name@v1:sub"
    )
    assert "when online run: suite adapters pull hf:org/name" in complaint(
        run("hub.resolve('hf:org/name')", HF_HUB_OFFLINE="1")
    )
    assert not site.requests


def test_a_snapshot_that_was_never_complete_is_not_used_offline(run: RunHub, repository, cache: Path) -> None:
    weights = repository["sub/adapter_model.safetensors"]
    weights.status = 403
    assert "the hub refuses it: 403 Forbidden" in complaint(run("hub.resolve('hf:org/name:sub')"))
    assert "when online run" in complaint(run("hub.resolve('hf:org/name:sub')", HF_HUB_OFFLINE="1"))


def test_a_transfer_that_breaks_off_goes_on(run: RunHub, site: Site, repository) -> None:
    data = bytes(24 * 2**20)  # the client saves every 10 MB
    repository["sub/model.safetensors"] = Served(data, cut=16 * 2**20, cuts=1)
    folder = found(run("repository.fetch(hub.parse('hf:org/name:sub'))"))
    assert (folder / "model.safetensors").read_bytes() == data
    asked = site.ranges(f"/org/name/resolve/{COMMIT}/sub/model.safetensors")
    assert asked == ["", f"bytes={10 * 2**20}-"]


def test_content_that_differs_from_its_digest_is_refused(run: RunHub, site: Site, repository, cache: Path) -> None:
    site.altered = b"?"
    message = complaint(run("hub.resolve('hf:org/name:sub')"))
    assert "other content than recorded in sub/adapter_config.json" in message
    assert not [path for path in cache.rglob("adapter_*") if path.exists()]


def test_a_damaged_cache_is_renewed(run: RunHub, repository) -> None:
    weights = found(run("hub.resolve('hf:org/name:sub')")) / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.resolve().chmod(0o644)
    weights.resolve().write_bytes(good[:-1] + b"!")
    assert "is damaged" in complaint(run("hub.resolve('hf:org/name:sub')", HF_HUB_OFFLINE="1"))
    found(run("hub.resolve('hf:org/name:sub')"))
    assert weights.read_bytes() == good


def test_refusals_are_one_line(run: RunHub, repository) -> None:
    expected = {
        "hf:org/missing": "no such repository, or it is private",
        "hf:gated/name": "gated: accept its terms on",
        "hf:org/name@nowhere": "no revision 'nowhere'",
        "hf:org/name:other": "no folder 'other'; it has sub",
        "hf:org/name": "holds no adapter",
    }
    said = found(run(f"[complaint_of(reference) for reference in {list(expected)}]", prelude=COMPLAINT_OF))
    messages = ast.literal_eval(str(said))
    for message, part in zip(messages, expected.values(), strict=True):
        assert part in message and "\n" not in message


def test_a_hub_that_answers_strangely_is_told_apart(run: RunHub, site: Site, repository, cache: Path) -> None:
    data = b"{}"
    blob = hashlib.sha1(b"blob 2\0" + data).hexdigest()
    site.files["/elsewhere"] = Served(b"<html>Sign in</html>")
    good = {"rfilename": "README.md", "size": 2, "blobId": blob, "oid": blob}
    site.strange = {
        "odd/html": b"<!doctype html><html><body>Sign in to the hotel's network</body></html>",
        "odd/empty": b"",
        "odd/list": b"[1, 2]",
        "odd/text": b'"hello"',
        "odd/down": 500,
        "odd/moved": 302,
        "odd/nodigest": [good, {"rfilename": "adapter_config.json"}],
        "odd/absolute": [good, {**good, "rfilename": "/etc/passwd"}],
        "odd/parent": [good, {**good, "rfilename": "../../evil.json"}],
        "odd/nested": [good, {**good, "rfilename": "a/../../evil.json"}],
        "odd/windows": [good, {**good, "rfilename": "C:\\evil.json"}],
        "odd/nameless": [good, {"size": 2}],
    }
    expected = {
        "html": "no answer of the Hugging Face hub's",
        "empty": "no answer of the Hugging Face hub's",
        "list": "no answer of the Hugging Face hub's",
        "text": "no answer of the Hugging Face hub's",
        "down": "answers 500 Internal Server Error",
        "moved": "no answer of the Hugging Face hub's",
        "nodigest": "no checksum of adapter_config.json",
        "absolute": "'/etc/passwd', which is outside of it",
        "parent": "'../../evil.json', which is outside of it",
        "nested": "'a/../../evil.json', which is outside of it",
        "windows": "evil.json', which is outside of it",
        "nameless": "no answer of the Hugging Face hub's",
    }
    said = found(run(f"[complaint_of('hf:odd/' + name) for name in {list(expected)}]", prelude=COMPLAINT_OF))
    for message, (name, part) in zip(ast.literal_eval(str(said)), expected.items(), strict=True):
        assert part in message and f"hf:odd/{name}" in message and "\n" not in message, message
        assert "cannot be reached" not in message
    assert not [path for path in cache.parent.rglob("evil.json")]


def test_a_hub_in_trouble_is_as_good_as_none_for_what_is_here(run: RunHub, site: Site, repository) -> None:
    folder = found(run("hub.resolve('hf:org/name:sub')"))
    site.strange["org/name"] = 500
    assert found(run("hub.resolve('hf:org/name:sub')")) == folder


def test_a_repository_of_pickles_is_refused_in_our_words(run: RunHub, site: Site) -> None:
    weights = {
        "code": pickle.dumps(os.getcwd),
        "list": pickle.dumps([1, 2]),
        "dict": pickle.dumps(OrderedDict(a=1)),
        "text": b"what is this",
        "none": b"",
    }
    for name, data in weights.items():
        files = {"adapter_config.json": Served(b'{"peft_type": "LORA"}'), "adapter_model.bin": Served(data)}
        site.repositories[f"pickles/{name}"] = files
    said = found(run(f"[complaint_of('hf:pickles/' + name) for name in {list(weights)}]", prelude=COMPLAINT_OF))
    for message, name in zip(ast.literal_eval(str(said)), weights, strict=True):
        assert message.startswith(f"hf:pickles/{name} "), message
        assert "adapter_model.bin" in message and "safetensors" in message and "\n" not in message
        for word in ("unpickl", "Weights only", "weights_only", "torch.load", "magic", "Ran out"):
            assert word not in message, message


def test_a_full_disk_leaves_nothing_half_written(run: RunHub, repository, cache: Path) -> None:
    repository["sub/adapter_model.safetensors"].data = b"\0" * 2**20
    message = complaint(run("hub.resolve('hf:org/name:sub')", largest_file=300_000))
    assert message.startswith("no room for hf:org/name:sub") and "SUITE_CACHE" in message
    assert half_written(cache) == []


def test_an_adapter_is_pushed_in_one_commit(run: RunHub, site: Site, tmp_path: Path, write_adapter) -> None:
    folder = write_adapter(tmp_path / "mine")
    finished = run(f"hub.push({str(folder)!r}, 'hf:me/mine')", HF_TOKEN="hf_test")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == f"{site.address}/me/mine/commit/{COMMIT}"
    pushed = {line["value"]["path"] for line in site.commits["me/mine"] if line["key"] == "file"}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= pushed
    assert found(run("hub.resolve('hf:me/mine')")).is_dir()


def test_what_was_pulled_can_be_copied_out(run: RunHub, repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert found(run(f"hub.pull('hf:org/name:sub', out={str(out)!r})")) == out
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 2
    assert not any(path.is_symlink() for path in out.iterdir())


def test_of_a_pipeline_only_the_parts_that_it_names_are_fetched(run: RunHub, site: Site) -> None:
    named = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    named |= {"vae": ["diffusers", "AutoencoderKL"], "safety_checker": [None, None]}
    weights = "diffusion_pytorch_model.safetensors"
    wanted = [
        "model_index.json",
        f"unet/{weights}",
        "unet/config.json",
        f"vae/{weights}",
        "encoders/clip/model.safetensors",
    ]
    spare = ["vae_1_0/" + weights, "vae_1_0/config.json", "vae_decoder/model.onnx", "vae_decoder/config.json"]
    spare += [f"safety_checker/{weights}", f"unet/{weights.replace('.s', '.fp16.s')}", "sd_xl_base_1.0.safetensors"]
    files = {name: Served(f'{{"name": "{name}"}}'.encode()) for name in [*wanted, *spare]}
    site.repositories["org/base"] = files | {"model_index.json": Served(json.dumps(named).encode())}
    folder = found(run("repository.fetch(hub.references.parse('hf:org/base'))"))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()) == sorted(wanted)


def test_settings_come_without_weights_and_are_no_whole_repository(run: RunHub, site: Site) -> None:
    named = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    files = {"model_index.json": Served(json.dumps(named).encode()), "unet/config.json": Served(b"{}")}
    files |= {f"unet/diffusion_pytorch_model.{kind}": Served(b"weights") for kind in ("safetensors", "bin")}
    files["tokenizer/vocab.json"] = Served(b'{"a": 1}')
    site.repositories["org/base"] = files
    call = "resolution.settings('hf:org/base')"
    prelude = "from suite.hub import resolution"
    folder = found(run(call, prelude=prelude))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())
    assert names == ["model_index.json", "tokenizer/vocab.json", "unet/config.json"]
    assert found(run(call, prelude=prelude, HF_HUB_OFFLINE="1")) == folder
    assert "reached" in complaint(run("repository.fetch(hub.parse('hf:org/base'))", HF_HUB_OFFLINE="1"))
