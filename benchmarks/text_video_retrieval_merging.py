"""What merging costs and what the order of events is worth, over seeds, on retrieval's embedded default.

    python -m benchmarks.text_video_retrieval_merging [--models TempMe "frame by frame" ...] [--seeds 42 43 44]
                                                      [--runs FOLDER] [--train-only] [--save]

Each trains by `configs/text_video_retrieval/tiny.yaml` with another schedule of merging and keeps the weights that are
best on validation clips; all are scored on the same test clips. `frame by frame` is the LoRA alone, on plain CLIP, to
which a video is a bag of pictures. `hardly merged` joins clips and places them in time as TempMe does, but merges the
three tokens without which the published rule adds no positions: what it reaches beyond TempMe is what merging costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks._measured import keep_outcome, kept_outcomes, takes_runs
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.tiny.rebuild import TEST, measure
from suite import training
from suite.hub import paths
from suite.training import ExperimentConfig
from suite.training.drivers.comparison import Comparison, Member, weigh

FILE = Path(__file__).parent / "results" / "text_video_retrieval_merging.json"

MODELS: Mapping[str, Mapping[str, Any]] = {
    "TempMe": {},
    "frame by frame": {"preset": "image"},
    "hardly merged": {"tome_r": 0, "merge_token_proportion": [1, 0]},
}
"""What each changes in the configuration's schedule."""
FROZEN = "frozen base"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One model over seeds: recall at 1 and the sum of recalls from text to video, and the order of events, percent."""

    model: str
    numbers: int
    tokens: int
    recall: tuple[float, ...]
    back: tuple[float, ...]
    total: tuple[float, ...]
    order: tuple[float, ...]

    @property
    def key(self) -> int:
        return [FROZEN, *MODELS].index(self.model)


def experiment(model: str, seed: int) -> ExperimentConfig:
    """The tiny configuration with a model's own schedule."""
    config = training.load_config(paths.assets() / "configs" / "text_video_retrieval" / "tiny.yaml")
    change = MODELS[model]
    schedule = dict(change) if "preset" in change else {**config.recipe["schedule"], **change}
    return dataclasses.replace(config, seed=seed, recipe={**config.recipe, "schedule": schedule})


def outcome(model: str, members: Sequence[Member]) -> Outcome:
    """Score the adapters of one model over the seeds; of the frozen base there is one."""
    frozen = model == FROZEN
    scored = [measure(str(member.adapter), "tiny", TEST, frozen=frozen) for member in members[: 1 if frozen else None]]
    encoder = Encoder.from_pretrained(str(members[0].adapter), "tiny")
    ways = [one["text_to_video"] for one in scored]
    return Outcome(
        model,
        0 if frozen else weigh(members[0].adapter)[0],
        (encoder.bare() if frozen else encoder).tokens,
        tuple(round(way["R@1"], 2) for way in ways),
        tuple(round(one["video_to_text"]["R@1"], 2) for one in scored),
        tuple(round(way["R-Sum"], 2) for way in ways),
        tuple(round(one["order_of_events"], 2) for one in scored),
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table in Markdown."""
    lines = [
        "| model | numbers | tokens | R@1 | R@1 of texts | R-Sum | order of events |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        cells = (", ".join(f"{value:.1f}" for value in row) for row in (one.recall, one.back, one.total, one.order))
        lines.append(f"| {one.model} | {one.numbers:,} | {one.tokens} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    takes_runs(parser)
    given = parser.parse_args()
    outcomes: list[Outcome] = []
    with nullcontext(given.runs) if given.runs else tempfile.TemporaryDirectory() as folder:
        compared = Comparison(given.models, given.seeds, experiment, Path(folder))
        members = {name: [compared.member(name, seed) for seed in given.seeds] for name in given.models}
        for model in [] if given.train_only else [FROZEN, *given.models]:
            found = outcome(model, members.get(model) or next(iter(members.values())))
            outcomes.append(found)
            print(found, flush=True)
            if given.save:
                keep_outcome(FILE, found)
    print(table(kept_outcomes(FILE, Outcome) if given.save else outcomes))


if __name__ == "__main__":
    main()
