"""What transformers' `from_pretrained` lacks for a command: quiet bars, and models from an `architecture:` block."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.utils import logging

from suite.domain import load
from suite.errors import InputError, first_line


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Make a base from an `architecture:` block, on the device that is current (`meta`: no memory).

    Args:
        architecture: `class`, an import string `package.module:Name`; `config`, the keywords of its configuration.

    Raises:
        InputError: the block does not name a class, or the class does not take the configuration.
    """
    if "class" not in architecture:
        raise InputError("architecture: no `class`; write e.g. class: transformers:MistralForCausalLM")
    try:
        kind = load(architecture["class"])
        settings = dict(architecture.get("config") or {})
        configuration = getattr(kind, "config_class", None)
        return kind(configuration(**settings)) if configuration else kind(**settings)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise InputError(f"architecture: {architecture['class']} cannot be built ({first_line(error)})") from error


@contextmanager
def bars_for_people() -> Iterator[None]:
    """Keep transformers' progress bars out of logs and pipes: a mistake there is one line."""
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextmanager
def own_words() -> Iterator[None]:
    """Keep transformers' reports of keys out of the way of a caller that checks them itself."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with bars_for_people():
            yield
    finally:
        logging.set_verbosity(level)
