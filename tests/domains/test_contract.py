"""The contract, for every domain that is installed; and that its checks can fail, on a domain made for it."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from suite.cli.doctor import lacking
from suite.domain import discover
from suite.training import Outputs
from tests.cli.conftest import entry_point
from tests.domains import contract, fake_parts
from tests.domains.contract import CHECKS, Subject, Trained
from tests.domains.fake import FakeResult

Check = Callable[[Trained], None]


@pytest.fixture(scope="module", params=[*(name for name, domain in discover().items() if domain.tasks), "fake"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One domain after its smoke training."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    if name == "fake":
        request.getfixturevalue("fake_domain")
        with counted(name):
            return contract.train(fake_subject(folder), folder)
    if missing := lacking(discover()[name].extra):
        pytest.skip(f"the extra {discover()[name].extra} is not installed: {', '.join(missing)}")
    assert find_spec(f"tests.domains.{name}"), f"state the SUBJECT of domain {name} in tests/domains/{name}.py"
    with counted(name):
        return contract.train(import_module(f"tests.domains.{name}").SUBJECT, folder)


@pytest.fixture(scope="module")
def fake_domain(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Install the fake domain as a third party would, for child processes too."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "fake_domain-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-domain\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[suite.domains]\nfake = tests.domains.fake:DOMAIN\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(trained: Trained, check: Check) -> None:
    with counted(trained.subject.domain):
        check(trained)


def test_the_contract_costs_no_more_than_its_budget(trained: Trained) -> None:
    """Runs after a domain's checks, since pytest keeps the tests of one domain together."""
    name = trained.subject.domain
    assert SPENT[name] <= contract.BUDGET, f"the checks of {name} took {SPENT[name]:.0f} s of processor time"


SPENT: dict[str, float] = defaultdict(float)
"""Processor time by domain."""


@contextmanager
def counted(name: str) -> Iterator[None]:
    """Count what the block costs to the domain `name`."""
    started = contract.processor_time()
    try:
        yield
    finally:
        SPENT[name] += contract.processor_time() - started


def fake_subject(folder: Path) -> Subject:
    """The fake domain's subject; it ships no adapter."""
    config = folder / "fake.yaml"
    config.write_text("domain: fake\ntrainer: {lr: 0.03, max_epochs: 3}\n")
    subject = Subject(
        domain="fake",
        good=lambda folder: _written(folder / "numbers.txt", "0 1 2 3"),
        bad=lambda folder: _written(folder / "words.txt", "no numbers"),
        score=lambda adapter: _accuracy(subject, adapter),
        margin=0.3,
        config=config,
        evaluate=("--config", str(config), "--frozen"),
        shipped=None,
        blocks=False,
    )
    return subject


def _accuracy(subject: Subject, adapter: str | None) -> float:
    from suite import hub, training

    folder = None if adapter is None else hub.resolve(adapter, "fake")
    return training.evaluate(subject.experiment(), folder)["val/accuracy"]


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def fake(fake_domain: object, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("broken")
    subject = replace(fake_subject(folder), smoke=("--data.size", "160", "--trainer.max_epochs", "1"))
    return contract.train(subject, folder)


def test_an_adapter_that_learned_nothing_is_caught(fake: Trained) -> None:
    subject = replace(fake.subject, score=lambda adapter: 0.5)
    with pytest.raises(AssertionError, match="frozen base"):
        contract.check_shipped_beats_frozen(replace(fake, subject=subject))


def test_a_predictor_that_dies_of_a_bad_input_is_caught(fake: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(path: Path) -> None:
        raise RuntimeError("dies")

    monkeypatch.setattr(fake_parts, "_numbers", numbers)
    with pytest.raises(AssertionError):
        contract.check_bad_input(fake)


def test_a_bad_input_that_passes_is_caught(fake: Trained) -> None:
    with pytest.raises(AssertionError):
        contract.check_bad_input(replace(fake, subject=replace(fake.subject, bad=fake.subject.good)))


def test_results_that_are_not_written_are_caught(fake: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeResult, "save", lambda self, folder: [Path(folder) / "absent"])
    with pytest.raises(AssertionError):
        contract.check_predict(fake)


def test_predictions_that_differ_after_a_reload_are_caught(fake: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(FakeResult, "to_dict", lambda self: {"turn": seen.append("") or len(seen)})
    with pytest.raises(AssertionError):
        contract.check_reload(fake)


def test_what_others_print_is_caught(tmp_path: Path) -> None:
    record, site = tmp_path / "said.txt", entry_point(tmp_path / "site", talker="talker:DOMAIN")
    (site / "talker.py").write_text("import os\nprint('from Python')\nos.write(2, b'from below')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(contract.CHECKOUT)))}
    subprocess.run(contract.listened(record, ["--help"]), capture_output=True, env=environment, check=True)
    said = record.read_text()
    assert "'from Python' by" in said and "b'from below' past Python" in said


def test_a_resume_that_starts_anew_is_caught(fake: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(fake.subject, smoke=(*fake.subject.smoke, "--seed", "1"))
    with pytest.raises(AssertionError):
        contract.check_resume_after_kill(replace(fake, subject=other))


@pytest.mark.parametrize("place", ["recipe", "predictor"])
def test_a_tensor_made_on_the_wrong_device_is_caught(
    fake: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    compute, numbers = fake_parts.FakeRecipe.compute, fake_parts.FakePredictor.predict

    def beside(self: fake_parts.FakeRecipe, batch: Any) -> Outputs:
        return compute(self, [batch[0] + torch.zeros(4), batch[1]])

    def elsewhere(self: fake_parts.FakePredictor, inputs: Any, **options: Any) -> Any:
        self.model.outer.to("cpu")
        return numbers(self, inputs, **options)

    if place == "recipe":
        monkeypatch.setattr(fake_parts.FakeRecipe, "compute", beside)
    else:
        monkeypatch.setattr(fake_parts.FakePredictor, "predict", elsewhere)
    with pytest.raises((RuntimeError, AssertionError), match=r"expected all tensors on xpu:0"):
        contract.check_foreign_device(replace(fake, folder=tmp_path))


def test_a_recipe_that_bfloat16_breaks_is_caught(
    fake: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compute = fake_parts.FakeRecipe.compute

    def single(self: fake_parts.FakeRecipe, batch: Any) -> Outputs:
        outputs = compute(self, batch)
        assert outputs.logits is not None
        outputs.logits.detach().numpy()
        return outputs

    monkeypatch.setattr(fake_parts.FakeRecipe, "compute", single)
    with pytest.raises(TypeError, match="BFloat16"):
        contract.check_settings_of_a_gpu_run(replace(fake, folder=tmp_path))


def test_a_task_that_no_case_holds_is_caught(fake: Trained) -> None:
    known = discover()["point_cloud"]
    with pytest.raises(AssertionError), patch.dict(contract.__dict__, discover=lambda: {"fake": known}):
        contract.check_every_task_is_held(fake)
