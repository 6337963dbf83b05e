"""What a claim is: figures, what they are held against, how long they take and what they need."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0, "L40S": 362.0, "4090": 165.0}
"""Dense bf16 peaks from the vendor's data sheets, by a part of the device's name (SXM boards)."""


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        smoke: tiny shapes on the CPU: the code runs, the figures mean nothing.
        peak_tflops: dense bf16 peak of the device; None where it is not known.
    """

    smoke: bool = False
    peak_tflops: float | None = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.smoke else "cuda")


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name: what was measured, below its claim.
        value: the number, in `unit`.
        goal: what it is held against; None where it is only told.
        sense: on which side of the goal it must be.
        note: what else belongs to it, for the table.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.sense == "at least" else self.value <= self.goal


@dataclass(frozen=True)
class Claim:
    """One thing to measure.

    Attributes:
        name: as the command takes it.
        title: for people.
        seconds: how long it takes on an H100; it is left out where less time is left.
        measure: gives figures as they come.
        needs: packages beyond torch, transformers and what the suite itself needs.
    """

    name: str
    title: str
    seconds: float
    measure: Callable[[Setting], Iterator[Figure]]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Packages that are not installed here."""
        return [package for package in self.needs if find_spec(package) is None]


def device_peak(name: str) -> float | None:
    """Dense bf16 TFLOP/s of a GPU, None when it is not in the table."""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


def now() -> float:
    """Seconds, once the device has done what was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def clear_memory() -> None:
    """Give back what earlier measurements held, compiled code with it, and begin a new count."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gigabytes() -> float:
    """The most memory that tensors took since `clear_memory`; 0 without a GPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
