"""One batch through a language model, for every recipe that trains on text: packed or padded, logits never whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.training.attention import BOUNDARIES, packed_inputs
from suite.training.chunked_loss import target_losses
from suite.training.outputs import Outputs, causal_lm_loss, token_means

CAPS = ("final_logit_softcapping", "logits_soft_cap", "logit_softcapping")
SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""How configurations name what models do to their head's output; some multiply by what others divide by."""


def lm_outputs(model: nn.Module, batch: Mapping[str, Any]) -> Outputs:
    """Next-token cross-entropy in float32, the mean over the tokens that are targets.

    What `causal_lm_loss` gives for the model's logits, which exist a chunk at a time and only where there is a target;
    a model that does more to them than this file knows gives them whole. There are none for metrics to look at.

    Args:
        model: a causal language model of transformers, with or without adapters.
        batch: `labels` (batch, length), -100 where a token is no target, and the model's inputs: `input_ids` and
            whatever `suite.training.packing.collate` or a collate of the recipe's own adds.

    Raises:
        InputError: the batch is packed, and in this model texts of one row see each other.
    """
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    if getattr(getattr(model, "config", None), "use_cache", None) is not None:
        # With a cache, transformers takes packed texts for one.
        inputs["use_cache"] = False
    head = _head_of(model)
    if BOUNDARIES[0] in inputs:
        _check_apart(model, head, inputs)
    if head is None or head.taken_apart is False:
        return causal_lm_loss(_logits(model, inputs)[:, -labels.shape[1] :], labels)
    before = None if head.taken_apart else _random_state()
    logits = head.watch(model, inputs)
    if not head.understood(getattr(model, "config", None), logits, labels.shape[1]):
        if before is not None and logits.shape[1] == 1:
            # The head was asked for one position; ask for all, with the same dropout.
            _set_random_state(before)
            logits = _logits(model, inputs)
        return causal_lm_loss(logits[:, -labels.shape[1] :], labels)
    hidden = head.take()[:, -labels.shape[1] :]  # (batch, length, width); prompt methods put tokens in front
    return _from_hidden(hidden, labels, head)


def _from_hidden(hidden: Tensor, labels: Tensor, head: _Head) -> Outputs:
    target = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # (batch, length): no token follows the last
    counted = target != IGNORED
    places = counted.flatten().nonzero().squeeze(1)  # (targets,)
    losses = target_losses(
        hidden.flatten(0, 1).index_select(0, places),
        target.flatten().index_select(0, places),
        head.logits_of,
        head.vocabulary,
    )
    grid = losses.new_zeros(target.numel()).index_copy(0, places, losses).view_as(target)
    return token_means(grid[:, :-1], counted[:, :-1])


def _unchanged(logits: Tensor) -> Tensor:
    return logits


def _capped(logits: Tensor, cap: float) -> Tensor:
    return torch.tanh(logits / cap) * cap


@dataclass(eq=False)
class _Head:
    """A model's output layer, which tells what it was given, and is asked for the last position alone.

    Attributes:
        module: the layer, or the adapter round it.
        taken_apart: whether its model's logits are known to be `after` of its output; None as long as none was seen.
        after: what the model does to its output.
        vocabulary: logits of a token.
        watching: whether the hooks are at work.
        seen: what it was given (batch, length, width), and what it made of the last position.
    """

    module: nn.Module
    taken_apart: bool | None = None
    after: Callable[[Tensor], Tensor] = _unchanged
    vocabulary: int = 0
    watching: bool = False
    seen: list[Tensor] = field(default_factory=list)

    def logits_of(self, hidden: Tensor) -> Tensor:
        """The model's logits, from what its head takes."""
        return self.after(self.module(hidden))

    def watch(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Run the model; `seen` is filled if it calls its head as a layer."""
        self.seen.clear()
        self.watching = True
        try:
            return _logits(model, inputs)
        finally:
            self.watching = False

    def take(self) -> Tensor:
        """The hidden states of the last `watch`, once."""
        hidden = self.seen[0]
        self.seen.clear()
        return hidden

    def understood(self, config: Any, logits: Tensor, length: int) -> bool:
        """Whether the model's logits follow from its head's output; found out once, on its own logits."""
        if self.taken_apart is None:
            self.taken_apart = len(self.seen) == 2 and self.seen[0].shape[1] >= length
            if self.taken_apart:
                self.vocabulary = logits.shape[-1]
                found = _between(self.seen[1], logits, config)
                self.taken_apart = found is not None
                self.after = found or self.after
        return self.taken_apart

    def before_forward(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not self.watching or not args or args[0].ndim != 3:
            return None
        self.seen.append(args[0])
        # Nothing comes back through these logits; they only show what the model makes of them.
        return (args[0].detach()[:, -1:].contiguous(), *args[1:])

    def after_forward(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if self.watching and self.seen:
            self.seen.append(output.detach())


_apart: WeakSet[nn.Module] = WeakSet()
"""Output layers, or models without one, whose texts were seen not to see each other."""


def _head_of(model: nn.Module) -> _Head | None:
    """The model's output layer, watched; None where the model does not name one."""
    name = getattr(model, "get_output_embeddings", None)
    module = name() if name is not None else None
    if not isinstance(module, nn.Module):
        return None
    for hook in module._forward_pre_hooks.values():
        if isinstance(watcher := getattr(hook, "__self__", None), _Head):
            return watcher
    head = _Head(module)
    # Once and for all, as bound methods: compiled models do not look for new hooks, and a deep copy gets its own.
    module.register_forward_pre_hook(head.before_forward)
    module.register_forward_hook(head.after_forward)
    return head


@torch.no_grad()
def _between(output: Tensor, logits: Tensor, config: Any) -> Callable[[Tensor], Tensor] | None:
    """What turns the head's output into the model's logits, of what is known to be done; None if it is none of it."""
    given = getattr(config, "get_text_config", lambda: config)()
    numbers = {name: getattr(given, name, None) for name in (*CAPS, *SCALES)}
    ways: list[Callable[[Tensor], Tensor]] = [_unchanged]
    for name, number in numbers.items():
        if not isinstance(number, int | float) or not number:
            continue
        if name in CAPS:
            ways.append(partial(_capped, cap=number))
        else:
            ways += [partial(torch.mul, other=number), partial(torch.div, other=number)]
    for way in ways:
        made = way(output)
        if made.shape == logits.shape and torch.allclose(made.float(), logits.float(), rtol=1e-2, atol=1e-4):
            return way
    return None


def _logits(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    with packed_inputs(model, inputs) as given:
        return model(**given).logits


@torch.no_grad()
def _check_apart(model: nn.Module, head: _Head | None, inputs: Mapping[str, Any]) -> None:
    """Try once whether the second of two texts in a row changes with the first.

    Models of recurrent state, of attention that reads no positions, and methods that put tokens in front all let it,
    and no configuration says so.
    """
    key = model if head is None else head.module
    if key in _apart:
        return
    tried = _two_texts(inputs)
    changed = dict(tried)
    half = int(tried["cu_seq_lens_q"][1])
    ids = tried["input_ids"]
    changed["input_ids"] = torch.cat([(ids[:, :half] + 1) % (ids.max() + 1), ids[:, half:]], dim=1)
    states = []
    before = _random_state()
    for given in (tried, changed):
        _set_random_state(before)
        # Compiled blocks run as they are: nothing is compiled for these two passes.
        with torch.compiler.set_stance("force_eager"):
            logits = _logits(model, given) if head is None else head.watch(model, given)
        states.append((head.take() if head is not None and head.seen else logits)[:, half:])
    _set_random_state(before)
    apart = (states[0] - states[1]).float().abs().max()
    if apart > states[0].float().abs().max() * max(1e-3, 8 * torch.finfo(states[0].dtype).eps):
        config = getattr(model, "config", None)
        raise InputError(
            f"packing: in {getattr(config, 'model_type', type(model).__name__)} models texts of one row see each "
            "other; train without packing"
        )
    _apart.add(key)


def _two_texts(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch as if every row held two texts, cut in the middle."""
    batch, length = inputs["input_ids"].shape
    device = inputs["input_ids"].device
    half = length // 2
    positions = torch.cat([torch.arange(half, device=device), torch.arange(length - half, device=device)])
    starts = torch.arange(batch, device=device)[:, None] * length + torch.tensor([0, half], device=device)
    boundaries = F.pad(starts.flatten(), (0, 1), value=batch * length).int()
    longest = length - half
    values = (boundaries, boundaries, longest, longest)
    return {
        **inputs,
        "position_ids": positions.expand(batch, length),
        **dict(zip(BOUNDARIES, values, strict=True)),
    }


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
