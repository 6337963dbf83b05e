"""Procedures that the adapter methods of a recipe declare: they come along with the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite import adapters
from suite.training import procedures
from suite.training.procedure import Procedure
from suite.training.randomness import BatchSeeds

if TYPE_CHECKING:
    from suite.training.module import AdapterModule


def bring_procedures(recipe: AdapterModule) -> None:
    """Give a recipe whose model was just built the procedures that it needs and the run does not have.

    Raises:
        InputError: a declared procedure cannot be built.
    """
    trainer = getattr(recipe, "_trainer", None)
    for procedure in procedures.build([{"name": name} for name in adapters.procedures(recipe.model)]):
        if any(isinstance(given, type(procedure)) for given in recipe.procedures):
            continue
        recipe.procedures = (*recipe.procedures, procedure)
        if trainer is not None:  # it has met the other callbacks already
            before = [isinstance(other, Procedure | BatchSeeds) or other is recipe.mean for other in trainer.callbacks]
            place = 1 + max((number for number, found in enumerate(before) if found), default=-1)
            trainer.callbacks.insert(place, procedure)
            procedure.setup(trainer, recipe, str(trainer.state.fn))
