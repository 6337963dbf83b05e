"""Edits of hidden states: at which tokens, in which forwards, and beside what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.representation import loreft
from suite.adapters.methods.representation.reft import PROMPT, parse_positions
from suite.errors import InputError
from suite.training.procedures.prompt_span import prompt_span
from tests.adapters.cases import fresh, randomise, sample

IDS = torch.arange(2, 14).reshape(1, 12)


def reft(model: nn.Module | None = None, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    model = adapters.attach(fresh("llama") if model is None else model, "loreft", **{"r": 2, **settings}).eval()
    randomise(model, 0.3)
    return model


def edited(model: nn.Module, ids: Tensor, **inputs: Any) -> list[list[int]]:
    """At which tokens the first block's output is another one than the base's."""
    block, states = model.model.layers[0], []
    hook = block.register_forward_hook(lambda _m, _a, out: states.append(out if isinstance(out, Tensor) else out[0]))
    model(ids, **inputs)
    with adapters.disabled(model):
        model(ids, **inputs)
    hook.remove()
    changed = (states[0] - states[1]).abs().amax(-1) > 1e-6
    return [row.nonzero()[:, 0].tolist() for row in changed]


def test_the_first_and_last_tokens_of_the_prompt_are_edited() -> None:
    assert edited(reft(positions="f2+l3"), IDS) == [[0, 1, 9, 10, 11]]
    assert edited(reft(positions="l1"), IDS) == [[11]]
    assert edited(reft(positions="f7+l7"), IDS[:, :5]) == [[0, 1, 3, 4]]  # half of a short one each
    assert edited(reft(positions="all"), IDS) == [[*range(12)]]


def test_padding_and_answers_are_left_alone() -> None:
    model = reft(positions="f2+l1")
    mask = torch.tensor([[0] * 4 + [1] * 8, [1] * 12])
    ids = IDS.expand(2, -1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    assert edited(model, ids, attention_mask=mask, position_ids=positions) == [[4, 5, 11], [0, 1, 11]]
    labels = torch.full((2, 12), -100)
    labels[0, 9:], labels[1, 6:9] = 1, 1
    right = torch.tensor([[0] * 4 + [1] * 8, [1] * 9 + [0] * 3])
    span = prompt_span({"attention_mask": right, "labels": labels})
    assert span is not None and span.tolist() == [[4, 9], [0, 6]]
    with adapters.context(model, **{PROMPT: span}):
        assert edited(model, ids) == [[4, 5, 8], [0, 1, 5]]
    whole = torch.where(right.bool(), 1, -100)
    assert prompt_span({"labels": whole}).tolist() == [[4, 12], [0, 9]]  # type: ignore[union-attr]
    assert prompt_span({"pixels": right}) is None


def test_generated_tokens_stay_as_they_are() -> None:
    model = reft(positions="f1+l1")
    block, seen = model.model.layers[0], []
    layer = block.suite_loreft
    hook = block.register_forward_hook(lambda _m, _a, out: seen.append(out.shape[1]))
    calls: list[int] = []
    edit = type(layer).edit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(layer), "edit", lambda self, h, *rest: (calls.append(1), edit(self, h, *rest))[1])
        model.generate(IDS[:, :6], max_new_tokens=4, do_sample=False, pad_token_id=0)
    hook.remove()
    assert seen == [6, 1, 1, 1]
    assert len(calls) == len(adapters.layers(model))  # once a block, in the first forward


def test_untied_edits_have_tensors_of_their_own(tmp_path: Path) -> None:
    model = reft(positions="f2+l2", tied=False)
    [layer, *_] = [layer for _, layer in adapters.layers(model)]
    assert layer.tensor("rotate", "default").shape == (2, 32, 2)
    written = loreft.official_files({n: layer for n, (_, layer) in enumerate(adapters.layers(model))})
    assert [*written][:2] == [f"intkey_layer_0_comp_block_output_unit_pos_nunit_1#{part}.bin" for part in (0, 1)]
    for part in range(2):
        columns = layer.rotation("default", part)
        torch.testing.assert_close(columns.T @ columns, torch.eye(2), atol=1e-5, rtol=0)
    blocks = loreft.official_blocks(written)
    other = reft(positions="f2+l2", tied=False)
    for number, (_, own) in enumerate(adapters.layers(other)):
        for name, tensor in blocks[number].items():
            own.tensor(name, "default").data.copy_(tensor)
    torch.testing.assert_close(other(IDS).logits, model(IDS).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="no intervention at a block's output"):
        loreft.official_blocks({"intkey_layer_0_comp_mlp_output_unit_pos_nunit_1#0.bin": {}})


def test_beside_lora_it_is_saved_and_loaded_to_the_bit(tmp_path: Path) -> None:
    specs = ({"method": "loreft", "r": 2}, {"method": "lora", "r": 2, "targets": ["q_proj"]})
    model = adapters.attach(fresh("llama"), *specs).eval()
    randomise(model)
    adapters.save(model, tmp_path / "both")
    loaded = adapters.load(fresh("llama"), tmp_path / "both").eval()
    assert torch.equal(loaded(sample("llama")).logits, model(sample("llama")).logits)


@pytest.mark.parametrize("text", ["", "f", "7", "f7l", "l7+f7", "first"])
def test_positions_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"loreft: positions .* must be all, or first and last tokens"):
        adapters.attach(fresh("llama"), "loreft", positions=text)
    assert parse_positions("f7+l7") == (7, 7) and parse_positions("all") is None


def test_lofit_chooses_the_heads_that_training_scales_most() -> None:
    model, before = fresh("llama"), {name: p.clone() for name, p in fresh("llama").named_parameters()}
    torch.manual_seed(0)

    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        return model(ids, labels=ids).loss

    settings = adapters.plan("lofit", model, [IDS, IDS], loss=loss, targets=["o_proj"], heads=3)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert sum(map(len, settings["heads"].values())) == 3
    adapters.attach(model, "lofit", **settings)
    assert adapters.count(model).trainable == 3 * 8
    with pytest.raises(InputError, match=r"lofit: .*32 inputs are not those of 5 heads; set num_heads"):
        adapters.attach(fresh("llama"), "lofit", num_heads=5)


def test_a_span_of_something_else_than_tokens_stays_inside_the_sequence() -> None:
    """Batches of other tasks may have labels for more points than there are tokens."""
    model = reft(positions="f2+l2")
    with adapters.context(model, **{PROMPT: torch.tensor([[0, 2048]])}):
        assert edited(model, IDS) == [[0, 1, 10, 11]]
