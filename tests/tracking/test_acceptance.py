"""The acceptance list, item by item: which test or golden case holds what, and the command on a real clip."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from suite.cli.main import main
from suite.media.video import frame_times, probe
from tests.golden.registry import run_official
from tests.held import missing
from tests.real_data import real_data

GOLDEN = {
    "1": ("tmoe_layers",),
    "2": ("tracker_mlp", "tracker_swiglu"),
    "3": ("keys",),
    "4": ("crop_decode", "losses"),
    "5": ("sequence",),
    "6": ("metrics",),
}
"""Kinds of cases of the authors' code, by item."""

HELD = {
    "1: TMoE, also after saving, in every shape": (
        "../adapters/test_tmoe:test_every_way_of_computing_is_the_sum_over_experts",
        "../adapters/test_tmoe:test_gradients_are_those_of_the_sum",
    ),
    "2: the state is carried, by object": (
        "test_model:test_no_gradient_goes_back_from_frame_to_frame_and_states_do_not_mix",
    ),
    "3: counts of the published models": (
        "test_model:test_the_published_models_have_the_published_numbers_of_parameters",
        "test_model:test_a_step_costs_what_the_shapes_say",
    ),
    "4: crops": ("test_crops:test_a_mask_of_a_box_partly_or_wholly_outside_is_clipped_first",),
    "5: objects together as alone": ("test_session:test_who_shares_the_batch_makes_no_difference",),
    "6: archives to the byte": ("test_evaluation:test_archives_are_the_same_bytes_and_hold_no_path",),
    "7: released files there and back; refusals": (
        "test_official:test_a_released_file_becomes_an_adapter_and_the_same_file_again",
        "test_official:test_what_is_wrong_with_a_file_is_said_in_one_line",
        "test_official:test_an_adapter_on_a_base_of_another_size_is_refused",
    ),
    "8: the command on a real clip, one and two objects": (
        "test_acceptance:test_the_command_follows_one_and_two_objects_of_a_real_clip",
    ),
    "9: a clip is learnt, and the same twice": ("test_recipe:test_a_clip_is_learnt_and_learnt_the_same_twice",),
    "10: flat memory, exported steps": (
        "test_session:test_three_thousand_frames_stay_within_the_documented_memory",
        "test_use:test_a_stream_without_an_end_is_followed_in_flat_memory",
        "test_exporting:test_a_file_of_one_step_tracks_as_the_model_does",
    ),
}


@pytest.mark.parametrize("item", HELD)
def test_every_item_is_held_by_a_test_that_is_there(item: str) -> None:
    cases = [f"tracking/{kind}" for kind in GOLDEN.get(item.partition(":")[0], ())]
    assert missing(Path(__file__).parent, HELD[item], cases) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kinds in GOLDEN.values() for kind in kinds])
def test_the_cases_of_the_authors_code(kind: str) -> None:
    run_official(f"tracking/{kind}")


def suite(*words: str | Path) -> dict[str, object]:
    said = StringIO()
    with redirect_stdout(said):
        code = main([*map(str, words), "--json"])
    assert code == 0, said.getvalue()
    found: dict[str, object] = json.loads(said.getvalue())
    return found


def test_the_command_follows_one_and_two_objects_of_a_real_clip(tmp_path: Path) -> None:
    """Item 8: files of every form with as many frames as were asked for; evaluation says an AUC."""
    clip, frames = real_data("video/vot15_bag"), 12
    suite("tracking", "predict", clip, "--out", tmp_path / "one", "--max-frames", str(frames))
    text = tmp_path / "one" / "vot15_bag.txt"
    assert len(text.read_text().splitlines()) == frames
    [video] = (tmp_path / "one").glob("*.annotated.mp4")
    assert len(list(frame_times(video))) == frames
    whole = suite("tracking", "evaluate", clip, "--max-frames", str(frames))
    assert "auc" in json.dumps(whole)
    dog = real_data("video/01_dog.mp4")
    boxes = ("--box", "100,100,120,90", "--box", "300,150,80,80")
    suite("tracking", "predict", dog, *boxes, "--out", tmp_path / "two", "--max-frames", str(frames))
    [stored] = [json.loads(file.read_text()) for file in (tmp_path / "two").glob("01_dog.json")]
    assert all(len(frame["objects"]) == 2 for frame in stored["frames"]) and len(stored["frames"]) == frames
    [mot] = (tmp_path / "two").glob("*.mot.txt")
    assert len(mot.read_text().splitlines()) == 2 * frames
    [copy] = (tmp_path / "two").glob("*.annotated.mp4")
    known, made = probe(dog), probe(copy)
    assert (made.width, made.height) == (known.width, known.height)
