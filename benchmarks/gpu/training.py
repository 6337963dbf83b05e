"""Claims about training: against peft + Trainer, each part's share, in four bits, and what determinism costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.gpu.claim import Figure, Setting
from benchmarks.gpu.llama import flop_per_token, shape_of
from benchmarks.gpu.trainers import Measured, Parts, ours, peft_and_transformers, unsloth

NONE = Parts(varlen=False, chunks=False, fused=False, cast_once=False, blocks=False)
STEPS = (
    ("suite without any of it: masks, autocast", {}),
    ("+ varlen attention", {"varlen": True}),
    ("+ loss in chunks", {"chunks": True}),
    ("+ fused LoRA", {"fused": True}),
    ("+ adapters cast once a step", {"cast_once": True}),
    ("+ blocks compiled", {"blocks": True}),
)
"""What is switched on, one after the other."""


def bf16(setting: Setting) -> Iterator[Figure]:
    """peft + Trainer, then the suite with everything: speed, MFU, memory."""
    shape = shape_of(setting)
    theirs = peft_and_transformers(shape, setting.device)
    yield speed("peft + transformers Trainer", setting, theirs)
    here = ours(shape, setting.device)
    yield speed("suite", setting, here)
    yield Figure("suite / peft + Trainer", theirs.seconds / here.seconds, "x", 1.7)
    if setting.peak_tflops:
        yield Figure("MFU", 100 * _mfu(setting, here), "%", 45.0)
    if theirs.gigabytes:
        yield Figure("memory / peft + Trainer", here.gigabytes / theirs.gigabytes, "x", 0.72, "at most")


def parts(setting: Setting) -> Iterator[Figure]:
    """The suite's parts switched on one after the other."""
    chosen = NONE
    for name, change in STEPS:
        chosen = replace(chosen, **change)
        yield speed(name, setting, ours(shape_of(setting), setting.device, chosen))


def nf4(setting: Setting) -> Iterator[Figure]:
    """The same pair on a base in four bits."""
    shape = shape_of(setting)
    theirs = peft_and_transformers(shape, setting.device, four_bit=True)
    yield speed("peft + transformers Trainer, NF4", setting, theirs)
    here = ours(shape, setting.device, four_bit=True)
    yield speed("suite, NF4", setting, here)
    yield Figure("suite / peft + Trainer, NF4", theirs.seconds / here.seconds, "x", 1.5)


def determinism(setting: Setting) -> Iterator[Figure]:
    """Deterministic kernels against the fastest, blocks not compiled in either."""
    shape, parts = shape_of(setting), Parts(blocks=False)
    fastest = ours(shape, setting.device, parts)
    repeatable = ours(shape, setting.device, replace(parts, deterministic=True))
    yield speed("deterministic kernels", setting, repeatable)
    yield Figure("deterministic / fastest, seconds", repeatable.seconds / fastest.seconds, "x")


def against_unsloth(setting: Setting) -> Iterator[Figure]:
    """Unsloth's model under transformers' Trainer; last, since it patches transformers."""
    here = ours(shape_of(setting), setting.device)
    theirs = unsloth(shape_of(setting), setting.device)
    yield speed("Unsloth + transformers Trainer", setting, theirs)
    yield Figure("suite / Unsloth", theirs.seconds / here.seconds, "x")


def speed(name: str, setting: Setting, measured: Measured) -> Figure:
    """Tokens a second, with the rest in the note."""
    shape = shape_of(setting)
    notes = [f"{measured.seconds / shape.steps:.3f} s/step"]
    if setting.peak_tflops:
        notes.append(f"MFU {_mfu(setting, measured):.1%}")
    if measured.gigabytes:
        notes.append(f"{measured.gigabytes:.1f} GB")
    notes.append(f"{measured.before:.0f} s to the end of warm-up")
    return Figure(name, shape.tokens / measured.seconds, "tokens/s", note=", ".join(notes))


def _mfu(setting: Setting, measured: Measured) -> float:
    assert setting.peak_tflops is not None
    shape = shape_of(setting)
    return shape.tokens / measured.seconds * flop_per_token(shape) / (setting.peak_tflops * 1e12)
