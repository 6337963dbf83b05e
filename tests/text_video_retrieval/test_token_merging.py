"""Matching and merging against loops, and what must stay the same whatever merges."""

from __future__ import annotations

import pytest
import torch

from domains.text_video_retrieval.model.token_merging import join, match, merge, sources
from tests.text_video_retrieval import reference


@pytest.mark.parametrize(("patches", "classes", "count"), [(9, 1, 3), (8, 1, 4), (9, 2, 5), (8, 4, 2), (7, 12, 1)])
def test_merging_is_the_loop(patches: int, classes: int, count: int) -> None:
    torch.manual_seed(classes)
    x, metric = torch.randn(3, classes + patches, 6), torch.randn(3, classes + patches, 4)
    size = torch.randint(1, 5, (3, classes + patches, 1)).float()
    found, counts = merge(x, size, match(metric, count, classes))
    for row in range(3):
        expected, sizes = reference.merged(x[row], size[row, :, 0].tolist(), metric[row], count, classes)
        torch.testing.assert_close(found[row], expected, atol=1e-6, rtol=1e-6)
        assert counts[row, :, 0].tolist() == pytest.approx(sizes)


def test_sizes_are_one_before_the_first_merge_and_their_sum_never_changes() -> None:
    x = torch.randn(2, 10, 4)
    matching = match(x, 3, 1)
    one, counts = merge(x, None, matching)
    again, same = merge(x, torch.ones(2, 10, 1), matching)
    assert torch.equal(one, again)
    assert torch.equal(counts, same)
    assert counts.sum(1).tolist() == [[10.0], [10.0]]


def test_class_tokens_are_never_merged_and_nothing_to_merge_is_the_identity() -> None:
    x = torch.randn(1, 9, 4)
    merged, _ = merge(x, None, match(x, 3, 3))
    assert torch.equal(merged[:, :3], x[:, :3])
    assert merge(x, None, match(x, 0, 3))[0] is x


def test_equal_tokens_keep_their_mean_and_ties_go_to_the_first() -> None:
    x = torch.ones(1, 9, 4)
    matching = match(x, 4, 1)
    assert matching is not None
    assert matching.into.tolist() == [[0, 0, 0, 0]]
    assert matching.merged.tolist() == [[1, 3, 5, 7]]
    merged, size = merge(x, None, matching)
    assert torch.equal(merged, torch.ones(1, 5, 4))
    assert size is not None
    assert size[0, :, 0].tolist() == [1, 5, 1, 1, 1]


def test_no_gradient_goes_through_the_matching() -> None:
    metric = torch.randn(1, 9, 4, requires_grad=True)
    x = torch.randn(1, 9, 4, requires_grad=True)
    merge(x, None, match(metric, 3, 1))[0].sum().backward()
    assert metric.grad is None
    assert x.grad is not None


def test_more_than_the_sources_is_refused() -> None:
    assert (sources(9, 1), sources(9, 2), sources(8, 1), sources(8, 2)) == (4, 5, 4, 4)
    with pytest.raises(ValueError, match="of which 4 are sources"):
        match(torch.randn(1, 10, 4), 5, 1)


def test_clips_are_joined_class_tokens_first_in_order_of_time() -> None:
    tokens = torch.arange(2 * 2 * 3).view(4, 3, 1)  # two videos of two clips, [class, patch, patch]
    assert join(tokens, 2, 1)[..., 0].tolist() == [[0, 3, 1, 2, 4, 5], [6, 9, 7, 8, 10, 11]]


def test_autocast_compares_tokens_in_float32() -> None:
    torch.manual_seed(0)
    metric = torch.ones(1, 33, 8) + 1e-3 * torch.randn(1, 33, 8)
    plain = match(metric, 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = match(metric, 8, 1)
    assert plain is not None and mixed is not None
    assert torch.equal(plain.merged, mixed.merged)
    assert torch.equal(plain.into, mixed.into)
