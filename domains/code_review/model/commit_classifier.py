"""An encoder with a head that says whether a commit brings in a defect (arXiv 2402.06247)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Head = Literal["single", "concat"]
HEAD = "classifier"
DROPOUT = 0.1
FEATURES = 14
"""Numbers that experts give of a commit (`data/commits.py`)."""


class DefectHead(nn.Module):
    """One number from the encoder's first position, and perhaps from the experts' features.

    Args:
        width: of the encoder.
        features: how many numbers stand beside it; 0 reads the encoder alone.
    """

    def __init__(self, width: int, features: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        if features:
            self.manual_dense = nn.Linear(features, width)
            self.cat_proj = nn.Linear(2 * width, 1)
        else:
            self.ll_proj = nn.Linear(width, 1)
        self.reads_features = bool(features)

    def forward(self, first: Tensor, features: Tensor | None) -> Tensor:
        """The logit of a defect, (batch,).

        Args:
            first: (batch, width). features: (batch, number), where the head reads any.
        """
        if self.reads_features:
            assert features is not None
            beside = torch.tanh(self.manual_dense(features))  # (batch, width)
            return self.cat_proj(self.dropout(torch.cat([first, beside], dim=1)))[:, 0]
        return self.ll_proj(self.dropout(first))[:, 0]


class CommitClassifier(nn.Module):
    """An encoder of transformers, or the encoder of an encoder-decoder, with the head.

    Args:
        encoder: whose output has `last_hidden_state`.
        features: see `DefectHead`.
    """

    def __init__(self, encoder: Any, features: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config
        self.classifier = DefectHead(int(encoder.config.hidden_size), features)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, features: Tensor | None = None) -> Tensor:
        """The logit of a defect, (batch,).

        Args:
            input_ids, attention_mask: (batch, length). features: (batch, number), standardised.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.classifier(hidden[:, 0], features)

    def base_tensors(self) -> Mapping[str, Tensor]:
        """The encoder's: the head is new with every load."""
        return self.encoder.state_dict()
