"""Captions, legends, grids, refusals and the files of pictures beside each other."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from suite.media import points, sheets
from suite.media.points import label_colors


def test_sheets_captions_and_legends_fit_together():
    image = points.render(np.random.default_rng(0).normal(size=(50, 3)), size=48)
    titled = sheets.caption(image, "a caption far too long for such a small picture")
    names = ["seat", "legs", "back", "a long name of a part"]
    strip = sheets.legend(names, label_colors(np.arange(len(names))), 48)
    assert titled.shape[1] == strip.shape[1] == 48 and titled.shape[0] > 48
    whole = sheets.sheet([titled, strip, image], columns=2)
    assert whole.shape == (2 * max(titled.shape[0], strip.shape[0]), 96, 3)
    with pytest.raises(ValueError, match="at least one"):
        sheets.sheet([])


def test_text_is_cut_or_broken_to_a_width():
    font = ImageFont.load_default(12)
    cut = sheets.shortened("a line far too long for its place", font, 60)
    assert cut.endswith("…")
    assert font.getlength(cut) <= 60
    lines = sheets.wrapped("some words that are broken over several lines", font, 80)
    assert " ".join(lines) == "some words that are broken over several lines"
    assert max(map(font.getlength, lines)) <= 80


def test_a_refusal_is_as_large_as_any_card():
    card = sheets.refusal("broken.ply", "broken.ply: no vertex element; export it again", 120)
    plain = sheets.caption(sheets.caption(np.zeros((120, 120, 3), np.uint8), "chair"), "chair.ply")
    assert card.shape == plain.shape
    assert (card != 255).any()


def test_a_grid_keeps_tiny_pictures_as_squares_of_their_pixels(tmp_path):
    tiny = Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8))
    whole = sheets.grid([[tiny, tiny], [tiny]], names=["one", "two"], columns=["a", "b"], title="all", side=64)
    file = sheets.save_png(whole, tmp_path / "grid.png", {"parameters": "seed 1"})
    read = Image.open(file)
    assert read.text == {"parameters": "seed 1"}
    assert len(np.unique(np.asarray(sheets.cell(tiny, 64)).reshape(-1, 3), axis=0)) <= 16
    with pytest.raises(ValueError, match="at least one picture"):
        sheets.grid([[]])


def test_letters_beyond_ascii_are_drawn_and_no_boxes() -> None:
    box = sheets.caption(np.zeros((8, 400, 3), np.uint8), "\uffff\uffff")
    drawn = {letter: sheets.caption(np.zeros((8, 400, 3), np.uint8), letter) for letter in "äöüßéΩЖ"}
    assert len({picture.tobytes() for picture in drawn.values()}) == len(drawn)
    assert all((picture != box).any() for picture in drawn.values())
