"""What changes how one trains: Lightning's hooks and state, plus the three things that Lightning lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.errors import InputError
from suite.training.outputs import Outputs

SAMPLE_WEIGHT = "sample_weight"
"""The key under which `Procedure.loss` returns (batch,) weights instead of a term."""


class Procedure(L.Callback):
    """A change of the training procedure; implement only the hooks that the method needs.

    Everything else is Lightning's: `on_before_optimizer_step` sees gradients after unscaling, reduction and
    normalisation and before clipping; `on_train_batch_end` follows the step; `on_fit_end` finalises. State that
    decides what happens next goes through `state_dict` and `load_state_dict`, as primitives and tensors, so that a
    resumed run is equal to one that was never stopped.
    """

    def step(self, batch: Any, forward: Callable[[Any], Outputs]) -> Outputs:
        """Wrap the forward pass: `forward(batch)` may be called never, once or several times."""
        return forward(batch)

    def loss(self, outputs: Outputs, batch: Any) -> dict[str, Tensor]:
        """Extra terms by name, added to the loss and logged; `sample_weight` (batch,) multiplies the losses."""
        return {}

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put parameters in other groups, e.g. `regroup(groups, gates, lr=1e-4)`, whatever the optimiser."""
        return groups

    def optimizer(self, params: Sequence[dict[str, Any]]) -> Optimizer | None:
        """Give the optimiser for these parameter groups; only one procedure of a run may.

        An optimiser with a true attribute `zeroth_order` gets a `step(closure)` whose closure returns the loss of the
        batch without gradients, as often as it is called.
        """
        return None


def chain(procedures: Iterable[Procedure], forward: Callable[[Any], Outputs]) -> Callable[[Any], Outputs]:
    """Nest the `step` of every procedure round `forward`; the first procedure is the outermost."""
    for procedure in reversed(list(procedures)):
        forward = _wrap(procedure, forward)
    return forward


def _wrap(procedure: Procedure, forward: Callable[[Any], Outputs]) -> Callable[[Any], Outputs]:
    return lambda batch: procedure.step(batch, forward)


def total_loss(
    procedures: Iterable[Procedure], outputs: Outputs, batch: Any, brought: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with every procedure's terms and sample weights, and the terms that adapter methods have `brought`.

    Returns:
        The scalar to minimise, and the extra terms by name for the log.

    Raises:
        InputError: a procedure weighs samples and the recipe gives no per-sample losses, or two name the same term.
    """
    loss, terms = outputs.loss, dict(brought or {})
    weights: Tensor | None = None
    for procedure in procedures:
        for name, value in procedure.loss(outputs, batch).items():
            if name == SAMPLE_WEIGHT:
                weights = value if weights is None else weights * value
            elif name in terms:
                raise InputError(f"two procedures add a loss term named {name!r}; rename one")
            else:
                terms[name] = value
    if weights is not None:
        if outputs.per_sample is None:
            raise InputError("this recipe gives no per-sample losses; a procedure that weighs samples cannot train it")
        loss = _weighted(outputs, weights)
    return loss + sum(terms.values(), torch.zeros_like(loss)), terms


def _weighted(outputs: Outputs, weights: Tensor) -> Tensor:
    """The loss with (batch,) weights; with weights of one it is `outputs.loss`, to the bit."""
    if outputs.per_token is not None:
        return (outputs.per_token * weights[:, None]).sum() / outputs.units().clamp(min=1).to(outputs.per_token.dtype)
    assert outputs.per_sample is not None
    return (outputs.per_sample * weights).mean()


def regrouped(procedures: Iterable[Procedure], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parameter groups as the procedures want them, one after the other."""
    for procedure in procedures:
        # The class's: procedures older than this hook may keep something of their own under the name.
        groups = type(procedure).groups(procedure, groups)
    return groups


def regroup(
    groups: Iterable[Mapping[str, Any]], parameters: Iterable[nn.Parameter], **changes: Any
) -> list[dict[str, Any]]:
    """Some parameters in groups of their own, whose settings are those that they had but for `changes`."""
    chosen = set(parameters)
    parts = []
    for group in groups:
        own = [parameter for parameter in group["params"] if parameter in chosen]
        rest = [parameter for parameter in group["params"] if parameter not in chosen]
        parts += [{**group, "params": rest}, {**group, "params": own, **changes}]
    return [part for part in parts if part["params"]]


def owned_optimizer(procedures: Iterable[Procedure], groups: Sequence[dict[str, Any]]) -> Optimizer | None:
    """The optimiser of the one procedure that brings its own, or None.

    Raises:
        InputError: two procedures bring one.
    """
    owners = [(p, o) for p in procedures if (o := p.optimizer(groups)) is not None]
    if len(owners) > 1:
        names = " and ".join(type(procedure).__name__ for procedure, _ in owners)
        raise InputError(f"{names} both bring an optimiser; a run has one: remove a procedure")
    return owners[0][1] if owners else None
