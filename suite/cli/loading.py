"""Loading the libraries of a short command in less time than they take as they are."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def loading() -> Iterator[None]:
    """Around what imports torch first: nothing is collected meanwhile.

    torch, transformers, peft and Lightning make millions of objects that live as long as the process. The collector
    would walk all of them again and again while they are imported, a fifth of the time that it takes. In a process
    that has torch already (a notebook, a test) this does nothing.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Around imports in a process that ends with its command: packages that the imported ones use where they find them.

    Inside the block they are taken for not installed, and who looked for them then never uses them. In a process that
    has torch already this does nothing.
    """
    hidden = [] if "torch" in sys.modules else [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = cast(ModuleType, None)  # for `import` and for `find_spec`: there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
