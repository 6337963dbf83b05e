"""Several adapters in turn on one base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import adapters
from suite.errors import InputError
from suite.files import ADAPTER, atomic_folder, check_replaceable
from suite.media.report import Report
from suite.training.driver import Fit
from suite.training.folder import Run, RunFolder, finished_run, is_follower
from suite.training.module import AdapterModule
from suite.training.reporting import add_configuration, add_run


@dataclass(frozen=True)
class Stage:
    """One adapter's training.

    Attributes:
        name: of its folder in the run and in the finished bundle, and of its adapter.
        recipe: what to train; recipes of several stages may share a base that one of them has loaded.
        data: what on; None is the run's data.
        trainer: settings that differ from the run's.
    """

    name: str
    recipe: AdapterModule
    data: Any = None
    trainer: Mapping[str, Any] = field(default_factory=dict)


class Stages:
    """Driver that trains stages in order, each in a sub-folder, and gathers their adapters in one.

    A stage that has finished is not trained again when the run is resumed. The seed of a stage depends on the run's
    seed and the stage's name, so that leaving one out changes no other.

    Args:
        stages: in training order.
        owner: the recipe of the whole, whose `extra` the gathered adapter carries.

    Raises:
        InputError: no stage, or two of one name.
    """

    def __init__(self, stages: Sequence[Stage], *, owner: AdapterModule) -> None:
        names = [stage.name for stage in stages]
        if not names or len(set(names)) < len(names):
            raise InputError(f"stages {names} need distinct names, and at least one")
        self.stages, self.owner = list(stages), owner

    def run(self, fit: Fit) -> Run:
        check_replaceable(RunFolder(fit.folder).adapter, ADAPTER)
        self.owner.prepare()
        results = {stage.name: fit(stage.recipe, stage.data, name=stage.name, **stage.trainer) for stage in self.stages}
        folder = RunFolder(fit.folder)
        if is_follower():
            return Run(folder.path, folder.adapter, {}, None)
        gather({name: result.adapter for name, result in results.items()}, folder.adapter, self.owner.extra())
        metrics = {
            f"{name}/{value}": number for name, result in results.items() for value, number in result.metrics.items()
        }
        named = {
            f"{name}/{value}": f"{name}: {words}"
            for name, result in results.items()
            for value, words in result.labels.items()
        }
        self._report(folder, results)
        folder.mark("finished", metrics=metrics, labels=named)
        return finished_run(folder)

    def _report(self, folder: RunFolder, results: Mapping[str, Run]) -> None:
        report = Report("Training in stages", subtitle=f"run {folder.path.name}")
        for name, result in results.items():
            report.section(name.capitalize())
            add_run(report, RunFolder(result.folder), result.metrics, result.labels)
        add_configuration(report, folder)
        report.save(folder.report)


def gather(parts: Mapping[str, Path], target: Path, extra: Mapping[str, Any]) -> None:
    """Copy adapters side by side into one folder whose manifest lists them as alternatives on one base.

    Raises:
        InputError: they were trained on different bases.
    """
    manifests = {name: adapters.read_manifest(part) for name, part in parts.items()}
    bases = {json.dumps(manifest["base"], sort_keys=True) for manifest in manifests.values()}
    if len(bases) > 1:
        raise InputError(f"the adapters {', '.join(parts)} were trained on different bases; train them on one")
    entries = [
        {**entry, "folder": name if entry["folder"] == "." else f"{name}/{entry['folder']}"}
        for name, manifest in manifests.items()
        for entry in manifest["adapters"]
    ]
    whole = {**next(iter(manifests.values())), "name": "stages", "adapters": entries, "stacked": False}
    with atomic_folder(target, ADAPTER) as folder:
        for name, part in parts.items():
            shutil.copytree(part, folder / name)
        text = json.dumps({**whole, "domain": dict(extra)}, indent=2) + "\n"
        (folder / "suite.json").write_text(text, encoding="utf-8")
