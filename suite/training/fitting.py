"""`fit`: one training, from a recipe and data to a finished run folder."""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch.utils.data import DataLoader

from suite.errors import InputError
from suite.files import ADAPTER, atomic_folder, check_replaceable
from suite.training import folder as run_folders
from suite.training.batching import resumable
from suite.training.best import KeepBest
from suite.training.checkpointing import CheckpointFile, LastCheckpoint, read_checkpoint
from suite.training.choices import Capability, deterministic, precision_of
from suite.training.clipping import Unscaled
from suite.training.compiling import Compiled
from suite.training.ema import MovingAverage
from suite.training.folder import Run, RunFolder, finished_run
from suite.training.interruption import Interrupted, StopRequested, StopSignal, stop_signal
from suite.training.labels import labels
from suite.training.lightning_fixes import count_epochs, undisguised
from suite.training.logs import JsonLines, TrainingLog, final_values
from suite.training.module import AdapterModule
from suite.training.opening import opened
from suite.training.precision import plugin_of
from suite.training.procedure import Procedure
from suite.training.progress import ProgressDisplay
from suite.training.randomness import BatchSeeds, seed_all, seed_of_run
from suite.training.reporting import write_report
from suite.training.resuming import check_end, goes_on
from suite.training.settings import TrainerConfig
from suite.training.sharding import ShardedBase
from suite.training.snapshots import Snapshots


def fit(
    recipe: AdapterModule,
    data: L.LightningDataModule | DataLoader | tuple[DataLoader, DataLoader],
    config: TrainerConfig | None = None,
    procedures: Sequence[Procedure] = (),
    resume: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    record: Mapping[str, Any] | None = None,
    label: str = "training",
    part_of: str | Path | None = None,
) -> Run:
    """Train `recipe` on `data` and write the run folder.

    Args:
        recipe: what to train.
        data: a data module, a training loader, or a training and a validation loader.
        config: how to train.
        procedures: changes of the procedure, outermost first.
        resume: run folder of a training that was stopped; it continues exactly where it was last saved. One that has
            finished goes on where `config` sets a later end.
        folder: where to write; by default `runs/<time>`.
        record: what `config.yaml` shall say; by default the recipe's class and `config`.
        label: what the progress display calls the run.
        part_of: folder of the run that this training is a part of, and that a user would resume.

    Raises:
        InputError: the input is wrong, in one line.
        Interrupted: the user stopped it; everything is saved.
    """
    config = config or TrainerConfig()
    if resume is not None:
        run = run_folders.existing(resume)
    else:
        run = RunFolder(Path(folder)) if folder is not None else run_folders.fresh()
    whole = RunFolder(Path(part_of)) if part_of is not None else run
    check_replaceable(run.adapter, ADAPTER)  # now, not when the training is done
    if resume is None and part_of is None:
        run_folders.check_ours(run)
    with opened(run, whole.path):
        if resume is not None and not goes_on(run, config):
            return finished_run(run)
        if resume is None and not run_folders.is_follower():
            run_folders.check_unused(run)
        checkpoint = run.checkpoint if resume is not None and run.checkpoint.is_file() else None
        step = _step_of(checkpoint, run, config)
        recipe.meet(config, data)
        recipe.procedures = tuple(procedures)
        recipe.prepare()
        seed_all(config.seed)
        with seed_of_run(config.seed), stop_signal() as stop, quiet():
            parts = _Parts.of(config, run, stop, recipe, label)
            if parts.trainer.is_global_zero:
                parts.lines.forget_after(step)
                _open(run, recipe, config, record)
            try:
                _train(parts, recipe, data, checkpoint)
                parts.choose_weights(recipe)
                _close(parts, recipe, run, label)
            except (StopRequested, KeyboardInterrupt) as stopped:
                raise _interrupted(parts.trainer, run, whole, stopped) from stopped
            parts.trainer.strategy.barrier("run folder written")
        return finished_run(run)


@dataclass
class _Parts:
    """What one training is put together from."""

    trainer: L.Trainer
    lines: JsonLines
    best: KeepBest | None
    average: MovingAverage | None

    @classmethod
    def of(cls, config: TrainerConfig, run: RunFolder, stop: StopSignal, recipe: AdapterModule, label: str) -> _Parts:
        log = TrainingLog(config.log_every)
        lines = JsonLines(run.metrics)
        best = KeepBest(config.monitor, config.mode, config.patience) if config.monitor else None
        average = MovingAverage(config.ema) if config.ema else None
        callbacks: list[L.Callback | None] = [
            Unscaled(),
            recipe.mean,
            BatchSeeds(config.seed),
            Compiled(config, Capability.here(config.accelerator)),
            *recipe.procedures,
            log,
            ProgressDisplay(label),
            # The best weights are taken before the average makes room for the live ones again.
            best,
            average,
            Snapshots(run.steps, config.keep_every, config.keep_last, run.checkpoint) if config.keep_every else None,
            LastCheckpoint(run.checkpoint, config.checkpoint_every, stop),
        ]
        tensorboard = TensorBoardLogger(run.path, name="", version="", default_hp_metric=False)
        trainer = _make_trainer(config, [c for c in callbacks if c is not None], [lines, tensorboard], run)
        return cls(trainer, lines, best, average)

    def choose_weights(self, recipe: AdapterModule) -> None:
        """Leave in the recipe what is to be kept: the best, the averaged or the last weights."""
        if self.best is not None and self.best.weights:
            assert recipe.trained is not None
            recipe.trained.restore(self.best.weights)
        elif self.average is not None:
            self.average.swap_in(recipe)


def _make_trainer(config: TrainerConfig, callbacks: list[L.Callback], loggers: list[Any], run: RunFolder) -> L.Trainer:
    try:
        trainer = _lightning_trainer(config, callbacks, loggers, run)
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        # Lightning checks names and devices against this machine, and its words say which setting is wrong.
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise InputError(
            f"trainer.strategy is {config.strategy}, which cuts the adapter's tensors into shards that no adapter file "
            "can be written from; use ddp, or fsdp, which cuts the frozen base alone"
        )
    count_epochs(trainer)
    return trainer


def _lightning_trainer(
    config: TrainerConfig, callbacks: list[L.Callback], loggers: list[Any], run: RunFolder
) -> L.Trainer:
    sharded = config.strategy == ShardedBase.strategy_name
    if sharded and config.compile not in (False, "auto"):
        # torch.compile leaves FSDP's hooks out of what it compiles, so that the shards would never meet.
        raise InputError("trainer.strategy fsdp and trainer.compile do not go together; set trainer.compile to false")
    whole_epochs = isinstance(config.val_every, float) and config.val_every >= 1
    return L.Trainer(
        max_epochs=config.max_epochs,
        max_steps=config.max_steps,
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=ShardedBase() if sharded else config.strategy,
        **precision_arguments(config, CheckpointFile()),
        accumulate_grad_batches=config.accumulate_grad_batches,
        gradient_clip_val=config.gradient_clip_val,
        val_check_interval=1.0 if whole_epochs else config.val_every,
        check_val_every_n_epoch=int(config.val_every) if whole_epochs else 1,
        limit_val_batches=config.limit_val_batches,
        num_sanity_val_steps=0,
        deterministic="warn" if deterministic(config, Capability.here(config.accelerator)) else None,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=config.log_every,
        # What FSDP gathers in inference mode could not be used in training again.
        inference_mode=not sharded,
        # Batches are split over ranks by the sampler, which keeps one order for any number of ranks.
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.path,
    )


def precision_arguments(config: TrainerConfig, *plugins: Any) -> dict[str, Any]:
    """What `lightning.Trainer` is told about precision, with other plug-ins."""
    device = Capability.here(config.accelerator)
    name = precision_of(config, device)
    plugin = plugin_of(name, device.kind)
    if plugin is None:
        return {"precision": name, "plugins": list(plugins)}
    return {"plugins": [plugin, *plugins]}


def _train(parts: _Parts, recipe: AdapterModule, data: Any, checkpoint: Path | None) -> None:
    arguments: dict[str, Any]
    if isinstance(data, L.LightningDataModule):
        arguments = {"datamodule": data}
    else:
        train, validation = data if isinstance(data, tuple) else (data, None)
        arguments = {"train_dataloaders": resumable(train), "val_dataloaders": validation}
    try:
        with undisguised():
            parts.trainer.fit(recipe, ckpt_path=checkpoint, weights_only=True, **arguments)
    except ValueError as error:
        if "val_check_interval" not in str(error):
            raise
        raise InputError(
            f"trainer.val_every is {parts.trainer.val_check_interval} batches, and an epoch has "
            f"{parts.trainer.fit_loop.max_batches}; give at most that, or epochs as a float, e.g. 2.0"
        ) from error


def _interrupted(trainer: L.Trainer, run: RunFolder, whole: RunFolder, stopped: BaseException) -> Interrupted:
    """Note and say that the user has stopped the run."""
    if trainer.is_global_zero:
        run.mark("interrupted", step=trainer.global_step)
        how = (
            "stopped"
            if isinstance(stopped, StopRequested)
            else "stopped at once, what came after the last save is lost"
        )
        print(f"\n{how}. Go on with --resume {whole.path}", file=sys.stderr, flush=True)
    return Interrupted(whole.path)


def _open(run: RunFolder, recipe: AdapterModule, config: TrainerConfig, record: Mapping[str, Any] | None) -> None:
    """Write what reproduces the run before anything can go wrong."""
    if record is None:
        settings = dataclasses.asdict(config)
        seed = settings.pop("seed")
        name = f"{type(recipe).__module__}:{type(recipe).__qualname__}"
        record = {"recipe_class": name, "base": recipe.base, "seed": seed, "trainer": settings}
    run.start(dict(record))


def _close(parts: _Parts, recipe: AdapterModule, run: RunFolder, label: str) -> None:
    """Write the result."""
    recipe.cpu()
    if not parts.trainer.is_global_zero:
        return
    with atomic_folder(run.adapter, ADAPTER) as part:
        recipe.save_adapter(part)
    metrics = final_values(run.metrics) | (parts.best.metrics if parts.best else {})
    given = recipe.labels()
    named = given | labels(metrics, given)
    write_report(run, metrics, title=label, labels=named)
    run.mark("finished", step=parts.trainer.global_step, metrics=metrics, labels=named)


def _step_of(checkpoint: Path | None, run: RunFolder, config: TrainerConfig) -> int:
    """The step at which a run goes on, -1 for a new one; the checkpoint is looked through before anything is loaded."""
    if checkpoint is None:
        return -1
    saved = read_checkpoint(checkpoint)
    check_end(run, config, saved)
    return int(saved["global_step"])


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice to its developers from users; its errors and our lines remain."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*set_vital.*")
            yield
    finally:
        logger.setLevel(level)
