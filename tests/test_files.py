"""Files and folders appear whole or not at all, and what a user keeps in a folder is never taken for ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from torch import nn

from suite import adapters, hub
from suite.cli import demo, merging
from suite.errors import InputError
from suite.files import ADAPTER, Kind, atomic_file, atomic_folder, replace_durably, write_text
from suite.training import TrainerConfig, fit
from tests.training.toys import Language, Rows, tiny_llama


@pytest.fixture
def model() -> nn.Module:
    return adapters.attach(nn.Sequential(nn.Linear(4, 4)), "lora", targets=["0"], r=2)


def test_saving_an_adapter_keeps_a_folder_with_a_users_file(model: nn.Module, tmp_path: Path) -> None:
    for folder in (tmp_path / "plain", adapters.save(model, tmp_path / "adapter")):
        thesis = write_text(folder / "thesis.tex", "two years of work")
        held = sorted(path.name for path in folder.iterdir())
        with pytest.raises(InputError, match=r"is not replaced, it holds thesis\.tex.*choose another folder") as caught:
            adapters.save(model, folder)
        assert "\n" not in str(caught.value)
        assert thesis.read_text() == "two years of work"
        assert sorted(path.name for path in folder.iterdir()) == held


def test_an_adapter_of_ours_an_empty_folder_and_a_linked_one_are_written(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for folder in ("empty", "new", "new", "link"):
        adapters.save(model, tmp_path / folder)
    assert (tmp_path / "link").is_symlink()
    two = adapters.attach(
        nn.Sequential(nn.Linear(4, 4)), dict(method="lora", r=2), dict(method="miss", r=2), targets=["0"]
    )
    adapters.save(two, tmp_path / "new")
    assert not (tmp_path / "new/adapter_config.json").exists()
    adapters.save(model, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == ADAPTER.names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link", "new"]


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(model: nn.Module, tmp_path: Path) -> None:
    file = write_text(tmp_path / "thesis.tex", "two years of work")
    with pytest.raises(InputError, match="is a file"):
        adapters.save(model, file)
    assert file.read_text() == "two years of work"
    with pytest.raises(InputError, match="is a folder"), atomic_file(tmp_path):
        pass


def test_a_record_lists_what_no_name_tells(tmp_path: Path) -> None:
    """A folder may be replaced with files of any name, as long as its own record lists them."""
    kind = Kind("a thing", "record.json")
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "a", kind) as part:
            write_text(part / "record.json", json.dumps({"base": content}))
            write_text(part / content / "weights.bin", content)
    assert json.loads((tmp_path / "a/record.json").read_text()) == {
        "base": "second",
        "files": ["record.json", "second/weights.bin"],
    }
    write_text(tmp_path / "a/second/notes.txt", "mine")
    with pytest.raises(InputError, match=r"holds second/notes\.txt, which"), atomic_folder(tmp_path / "a", kind):
        pass


def test_a_folder_that_tells_nothing_of_itself_gets_a_record(tmp_path: Path) -> None:
    """Other programs' layouts, which have no file of ours: a second writing replaces the first, and nothing else."""
    kind = Kind("an export", ".suite.json", added=True)
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "a", kind) as part:
            write_text(part / "step" / f"{content}.bin", content)
    assert sorted(path.name for path in (tmp_path / "a").rglob("*.bin")) == ["second.bin"]
    write_text(tmp_path / "a/step/notes.txt", "mine")
    with pytest.raises(InputError, match=r"holds step/notes\.txt, which"), atomic_folder(tmp_path / "a", kind):
        pass


def test_nothing_is_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    for below in ("a.txt/b.json", "a.txt/deep/b.json"):
        with pytest.raises(InputError, match=r"a\.txt: is a file; give a folder"), atomic_file(tmp_path / below):
            pass
        with pytest.raises(InputError, match=r"a\.txt: is a file; give a folder"), atomic_folder(tmp_path / below):
            pass


def test_a_file_that_a_user_adds_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds notes\.txt"), atomic_folder(tmp_path / "a", ADAPTER) as part:
        write_text(part / "adapter_config.json", "{}")
        write_text(tmp_path / "a/notes.txt", "mine")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


def test_merging_and_pulling_keep_a_folder_with_a_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`suite adapters merge`, `swap` and `pull --out`."""
    monkeypatch.chdir(tmp_path)
    tiny_llama().save_pretrained("base")
    base = type(tiny_llama()).from_pretrained("./base")
    adapters.save(adapters.attach(base, "lora", targets=["q_proj"]), "a")
    out = Path("out")
    for _ in range(2):
        merging.merge("./a", out, name=None, domain=None, base="./base")
    thesis = write_text(out / "thesis.tex", "two years of work")
    for act in (
        lambda: merging.merge("./a", out, name=None, domain=None, base="./base"),
        lambda: merging.swap(out, "./a", name=None, domain=None),
        lambda: hub.pull("./a", out=out),
    ):
        with pytest.raises(InputError, match="is not replaced, it holds"):
            act()
        assert thesis.read_text() == "two years of work"
    assert hub.pull("./a", out="copy") == hub.pull("./a", out="copy")


def test_a_training_refuses_a_run_folder_whose_adapter_holds_a_users_file(tmp_path: Path) -> None:
    """Before it trains, not when it is done."""
    thesis = write_text(tmp_path / "run/adapter/thesis.tex", "two years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        fit(Language(), Rows(), TrainerConfig(max_epochs=1), folder=tmp_path / "run")
    assert thesis.exists() and not (tmp_path / "run/run.json").exists()


def test_the_demo_trains_in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite import training
    from suite.media.report import Report

    thesis = write_text(tmp_path / "run/thesis.tex", "two years of work")
    taken = []

    def run(config: object, run_dir: Path) -> None:
        taken.append(run_dir)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", run)
    with pytest.raises(KeyboardInterrupt):
        demo._trained(Report("demo"), tmp_path)
    assert thesis.exists() and not taken[0].exists()


def test_what_is_renamed_is_on_the_disk_before(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter and a checkpoint are flushed before they take the place of older ones, their folder after that."""
    events: list[str] = []
    names: dict[int, str] = {}
    opened, flushed, renamed = os.open, os.fsync, os.replace

    def note_open(path: str, *args: int, **kwargs: int) -> int:
        handle = opened(path, *args, **kwargs)
        names[handle] = Path(path).name
        return handle

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(names[handle]), flushed(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (events.append(f"-> {Path(new).name}"), renamed(old, new)))
    adapters.save(model, tmp_path / "a")
    assert set(events[: events.index("-> a")]) >= ADAPTER.names and events[-1] == tmp_path.name
    events.clear()
    (tmp_path / "part").write_bytes(b"state")
    replace_durably(tmp_path / "part", tmp_path / "last.ckpt")
    assert events == ["part", "-> last.ckpt", tmp_path.name]
