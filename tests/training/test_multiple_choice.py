"""T-Few's losses in a training: added and logged, for recipes that give all answers' logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.errors import InputError
from suite.training import AdapterModule, Outputs, TrainerConfig, fit, loader
from suite.training.multiple_choice import choice_losses
from suite.training.procedures.tfew import TFew
from tests.training.toys import Language, Rows, tiny_llama


class Choices(L.LightningDataModule):
    """Four questions with three answers each."""

    def train_dataloader(self) -> Any:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(1, 40, (4, 3, 5), generator=generator)
        ids[:, 1, 3:] = 0
        return loader(
            [{"choices_ids": one, "choice": torch.tensor(n % 3)} for n, one in enumerate(ids)], 2, shuffle=False
        )


class Answers(AdapterModule):
    """A small Llama that scores answers."""

    def build(self) -> nn.Module:
        return adapters.attach(tiny_llama(), "ia3", targets=["k_proj", "v_proj"], feedforward_modules=[])

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        ids = batch["choices_ids"]
        logits = self.model(input_ids=ids.flatten(0, 1)).logits.unflatten(0, ids.shape[:2])
        return Outputs(choice_losses(logits, ids, batch["choice"]).language_model, logits=logits)


CONFIG = TrainerConfig(accelerator="cpu", max_epochs=1, lr=1e-2, log_every=1, limit_val_batches=0)


def test_the_terms_are_added_and_logged(tmp_path: Path) -> None:
    plain, with_terms = (
        json.loads(
            (fit(Answers(), Choices(), CONFIG, p, folder=tmp_path / str(n)).folder / "metrics.jsonl")
            .read_text()
            .splitlines()[0]
        )
        for n, p in enumerate(((), (TFew(unlikely_loss=0.5),)))
    )
    first = next(iter(Choices().train_dataloader()))
    logits = tiny_llama()(input_ids=first["choices_ids"].flatten(0, 1)).logits.unflatten(0, (2, 3))
    found = choice_losses(logits, first["choices_ids"], first["choice"])
    assert with_terms["train/tfew/multiple_choice"] == pytest.approx(found.multiple_choice.item(), rel=1e-4)
    assert with_terms["train/tfew/unlikelihood"] == pytest.approx(0.5 * found.unlikelihood.item(), rel=1e-4)
    total = plain["train/loss"] + found.multiple_choice.item() + 0.5 * found.unlikelihood.item()
    assert with_terms["train/loss"] == pytest.approx(total, rel=1e-4)


def test_a_recipe_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tfew needs batches with choices_ids"):
        fit(Language(), Rows(8, 4), CONFIG, (TFew(),), folder=tmp_path / "run")


def test_a_right_answer_that_is_likelier_costs_less() -> None:
    ids, labels = torch.tensor([[[3, 4, 0], [5, 6, 7]]]), torch.tensor([0])
    logits = torch.zeros(1, 2, 3, 10)
    before: Any = choice_losses(logits, ids, labels)
    logits[0, 0, 0, 3] = logits[0, 0, 1, 4] = 4.0
    after = choice_losses(logits, ids, labels)
    assert after.scores[0, 0] < before.scores[0, 0]
    assert after.multiple_choice < before.multiple_choice
    assert torch.equal(after.unlikelihood, before.unlikelihood)
    torch.testing.assert_close(before.scores, torch.full((1, 2), 10.0).log())  # lengths differ, means do not
