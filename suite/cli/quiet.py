"""Commands show what the suite has to say: the libraries' advice to their own users stays out, errors come through.

It is for commands alone; who imports `suite` logs and warns as they please. Nothing is kept back that was asked for:
`python -W`, PYTHONWARNINGS and the libraries' own variables (TRANSFORMERS_VERBOSITY=warning, ...) win.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAMES = """
    accelerate bitsandbytes diffusers fsspec huggingface_hub jsonargparse lightning
    lightning_utilities matplotlib open3d peft pooch safetensors tensorboard timm tokenizers torch
    torchdata torchmetrics torchvision transformers urllib3
"""
LIBRARIES = frozenset(_NAMES.split())
# torch warns of these from C++, on the account of whoever called: here often us.
_FROM_BELOW = ("cuDNN SDPA is not deterministic", "does not have a deterministic implementation")
# Read when the libraries are imported, which then set the level of their loggers whatever it was.
_VERBOSITY = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
}
_BARS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep other libraries' warnings, advice and, where nobody watches, progress bars out of both streams."""
    for name, value in (_VERBOSITY if sys.stderr.isatty() else _VERBOSITY | _BARS).items():
        os.environ.setdefault(name, value)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    shown = warnings.formatwarning
    if not sys.warnoptions:
        warnings.formatwarning = _shown
    try:
        yield
    finally:
        warnings.formatwarning = shown
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shown(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning as one line; nothing, if it is a library's."""
    text = " ".join(str(message).split())
    sources = {category.__module__.partition(".")[0], _package(filename)}
    if sources & LIBRARIES or any(part in text for part in _FROM_BELOW):
        return ""
    return f"warning: {text}\n"


def _package(filename: str) -> str:
    """The package of an installed file: the folder or module right below `site-packages`."""
    parts = Path(filename).parts
    folders = [place for place, part in enumerate(parts) if part in ("site-packages", "dist-packages")]
    return Path(parts[folders[-1] + 1]).stem if folders else ""
