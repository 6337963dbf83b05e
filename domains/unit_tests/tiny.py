"""The embedded default of unit tests: a LoRA adapter on the code model that both code domains share.

    python -m domains.unit_tests.tiny                      # the adapter, as it ships
    python -m domains.unit_tests.tiny --part comparison    # the study's three methods, three seeds each

The base is `checkpoints/tiny/code/base`, made by `suite.training.tiny_code`. The adapter is trained by
`configs/unit_tests/tiny.yaml` on kinds of functions that the base has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from domains.unit_tests.model.bases import DOMAIN
from domains.unit_tests.model.manifest import Manifest
from suite import hub
from suite.training import embedded, load_config, run
from suite.training.config import ExperimentConfig

CONFIG = "tiny.yaml"
FUNCTIONS = 60
"""Held-out functions that are measured on."""
OPTIONS: Mapping[str, Any] = {"samples": 1, "max_tests": 5, "temperature": 0.0, "repeat": 1, "timeout": 60.0}
"""One greedy answer a function: every test of it counts."""
METHODS: Mapping[str, tuple[dict[str, Any], float]] = {
    "lora": ({}, 0.0),
    "ia3": ({"preset": "ia3"}, 3e-2),
    "prompt_tuning": ({"preset": "prompt_tuning", "prompt_tuning_init": "SAMPLE_VOCAB"}, 3e-2),
}
"""The study's methods: section `adapter` and rate where they differ from the configuration's."""


def measure(
    adapter: str | None,
    base: str = "tiny",
    split: str = "test",
    functions: int = FUNCTIONS,
    mutants: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """What became of the tests that an adapter writes for held-out functions; None is the frozen base.

    Args:
        mutants: of each module at most.
        **more: fields of `WriterQuery` that differ from `OPTIONS`.
    """
    from domains.unit_tests.evaluation.funnel import made_projects, run
    from domains.unit_tests.predict import TestWriter

    writer = TestWriter.from_pretrained(adapter or "none", base)
    if adapter is None:
        writer.manifest = Manifest(begin=True)
    options = {**OPTIONS, "mutants": mutants, **more}
    return run(writer, made_projects(f"world:{split}:{functions}"), **options).figures()


def rebuild(
    part: Literal["adapter", "comparison"] = "adapter",
    base: str = "tiny",
    run_dir: Path = Path("runs/tiny/unit_tests"),
    seeds: int = 3,
) -> None:
    """Rebuild the embedded adapter in place with its entry in the catalogue, or compare the study's methods.

    Args:
        part: what to do.
        base: reference of the base.
        run_dir: where training runs are kept.
        seeds: of each method in the comparison.
    """
    if part == "comparison":
        for method in METHODS:
            for seed in range(42, 42 + seeds):
                figures = compared(method, seed, run_dir / f"{method}-{seed}", base)
                print(method, seed, _row(figures), flush=True)
        return
    home = embedded.home(DOMAIN)
    figures = embedded.train_adapter(
        home / "adapter",
        DOMAIN,
        CONFIG,
        run_dir / "adapter",
        measure=lambda config, adapter: both(str(adapter.absolute()), base),
        card=lambda config, figures: card(figures),
        base=base,
    )
    record(home / "adapter", figures)


def record(folder: Path, figures: Mapping[str, Any]) -> None:
    """Put the adapter into the catalogue."""
    share = figures["adapted"]["working_share"]
    metric = hub.Metric(
        "tests that run, pass and cover", round(share, 3), f"world:test:{FUNCTIONS}, held-out functions"
    )
    embedded.record(folder, DOMAIN, method="lora", base="tiny", metric=metric)


def both(adapter: str, base: str = "tiny") -> dict[str, Any]:
    """Figures of the adapter, with the mutation score, beside the frozen base's."""
    return {"adapted": measure(adapter, base, mutants=8), "frozen": measure(None, base, mutants=8)}


def compared(method: str, seed: int, run_dir: Path, base: str = "tiny", split: str = "test") -> dict[str, Any]:
    """Train by a method of the study from a seed, and measure."""
    config = experiment(method, seed, base)
    trained = run(config, run_dir=run_dir)
    return measure(str(trained.adapter.absolute()), base, split)


def experiment(method: str, seed: int, base: str = "tiny") -> ExperimentConfig:
    """The shipped configuration with another method and seed."""
    from suite.hub import paths

    section, rate = METHODS[method]
    changes = ["--seed", str(seed), "--base", base]
    if section:
        changes += ["--recipe.adapter", str(section), "--trainer.lr", str(rate)]
    return load_config(paths.assets() / "configs" / DOMAIN / CONFIG, changes)


def card(figures: Mapping[str, Any]) -> str:
    """The README of the adapter."""
    adapted, frozen = figures["adapted"], figures["frozen"]
    text = f"""\
A LoRA adapter on the tiny code model that writes tests for small Python functions. It is a plain peft folder;
`suite.json` says what prediction needs.

- Data: functions of made repositories with their tests (`world:train`), of kinds that the base's pretraining never
  shows. The functions that are measured on are of the same kinds and of other names.
- Training: `suite unit_tests train --config configs/unit_tests/tiny.yaml`, on one CPU core, no GPU.
- Reached on the {adapted["functions"]} functions of `world:test:{FUNCTIONS}`, one greedy answer each: {_row(adapted)}.
- The frozen base, asked in the same way: {_row(frozen)}.
- Rebuild: `python -m domains.unit_tests.tiny`
"""
    head = {"language": "en", "library_name": "peft", "base_model": "unit_tests/tiny"}
    return embedded.card("The tiny adapter of unit tests", text, head)


def _row(figures: Mapping[str, Any]) -> str:
    score = figures["mutation_score"]
    mutation = "" if score is None else f", mutation score {score:.3f} of {figures['mutants']} mutants"
    return (
        f"of {figures['generated']} tests {figures['working_share']:.3f} run, pass and cover their function; lines run "
        f"{figures['line_coverage']:.3f}, branches {figures['branch_coverage']:.3f}{mutation}"
    )


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(rebuild)
