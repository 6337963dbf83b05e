"""Where tensors live and in which floating-point type, from what a user wrote."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from suite.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def choose_dtype(
    dtype: str, device: str, *, auto: torch.dtype | None = None, quantized: Sequence[str] = ()
) -> torch.dtype:
    """The type that a model computes in.

    Args:
        dtype: auto, float32, bfloat16, float16, or one of `quantized`.
        device: as `choose_device` returns it.
        auto: what `auto` means; bfloat16 on a GPU and float32 elsewhere where it is left out.
        quantized: names of types that weights are stored in; the model then computes in what `auto` gives.

    Raises:
        InputError: there is no such type.
    """
    if dtype == "auto" or dtype in quantized:
        return auto or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    if dtype not in DTYPES:
        *some, last = ["auto", *DTYPES, *quantized]
        raise InputError(f"dtype {dtype!r} is unknown; choose {', '.join(some)} or {last}")
    return DTYPES[dtype]
