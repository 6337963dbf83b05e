"""The generic verbs on the fake domain, in one process, on an adapter trained by the command itself."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("fake_domain")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fake.yaml"
    path.write_text("domain: fake\ntrainer: {lr: 0.03}\ndata: {size: 64}\narchitecture: {width: 16}\n")
    return path


@pytest.fixture
def adapter(suite: Command, config: Path) -> str:
    """Reference of a trained adapter."""
    outcome = suite("fake", "train", "--config", config, "--run-dir", "run", "--trainer.max_epochs", "2", "--json")
    assert outcome.code == 0, outcome.err
    return f"./{outcome.json()['adapter']}"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of two good inputs, a bad one, and a file that is none."""
    folder = tmp_path / "inputs"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.txt").write_text("9 0 0 0")
    (folder / "deep" / "two.txt").write_text("0 9 0 0")
    (folder / "words.txt").write_text("no\nnumbers")
    (folder / "notes.md").write_text("not an input")
    return folder


def test_train_says_where_everything_is(suite: Command, config: Path, tmp_path: Path) -> None:
    outcome = suite("fake", "train", "--config", config, "--run-dir", "run", "--trainer.max_epochs=2", "--json")
    answer = outcome.json()
    assert outcome.code == 0
    assert (tmp_path / answer["adapter"] / "adapter_model.safetensors").is_file()
    assert (tmp_path / answer["report"]).is_file()
    assert 0 <= answer["metrics"]["val/accuracy"] <= 1
    again = suite("fake", "train", "--resume", "run", "--json")
    assert again.code == 0
    assert again.json()["adapter"] == answer["adapter"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (("--trainer.max_epoch", "2"), "did you mean max_epochs?"),
        (("--recipe.rank", "2"), "unknown key 'rank'"),
        (("--trainer.max_epochs", "two"), "max_epochs"),
        (("--domain", "relation_extraction"), "suite relation_extraction"),
    ],
)
def test_train_refuses_what_the_configuration_does_not_know(
    suite: Command, config: Path, override: tuple[str, str], said: str
) -> None:
    outcome = suite("fake", "train", "--config", config, *override)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_number_that_cannot_be_is_refused_before_anything_is_loaded(suite: Command, inputs: Path) -> None:
    outcome = suite("fake", "predict", inputs, "--scale", "nan", "--adapter", "./absent")
    assert (outcome.code, outcome.err) == (2, "error: scale is nan; give a number\n")


def test_an_empty_word_is_no_folder(suite: Command, adapter: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    outcome = suite("fake", "predict", "", "--adapter", adapter)
    assert (outcome.code, outcome.out) == (2, "0 done, 1 failed\n")
    assert outcome.err == "error: '': is empty; name a file or folder\n"


def test_predict_goes_on_after_a_bad_input(suite: Command, adapter: str, inputs: Path) -> None:
    outcome = suite("fake", "predict", inputs, "absent.txt", "--adapter", adapter, "--out", "results", "--json")
    answer = outcome.json()
    assert outcome.code == 2
    assert (answer["done"], answer["failed"]) == (2, 2)
    good = [result for result in answer["results"] if result["error"] is None]
    assert [Path(result["source"]).name for result in good] == ["two.txt", "one.txt"]
    assert all(Path(file).read_text() for result in good for file in result["files"])
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "absent.txt: no such file or folder" in errors[0]
    assert "words.txt" in errors[1]


def test_predict_shows_results_and_what_to_do_next(suite: Command, adapter: str, inputs: Path) -> None:
    shown = suite("fake", "predict", inputs / "one.txt", "--adapter", adapter)
    assert shown.code == 0
    assert "one.txt: " in shown.out
    assert "1 done" in shown.out
    assert "--out FOLDER" in shown.out
    kept = suite("fake", "predict", inputs / "one.txt", "--adapter", adapter, "--out", "results")
    assert "results  results" in kept.out
    assert Path("results/one.label.txt").is_file()


def test_predict_takes_the_query_as_options(suite: Command, adapter: str, inputs: Path) -> None:
    argv = ("--adapter", adapter, "--names", "x,x,x", "--style", "loud", "--scale", "2")
    assert suite("fake", "predict", *argv, inputs / "one.txt", "--json").json()["results"][0]["label"] == "X"
    wrong = suite("fake", "predict", inputs / "one.txt", "--style", "odd")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'odd' is none of plain, loud" in wrong.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "name files or folders"),
        (("absent.txt",), "absent.txt: no such file"),
        (("",), "'': is empty"),
        (("here", "--resume"), "--resume needs --out"),
        (("here", "--adapter", "no-such-adapter"), "no-such-adapter"),
    ],
)
def test_predict_refuses_wrong_input_before_it_loads_a_model(
    suite: Command, argv: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    outcome = suite("fake", "predict", *argv)
    assert outcome.code == 2
    assert said in outcome.err


def test_predict_passes_standard_input_on(suite: Command, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.domains import fake_parts

    asked: list[object] = []
    monkeypatch.setattr(fake_parts.FakePredictor, "predict", lambda self, inputs, **_: asked.extend(inputs) or iter(()))
    monkeypatch.setattr(sys, "stdin", io.StringIO("1 2 3 4"))
    assert suite("fake", "predict", "-", "--adapter", adapter).code == 0
    assert asked == ["-"]


def test_predict_takes_text_where_the_query_does(
    suite: Command, adapter: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.domains import fake, fake_parts

    (tmp_path / "a file.txt").write_text("1 2 3 4")
    asked: list[object] = []
    monkeypatch.setattr(fake_parts.FakePredictor, "predict", lambda self, inputs, **_: asked.extend(inputs) or iter(()))
    words = ("fake", "predict", "text in quotes", "a file.txt", "absent.txt", "--adapter", adapter)
    refused = suite(*words)
    assert refused.code == 2 and "text in quotes: no such file" in refused.err
    assert asked == [Path("a file.txt")]
    monkeypatch.setattr(fake.FakeQuery, "takes_text", True, raising=False)
    asked.clear()
    taken = suite(*words)
    assert asked == ["text in quotes", Path("a file.txt")]
    assert taken.code == 2 and "absent.txt: no such file" in taken.err and "text in quotes" not in taken.err


def test_an_empty_folder_is_a_wrong_input(suite: Command, adapter: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = suite("fake", "predict", "empty", "--adapter", adapter)
    assert outcome.code == 2
    assert "holds no file that ends in .txt" in outcome.err


def test_evaluate_scores_adapter_and_frozen_base(suite: Command, config: Path, adapter: str) -> None:
    adapted = suite("fake", "evaluate", "--config", config, "--adapter", adapter, "--json").json()
    frozen = suite("fake", "evaluate", "--config", config, "--frozen", "--out", "scores", "--json").json()
    assert frozen["files"] == ["scores/metrics.json", "scores/report.html"]
    kept = json.loads(Path("scores/metrics.json").read_text())
    assert kept == {"config": str(config), "adapter": None, **frozen["metrics"]} and "files" not in adapted
    assert frozen["adapter"] is None
    assert adapted["metrics"]["val/loss"] < frozen["metrics"]["val/loss"]


def test_count_needs_no_weights(suite: Command, config: Path) -> None:
    # LoRA r=4 on 4 -> 16 and 16 -> 3: 4 * (4 + 16) + 4 * (16 + 3); the base has 4 * 16 + 16 + 16 * 3 + 3.
    answer = suite("fake", "count", "--config", config, "--json").json()
    assert (answer["trainable"], answer["total"]) == (156, 156 + 131)


def test_demo_makes_one_report_that_needs_nothing_else(suite: Command) -> None:
    outcome = suite("demo", "fake", "--out", "shown", "--json")
    answer = outcome.json()
    assert outcome.code == 0
    page = Path(answer["report"]).read_text()
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    assert [part["error"] for part in answer["domains"]] == [None]


def test_a_demo_trains_the_domain_that_has_a_smoke_recipe(
    suite: Command, fake_domain: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.hub.paths.assets", lambda: tmp_path / "assets")
    outcome = suite("demo", "fake", "--train")
    assert outcome.code == 2 and "smoke.yaml" in outcome.err and outcome.err.count("\n") == 1
    recipe = tmp_path / "assets" / "configs" / "fake" / "smoke.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("domain: fake\ndata: {size: 160}\ntrainer: {lr: 0.03, max_epochs: 1}\n")
    shown = suite("demo", "fake", "--train", "--json")
    assert shown.code == 0, shown.err
    assert [part["domain"] for part in shown.json()["domains"]] == ["fake (training)", "fake"]
    page = Path(shown.json()["report"]).read_text()
    opening, *details = page.split("<details>")
    assert "accuracy on held-out samples" in page and "val/accuracy" not in page
    # A line and a picture of each come first; the rest is folded.
    assert re.search(r"The smoke recipe of fake, in \d+ s. Loss on held-out samples: [\d.]+\.", page)
    assert "A curve." in opening and opening.count("<img") == 1
    assert len(details) == 2 and details[1].partition("</details>")[0].count("<table>") == 1


def test_a_demo_that_fails_does_not_take_the_report_down(suite: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.domains import fake

    def fail(out: Path) -> dict[str, object]:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(fake, "demo", fail)
    outcome = suite("demo", "fake", "--json")
    assert outcome.code == 1
    assert "no picture today" in Path(outcome.json()["report"]).read_text()
