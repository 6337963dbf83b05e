"""The verb `export`: one step of a tracker as a file for programs without us, run and compared before it stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 2e-2}
"""Of the file's answers from the model's, relative to the largest of them."""


def export(
    out: Path,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    format: Literal["torchscript", "onnx"] = "onnx",
    dtype: Literal["float32", "float16"] = "float32",
) -> dict[str, Any]:
    """Write one step of a tracker: templates, masks, search crop and state in; scores, boxes and state out.

    The number of objects is free. How frames become crops and scores become boxes is not part of the file; `--exported`
    of `suite tracking predict`, and `Tracker.from_pretrained(exported=...)`, track with it.

    Args:
        out: folder of the file and of `tracker.json`, which says what goes in and comes out.
        adapter: reference of the adapter. base: of the base; the one that the adapter names where it is left out.
        format: onnx or torchscript.
        dtype: float32, or float16 for the blocks; the head stays in float32.

    Raises:
        InputError: adapter or base does not exist, or ONNX is not installed.
    """
    import torch

    from domains.tracking.inference import exported
    from domains.tracking.inference.loaded import LoadedTracker
    from suite import adapters
    from suite.files import atomic_folder, write_text

    model = LoadedTracker.from_pretrained(adapter, base, "cpu", dtype).model
    if not adapters.layers(model, "tmoe") and adapters.layers(model):
        adapters.merge(model)
    step = exported.ExportableStep(model).eval()
    made = [exported.example(model.settings, model.sizes.width, batch, batch) for batch in (2, 1, 3)]
    with atomic_folder(out) as temporary, torch.no_grad():
        file = temporary / exported.NAMES[format]
        inputs, outputs = exported.names_of(model.settings)
        # Two objects: a dimension of 1 is taken for one that never changes.
        (_write_torchscript if format == "torchscript" else _write_onnx)(step, made[0], file, inputs, outputs)
        run = exported.opened(file, inputs)
        difference = max(_difference(step(*given), run(given)) for given in made[1:])
        if not difference <= LARGEST_DIFFERENCE[dtype]:
            raise RuntimeError(f"{out}: the exported step differs from the model by {difference:.2g}")
        write_text(temporary / exported.ABOUT, exported.about(model, format))
    files = sorted(str(path) for path in out.iterdir())
    return {
        "files": files,
        "difference": difference,
        "message": "\n".join([*files, f"differs from the model by {difference:.1e}"]),
    }


def _difference(expected: tuple[Tensor, ...], found: list[Tensor]) -> float:
    pairs = zip(expected, found, strict=True)
    return max(float((two - one).abs().max() / one.abs().max().clamp_min(1e-12)) for one, two in pairs)


def _write_torchscript(step: nn.Module, made: list[Tensor], file: Path, inputs: list[str], outputs: list[str]) -> None:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what depends on the size of a crop is fixed on purpose
        torch.jit.save(torch.jit.trace(step, tuple(made), check_trace=False), str(file))


def _write_onnx(step: nn.Module, made: list[Tensor], file: Path, inputs: list[str], outputs: list[str]) -> None:
    import warnings

    import torch

    from suite.errors import InputError

    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError("ONNX needs more packages; pip install 'peft-suite[onnx]', or take torchscript") from error
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            step,
            tuple(made),
            str(file),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=(tuple({0: batch} for _ in made),),
            external_data=False,
            verbose=False,
        )
