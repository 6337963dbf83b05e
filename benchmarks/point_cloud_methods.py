"""Every method of the point-cloud comparison on the embedded default, over seeds: accuracy, parameters, time.

    python -m benchmarks.point_cloud_methods [--seeds 0 1 2] [--methods pointgst linear ...] [--runs FOLDER] [--save]

Each trains by `configs/point_cloud/tiny.yaml` with its own settings below, selects its epoch on validation shapes and
is scored on test shapes, which nothing else sees.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from domains.point_cloud.model import bases
from domains.point_cloud.model.attachments import count_trained
from suite import hub, training
from suite.hub import paths
from suite.training import ExperimentConfig
from suite.training.drivers.comparison import Comparison, Member

RESULTS = Path(__file__).parent / "results"
FILE = "point_cloud_methods.json"
TEST = "shapes:test:400"
SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "bitfit": {},
    "visual_prompt": {"tokens": 10},
    "lora": {"r": 8},
    "bottleneck": {"bottleneck_size": 16},
    "dapt": {"rank": 16},
    "pointgst": {"rank": 36, "local": 16, "orientation": "gft"},
    "point_peft": {"prompted": 3},
    "full": {},
}
RATES = {"full": 1e-3, "point_peft": 3e-3}
"""Learning rates that differ from the configuration's, chosen on validation shapes."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One method over seeds: test accuracy of each, trainable parameters, CPU seconds of one training."""

    method: str
    accuracy: tuple[float, ...]
    trainable: int
    total: int
    seconds: float

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracy)

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds, 0 of one."""
        return statistics.stdev(self.accuracy) if len(self.accuracy) > 1 else 0.0


def experiment(method: str, seed: int, base: str = "tiny") -> ExperimentConfig:
    """The tiny configuration with a method's own settings."""
    config = training.load_config(paths.assets() / "configs" / "point_cloud" / "tiny.yaml")
    recipe = {**config.recipe, "adapter": {"preset": method, **SETTINGS[method]}}
    trainer = dataclasses.replace(config.trainer, lr=RATES.get(method, config.trainer.lr))
    return dataclasses.replace(config, base=base, seed=seed, recipe=recipe, trainer=trainer)


def tested(member: Member) -> dict[str, float]:
    """Accuracy on the test shapes."""
    config = dataclasses.replace(member.config, data={**member.config.data, "val": TEST})
    return {"accuracy": training.evaluate(config, member.adapter)["val/accuracy"]}


def outcome(method: str, seeds: Sequence[int], base: str = "tiny", runs: Path | None = None) -> Outcome:
    """Train and score one method; runs that are finished in the folder `runs` are not trained again."""
    with nullcontext(runs) if runs else tempfile.TemporaryDirectory() as folder:
        compared = Comparison([method], seeds, partial(experiment, base=base), folder)
        members = compared.train()
        scores = [tested(members[method, seed])["accuracy"] for seed in seeds]
    architecture = bases.read_architecture(hub.resolve(base, "point_cloud", kind="base"))
    counted = count_trained(method, architecture, **SETTINGS[method])
    seconds = statistics.mean(member.cpu_seconds for member in members.values())
    return Outcome(method, tuple(scores), counted.trainable, counted.total, seconds)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table in Markdown."""
    lines = ["| method | trainable | test accuracy, mean ± std | lowest | CPU seconds |", "|---|---|---|---|---|"]
    lines += [
        f"| `{o.method}` | {o.trainable:,} | {100 * o.mean:.1f} ± {100 * o.spread:.1f} % "
        f"| {100 * min(o.accuracy):.1f} % | {o.seconds:.0f} |"
        for o in outcomes
    ]
    return "\n".join(lines)


def keep(found: Outcome) -> None:
    """Put one method's figures into the kept ones; those of other methods stay."""
    RESULTS.mkdir(exist_ok=True)
    others = [other for other in kept() if other.method != found.method]
    ordered = sorted([*others, found], key=lambda one: list(SETTINGS).index(one.method))
    text = json.dumps([dataclasses.asdict(one) for one in ordered], indent=2)
    (RESULTS / FILE).write_text(text + "\n", encoding="utf-8")


def kept() -> list[Outcome]:
    """The kept figures."""
    file = RESULTS / FILE
    records = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return [Outcome(**{**record, "accuracy": tuple(record["accuracy"])}) for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--base", default="tiny", help="reference of the base")
    parser.add_argument("--runs", type=Path, help="folder for the runs; finished ones there are not trained again")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args()
    outcomes = []
    for method in options.methods:
        outcomes.append(outcome(method, options.seeds, options.base, options.runs))
        print(outcomes[-1], flush=True)
        if options.save:
            keep(outcomes[-1])
    print(table(kept() if options.save else outcomes))


if __name__ == "__main__":
    main()
