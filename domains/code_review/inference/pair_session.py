"""A T5 as CodeReviewer is one with its adapters, asked about hunks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from domains.code_review.data.encoding import hunk_text
from domains.code_review.data.pairs import PairCollate
from domains.code_review.inference.session import Session, Written
from domains.code_review.model import marks
from domains.code_review.model.bases import check_head
from domains.code_review.model.wording import Task
from domains.code_review.types import Hunk
from suite.errors import InputError

ROOM = 512
"""Tokens of what the encoder reads, as it was trained; a T5 itself knows no limit."""


class PairSession(Session):
    """What `Session` is to a causal language model."""

    def _chances(self, prompts: Sequence[str]) -> list[float]:
        """The chance of yes, from one pass of the encoder a prompt."""
        self._switch("necessity")
        check_head(self.model, str(getattr(self.model, "name_or_path", "")) or "the base")
        found: list[float] = []
        for batch in self._batches(prompts):
            logits = self.model.decide(batch["input_ids"], batch["attention_mask"]).float()  # (batch, 2)
            found += logits.softmax(-1)[:, 1].tolist()
        return found

    def _learnt(self) -> bool:
        # What a head that nobody has trained says is told of every time, and not kept.
        return not self.model.decides_at_random

    def _written(self, task: Task, prompts: Sequence[str], most: int) -> list[Written]:
        if task == "necessity":
            raise InputError("an encoder-decoder decides by a head and not by words; leave --decode out")
        self._switch(task)
        found: list[Written] = []
        for number, batch in enumerate(self._batches(prompts)):
            torch.manual_seed(self.decoding.seed + number)
            found += self._generated(task, batch, most)
        return found

    def logprobs(self, task: Task, prompts: Sequence[str], answer: str) -> list[float]:
        self._switch(task)
        # Without the token that begins a sequence, as `encoded_pair` has it of comments.
        target = marks.ids(self.tokenizer, self.templates[task].answer(task, answer), ROOM)[1:]
        found: list[float] = []
        for batch in self._batches(prompts):
            labels = torch.tensor([target] * len(batch["input_ids"]), device=batch["input_ids"].device)
            decoder = self.model.prepare_decoder_input_ids_from_labels(labels)
            logits = self.model(**batch, decoder_input_ids=decoder).logits.float()  # (batch, length, vocabulary)
            losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
            found += (-losses.sum(1)).tolist()
        return found

    def about(self, task: Task, hunk: Hunk, path: str) -> str:
        return hunk_text(self.templates[task], task, hunk)

    def fits(self, hunk: Hunk, path: str) -> bool:
        # A decision keeps as much of its hunk as it is used to; it is no reason to cut one.
        return "comment" not in self.templates or self._holds(self.about("comment", hunk, path), 0)

    def leaves_room(self, prompt: str) -> bool:
        return self._holds(prompt, 0)

    def _holds(self, prompt: str, most: int) -> bool:
        return len(marks.ids(self.tokenizer, prompt, ROOM + 1)) <= ROOM

    def _ids(self, prompt: str) -> list[int]:
        return marks.ids(self.tokenizer, prompt, ROOM)

    def _batches(self, prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Padded sources, `batch_size` of them at once."""
        device = next(self.model.parameters()).device
        pad, size = PairCollate(int(self.tokenizer.pad_token_id)), self.decoding.batch_size
        sources = [{"input_ids": torch.tensor(self._ids(prompt))} for prompt in prompts]
        batches = [pad(sources[start : start + size]) for start in range(0, len(sources), size)]
        return [{name: value.to(device) for name, value in batch.items()} for batch in batches]

    def _generated(self, task: Task, batch: dict[str, Tensor], most: int) -> list[Written]:
        decoding, words = self.decoding, self.templates[task]
        drawing = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p}
        made = self.model.generate(
            **batch,
            max_new_tokens=most,
            num_beams=decoding.num_beams,
            early_stopping=decoding.num_beams > 1,
            repetition_penalty=decoding.repetition_penalty,
            return_dict_in_generate=True,
            output_logits=True,
            **(drawing if decoding.temperature else {"do_sample": False}),
        )
        written = made.sequences[:, 1:].cpu()  # (batch, length): without the token that starts the decoder
        chosen = self.model.compute_transition_scores(
            made.sequences, made.logits, getattr(made, "beam_indices", None), normalize_logits=True
        ).float()  # (batch, length)
        end = self.tokenizer.eos_token_id
        # A mark in a comment says nothing to people; in new code one begins every line.
        unsaid = [mark for mark in marks.ALL if task != "refinement" or mark != marks.ADDED]
        outside = {self.tokenizer.bos_token_id, self.tokenizer.pad_token_id}
        outside.update(self.tokenizer.convert_tokens_to_ids(unsaid))
        found = []
        for ids, scores in zip(written.tolist(), chosen.tolist(), strict=True):
            length = ids.index(end) if end in ids else len(ids)
            kept = [index for index in ids[:length] if index not in outside]
            text = words.answered(task, self.tokenizer.decode(kept, skip_special_tokens=False))
            own = scores[: min(length + 1, len(ids))]
            found.append(Written(text, sum(own) / max(len(own), 1), length < len(ids)))
        return found
