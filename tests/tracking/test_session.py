"""Objects followed frame by frame: alone and together, saved and restored, lost and found, in bounded memory."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains.tracking.data import crops, world
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.inference.memory import Template, TemplateMemory, oldest_seen, template_frames
from domains.tracking.inference.session import SessionSettings, TrackingSession
from domains.tracking.inference.status import StatusCounter, StatusRule
from domains.tracking.model.manifest import Manifest
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.predict import Tracker
from domains.tracking.types import Box
from suite.errors import InputError
from tests.tracking import small

FRAMES = 24
BOXES: dict[str, Box] = {
    "one": (60.0, 40.0, 30.0, 24.0),
    "two": (150.0, 90.0, 20.0, 36.0),
    "far": (2.0, 140.0, 18.0, 30.0),
}


@pytest.fixture(scope="module")
def frames() -> list[crops.Pixels]:
    scene = world.scene("val", 3, frames=FRAMES)
    return [scene.picture(frame) for frame in range(FRAMES)]


@pytest.fixture(scope="module")
def model() -> SpmTrack:
    torch.manual_seed(0)
    tracker = small.attached(SpmTrack(small.SIZES, small.SETTINGS))
    with torch.no_grad():  # a state that matters
        tracker.track_query.add_(torch.randn(1, 64))
        tracker.pos_embed.normal_(std=0.3)
        for block in tracker.blocks:
            block.ls1.gamma.fill_(0.5)
            block.ls2.gamma.fill_(0.5)
        tracker.head.reg_mlp.layers[-1].bias.fill_(-2.2)  # boxes of a fifth of the crop, as large as the object
    return tracker.requires_grad_(False)


def boxes_of(session: TrackingSession, frames: list[crops.Pixels], names: tuple[str, ...] = ("one",)) -> np.ndarray:
    """(frames, objects, 5): x, y, w, h and score."""
    found = [session.track(frame) for frame in frames]
    return np.array([[(*(one[name].box or (0, 0, 0, 0)), one[name].score) for name in names] for one in found])


def test_who_shares_the_batch_makes_no_difference(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    together = TrackingSession(model, settings=SessionSettings(batch_size=2))
    for name, box in BOXES.items():
        together.add(name, frames[0], box)
    found = boxes_of(together, frames[1:], tuple(BOXES))
    for place, (name, box) in enumerate(BOXES.items()):
        alone = TrackingSession(model)
        alone.add(name, frames[0], box)
        np.testing.assert_allclose(boxes_of(alone, frames[1:], (name,))[:, 0], found[:, place], atol=1e-3)


def test_an_object_that_comes_later_begins_fresh_and_one_that_goes_leaves_nothing(
    model: SpmTrack, frames: list[crops.Pixels]
) -> None:
    session = TrackingSession(model)
    session.add("one", frames[0], BOXES["one"])
    boxes_of(session, frames[1:6])
    session.add("two", frames[5], BOXES["two"])
    later = boxes_of(session, frames[6:10], ("two",))
    session.remove("one")
    assert list(session.track(frames[10])) == ["two"]
    alone = TrackingSession(model)
    alone.add("two", frames[5], BOXES["two"])
    np.testing.assert_allclose(boxes_of(alone, frames[6:10], ("two",)), later, atol=1e-3)
    session.add("one", frames[0], BOXES["one"])
    again = boxes_of(session, frames[1:4])
    fresh = TrackingSession(model)
    fresh.add("one", frames[0], BOXES["one"])
    np.testing.assert_allclose(boxes_of(fresh, frames[1:4]), again, atol=1e-3)
    with pytest.raises(InputError, match="no object is called 'three'; there are two, one"):
        session.remove("three")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_in_mid_video_it_goes_on_to_the_bit(
    model: SpmTrack, frames: list[crops.Pixels], tmp_path: Path, dtype: torch.dtype
) -> None:
    import copy

    stated = Manifest(small.SETTINGS)
    tracker = Tracker(LoadedTracker(copy.deepcopy(model), stated, dtype=dtype))
    first = tracker.init(frames[0], BOXES["one"], {"b": BOXES["two"]})
    assert first.objects["1"].box == BOXES["one"] and first.objects["b"].score == 1.0
    for frame in frames[1:9]:
        tracker.track(frame)
    tracker.save(tmp_path / "state.safetensors")
    rest = [tracker.track(frame) for frame in frames[9:]]
    other = Tracker(LoadedTracker(copy.deepcopy(model), stated, dtype=dtype))
    other.restore(tmp_path / "state.safetensors")
    assert [other.track(frame) for frame in frames[9:]] == rest
    assert rest[0].index == 9
    different = Tracker(LoadedTracker(model, replace(stated, tracker=replace(small.SETTINGS, window_penalty=0.1))))
    with pytest.raises(InputError, match="other settings"):
        different.restore(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="no such file"):
        other.restore(tmp_path / "none.safetensors")
    with tracker as opened:
        opened.track(frames[0])
    with pytest.raises(InputError, match="nothing is followed yet"):
        tracker.track(frames[0])


def test_rounded_templates_track_as_exact_ones(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    """To a fifth of a pixel over a clip, with weights at random, which tell more than trained ones where it is flat."""
    found = []
    for exact in (False, True):
        session = TrackingSession(model, settings=SessionSettings(exact=exact))
        session.add("one", frames[0], BOXES["one"])
        found.append(boxes_of(session, frames[1:]))
    np.testing.assert_allclose(found[0], found[1], atol=0.2)


@pytest.mark.parametrize("policy", ["segments", "thirds"])
def test_what_is_forgotten_is_never_seen_again(policy: Any) -> None:
    template = Template(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.uint8))
    memory = TemplateMemory(template, policy, most=None)
    for number in range(1, 400):
        assert memory.seen_by(number) == list(template_frames(policy, number))
        memory.add(number, template)
    share = 1 / 4 if policy == "segments" else 1 / 3
    assert len(memory.stored) == pytest.approx(400 * (1 - share), abs=3)
    assert oldest_seen(policy, 400) == pytest.approx(400 * share, abs=1)


@pytest.mark.parametrize("policy", ["segments", "thirds"])
def test_a_limit_keeps_every_second_then_every_fourth(policy: Any) -> None:
    template = Template(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.uint8))
    memory = TemplateMemory(template, policy, most=50)
    for number in range(1, 2000):
        for wanted, key in zip(template_frames(policy, number), memory.seen_by(number), strict=True):
            assert wanted - 2 * memory.stride < key <= wanted
        memory.add(number, template)
        assert len(memory.stored) <= 50
    assert memory.stride == 32
    assert memory.nbytes <= 50 * 13


def test_a_frame_without_a_template_is_stood_for_by_the_last_one_before_it() -> None:
    template = Template(torch.zeros(3, 2, 2), torch.zeros(1, 1))
    memory = TemplateMemory(template)
    for number in range(1, 10):
        if number not in (2, 3, 6):
            memory.add(number, template)
    assert template_frames("segments", 8) == (0, 2, 6)
    assert memory.seen_by(8) == [0, 1, 5]
    assert memory.seen_by(9) == [0, 1, 5]


def test_three_thousand_frames_stay_within_the_documented_memory(model: SpmTrack) -> None:
    """The memory of an object at SPMTrack's size, and a whole session's at a small one: flat once the limit is met."""
    crop = Template(torch.zeros(3, 196, 196, dtype=torch.uint8), torch.zeros(14, 14, dtype=torch.uint8))
    assert crop.crop.nbytes == 115_248
    memory = TemplateMemory(crop)
    sizes = []
    for number in range(1, 3001):
        memory.add(number, crop)
        if number % 100 == 0:
            sizes.append(memory.nbytes)
    assert max(sizes[:10]) <= 0.76 * 115.5e6
    assert max(sizes) <= 115.5e6 and len(memory.stored) <= 1000
    rng = np.random.default_rng(0)
    shots = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(5)]
    session = TrackingSession(model, settings=SessionSettings(most_templates=12, views=False))
    session.add("one", shots[0], (20.0, 10.0, 20.0, 20.0))
    tracemalloc.start()
    levels = []
    for number in range(90):
        session.track(shots[number % 5])
        if number in (39, 89):
            levels.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(session.objects["one"].memory.stored) <= 12
    assert levels[1] < levels[0] + 100_000


def test_statuses_change_after_enough_frames_in_turn_and_a_lost_object_stays_lost_until_it_is_certain() -> None:
    rule = StatusRule(0.5, 0.25, 3)
    counter = StatusCounter()
    told = [counter.take(score, rule) for score in (0.9, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.3, 0.6, 0.6)]
    assert told == ["tracked"] * 6 + ["uncertain"] * 3 + ["lost"] * 4
    assert counter.take(0.6, rule) == "tracked"
    assert counter.take(math.nan, rule) == "lost"
    assert [counter.take(0.9, rule) for _ in range(3)] == ["lost", "lost", "tracked"]
    with pytest.raises(InputError, match="lost_below"):
        StatusRule(0.2, 0.3)


def _scoring(model: SpmTrack, bias: float) -> SpmTrack:
    """The model with scores that are all high or low."""
    import copy

    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.head.cls_mlp.layers[-1].weight.zero_()
        changed.head.cls_mlp.layers[-1].bias.fill_(bias)
    return changed


def test_what_happens_to_a_lost_object_is_the_users_choice(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    low, rule = _scoring(model, -5.0), StatusRule(frames=1)
    ran: dict[str, TrackingSession] = {}
    for choice in ("go_on", "freeze", "keep_templates", "enlarge", "hide"):
        session = TrackingSession(low, settings=SessionSettings(rule, choice))  # type: ignore[arg-type]
        session.add("one", frames[0], BOXES["one"])
        for frame in frames[1:8]:
            found = session.track(frame)["one"]
            assert found.status == "lost"
            assert (found.box is None) == (choice == "hide")
        ran[choice] = session
    boxes = {choice: session.objects["one"].box for choice, session in ran.items()}
    stored = {choice: len(session.objects["one"].memory.stored) for choice, session in ran.items()}
    x, y, w, h = BOXES["one"]
    assert boxes["freeze"].tolist() == [x, y, x + w, y + h]
    assert boxes["go_on"].tolist() == boxes["hide"].tolist() != boxes["freeze"].tolist()
    assert boxes["enlarge"].tolist() != boxes["go_on"].tolist()
    assert stored["keep_templates"] == stored["freeze"] == 1 < stored["go_on"]
    always = _scoring(model, 5.0)
    paths = [TrackingSession(always, settings=SessionSettings(rule, choice)) for choice in ("go_on", "freeze")]  # type: ignore[arg-type]
    for session in paths:
        session.add("one", frames[0], BOXES["one"])
    np.testing.assert_array_equal(*(boxes_of(session, frames[1:5]) for session in paths))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_an_answer_that_is_no_number_loses_the_object_and_says_so_once(
    score: float, model: SpmTrack, frames: list[crops.Pixels]
) -> None:
    broken = _scoring(model, score)
    session = TrackingSession(broken)
    session.add("one", frames[0], BOXES["one"])
    with pytest.warns(UserWarning, match="was no number") as caught:
        found = [session.track(frame)["one"] for frame in frames[1:4]]
    assert len([each for each in caught if "no number" in str(each.message)]) == 1
    assert {one.status for one in found} == {"lost"} and found[-1].box == BOXES["one"]
    assert session.broken == 3 and found[-1].score == 0.0


def test_a_box_pushed_out_of_the_frame_stays_where_it_was(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    """The frame shrinks under the object, so that what is found lies outside it."""
    session = TrackingSession(model)
    session.add("far", frames[0], (200.0, 150.0, 30.0, 25.0))
    found = session.track(np.ascontiguousarray(frames[1][:60, :80]))["far"]
    assert found.box == (200.0, 150.0, 30.0, 25.0)
    assert list(session.objects["far"].memory.stored) == [0]
    assert 0 < found.score < 1


def test_frames_and_boxes_that_are_none_are_refused(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    session = TrackingSession(model)
    for frame in (frames[0].astype(np.float32), frames[0][..., 0], "frame.png"):
        with pytest.raises(InputError, match=r"an array \(height, width, 3\) of uint8"):
            session.add("one", frame, BOXES["one"])  # type: ignore[arg-type]
    for box in ((10, 10, 0, 5), (10, 10, -3, 5), (500, 500, 10, 10), (math.nan, 0, 5, 5)):
        with pytest.raises(InputError, match="no area"):
            session.add("one", frames[0], box)
    tracker = Tracker(LoadedTracker(model, Manifest(small.SETTINGS)))
    with pytest.raises(InputError, match="what is to be followed"):
        tracker.init(frames[0])
    with pytest.warns(UserWarning), pytest.raises(InputError):
        tracker.init(frames[0], (230.0, 20.0, 30.0, 30.0))
        tracker.add(frames[0], (500.0, 500.0, 10.0, 10.0), "two")


def test_half_precision_tracks_and_decodes_in_single(model: SpmTrack, frames: list[crops.Pixels]) -> None:
    import copy

    for dtype in (torch.bfloat16, torch.float16):
        loaded = LoadedTracker(copy.deepcopy(model), Manifest(small.SETTINGS), dtype=dtype)
        assert next(loaded.model.head.parameters()).dtype == torch.float32
        assert loaded.model.blocks[0].norm1.weight.dtype == dtype
        session = loaded.session()
        session.add("one", frames[0], BOXES["one"])
        found = boxes_of(session, frames[1:4])
        assert np.isfinite(found).all() and session.objects["one"].state.dtype == dtype
        view = session.view("one")
        assert view is not None and view.scores.dtype == np.float32 and len(view.templates) == 3
