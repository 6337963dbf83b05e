"""The embedded default: what its base is asked, and what its adapter holds on to."""

from __future__ import annotations

import numpy as np
import torch

from domains.tracking.data import world
from domains.tracking.tiny import pretraining
from suite.training.plain import Schedule


def test_pictures_are_views_of_still_scenes_and_every_second_one_is_two() -> None:
    pool = pretraining.pictures(2)
    side = pretraining.SIDE
    assert pool.shape == (2 * pretraining.VIEWS, 3, side, side) and pool.dtype == torch.uint8
    edge = (pool[..., side // 2].float() - pool[..., side // 2 - 1].float()).abs().mean((1, 2))  # (pictures,)
    assert edge[1::2].min() > 2 * edge[0::2].mean()
    assert not set(world.STILL_KINDS) & {*world.TRAIN_KINDS, *world.TEST_KINDS}


def test_squares_of_patches_are_hidden_as_many_in_each_picture() -> None:
    hidden = pretraining.hidden_patches(5, torch.Generator().manual_seed(0))
    grid = pretraining.SIDE // pretraining.PATCH
    assert hidden.shape == (5, grid * grid)
    assert len(set(hidden.sum(1).tolist())) == 1
    squares = hidden.view(5, grid // 2, 2, grid // 2, 2)
    assert (squares == squares[:, :, :1, :, :1]).all()


def test_pretraining_moves_every_part_but_the_class_token_s_own() -> None:
    vit = pretraining.new()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    pretraining.pretrain(pretraining.pictures(1), vit, Schedule(steps=2, batch=2, lr=1e-3, warmup=0))
    still = [name for name, value in vit.named_parameters() if torch.equal(value, before[name])]
    assert not vit.training and not still


def test_views_are_the_same_for_a_number() -> None:
    one, two = list(pretraining.views(3)), list(pretraining.views(3))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
