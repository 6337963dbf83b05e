"""Packed rows give what their samples give alone."""

from __future__ import annotations

import pytest
import torch

from suite.errors import InputError
from suite.training import causal_lm_loss
from suite.training.packing import PackedDataset, collate, first_fit
from tests.training.toys import VOCABULARY, tiny_llama


def test_packed_losses_and_gradients_equal_unpacked_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, VOCABULARY, (n,), generator=generator) for n in (5, 9, 3, 7, 12, 4)]
    model = tiny_llama().double()
    alone = torch.zeros((), dtype=torch.float64)
    for row in rows:
        outputs = causal_lm_loss(model(input_ids=row[None]).logits, row[None])
        alone = alone + outputs.loss * outputs.units()
    targets = sum(len(row) - 1 for row in rows)
    wanted = torch.autograd.grad(alone / targets, model.model.layers[0].self_attn.q_proj.weight)[0]

    packed = PackedDataset([{"input_ids": row, "labels": row} for row in rows], max_length=16)
    assert len(packed) == 3
    batch = collate([packed[index] for index in range(len(packed))])
    labels = batch.pop("labels")
    outputs = causal_lm_loss(model(**batch).logits, labels)
    assert int(outputs.units()) == targets
    assert outputs.loss.item() == pytest.approx((alone / targets).item(), abs=1e-6)
    found = torch.autograd.grad(outputs.loss, model.model.layers[0].self_attn.q_proj.weight)[0]
    assert torch.allclose(found, wanted, atol=1e-6)


def test_every_sample_lies_in_exactly_one_row_that_holds_it() -> None:
    lengths = [7, 2, 5, 9, 1, 1, 6, 3]
    rows = first_fit(lengths, 10)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 10 for row in rows)


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(InputError, match="12 tokens does not fit a row of 10"):
        first_fit([3, 12], 10)
    with pytest.raises(InputError, match="no text to pack"):
        first_fit([], 10)
