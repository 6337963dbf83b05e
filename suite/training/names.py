"""Names that a configuration may use. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from suite.errors import InputError


def check_names(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names that are not known, with the nearest that is.

    Raises:
        InputError: one is not.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{where}: unknown key {name!r}; {advice}")
