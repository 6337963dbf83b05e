"""Packed rows give what their texts give alone, by masks and by the varlen kernel, in every family of models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import MambaConfig, MambaForCausalLM

from suite import adapters
from suite.errors import InputError
from suite.training import attention, causal_lm_loss, lm_outputs
from suite.training.packing import PackedDataset, collate
from tests.training.language_models import PACKED, language_model, texts

TEXTS = texts(9, 5, 7, 3, 12, 4)
LENGTH = 16


def packed_batch() -> dict[str, Tensor]:
    packed = PackedDataset(TEXTS, LENGTH)
    return collate([packed[index] for index in range(len(packed))])


def alone(model: nn.Module) -> Tensor:
    """The mean loss over the targets of all texts, each in a row of its own."""
    outputs = [causal_lm_loss(model(text["input_ids"][None]).logits, text["labels"][None]) for text in TEXTS]
    return sum(output.loss * output.units() for output in outputs) / sum(output.units() for output in outputs)


def gradient(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.autograd.grad(loss, model.model.layers[0].self_attn.q_proj.weight)[0]


def by_document(
    query: Tensor,  # (tokens, heads, size)
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    key_starts: Tensor,
    longest: int,
    longest_key: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    **_: object,
) -> Tensor:
    """What `varlen_attn` computes, one document and one window at a time."""
    assert torch.equal(starts, key_starts) and longest >= int(starts.diff().max()) and longest_key >= longest
    groups = query.shape[1] // key.shape[1]
    done = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        q, k, v = (part[start:end].transpose(0, 1) for part in (query, key, value))
        apart = torch.arange(end - start)[:, None] - torch.arange(end - start)
        left, right = window_size
        sees = ((left < 0) | (apart <= left)) & ((right < 0) | (apart >= -right))
        k, v = (part.repeat_interleave(groups, 0) for part in (k, v))
        done.append(F.scaled_dot_product_attention(q, k, v, sees, scale=scale).transpose(0, 1))
    return torch.cat(done)


@pytest.fixture
def varlen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the CPU take the GPU's way, with the kernel written out; counts its calls."""
    calls: list[int] = []

    def kernel(*args: Tensor, **kwargs: object) -> Tensor:
        calls.append(1)
        return by_document(*args, **kwargs)

    monkeypatch.setattr(attention, "varlen_attn", kernel)
    monkeypatch.setattr(attention, "_kernel_runs", lambda model, device: True)
    monkeypatch.setattr(attention, "_kernel_takes", lambda query, value: True)
    return calls


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", PACKED)
def test_packed_losses_equal_unpacked_ones(family: str, implementation: str) -> None:
    model = language_model(family, implementation)
    wanted = alone(model)
    for found in (
        lm_outputs(model, packed_batch()),
        causal_lm_loss(
            model(**{k: v for k, v in packed_batch().items() if k != "labels"}).logits, packed_batch()["labels"]
        ),
    ):
        assert found.loss.item() == pytest.approx(wanted.item(), abs=1e-5)
        assert torch.allclose(gradient(found.loss, model), gradient(alone(model), model), atol=1e-5)


@pytest.mark.parametrize("family", PACKED)
def test_varlen_and_masked_attention_agree(family: str, varlen: list[int]) -> None:
    model = language_model(family)
    wanted = alone(model)
    found = lm_outputs(model, packed_batch())
    assert varlen and model.config._attn_implementation == attention.NAME
    assert found.loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    assert torch.allclose(gradient(found.loss, model), gradient(wanted, model), atol=1e-5)
    # What is not packed still has its mask, also in a model that has changed over.
    assert alone(model).item() == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize("family", PACKED)
def test_in_bf16_varlen_and_masked_attention_agree(family: str, varlen: list[int]) -> None:
    masked = lm_outputs(language_model(family, "eager").bfloat16(), packed_batch()).loss
    found = lm_outputs(language_model(family).bfloat16(), packed_batch()).loss
    assert varlen and found.item() == pytest.approx(masked.item(), rel=2e-2)


@pytest.mark.parametrize("family", PACKED)
def test_torch_takes_what_the_kernel_is_given(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_kernel_runs", lambda model, device: True)
    batch = packed_batch()
    labels = batch.pop("labels")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.device("cuda"):
        model = language_model(family, dtype=torch.bfloat16)
        inputs = {k: torch.empty_like(v, device="cuda") if isinstance(v, Tensor) else v for k, v in batch.items()}
        with attention.packed_inputs(model, inputs) as given:
            assert model(**given).logits.shape == (*labels.shape, 48)
    assert model.config._attn_implementation == attention.NAME


def test_under_autocast_the_kernel_gets_what_it_can_take(varlen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert query.dtype == key.dtype == value.dtype == torch.bfloat16
        return by_document(query, key, value, *args, **kwargs)

    monkeypatch.setattr(attention, "varlen_attn", kernel)
    model = language_model("llama")
    with torch.autocast("cpu", torch.bfloat16):
        assert lm_outputs(model, packed_batch()).loss.item() == pytest.approx(alone(model).item(), rel=2e-2)


def test_a_layer_that_the_kernel_does_not_take_is_masked_by_the_boundaries(
    varlen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_kernel_takes", lambda query, value: False)
    model = language_model("gemma 3 with mixed windows")
    wanted = alone(model)
    assert lm_outputs(model, packed_batch()).loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    assert not varlen


def test_blocks_that_are_computed_again_see_the_same_texts(varlen: list[int]) -> None:
    base = language_model("mistral with a window")
    model = adapters.attach(base, "lora", r=2, targets=["q_proj"], init_lora_weights=False).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wanted = torch.autograd.grad(alone(model), trained)
    adapters.enable_checkpointing(model)
    loss = lm_outputs(model, packed_batch()).loss
    once = len(varlen)
    found = torch.autograd.grad(loss, trained)
    assert len(varlen) == once + model.config.num_hidden_layers
    assert all(torch.allclose(here, there, atol=1e-5) for here, there in zip(found, wanted, strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_blocks_are_not_compiled_for_every_number_of_texts(
    varlen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    @torch.library.custom_op("suite_tests::varlen", mutates_args={})
    def kernel(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, left: int) -> Tensor:
        return by_document(query, key, value, starts, starts, longest, longest, window_size=(left, 0)).contiguous()

    kernel.register_fake(lambda query, *_: torch.empty_like(query))
    monkeypatch.setattr(
        attention,
        "varlen_attn",
        lambda q, k, v, starts, _, longest, *__, window_size, **___: kernel(q, k, v, starts, longest, window_size[0]),
    )
    model, counter, counts = language_model("mistral with a window"), CompileCounter(), []
    for block in model.model.layers:
        block.compile(backend=counter)
    for lengths in ((16, 9, 7), (16, 4, 4, 4, 4), (16, 5, 5, 6), (16, 11, 5)):
        rows = PackedDataset(texts(*lengths), LENGTH)
        batch = collate([rows[index] for index in range(len(rows))])
        with torch.no_grad():
            lm_outputs(model, batch)
        counts.append(counter.frame_count)
    torch.compiler.reset()
    assert counts[0] == counts[-1] == 1


@pytest.mark.parametrize("family", ["llama", "gemma 2 with soft caps"])
def test_models_of_another_attention_keep_it(family: str, varlen: list[int]) -> None:
    model = language_model(family, "eager")
    assert lm_outputs(model, packed_batch()).loss.item() == pytest.approx(alone(model).item(), abs=1e-5)
    assert not varlen and model.config._attn_implementation == "eager"


def test_a_model_whose_state_runs_on_through_a_row_is_refused() -> None:
    config = MambaConfig(vocab_size=48, hidden_size=32, num_hidden_layers=2, state_size=4)
    with pytest.raises(InputError, match="mamba models texts of one row see each other; train without packing"):
        lm_outputs(MambaForCausalLM(config), packed_batch())


def test_prompts_in_front_of_a_row_are_refused() -> None:
    model = adapters.attach(language_model("llama"), "prompt_tuning", num_virtual_tokens=2, task_type="CAUSAL_LM")
    with pytest.raises(InputError, match="texts of one row see each other"):
        lm_outputs(model, packed_batch())


def test_the_check_draws_no_random_numbers() -> None:
    model = adapters.attach(language_model("llama"), "lora", r=2, lora_dropout=0.5, targets=["q_proj"]).train()
    torch.manual_seed(3)
    first = lm_outputs(model, packed_batch()).loss
    torch.manual_seed(3)
    assert lm_outputs(model, packed_batch()).loss.item() == first.item()


def test_boundaries_and_positions_describe_the_same_texts() -> None:
    rows = [
        {"input_ids": torch.ones(n), "labels": torch.ones(n), "segments": torch.tensor(s)}
        for n, s in ((4, [0, 0, 0, 1]), (2, [0, 1]))
    ]
    batch = collate(rows)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0], [0, 0, 0, 1]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 4, 5, 6, 8] and batch["max_length_q"] == 3
    mask = attention.document_mask(batch["cu_seq_lens_q"], 2, 4, window=2)
    assert mask.int().tolist()[0][0] == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
