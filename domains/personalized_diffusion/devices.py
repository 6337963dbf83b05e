"""Where drawing and measuring run, and in which floating-point type."""

from __future__ import annotations

import torch

from suite.errors import InputError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> str:
    """`auto` is a GPU where there is one.

    Raises:
        InputError: it is no device, or not one of this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device}: no GPU that torch can use here; use --device cpu")
    try:
        return str(torch.device(device))
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; choose auto, cpu, cuda or cuda:N") from None


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 elsewhere.

    Raises:
        InputError: it is no such type.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if dtype not in _DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; choose auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
