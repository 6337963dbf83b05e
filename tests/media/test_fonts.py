"""Texts in scripts that the default font lacks."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib import get_data_path

from suite.media import fonts, graph, plots

STIX = str(Path(get_data_path()) / "fonts/ttf/STIXGeneral.ttf")


@pytest.fixture
def installed(monkeypatch):
    """Says which fonts the machine has."""

    def set_to(*paths):
        fonts.covering.cache_clear()
        monkeypatch.setattr(fonts, "_installed", lambda: paths)

    yield set_to
    fonts.covering.cache_clear()


def picture(name):
    return graph.draw([(name, f"{name} of", "Oslo")], title=name, groups={name: name})


def test_every_text_of_a_picture_falls_back_on_an_installed_font(installed):
    installed(STIX)
    name = min(fonts._characters(STIX) - fonts._characters(str(Path(STIX).with_name("DejaVuSans.ttf"))))
    assert fonts.covering("Oslo") == ("DejaVu Sans",)
    assert fonts.covering(f"Oslo {name}") == ("DejaVu Sans", "STIXGeneral")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots.to_bytes(picture(name))


def test_characters_that_no_font_has_are_said_in_one_line(installed):
    installed()
    with pytest.warns(UserWarning, match="no font of this machine has 2 of the characters \\(京都\\)") as said:
        plots.to_bytes(picture("京都"), ".svg")
    assert len(said) == 1
