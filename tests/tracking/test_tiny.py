"""The embedded default: what its base is asked, and what its adapter holds on to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from domains.tracking.data import world
from domains.tracking.model.heads import reference_points
from domains.tracking.tiny import pretraining
from domains.tracking.tiny.pretraining import GRID, SMALL_GRID, Answers, Pairs
from suite.training.plain import Schedule


@pytest.fixture(scope="module")
def pool() -> Pairs:
    return pretraining.pairs(2)


def test_pairs_are_views_of_still_scenes_whose_kinds_nothing_that_moves_has(pool: Pairs) -> None:
    count = 2 * pretraining.PAIRS
    assert pool.small.shape == (count, 3, 70, 70) and pool.large.shape == (count, 3, 140, 140)
    assert pool.small.dtype == pool.large.dtype == torch.uint8
    assert not set(world.STILL_KINDS) & {*world.TRAIN_KINDS, *world.TEST_KINDS}


def test_patches_that_match_look_more_alike_than_others(pool: Pairs) -> None:
    def colours(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pictures.float(), 14).flatten(2).mT  # (pairs, patches, 3)

    small, large = colours(pool.small), colours(pool.large)
    there = pool.to_large >= 0
    assert there.any(1).all() and not there.all()
    matched = large.gather(1, pool.to_large.clamp(min=0)[..., None].expand(-1, -1, 3))
    apart = (small - matched).abs().mean(-1)[there].mean()
    assert apart < 0.8 * (small - matched.roll(7, 1)).abs().mean(-1)[there].mean()
    back = pool.to_small.gather(1, pool.to_large.clamp(min=0))  # the patch that its match has for a match
    rows, columns = back // SMALL_GRID, back % SMALL_GRID
    own = torch.arange(SMALL_GRID**2).expand_as(back)
    near = ((rows - own // SMALL_GRID).abs() <= 2) & ((columns - own % SMALL_GRID).abs() <= 2)
    assert near[there & (back >= 0)].float().mean() > 0.95


def test_the_box_of_a_view_holds_the_patches_that_show_the_same_and_few_others(pool: Pairs) -> None:
    low, high = pool.boxes.split(2, -1)  # (pairs, 2) each
    assert (low >= 0).all() and (high <= 1).all() and (low < high).all()
    places = reference_points(GRID).flatten(0, 1)  # (patches, 2)
    inside = ((places > low[:, None]) & (places < high[:, None])).all(-1)  # (pairs, patches)
    matched = pool.to_small >= 0
    assert inside[matched].all()
    # It reaches as far as they do: a turned square fills at least half of its box, but for what lies beyond the scene.
    first = torch.where(matched[..., None], places, 1).amin(1)  # (pairs, 2)
    whole = matched.sum(1) > 0.5 * inside.sum(1)
    assert whole.sum() >= 4 and ((first - low)[whole] < 2.5 / GRID).all()


def test_where_views_end_is_learnt_by_the_second_schedule_alone(
    pool: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float, Path | None]] = []

    def noted(_: Pairs, vit: object, schedule: Schedule, file: Path | None = None, *, bounded: float = 0.0) -> object:
        asked.append((schedule.steps, bounded, file))
        return vit

    monkeypatch.setattr(pretraining, "pretrain", noted)
    schedules, file = (Schedule(steps=1, batch=2), Schedule(steps=2, batch=2)), tmp_path / "base.safetensors"
    pretraining.pretrained(pool, schedules, file)
    later = tmp_path / "base_bounds.safetensors"
    assert asked == [(1, 0, file), (2, pretraining.BOUNDED, later)]
    later.touch()  # stopped in the second one, the first is not done again
    pretraining.pretrained(pool, schedules, file)
    assert asked[2:] == [(2, pretraining.BOUNDED, later)]


def test_a_weight_for_where_views_end_changes_what_is_learnt(pool: Pairs) -> None:
    schedule = Schedule(steps=2, batch=2, lr=1e-3, warmup=0)
    without, given = (pretraining.pretrain(pool, pretraining.new(), schedule, bounded=each) for each in (0.0, 3.0))
    assert not torch.equal(without.layernorm.weight, given.layernorm.weight)


def test_squares_of_patches_are_hidden_as_many_in_each_picture() -> None:
    hidden = pretraining.hidden_patches(5, torch.Generator().manual_seed(0))
    assert hidden.shape == (5, GRID**2)
    assert len(set(hidden.sum(1).tolist())) == 1
    squares = hidden.view(5, GRID // 2, 2, GRID // 2, 2)
    assert (squares == squares[:, :, :1, :, :1]).all()


def test_the_small_view_has_the_places_of_a_tracker_s_template(pool: Pairs) -> None:
    model = Answers(pretraining.new()).eval()
    hidden = torch.zeros(2, GRID**2, dtype=torch.bool)
    # A large view whose first rows and columns are the small one: the transformer cannot tell their patches apart.
    small = torch.rand(2, 3, 70, 70)
    large = torch.rand(2, 3, 140, 140)
    large[..., :70, :70] = small
    of_small, of_large = model.tokens(small, large, hidden)
    assert of_small.shape == (2, SMALL_GRID**2, 64) and of_large.shape == (2, GRID**2, 64)
    corner = of_large.view(2, GRID, GRID, -1)[:, :SMALL_GRID, :SMALL_GRID].flatten(1, 2)
    torch.testing.assert_close(of_small, corner, rtol=1e-4, atol=1e-4)


def test_pretraining_moves_every_part_but_the_class_token_s_own(pool: Pairs) -> None:
    vit = pretraining.new()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    pretraining.pretrain(pool, vit, Schedule(steps=2, batch=2, lr=1e-3, warmup=0))
    still = [name for name, value in vit.named_parameters() if torch.equal(value, before[name])]
    assert not vit.training and not still


def test_views_are_the_same_for_a_number() -> None:
    one, two = list(pretraining.views(3)), list(pretraining.views(3))
    for first, second in zip(one, two, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
