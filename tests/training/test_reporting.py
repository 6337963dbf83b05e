"""The page of a run speaks of its values in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from suite.training import reporting
from suite.training.folder import RunFolder
from suite.training.labels import label

LINES = [
    {"step": 1, "epoch": 0, "train/loss": 2.0, "lr": 0.1, "steps_per_second": 3.0},
    {"step": 2, "epoch": None, "val/loss": 1.5, "val/mean_class_accuracy": 0.25},
    {"step": 3, "epoch": 0, "train/loss": 1.0, "lr": 0.2, "steps_per_second": 4.0},
    {"step": 4, "epoch": None, "val/loss": 0.5, "val/mean_class_accuracy": 0.75},
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    folder.config.write_text("base: tiny\n")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train/loss", "training loss"),
        ("val/loss", "loss on held-out samples"),
        ("val/mean_class_accuracy", "mean class accuracy on held-out samples"),
        ("train/consistency", "consistency in training"),
        ("lr", "learning rate"),
        ("fact/val/loss", "fact: loss on held-out samples"),
        ("tokens_per_second", "tokens per second"),
    ],
)
def test_every_value_has_words(name: str, words: str) -> None:
    assert label(name, {}) == words
    assert label(name, {name: "as the recipe says"}) == "as the recipe says"


def test_the_page_shows_first_and_result_in_the_recipes_words(run: RunFolder) -> None:
    metrics = {"train/loss": 1.0, "val/loss": 0.5, "val/mean_class_accuracy": 0.75, "lr": 0.2}
    given = {"val/loss": "loss on held-out documents"}
    page = reporting.write_report(run, metrics, title="training", labels=given).read_text(encoding="utf-8")
    for words, first, result in (
        ("loss on held-out documents", "1.5", "0.5"),
        ("mean class accuracy on held-out samples", "0.25", "0.75"),
        ("training loss", "2", "1"),
    ):
        row = f'<td dir="auto">{words}</td><td class="number">{first}</td><td class="number">{result}</td>'
        assert row in page
    assert not re.search(r"(train|val)/", re.sub(r"data:image[^\"]*", "", page))
    assert "base: tiny" in page.partition("<details>")[2]


def test_plots_name_axes_and_lines_in_words(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(reporting.plots, "save", lambda figure, path: drawn.append((path.stem, figure)) or path)
    reporting.write_plots(run, {"val/loss": "loss on held-out documents"})
    assert [name for name, _ in drawn] == ["loss", "validation", "learning_rate"]
    axes = drawn[0][1].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimiser steps", "loss")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["training loss", "loss on held-out documents"]
