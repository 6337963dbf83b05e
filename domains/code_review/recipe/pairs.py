"""The loss of encoder-decoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from suite.generation.chat import IGNORED
from suite.training.outputs import Outputs, token_means


def pair_outputs(model: Any, batch: Mapping[str, Tensor]) -> Outputs:
    """Cross-entropy of the targets' tokens in float32, their mean over the batch.

    Args:
        model: an encoder-decoder of transformers, with or without adapters.
        batch: `input_ids` and `attention_mask` (batch, length), `labels` (batch, length of targets), -100 behind them.
    """
    labels = batch["labels"]
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels),
        use_cache=False,
    ).logits  # (batch, length of targets, vocabulary)
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return token_means(losses.view_as(labels), labels != IGNORED)
