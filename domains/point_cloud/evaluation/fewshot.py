"""`suite point_cloud fewshot`: an adapter for every fold of a few-shot set, each scored on its own test clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def fewshot(
    data: Path,
    *,
    config: Path | None = None,
    folds: int = 10,
    epochs: int | None = None,
    base: str | None = None,
    out: Path = Path("runs/fewshot"),
) -> dict[str, Any]:
    """Train and score one adapter a fold; the last epoch's weights are scored, so nothing is chosen on test clouds.

    Args:
        data: a folder of folds, `ModelNetFewshot/5way_10shot` with `0.pkl`, `1.pkl`, ...
        config: how to train; the embedded default's configuration where it is left out.
        folds: how many, from the first.
        epochs: instead of the configuration's.
        base: reference of the base, instead of the configuration's.
        out: folder of the runs, one a fold.
    """
    import dataclasses

    from domains.point_cloud.data.datasets import fewshot_split as sets
    from suite import training
    from suite.errors import InputError
    from suite.hub import paths

    for name, count in (("folds", folds), ("epochs", epochs)):
        if count is not None and count < 1:
            raise InputError(f"{name} is {count}; give at least 1")
    folder = sets.spelled(data)
    if not folder.is_dir():
        raise InputError(f"{data}: no such folder; give one of folds, e.g. ModelNetFewshot/5way_10shot")
    files = [folder / f"{number}.pkl" for number in range(folds)]
    lacking = [file for file in files if not file.is_file()]
    if lacking:
        raise InputError(f"{folder} lacks {lacking[0].name}; lower --folds or check the folder")
    stated = training.load_config(config or paths.assets() / "configs" / "point_cloud" / "tiny.yaml")
    trainer = dataclasses.replace(stated.trainer, monitor=None, max_epochs=epochs or stated.trainer.max_epochs)
    trainer = dataclasses.replace(trainer, val_every=float(trainer.max_epochs))
    accuracies = []
    for number, file in enumerate(files):
        own = dataclasses.replace(
            stated,
            base=base or stated.base,
            trainer=trainer,
            data={**stated.data, "train": f"{file}:train", "val": None},
        )
        run = training.run(own, run_dir=out / f"fold_{number}")
        tested = dataclasses.replace(own, data={**own.data, "val": f"{file}:test"})
        accuracies.append(float(training.evaluate(tested, run.adapter)["val/accuracy"]))
    mean, std = sets.summary(accuracies)
    text = f"accuracy {mean:.1%}, sample standard deviation {std:.1%}, over {folds} folds of {folder.name}"
    return {"accuracies": accuracies, "mean": mean, "std": std, "folds": folds, "message": text}
