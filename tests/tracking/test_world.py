"""The made world: what is held out, what is true of a frame, and that a number always gives the same sequence."""

from __future__ import annotations

import numpy as np
import pytest

from domains.tracking.data import sprites, world


def test_a_number_gives_the_same_sequence_and_another_number_another() -> None:
    one, again, other = world.scene("train", 3), world.scene("train", 3), world.scene("train", 4)
    assert np.array_equal(one.picture(7), again.picture(7))
    assert not np.array_equal(one.picture(7), other.picture(7))
    assert one.truth(0, 7) == again.truth(0, 7)


def test_kinds_and_motions_of_test_sequences_are_held_out() -> None:
    kinds = (world.STILL_KINDS, world.TRAIN_KINDS, world.TEST_KINDS)
    assert sum(map(len, kinds)) == len(set().union(*kinds)) == len(sprites.FIGURES)
    assert not set(world.MOTIONS["test"]) & set(world.MOTIONS["train"])
    for number in range(12):
        assert {actor.look.kind for actor in world.scene("test", number).actors} <= set(world.TEST_KINDS)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_box_is_where_the_figure_is(split: world.Split) -> None:
    """Taking the figure away changes the picture within its box, and its shadow's, alone."""
    scene = world.scene(split, 11, figures=1)
    for frame in (0, 13, 39):
        left, top, right, bottom = scene.truth(0, frame).box
        without = world.Scene(
            scene.name, (), (), scene.posts, scene.ground, scene.seed, scene.drift, scene.width, scene.height
        )
        rows, columns = np.nonzero((scene.picture(frame) != without.picture(frame)).any(-1))
        # The box is of what is more than half there: tips fade out over two pixels, the shadow reaches further.
        assert 0 <= left - columns.min() <= 2 and 0 <= top - rows.min() <= 2
        assert right - 1 <= columns.max() <= right + 8 and bottom - 1 <= rows.max() <= bottom + 10


def test_what_stands_behind_a_post_is_seen_in_part() -> None:
    hidden = [
        scene.truth(0, frame).seen
        for scene in (world.scene("train", number) for number in range(30))
        if "occlusion" in scene.attributes
        for frame in range(len(scene))
    ]
    assert min(hidden) < 0.5 < max(hidden) == 1.0


def test_every_sequence_shows_its_figure_first() -> None:
    scenes = [world.scene(split, number) for split in ("train", "test") for number in range(20)]
    assert min(scene.truth(0, 0).seen for scene in scenes) > 0.9


def test_a_still_scene_has_kinds_of_its_own() -> None:
    picture = world.still(5, 96, 64)
    assert picture.shape == (64, 96, 3)
    assert np.array_equal(picture, world.still(5, 96, 64))
    assert picture.std() > 10
