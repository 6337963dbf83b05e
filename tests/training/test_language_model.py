"""The loss in chunks is the loss of the whole logits, whatever trains and whatever the model does to its logits."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.training import Outputs, causal_lm_loss, chunked_loss, lm_outputs
from suite.training import language_model as language_model_file
from tests.training.language_models import FAMILIES, language_model, texts

ATTACHED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "lora on the blocks": lambda model: adapters.attach(
        model, "lora", r=2, targets=["q_proj"], init_lora_weights=False
    ),
    "lora on the head": lambda model: adapters.attach(
        model, "lora", r=2, targets=["q_proj", "lm_head"], init_lora_weights=False
    ),
    "the head trains": lambda model: adapters.attach(model, "lora", r=2, targets=["q_proj"], train=["lm_head.weight"]),
    "everything trains": lambda model: model.requires_grad_(True),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows at a time, so that a batch takes several; adapters are drawn the same every time."""
    torch.manual_seed(0)
    whole = chunked_loss.target_losses
    monkeypatch.setattr(language_model_file, "target_losses", lambda *args: whole(*args, chunk=4 * 48))


def batch(*lengths: int, prompt: int = 0) -> dict[str, Tensor]:
    rows = texts(*lengths)
    for row in rows:
        row["labels"][:prompt] = -100
    return {
        "input_ids": nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True),
        "labels": nn.utils.rnn.pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100),
    }


def plain(model: nn.Module, batch: dict[str, Tensor]) -> Outputs:
    return causal_lm_loss(model(input_ids=batch["input_ids"], use_cache=False).logits, batch["labels"])


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def apart(here: Tensor, there: Tensor) -> float:
    """Distance in units of the second's norm."""
    return ((here.float() - there.float()).norm() / there.float().norm().clamp(min=1e-12)).item()


def assert_same(model: nn.Module, given: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    wanted, found = plain(model, given), lm_outputs(model, given)
    assert found.loss.item() == pytest.approx(wanted.loss.item(), abs=tolerance)
    assert torch.allclose(found.per_sample, wanted.per_sample, atol=tolerance)
    assert found.units() == wanted.units()
    # Samples that weigh differently, as procedures ask for.
    weights = torch.linspace(0.5, 2, len(given["labels"]))
    there = gradients(model, (wanted.per_sample * weights).sum() + wanted.loss)
    here = gradients(model, (found.per_sample * weights).sum() + found.loss)
    assert there.keys() == here.keys() and there
    # A rounding at the head grows on its way down: the plain gradient is up to 1.3e-5 from the one in float64.
    assert all(apart(here[name], gradient) < 30 * tolerance for name, gradient in there.items())


@pytest.mark.parametrize("attached", ATTACHED)
def test_loss_and_gradients_equal_the_plain_ones(attached: str) -> None:
    model = ATTACHED[attached](language_model("llama"))
    assert_same(model, batch(9, 5, 12, prompt=4))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_s_logits_are_understood(family: str) -> None:
    model = ATTACHED["lora on the blocks"](language_model(family))
    assert_same(model, batch(9, 5, prompt=2))
    sizes = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: sizes.append(output.shape[:-1].numel())
    )
    lm_outputs(model, batch(9, 5))
    assert max(sizes) <= 4


def test_a_tied_head_that_trains_gets_both_gradients() -> None:
    model = language_model("llama", tie_word_embeddings=True).requires_grad_(True)
    assert_same(model, batch(9, 5, prompt=3))


def test_logits_that_nobody_explains_are_taken_whole() -> None:
    model = ATTACHED["lora on the blocks"](language_model("llama"))
    forward = model.forward

    def bent(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        output.logits = output.logits**2
        return output

    model.forward = bent
    model.train()
    for _ in range(2):
        assert_same(model, batch(9, 5, prompt=3))


def test_a_batch_without_a_target_has_loss_zero_and_gradients() -> None:
    for attached in ATTACHED.values():
        model = attached(language_model("llama"))
        empty = {**batch(6, 4), "labels": torch.full((2, 6), -100)}
        outputs = lm_outputs(model, empty)
        assert outputs.loss.item() == 0 and outputs.units() == 0
        found = gradients(model, outputs.loss)
        assert found and all(not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("attached", ["lora on the blocks", "lora on the head"])
def test_under_autocast_it_is_the_plain_loss_within_a_rounding(attached: str) -> None:
    model = ATTACHED[attached](language_model("llama"))
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(model, batch(9, 5, 12, prompt=4), tolerance=1e-2)


def test_in_bf16_it_is_as_near_to_the_truth_as_the_plain_loss() -> None:
    model = ATTACHED["lora on the blocks"](language_model("llama").bfloat16())
    given = batch(9, 5, 12, prompt=4)
    truth = gradients(exact := copy.deepcopy(model).float(), plain(exact, given).loss)
    there = {name: gradient.clone() for name, gradient in gradients(model, plain(model, given).loss).items()}
    here = gradients(model, lm_outputs(model, given).loss)
    for name, gradient in truth.items():
        assert apart(here[name], gradient) < 1.5 * apart(there[name], gradient), name


@pytest.mark.parametrize("trained", [False, True])
def test_gradients_of_hidden_states_and_head_are_those_of_the_whole(trained: bool) -> None:
    torch.manual_seed(0)
    hidden, targets = torch.randn(11, 16, requires_grad=True), torch.randint(0, 48, (11,))
    head = nn.Linear(16, 48).requires_grad_(trained)
    weights = torch.rand(11)
    given = [hidden, *head.parameters()] if trained else [hidden]
    losses = chunked_loss.target_losses(hidden, targets, head, 48, chunk=4 * 48)
    wanted = nn.functional.cross_entropy(head(hidden), targets, reduction="none")
    assert torch.allclose(losses, wanted, atol=1e-6)
    here, there = (torch.autograd.grad((loss * weights).sum(), given) for loss in (losses, wanted))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(here, there, strict=True))
    with torch.no_grad():
        assert torch.allclose(chunked_loss.target_losses(hidden, targets, head, 48), wanted, atol=1e-6)


def test_a_compiled_model_gives_the_same() -> None:
    model = ATTACHED["lora on the blocks"](language_model("llama"))
    wanted = {length: gradients(model, plain(model, batch(length, 5)).loss) for length in (9, 12)}
    wanted = {length: {k: v.clone() for k, v in found.items()} for length, found in wanted.items()}
    model.compile(backend="aot_eager")
    for length, gradient in wanted.items():
        found = gradients(model, lm_outputs(model, batch(length, 5)).loss)
        assert all(apart(found[name], gradient[name]) < 1e-5 for name in gradient)


def test_nothing_of_it_stays_in_the_way_of_copies_and_files() -> None:
    model = language_model("gemma 2 with soft caps")
    given = batch(9, 5)
    wanted = lm_outputs(model, given).loss
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for parameter in model.parameters():
            parameter.data.zero_()
        assert lm_outputs(other, given).loss.item() == pytest.approx(wanted.item())
        model.load_state_dict(other.state_dict())
        assert model(input_ids=given["input_ids"]).logits.shape == (2, 9, 48)


def test_the_whole_logits_never_exist() -> None:
    model = ATTACHED["lora on the blocks"](language_model("llama", vocab_size=4096))
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        lm_outputs(model, batch(64, 64)).loss.backward()
    assert largest <= 4096 * 32  # the head's weight
