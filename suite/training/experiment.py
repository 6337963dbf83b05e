"""`run`: an experiment from its configuration to its run folder."""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L

from suite import adapters, domain
from suite.domain import Task, load
from suite.errors import InputError
from suite.training import folder as run_folders
from suite.training.bound import BoundFit
from suite.training.config import ExperimentConfig, config_of
from suite.training.construct import construct
from suite.training.driver import Driver
from suite.training.fitting import precision_arguments, quiet
from suite.training.folder import Run, RunFolder, finished_run
from suite.training.interruption import Interrupted
from suite.training.module import AdapterModule
from suite.training.names import check_names
from suite.training.opening import opened
from suite.training.randomness import BatchSeeds, seed_all, seed_of_run
from suite.training.resuming import check_same, goes_on

RUNS = Path("runs")
"""Where runs go: `runs/<domain>/<time>-<name of the configuration>`."""


def run(config: ExperimentConfig, run_dir: str | Path | None = None, resume: str | Path | None = None) -> Run:
    """Train what a configuration says.

    Args:
        config: the experiment.
        run_dir: where to write; a new folder below `runs/<domain>/` by default.
        resume: a run folder to continue, or `latest` for the youngest unfinished one of the domain. Where `config`
            sets a later end, one that has finished goes on.

    Raises:
        InputError: the configuration, the data or the folder is wrong, or `config` differs in more than may change
            (`suite.training.resuming`) from what the resumed run was started with.
        Interrupted: the user stopped it; everything is saved.
    """
    folder = _folder(config, run_dir, resume)
    if resume is None:
        run_folders.check_ours(folder)
    with opened(folder):
        record = complete(config)
        if resume is not None:
            _check_resumed(folder, record)
            if not goes_on(folder, config.trainer):
                return finished_run(folder)
        recipe, data = recipe_of(config), data_of(config)
        fit = BoundFit(folder.path, config.trainer, data, record, config.procedures, resuming=resume is not None)
        recipe.meet(config.trainer, data)
        driver = recipe.driver(data)
        result = fit(recipe) if driver is None else _drive(driver, fit, folder)
    if not run_folders.is_follower():
        _say_what_next(recipe, result)
    return result


def _check_resumed(folder: RunFolder, record: dict[str, Any]) -> None:
    """Refuse to go on with another configuration than the one that the run was started with."""
    started = folder.started_with()
    if started is not None:
        check_same(folder, complete(config_of(started, folder.state_file)), record)


def _drive(driver: Driver, fit: BoundFit, folder: RunFolder) -> Run:
    """Let a driver loop inside the run folder, whose own state says how far the whole has got."""
    leads = not run_folders.is_follower()
    if leads:
        folder.start(fit.record)
    try:
        return driver.run(fit)
    except KeyboardInterrupt as stopped:
        if leads:
            folder.mark("interrupted")
        raise Interrupted(folder.path) from stopped


def recipe_of(config: ExperimentConfig) -> AdapterModule:
    """The task's recipe, not built yet.

    Raises:
        InputError: the domain or task does not exist, or the `recipe:` section does not fit it.
    """
    given = {"base": config.base, "architecture": config.architecture}
    return construct(load(_task(config).recipe), config.recipe, "recipe", given)


def data_of(config: ExperimentConfig) -> Any:
    """The task's data module.

    Raises:
        InputError: the domain or task does not exist, or the `data:` section does not fit it.
    """
    return construct(load(_task(config).data), config.data, "data", {})


def evaluate(config: ExperimentConfig, adapter: str | Path | None) -> dict[str, float]:
    """Validate the configuration's model on its validation data.

    Args:
        config: the experiment.
        adapter: folder of a trained adapter; None measures the frozen base, all adapters off.

    Returns:
        What the recipe logs, `val/loss` among it.

    Raises:
        InputError: the data have no validation part, or the recipe trains several adapters in turn.
    """
    recipe, data = recipe_of(config), data_of(config)
    if recipe.driver(data) is not None:
        raise InputError(f"{config.domain} trains several adapters in turn; evaluate it with its own command")
    recipe.meet(config.trainer, data)
    recipe.prepare()
    seed_all(config.seed)
    recipe.configure_model()
    if adapter is not None:
        recipe.load_adapter(Path(adapter))
    with seed_of_run(config.seed), quiet(), adapters.disabled(recipe.model) if adapter is None else nullcontext():
        trainer = L.Trainer(
            accelerator=config.trainer.accelerator,
            devices=1,
            **precision_arguments(config.trainer),
            limit_val_batches=config.trainer.limit_val_batches,
            callbacks=[BatchSeeds(config.seed)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        results = trainer.validate(recipe, datamodule=data, verbose=False)
    if not results:
        raise InputError(f"the data of {config.domain} have no validation part; name one in the data section")
    return dict(results[0])


def complete(config: ExperimentConfig) -> dict[str, Any]:
    """The configuration with every default of recipe and data written out, so that it reproduces the run later."""
    task = _task(config)
    record = config.record()
    for section, reference in (("recipe", task.recipe), ("data", task.data)):
        record[section] = _defaults(load(reference), skip=("base", "architecture")) | record[section]
    return record


def _folder(config: ExperimentConfig, run_dir: str | Path | None, resume: str | Path | None) -> RunFolder:
    parent = RUNS / config.domain
    if resume is not None:
        return run_folders.latest_unfinished(parent) if resume == "latest" else run_folders.existing(resume)
    if run_dir is None:
        return run_folders.fresh(parent, config.source.stem if config.source else "")
    folder = RunFolder(Path(run_dir))
    if folder.state_file.is_file() and not run_folders.is_follower():
        raise InputError(f"{folder.path} already holds a run; add --resume {folder.path}, or name another --run-dir")
    return folder


def _task(config: ExperimentConfig) -> Task:
    """The domain's task, by name."""
    tasks = domain.find(config.domain).tasks
    if config.task is None:
        return next(iter(tasks.values()))
    check_names([config.task], tasks, f"tasks of {config.domain}")
    return tasks[config.task]


def _defaults(cls: type, skip: tuple[str, ...]) -> dict[str, Any]:
    """Default values of the constructor that YAML can hold."""
    plain = (str, int, float, bool, list, dict, type(None))
    return {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in skip and isinstance(parameter.default, plain)
    }


def _say_what_next(recipe: AdapterModule, result: Run) -> None:
    lines = [f"adapter  {result.adapter}"]
    if result.report is not None:
        lines.append(f"report   {result.report}")
    lines += [f"next     {step}" for step in recipe.next_steps(result.folder)]
    print("\n".join(lines), file=sys.stderr, flush=True)
