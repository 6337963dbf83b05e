"""What Lightning gets wrong for us, mended in one place: each with the version that was seen and its report.

All of it reaches into private parts of Lightning; a new release is checked against this page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.strategies import Strategy

from suite.errors import InputError


def count_epochs(trainer: L.Trainer) -> None:
    """Let a run that ends by `max_steps` resume at an epoch's end without an extra batch.

    Lightning 2.6 takes a run with `max_steps` that was saved at an epoch's end for one inside of it (issue 19617).
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def make_loader_again(trainer: L.Trainer) -> None:
    """Have the training loader made anew, now that the checkpoint has been read.

    Lightning 2.6 gives a loader its saved position only when it makes it, and `estimated_stepping_batches` makes it
    before the checkpoint is read (issue 20550).
    """
    trainer.fit_loop._combined_loader = None


def leave_where_it_is(strategy: Strategy) -> None:
    """Keep the strategy's teardown from moving the module to the CPU.

    Lightning 2.6 does so after any error; a module in the middle of a forward under FSDP2 cannot be moved (no report).
    """
    strategy._lightning_module = None


@contextmanager
def undisguised() -> Iterator[None]:
    """Raise what ended the training, where Lightning's clean-up hides it.

    A Ctrl-C becomes `sys.exit(1)` (since pull request 19976, in Lightning 2.4); after a loader that refuses its saved
    position the clean-up fails in its turn with a RuntimeError (Lightning 2.6, not reported).
    """
    try:
        yield
    except SystemExit as left:
        if isinstance(left.__context__, KeyboardInterrupt):
            raise left.__context__ from None
        raise
    except RuntimeError as error:
        if isinstance(error.__context__, InputError):
            raise error.__context__ from None
        raise
