"""`--strict-base`, for every verb that puts an adapter on a base. Imports torch only where it is given."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

STRICT_HELP = "refuse a base with other weights than the adapter was trained on, e.g. a fine-tune of it"


def strict_bases(on: bool) -> AbstractContextManager[None]:
    """Inside the block no adapter is put on other weights than it was trained on, if `on`."""
    if not on:
        return nullcontext()
    from suite import adapters

    return adapters.strict_bases()
