"""CodeReviewer's encoder-decoder: a T5 with a head that says whether a hunk needs a review (arXiv 2203.09095)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers import initialization as init

from domains.code_review.model import marks
from suite.errors import InputError
from suite.hub.pretrained import own_words

HEAD = "cls_head"
DROPOUT = 0.3
"""Before the head. The published code applies it in evaluation, too, so that its answers differ from run to run."""


class CodeReviewerT5(T5ForConditionalGeneration):
    """A T5 whose encoder also decides, read at its first position; keys are those of the released files."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.cls_head = nn.Linear(config.d_model, 2)
        self._new_head: Tensor | None = None
        self.post_init()

    @classmethod
    def from_pretrained(cls, source: Any, **options: Any) -> Self:
        """Load a T5's or CodeReviewer's files.

        Raises:
            InputError: they lack tensors besides the head, or have others.
        """
        with own_words():
            model, told = super().from_pretrained(source, output_loading_info=True, **options)
        missing = {key for key in told["missing_keys"] if not key.startswith(f"{HEAD}.")}
        if wrong := sorted(missing | set(told["unexpected_keys"])):
            raise InputError(f"{source}: no T5 as CodeReviewer is one; its files differ in {', '.join(wrong[:3])}")
        if told["missing_keys"]:
            model._new_head = model.cls_head.weight.detach().clone()
        return model

    @property
    def decides_at_random(self) -> bool:
        """Whether the head is still the one that was made because the files had none."""
        return self._new_head is not None and torch.equal(self.cls_head.weight.cpu(), self._new_head)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self._modules.get(HEAD):
            init.normal_(self.cls_head.weight, std=self.config.initializer_factor * self.config.d_model**-0.5)
            init.zeros_(self.cls_head.bias)

    def decide(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of no and yes, (batch, 2).

        Args:
            input_ids, attention_mask: (batch, length).
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        first = hidden[:, 0]  # (batch, width)
        return self.cls_head(nn.functional.dropout(first, DROPOUT, self.training))

    def base_tensors(self) -> Mapping[str, Tensor]:
        """The T5's own tensors: a head that is new is another one with every load."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(f"{HEAD}.")}


@torch.no_grad()
def add_tokens(model: Any, tokenizer: Any, tokens: tuple[str, ...]) -> None:
    """Give a vocabulary the tokens that it lacks, with the mean of their pieces' embeddings as theirs.

    Nothing random: the rows are no part of an adapter, and must be the same whenever the base is loaded.
    """
    new = marks.missing(tokenizer, tokens)
    if not new:
        return
    pieces = [tokenizer.encode(token, add_special_tokens=False) for token in new]
    tokenizer.add_tokens(new, special_tokens=True)
    embeddings = model.get_input_embeddings().weight  # (vocabulary, width)
    means = torch.stack([embeddings[ids].float().mean(0) for ids in pieces])  # (new, width)
    if len(tokenizer) > len(embeddings):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            rows = tokenizer.convert_tokens_to_ids(new)
            layer.weight[rows] = means.to(layer.weight)
