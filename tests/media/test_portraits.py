"""Made portraits: the same by number, known where their parts lie, other for other people and poses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from suite.media.portraits import HAIRS, ROOMS, SKINS, Person, Portrait, Pose, draw, person

SIZE = 96


def middle(portrait: Portrait, part: str, side: int = 0) -> np.ndarray:
    """Where a part lies on average, (x, y); of its left (-1) or right (1) half in the picture."""
    weights = portrait.parts[part].copy()
    if side:
        columns = np.arange(SIZE) > portrait.landmarks[:2, 0].mean()
        weights[:, columns != (side > 0)] = 0
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum() + 0.5


def test_the_same_person_is_drawn_the_same() -> None:
    one, other = draw(person(3), Pose(tilt=5), SIZE), draw(person(3), Pose(tilt=5), SIZE)
    assert np.array_equal(one.pixels, other.pixels)
    assert one.pixels.shape == (SIZE, SIZE, 3) and one.pixels.dtype == np.uint8
    assert not np.array_equal(one.pixels, draw(person(4), Pose(tilt=5), SIZE).pixels)


@pytest.mark.parametrize(
    "pose",
    [
        Pose(),
        Pose(x=0.1, y=-0.03, scale=0.7),
        Pose(tilt=20),
        Pose(turn=0.8),
        Pose(turn=-0.8, tilt=-12),
        Pose(scale=1.2),
    ],
)
def test_landmarks_lie_on_the_eyes_and_the_mouth(pose: Pose) -> None:
    portrait = draw(person(11, glasses=False, style="bald"), pose, SIZE)
    unit = pose.scale * SIZE
    for side, point in ((-1, portrait.landmarks[0]), (1, portrait.landmarks[1])):
        assert np.linalg.norm(middle(portrait, "eyes", side) - point) < 0.02 * unit
    assert np.linalg.norm(middle(portrait, "mouth") - portrait.landmarks[3:].mean(axis=0)) < 0.04 * unit
    left, top, right, bottom = portrait.box
    assert all(left < x < right and top < y < bottom for x, y in portrait.landmarks)


def test_the_face_is_where_the_box_is_and_without_the_hair() -> None:
    portrait = draw(person(2, style="fringe", glasses=False), size=SIZE)
    rows, columns = np.nonzero(portrait.face > 0.5)
    assert len(rows) > 0.1 * SIZE**2
    left, top, right, bottom = portrait.box
    assert columns.min() >= left - 2 and columns.max() <= right + 2
    assert rows.min() >= top - 2 and rows.max() <= bottom + 2
    assert (portrait.face * portrait.parts["hair"]).max() < 0.3


def test_a_skin_has_its_colour_under_any_light() -> None:
    def tone(skin: str) -> float:
        portrait = draw(person(5, skin=skin, beard=False, glasses=False), size=SIZE)
        assert (portrait.face > 0.9).mean() > 0.1
        return float(portrait.pixels[portrait.face > 0.9].mean())

    tones = [tone(skin) for skin in SKINS]
    assert tones == sorted(tones, reverse=True)


def test_a_pose_changes_what_it_says() -> None:
    who = person(7, glasses=False)
    still = draw(who, Pose(smile=0), SIZE)
    shut = draw(who, Pose(smile=0, blink=1), SIZE)
    speaking = draw(who, Pose(smile=0, mouth_open=1), SIZE)
    assert shut.parts["eyes"].sum() < 0.4 * still.parts["eyes"].sum()
    assert speaking.parts["mouth"].sum() > 1.2 * still.parts["mouth"].sum()
    changed = np.abs(speaking.pixels.astype(int) - still.pixels.astype(int)).max(axis=2)
    assert changed[: int(still.landmarks[2, 1])].max() < 6  # above the nose nothing moves


def test_people_are_of_many_kinds() -> None:
    crowd = [person(seed) for seed in range(300)]
    assert {who.skin for who in crowd} == set(SKINS) and {who.hair for who in crowd} == set(HAIRS)
    assert {who.room for who in crowd} == set(ROOMS)
    assert 0.15 < np.mean([who.glasses for who in crowd]) < 0.4
    assert len({who.caption() for who in crowd}) > 200


def test_a_caption_says_what_is_to_be_seen() -> None:
    who: Person = person(1, style="long", hair="auburn", glasses=True, beard=False, clothes="red", room="forest")
    assert who.caption() == ("a portrait of a person with auburn long hair and glasses in a red shirt, in a forest")
    assert "no hair and a beard" in person(1, style="bald", glasses=False, beard=True).caption()


def test_no_torch_is_loaded() -> None:
    code = "import suite.media.portraits, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
