"""The published plans, and settings that do not fit."""

from __future__ import annotations

import pytest

from domains.text_video_retrieval.model.schedule import PRESETS, UNMERGED, Schedule
from suite.errors import InputError


def plan(preset: str, frames: int = 12, tokens: int = 50) -> list[tuple[int, int, int, int, int]]:
    steps = Schedule.of({"preset": preset}).plan(frames, tokens, 12).steps
    return [(step.joined, step.attended, step.left, step.across, step.inside) for step in steps]


def test_the_default_of_b32_is_the_published_one() -> None:
    found = plan("vit-b-32")
    assert [left for _, _, left, _, _ in found[:8]] == [48, 46, 44, 42, 40, 38, 36, 34]
    assert found[8:] == [(6, 48, 44, 20, 4), (3, 62, 56, 26, 6), (1, 118, 107, 50, 11), (1, 107, 97, 0, 10)]
    steps = Schedule().plan(12, 50, 12)
    assert [step.classes_left for step in steps.steps] == [1] * 8 + [2, 4, 12, 12]
    assert steps.positions == {8: 12, 9: 6, 10: 3}
    assert steps.tokens == 97


def test_b16_has_a_preset_of_its_own() -> None:
    found = plan("vit-b-16", tokens=197)
    assert [left for _, _, left, _, _ in found[:8]] == [187, 177, 167, 157, 147, 137, 127, 117]
    assert found[8:] == [(6, 141, 113, 93, 28), (3, 136, 109, 90, 27), (1, 197, 158, 130, 39), (1, 158, 127, 0, 31)]
    assert Schedule.of({"preset": "vit-b-32"}).plan(12, 197, 12).tokens == 493


def test_64_frames_and_an_end_with_several_clips() -> None:
    assert Schedule.of({"preset": "vit-b-32-64-frames"}).plan(64, 50, 12).clips == 1
    assert Schedule.of({"merge_frame_num": "2-3-1"}).plan(12, 50, 12).clips == 2
    assert UNMERGED.plan(12, 50, 12).tokens == 600


def test_the_authors_strings_are_as_good_as_lists() -> None:
    strings = {"merge_layer": "8-9-10", "merge_frame_num": "2-2-3", "merge_token_proportion": "30-10"}
    assert Schedule.of(strings) == Schedule()
    assert Schedule.of(Schedule().to_dict()) == Schedule()


@pytest.mark.parametrize(
    ("settings", "frames", "message"),
    [
        ({"merge_frame_num": [2, 2, 5]}, 12, r"3 clips enter layer 10, which joins 5"),
        ({"merge_layer": [8, 9, 12]}, 12, r"the tower has layers 0 to 11"),
        ({"merge_layer": [9, 8, 10]}, 12, r"different layers, ascending"),
        ({"merge_token_proportion": [95, 10]}, 12, r"two percentages from 0 to 90"),
        ({"merge_token_proportion": [30]}, 12, r"two percentages"),
        ({"tome_r": 9}, 12, r"tome_r is 9, and the \d+ patches of layer 4"),
        ({"tome_r": -1}, 12, r"give 0 or more"),
        ({"merge_frame_num": [2, 2]}, 12, r"one for each"),
        ({"merge_frame_num": [2, 2, 0]}, 12, r"numbers from 1"),
        ({"merge_layer": "8-nine"}, 12, r"whole numbers, or e\.g\. 8-9-10"),
        ({"preset": "vit-h"}, 12, r"choose vit-b-32"),
        ({"merge_layers": [8]}, 12, r"merge_layers is unknown"),
        ({}, 10, r"5 clips enter layer 9, which joins 2.*layer 8: 10 x 34"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_numbers_alone(settings: dict, frames: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule.of(settings).plan(frames, 50, 12)


def test_every_preset_fits_its_tower() -> None:
    for name in PRESETS:
        tokens, frames = 197 if "16" in name else 50, 64 if "64" in name else 12
        Schedule.of({"preset": name}).plan(frames, tokens, 12)
