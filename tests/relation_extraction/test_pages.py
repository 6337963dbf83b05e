"""What the pages show is what their commands print, and every command they show is one that is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from domains.relation_extraction import DOMAIN
from domains.relation_extraction.recipe import RelationExtractionRecipe
from suite import hub
from suite.cli import options, predict
from suite.cli.main import main
from suite.domain import load

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs/relation_extraction.md"
SHOWN = re.compile(r"^\$ (suite relation_extraction predict .*)\n((?:.+\n)+)results", re.MULTILINE)
COMMANDS = re.compile(
    r"suite relation_extraction (predict|evaluate|compare|prepare|export|diff) (.*?)(?:  +#.*)?$", re.M
)


def test_use_18_the_readme_shows_what_its_command_prints(monkeypatch, tmp_path, capsys):
    (command, shown) = SHOWN.search(README.read_text(encoding="utf-8")).groups()
    monkeypatch.chdir(ROOT)
    words = shlex.split(command.replace("triples/", str(tmp_path / "triples")))
    assert main(words[1:]) == 0
    assert capsys.readouterr().out.startswith(shown)


@pytest.mark.parametrize("page", [README, PAGE], ids=["README", "page"])
def test_use_05_every_command_of_the_pages_is_understood(page, monkeypatch):
    """Its options exist and its references can be read; nothing is run."""

    def understood(self, task, inputs, chosen, loading):
        assert inputs
        if self.settings.adapter != "none":
            hub.parse(self.settings.adapter, DOMAIN.name)
        load(task.query)(**{name: value for name, value in chosen.items() if name not in ("resume", "overwrite")})

    monkeypatch.setattr(predict._Prediction, "run", understood)
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S))
    found = COMMANDS.findall(blocks)
    assert len(found) >= (20 if page == PAGE else 2)
    for verb, rest in found:
        words = [word for word in shlex.split(rest.replace("...", "x")) if word not in ("[options]",)]
        if verb == "predict":
            predict.run(DOMAIN, words)
        else:
            function = load(DOMAIN.verbs[verb])
            wanted = options.of_function(function)
            options.parse(options.Parser(f"suite {verb}", wanted), wanted, words)


def test_use_05_the_command_that_training_prints_names_its_adapter():
    (step,) = RelationExtractionRecipe().next_steps(Path("runs/ships"))
    reference = shlex.split(step)[shlex.split(step).index("--adapter") + 1]
    assert isinstance(hub.parse(reference, DOMAIN.name), hub.LocalPath)
