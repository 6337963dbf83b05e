"""Several methods under one budget and over several seeds: trained once, scored, and put beside each other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from safetensors import safe_open

from suite.errors import InputError
from suite.training.config import ExperimentConfig
from suite.training.experiment import run
from suite.training.folder import RunFolder

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Member:
    """One method with one seed, trained.

    Attributes:
        method, seed, config: what was trained.
        adapter: its folder.
        seconds: that the training took. cpu_seconds: that this process computed meanwhile.
    """

    method: str
    seed: int
    config: ExperimentConfig
    adapter: Path
    seconds: float
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class MethodRow:
    """One method over its seeds.

    Attributes:
        parameters: numbers in the adapter's files. bytes: of these files.
        seconds: of training, mean over seeds. cpu_seconds: the same of computing.
        metrics: means over seeds. spread: their sample standard deviations, where there are several seeds.
        lowest: the smallest over seeds.
    """

    method: str
    seeds: tuple[int, ...]
    parameters: int
    bytes: int
    seconds: float
    metrics: Metrics
    spread: Metrics
    lowest: Metrics
    cpu_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return asdict(self)


class Comparison:
    """Methods x seeds. What `folder` holds already, finished, is not trained again; what was interrupted goes on.

    Args:
        methods: in the order of the table.
        seeds: of training.
        config: the experiment of a method and a seed; all are made before the first training, which may take hours.
        folder: for the runs, `<method>-<seed>`.

    Raises:
        InputError: there is no method or no seed, one is named twice, or a configuration is wrong.
    """

    def __init__(
        self,
        methods: Sequence[str],
        seeds: Sequence[int],
        config: Callable[[str, int], ExperimentConfig],
        folder: str | Path,
    ) -> None:
        if not methods or not seeds:
            raise InputError("name at least one method and one seed")
        if len(set(methods)) < len(methods) or len(set(seeds)) < len(seeds):
            raise InputError("name each method and each seed once")
        self.methods, self.seeds, self.folder = tuple(methods), tuple(seeds), Path(folder)
        self.planned = {(method, seed): config(method, seed) for method in methods for seed in seeds}

    def train(self) -> dict[tuple[str, int], Member]:
        """Every member in turn, by method and seed."""
        return {key: self.member(*key) for key in self.planned}

    def member(self, method: str, seed: int) -> Member:
        """One member; a finished run is taken as it is."""
        config, home = self.planned[method, seed], RunFolder(self.folder / f"{method}-{seed}")
        if not home.finished:
            before, wall, cpu = home.state(), time.perf_counter(), time.process_time()
            run(config, run_dir=home.path, resume=home.path if before else None)
            home.mark("finished", seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)
        state = home.state()
        seconds, cpu_seconds = (float(state.get(name, 0.0)) for name in ("seconds", "cpu_seconds"))
        return Member(method, seed, config, home.adapter.resolve(), seconds, cpu_seconds)

    def rows(
        self, members: Mapping[tuple[str, int], Member], scored: Mapping[tuple[str, int], Metrics]
    ) -> list[MethodRow]:
        """The table: one row a method."""
        return [row([(members[m, s], scored[m, s]) for s in self.seeds]) for m in self.methods]


def row(scored: Sequence[tuple[Member, Metrics]]) -> MethodRow:
    """One method's members and their figures over the seeds."""
    members, figures = zip(*scored, strict=True)
    values = {name: [found[name] for found in figures] for name in figures[0]}
    parameters, size = weigh(members[0].adapter)
    return MethodRow(
        members[0].method,
        tuple(member.seed for member in members),
        parameters,
        size,
        mean(member.seconds for member in members),
        {name: mean(found) for name, found in values.items()},
        {name: stdev(found) for name, found in values.items()} if len(members) > 1 else {},
        {name: min(found) for name, found in values.items()},
        mean(member.cpu_seconds for member in members),
    )


def weigh(adapter: Path) -> tuple[int, int]:
    """Numbers in an adapter's tensors, and bytes of their files."""
    numbers, size = 0, 0
    for file in sorted(adapter.rglob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, "pt") as tensors:
            numbers += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return numbers, size
