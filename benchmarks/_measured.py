"""What benchmarks of single layers share: steps in interleaved rounds, ratios with targets, and the file of figures."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import nn

RESULTS = Path(__file__).parent / "results"
WIDTH = 1280
TOKENS = (2, 1024)


class Target(NamedTuple):
    """How the times of two candidates are to compare."""

    above: str
    below: str
    bound: float
    at_most: bool = True


def step_of(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], None]:
    """One training step: forward and backward."""
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]

    def step() -> None:
        layer(x).backward(gradient)
        x.grad = None
        for parameter in trained:
            parameter.grad = None

    return step


def rounds_of_steps(layers: Mapping[str, nn.Module], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of a training step of every layer, from WIDTH features to WIDTH, in every round."""
    torch.manual_seed(1)
    x = torch.randn(*TOKENS, WIDTH, requires_grad=True)
    gradient = torch.randn(*TOKENS, WIDTH)
    return rounds({name: step_of(layer, x, gradient) for name, layer in layers.items()}, repeats)


def rounds(steps: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of every step in every round, after one round to warm up; every other round is in reverse."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name in reversed(steps) if number % 2 else steps:
            start = time.process_time()
            steps[name]()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def compared(seconds: Mapping[str, Sequence[float]], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Print and return the ratios of times beside their targets."""
    return [
        verdict(f"{above} / {below}", ratio_of(seconds, above, below), bound, at_most)
        for above, below, bound, at_most in targets
    ]


def ratio_of(seconds: Mapping[str, Sequence[float]], above: str, below: str) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def verdict(name: str, ratio: float, bound: float, at_most: bool = True) -> dict[str, Any]:
    """Print one ratio beside its target; return both."""
    met, sign = (ratio <= bound, "<=") if at_most else (ratio >= bound, ">=")
    print(f"{name}: {ratio:.3f} (target {sign} {bound}) {'met' if met else 'MISSED'}")
    return {"ratio": name, "value": ratio, "target": f"{sign} {bound}", "met": met}


def kept_bytes(module: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of the tensors that `run` keeps for its backward, its module's own left out, each once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # freed memory would be given out, and counted, again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def keep(name: str, repeats: int, seconds: Mapping[str, Sequence[float]], **figures: Any) -> None:
    """Write the medians of `seconds` and further figures to `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    report = {
        "threads": 1,
        "repeats": repeats,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "median_seconds": {candidate: statistics.median(values) for candidate, values in seconds.items()},
        **figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def takes_runs(parser: argparse.ArgumentParser) -> None:
    """The options of benchmarks that train over seeds and keep their outcomes."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--runs", type=Path, help="folder for the runs; finished ones there are not trained again")
    parser.add_argument("--train-only", action="store_true", help="leave the scoring to a later call")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results")


class Outcome(Protocol):
    """A flat dataclass with the figures of one model; its key tells it from others and says where it stands."""

    @property
    def key(self) -> Any: ...


Kind = TypeVar("Kind", bound=Outcome)


def keep_outcome(file: Path, found: Outcome) -> None:
    """Put one outcome into the kept ones; the others stay."""
    others = [one for one in kept_outcomes(file, type(found)) if one.key != found.key]
    records = [asdict(cast(Any, one)) for one in sorted([*others, found], key=lambda one: one.key)]
    file.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")


def kept_outcomes(file: Path, kind: type[Kind]) -> list[Kind]:
    """The outcomes that `keep_outcome` kept; lists are tuples again."""
    records = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return [
        kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})
        for record in records
    ]
