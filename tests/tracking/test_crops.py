"""Crops: edges, fills, masks of boxes that lie partly or wholly outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domains.tracking.data import crops

FRAME = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_a_box_comes_back_through_its_crop() -> None:
    box = np.array([20.5, 12.25, 41.0, 30.0])
    _, geometry = crops.cut(FRAME, crops.around(box, 5.0, 126), 126, crops.mean_colour(FRAME))
    assert np.allclose(geometry.back(geometry.into(box)), box)
    middle = geometry.into(box)
    assert np.abs((middle[:2] + middle[2:]) / 2 - 63).max() < 1.5


def test_the_mean_colour_is_that_of_all_pixels_to_the_bit() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for one in (frame, frame[::-1, 3:], np.full((4000, 8, 3), 255, np.uint8)):
        exact = torch.from_numpy(one.reshape(-1, 3).mean(0, dtype=np.float64)).float()
        assert torch.equal(crops.mean_colour(one), exact)


def test_what_lies_outside_the_frame_has_its_mean_colour() -> None:
    fill = crops.mean_colour(FRAME)
    crop, _ = crops.cut(FRAME, crops.around(np.array([0.0, 0.0, 16.0, 16.0]), 5.0, 70), 70, fill)
    assert torch.equal(crop[:, 0, 0], fill)
    assert not torch.equal(crop[:, 40, 40], fill)


def test_a_crop_that_misses_the_frame_is_the_fill_alone() -> None:
    fill = crops.mean_colour(FRAME)
    crop, geometry = crops.cut(FRAME, crops.around(np.array([900.0, 900.0, 910.0, 910.0]), 2.0, 28), 28, fill)
    assert torch.equal(crop, fill.view(3, 1, 1).expand(3, 28, 28))
    assert geometry.scale[0] == geometry.scale[1]


@pytest.mark.parametrize("box", [(-30.0, -30.0, 5.0, 5.0), (-50.0, -50.0, -20.0, -20.0), (100.0, 90.0, 140.0, 120.0)])
def test_a_mask_of_a_box_partly_or_wholly_outside_is_clipped_first(box: tuple[float, ...]) -> None:
    mask = crops.mask(np.array(box), 56, 14)
    assert mask.sum() == 1
    assert mask[0, 0] == 1 or mask[3, 3] == 1


def test_small_boxes_are_raised_about_their_middle() -> None:
    assert crops.at_least(np.array([10.0, 10.0, 12.0, 40.0]), 10).tolist() == [6.0, 10.0, 16.0, 40.0]
