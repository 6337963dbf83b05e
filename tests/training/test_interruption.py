"""Ctrl-C: the first waits for the next save and says so, the second does not wait; both say how to go on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from suite.training import Interrupted, TrainerConfig, fit
from tests.training.toys import Language, Rows

CONFIG = TrainerConfig(accelerator="cpu", val_every=2, max_epochs=3, checkpoint_every=1)


@pytest.mark.parametrize("in_validation", [True, False])
def test_a_second_ctrl_c_stops_at_once_and_says_how_to_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], in_validation: bool
) -> None:
    class Twice(Language):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if in_validation and self.trainer.global_step == 4:
                self.press()
            super().validation_step(batch, batch_idx)

        def compute(self, batch: Any) -> Any:
            if self.training and not in_validation and self.trainer.global_step == 4:
                self.press()
            return super().compute(batch)

        def press(self) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("went on after the second Ctrl-C")

    run = tmp_path / "run"
    with pytest.raises(Interrupted) as caught:
        fit(Twice(), Rows(), CONFIG, folder=run)
    assert caught.value.folder == run
    said = capfd.readouterr().err
    assert "press Ctrl-C again" in said and f"Go on with --resume {run}" in said
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(Language(), Rows(), CONFIG, resume=run)


def test_the_first_is_acknowledged_before_the_validation_is_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []

    class Once(Language):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if not heard:
                signal.raise_signal(signal.SIGINT)
                heard.append(capfd.readouterr().err)
            super().validation_step(batch, batch_idx)

    with pytest.raises(Interrupted):
        fit(Once(), Rows(), CONFIG, folder=tmp_path / "run")
    assert "stopping as soon as the run is saved; press Ctrl-C again to stop at once" in heard[0]
