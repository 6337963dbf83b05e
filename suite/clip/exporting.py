"""Towers for programs without us: TorchScript and ONNX files, each run and compared with the model before it stays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite.errors import InputError
from suite.files import atomic_file

Format = Literal["torchscript", "onnx"]
SUFFIXES = {"torchscript": ".pt", "onnx": ".onnx"}
LARGEST_DIFFERENCE = 1e-4
"""Of an export from the model, relative to its largest value: float32 with other kernels."""


class ImageTower(nn.Module):
    """Normalised pictures (batch, 3, side, side) to vectors (batch, dim) in the common space."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(pixel_values=pixels).pooler_output)


class TextTower(nn.Module):
    """Token ids (batch, length) to vectors (batch, dim) in the common space."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.text_model, self.text_projection = model.text_model, model.text_projection

    def forward(self, tokens: Tensor) -> Tensor:
        return self.text_projection(self.text_model(input_ids=tokens).pooler_output)


def export(model: nn.Module, example: Tensor, path: str | Path, format: Format) -> float:
    """Write a module of one input and one output, both with a free first dimension, all or nothing.

    Args:
        model: on the CPU; it is in eval mode while it is exported.
        example: an input. The file is checked on batches of other sizes.

    Returns:
        The largest difference of the file's answers from the model's, relative to the model's largest value.

    Raises:
        InputError: ONNX is asked for and not installed.
        RuntimeError: the file answers something else than the model; nothing is written.
    """
    if format not in SUFFIXES:
        raise InputError(f"format {format!r} is unknown; choose {' or '.join(SUFFIXES)}")
    mode = model.training
    model.eval()
    write, load = (_write_torchscript, _load_torchscript) if format == "torchscript" else (_write_onnx, _load_onnx)
    try:
        # Two of them: a dimension of 1 is taken for one that never changes.
        two = _batch(example, 2)
        with torch.no_grad(), atomic_file(path) as temporary:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what depends on the size of a picture is fixed on purpose
                write(model, two, temporary)
            difference = max(_difference(model, load(temporary), _batch(example, size)) for size in (1, 3))
            if not difference <= LARGEST_DIFFERENCE:
                raise RuntimeError(f"{path}: the exported model differs from the model by {difference:.2g}")
    finally:
        model.train(mode)
    return difference


def _batch(example: Tensor, size: int) -> Tensor:
    """`size` inputs made of the example's, each another: pictures shift, texts repeat."""
    repeated = example[torch.arange(size) % len(example)]
    if not example.is_floating_point():
        return repeated
    return repeated + 0.1 * torch.arange(size).view(-1, *[1] * (example.dim() - 1))


def _difference(model: nn.Module, exported: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    expected, found = model(inputs), exported(inputs)
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12)).item()


def _write_torchscript(model: nn.Module, example: Tensor, path: Path) -> None:
    # Traced, not compiled: the model's code is transformers', which TorchScript's language has no words for.
    torch.jit.save(torch.jit.trace(model, example, check_trace=False), str(path))


def _load_torchscript(path: Path) -> Any:
    return torch.jit.load(str(path))


def check_packages(otherwise: str = ", or take torchscript") -> None:
    """Refuse to write ONNX without its packages.

    Args:
        otherwise: what else can be done.

    Raises:
        InputError: one is not installed.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"ONNX needs more packages; pip install 'peft-suite[onnx]'{otherwise}") from error


def _write_onnx(model: nn.Module, example: Tensor, path: Path) -> None:
    check_packages()
    torch.onnx.export(
        model,
        (example,),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )


def _load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0])
