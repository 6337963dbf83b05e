"""What trains on the embedded default of deepfake detection, over seeds: video AUROC on seen and unseen forgeries.

    python -m benchmarks.deepfake_methods [--clips 208 880] [--seeds 42 43 44] [--methods clip-ln linear full ...]
                                          [--runs FOLDER] [--train-only] [--save]

Each trains by `configs/deepfake/tiny.yaml` on so many made clips, half of them forged, and keeps the weights that are
best on validation clips of the families that train. It is scored on `faces:test` (the same families, other people) and
`faces:unseen` (families that no training and no choice has seen). Few means 208 clips by `faces:choosing`, whose
families are neither trained on nor tested.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._measured import keep_outcome, kept_outcomes, takes_runs
from domains.deepfake.tiny.rebuild import measure
from suite import training
from suite.hub import paths
from suite.training import ExperimentConfig
from suite.training.drivers.comparison import Comparison, Member, weigh

FILE = Path(__file__).parent / "results" / "deepfake_methods.json"
TEST, UNSEEN = "faces:test:160", "faces:unseen:160"
FEW, MANY = 208, 880

METHODS = ("clip-ln", "linear", "full", "lora", "clip-ln-slerp", "clip-ln-unal")
HEADS = {"clip-ln-slerp": "LinearNorm", "clip-ln-unal": "LinearNorm"}
RATES = {("full", FEW): 1e-4, ("full", MANY): 3e-4, ("lora", FEW): 3e-3, ("lora", MANY): 3e-3}
"""Of learning by method and clips, where they differ from the configuration's: set by hand, not searched."""
EPOCHS = {FEW: 20, MANY: 10}
"""260 and 550 steps."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One method on so many clips over seeds: AUROC of videos by seed, and of each unseen family, mean over seeds."""

    method: str
    clips: int
    rate: float
    trained: int
    test: tuple[float, ...]
    unseen: tuple[float, ...]
    families: dict[str, float]
    cpu_seconds: float

    @property
    def key(self) -> tuple[int, int]:
        return self.clips, METHODS.index(self.method)


def experiment(method: str, seed: int, clips: int) -> ExperimentConfig:
    """The tiny configuration with a method's own settings."""
    config = training.load_config(paths.assets() / "configs" / "deepfake" / "tiny.yaml")
    recipe = {**config.recipe, "adapter": {"preset": method}, "head": HEADS.get(method, config.recipe["head"])}
    trainer: dict[str, Any] = {"lr": RATES.get((method, clips), config.trainer.lr), "max_epochs": EPOCHS[clips]}
    trainer["val_every"] = 2.0 if clips == FEW else 1.0
    return dataclasses.replace(
        config,
        seed=seed,
        recipe=recipe,
        data={**config.data, "train": f"faces:train:{clips}"},
        trainer=dataclasses.replace(config.trainer, **trainer),
    )


def outcome(method: str, clips: int, members: Sequence[Member]) -> Outcome:
    """Score the adapters of one method over the seeds."""
    test, unseen = ([measure(str(m.adapter), "tiny", source) for m in members] for source in (TEST, UNSEEN))
    families = {name: statistics.mean(one["families"][name] for one in unseen) for name in unseen[0]["families"]}
    return Outcome(
        method,
        clips,
        members[0].config.trainer.lr,
        weigh(members[0].adapter)[0],
        tuple(round(one["auroc"], 4) for one in test),
        tuple(round(one["auroc"], 4) for one in unseen),
        {name: round(value, 3) for name, value in families.items()},
        round(statistics.mean(member.cpu_seconds for member in members), 1),
    )


def trained(methods: Sequence[str], seeds: Sequence[int], clips: int, folder: Path) -> dict[str, list[Member]]:
    """Members by method, over the seeds; by seed first, so that what is stopped on the way holds every method alike."""
    compared = Comparison(methods, seeds, partial(experiment, clips=clips), folder)
    found: dict[str, list[Member]] = {method: [] for method in methods}
    for seed in seeds:
        for method in methods:
            found[method].append(compared.member(method, seed))
    return found


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table in Markdown."""
    lines = ["| clips | what trains | numbers | test | unseen | unseen, each family |", "|---|---|---|---|---|---|"]
    for one in outcomes:
        seeds = (", ".join(f"{value:.3f}" for value in values) for values in (one.test, one.unseen))
        families = ", ".join(f"{name} {value:.2f}" for name, value in one.families.items())
        lines.append(f"| {one.clips} | `{one.method}` | {one.trained:,} | {' | '.join(seeds)} | {families} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[FEW], choices=[FEW, MANY])
    takes_runs(parser)
    parser.add_argument("--methods", nargs="+", default=["clip-ln", "linear", "full"], choices=METHODS)
    given = parser.parse_args()
    outcomes = []
    with nullcontext(given.runs) if given.runs else tempfile.TemporaryDirectory() as folder:
        for clips in given.clips:
            members = trained(given.methods, given.seeds, clips, Path(folder) / str(clips))
            for method in [] if given.train_only else given.methods:
                found = outcome(method, clips, members[method])
                outcomes.append(found)
                print(found, flush=True)
                if given.save:
                    keep_outcome(FILE, found)
    print(table(kept_outcomes(FILE, Outcome) if given.save else outcomes))


if __name__ == "__main__":
    main()
