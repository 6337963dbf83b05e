"""T-Few's losses: beside the right answer's likelihood, its margin over the other answers, and their unlikelihood.

Liu et al., arXiv 2205.05638, section 3.2. A batch holds `choices_ids` (B, choices, T) and `choice` (B,), and the recipe
gives the logits of all answers, (B, choices, T, vocabulary); its own loss is that of the right answer.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from suite.errors import InputError
from suite.training.multiple_choice import choice_losses
from suite.training.outputs import Outputs
from suite.training.procedure import Procedure


class TFew(Procedure):
    """Adds the two terms; a weight of 0 leaves one out.

    Args:
        mc_loss: weight of the margin over the other answers.
        unlikely_loss: weight of the other answers' unlikelihood.
        length_norm: power of an answer's length by which its score is divided.
        pad_token_id: of the answers' padding.
    """

    def __init__(
        self, mc_loss: float = 1.0, unlikely_loss: float = 1.0, length_norm: float = 1.0, pad_token_id: int = 0
    ) -> None:
        self.mc_loss, self.unlikely_loss = mc_loss, unlikely_loss
        self.length_norm, self.pad_token_id = length_norm, pad_token_id

    def loss(self, outputs: Outputs, batch: Any) -> dict[str, Tensor]:
        ids = batch.get("choices_ids") if isinstance(batch, dict) else None
        if ids is None or outputs.logits is None or outputs.logits.shape[:-1] != ids.shape:
            raise InputError(
                "procedures: tfew needs batches with choices_ids (B, choices, T) and choice (B,), and the logits of "
                "all answers; this recipe gives none"
            )
        found = choice_losses(
            outputs.logits, ids, batch["choice"], pad_token_id=self.pad_token_id, length_norm=self.length_norm
        )
        terms = {"multiple_choice": (self.mc_loss, found.multiple_choice)}
        terms["unlikelihood"] = (self.unlikely_loss, found.unlikelihood)
        return {f"tfew/{name}": weight * value for name, (weight, value) in terms.items() if weight}
