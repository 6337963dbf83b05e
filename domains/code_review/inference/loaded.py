"""A base with an adapter for each task, loaded on first use: an empty diff, or a wrong one, costs no model."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from domains.code_review.inference.answers import Answers, adapter_identity, base_identity
from domains.code_review.model import marks
from domains.code_review.model.bundle import Bundle
from domains.code_review.types import ReviewQuery
from suite import hub
from suite.generation.memory import plain_config
from suite.generation.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from torch import nn

    from domains.code_review.inference.session import Session
    from domains.code_review.model.wording import Task
    from suite.generation.engine import Frame

DOMAIN = "code_review"


def check_at_hand(base: str) -> None:
    """Refuse a base that is none before anything is read; one that would first be downloaded is left until it is used.

    Raises:
        InputError: the catalogue or this machine has no such base.
    """
    if not base.startswith(("hf:", "https:")):
        hub.resolve(base, DOMAIN, kind="base")


class LoadedReviewer:
    """A base and its adapters.

    Attributes:
        bundle: where the adapters are. adapter: their name, for findings. base: reference of the base.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        adapter: str,
        base: str,
        device: str = "auto",
        dtype: str = "auto",
        strict_base: bool = False,
    ) -> None:
        self.bundle, self.adapter, self.base = bundle, adapter, base
        self._device, self._dtype, self._strict = device, dtype, strict_base
        self._frames: dict[Task, Frame] = {}
        if (device, dtype) != ("auto", "auto"):  # what can be wrong is told now
            _ = self.device

    @cached_property
    def device(self) -> tuple[str, Any]:
        """Where the base is, or will be, and the type of its weights."""
        from suite.devices import choose_device, choose_dtype

        device = choose_device(self._device)
        return device, choose_dtype(self._dtype, device, quantized=("nf4",))

    @cached_property
    def tokenizer(self) -> Any:
        """Of the base."""
        tokenizer = load_tokenizer(hub.resolve(self.base, DOMAIN, kind="base"))
        if any(template.marks for template in self.bundle.templates.values()):
            tokenizer.add_tokens(marks.missing(tokenizer), special_tokens=True)
        return tokenizer

    @cached_property
    def model(self) -> nn.Module:
        """The base with the adapters side by side on it, frozen.

        Raises:
            InputError: they do not belong together.
        """
        from domains.code_review.model.bases import load_base
        from suite import adapters

        device, dtype = self.device
        quantize: Any = "nf4" if self._dtype == "nf4" else None
        model, _ = load_base(self.base, dtype=dtype, device=device, quantize=quantize)
        with adapters.strict_bases() if self._strict else nullcontext():
            for task, part in self.bundle.parts.items():
                model = adapters.load(model, part, name=task)
        return model.eval()

    @property
    def room(self) -> int:
        """Tokens of prompt and answer together that the base takes."""
        config = plain_config(hub.resolve(self.base, DOMAIN, kind="base")) or self.model.config
        return int(getattr(config, "max_position_embeddings", None) or 2048)

    def session(self, query: ReviewQuery, bare: bool = False) -> Session:
        """The adapters, ready to be asked as `query` says; or the base alone, where they are off."""
        from domains.code_review.inference.session import Decoding, Session

        decoding = Decoding(
            query.max_new_tokens,
            query.batch_size,
            query.temperature,
            query.top_p,
            query.seed,
            query.num_beams,
            query.repetition_penalty,
        )
        answers = self._answers() if query.cache and not bare else None
        kind = Session
        if any(template.marks for template in self.bundle.templates.values()):
            from domains.code_review.inference.pair_session import PairSession

            kind = PairSession
        model, templates = (lambda: self.model), self.bundle.templates
        frames = None if bare else self._frames
        return kind(model, self.tokenizer, templates, self.room, decoding, bare=bare, answers=answers, frames=frames)

    def _answers(self) -> Answers:
        """What the same base and adapters answered before."""
        device, dtype = self.device
        return Answers(
            {
                "base": [self.base, base_identity(hub.resolve(self.base, DOMAIN, kind="base"))],
                "adapters": {task: adapter_identity(part) for task, part in self.bundle.parts.items()},
                "templates": {task: template.to_dict() for task, template in self.bundle.templates.items()},
                "weights": [device.partition(":")[0], str(dtype), self._dtype, self._strict],
            }
        )
