"""Methods that put trained virtual tokens before a transformer's embedded input, inside peft's own `PeftModel`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

from peft import PeftModel, PeftModelForSeq2SeqLM, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BasePromptEncoder
from peft.utils import PeftType
from torch import Tensor, nn

from suite.adapters.carriers.base import declared
from suite.adapters.carriers.config import check_choices
from suite.adapters.registry import MethodInfo, peft_type_of, register_tuner


@dataclass
class PromptConfig(PromptLearningConfig):
    """Fields that the config of every prompt method of ours has: peft's own (`num_virtual_tokens`, ...)."""

    method: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type_of(self.method)
        check_choices(self)


class PromptEncoder(BasePromptEncoder):
    """What an adapter trains, and the virtual tokens that it makes of it; a method states `create` and `prompts`."""

    prefix: ClassVar[str] = ""
    method: ClassVar[str] = ""

    def __init__(self, config: Any, word_embeddings: nn.Module) -> None:
        super().__init__()
        self.settings = config
        for name, value in self.create(config, word_embeddings).items():
            setattr(self, name, nn.Parameter(value) if isinstance(value, Tensor) else value)

    def create(self, config: Any, word_embeddings: nn.Module) -> dict[str, Tensor | nn.Module]:
        """What trains, by name: tensors and modules.

        Args:
            config: the method's config; peft has filled in `token_dim`.
            word_embeddings: the model's own, to start from.
        """
        raise TypeError(f"{type(self).__name__} must define create")

    def prompts(self) -> Tensor:
        """The virtual tokens, (num_virtual_tokens * num_transformer_submodules, token_dim)."""
        raise TypeError(f"{type(self).__name__} must define prompts")

    def embedded(self, embeddings: Tensor) -> Tensor:
        """The input's own embeddings (B, T, token_dim), changed; once, before prompts are put in front of them."""
        return embeddings

    def forward(self, indices: Tensor) -> Tensor:
        return self.prompts().expand(len(indices), -1, -1)  # (B, tokens, token_dim)

    @property
    def embedding(self) -> Any:
        """peft reads a frozen prompt from here."""
        return SimpleNamespace(weight=self.prompts())

    @classmethod
    def _get_adapter_state_dict(
        cls, model: Any, config: Any, adapter_name: str, state_dict: Any, unwanted_adapter_names: Any
    ) -> dict[str, Tensor]:
        state = model.prompt_encoder[adapter_name].state_dict()
        return {cls.prefix + name: tensor for name, tensor in state.items()}

    def _load_adapter_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.load_state_dict({name.removeprefix(self.prefix): tensor for name, tensor in state_dict.items()})


Encoder = TypeVar("Encoder", bound=type[PromptEncoder])


def prompt_tuner(info: MethodInfo, config_class: type[PromptConfig]) -> Callable[[Encoder], Encoder]:
    """Register a prompt encoder as the method `info.name`, which `PeftModel` then treats as one of peft's own.

    Args:
        info: what the method declares; `in_place` must be false.
        config_class: its config; gets the method's name.
    """

    def register(encoder_class: Encoder) -> Encoder:
        encoder_class.method = config_class.method = info.name
        encoder_class.prefix = f"{info.name}_"
        register_tuner(config_class, encoder_class, declared(info, encoder_class))
        return encoder_class

    return register


class InputEmbeddings(nn.Module):
    """What `PeftModel` embeds the input with: the model's own embeddings, as the active prompt encoder changes them."""

    def __init__(self, own: nn.Module, model: PeftModel) -> None:
        super().__init__()
        self.own = own
        self._model = (model,)  # in a tuple: the model must not be a part of a part of itself

    @property
    def weight(self) -> Any:
        """The model's own embeddings."""
        return self.own.weight

    def forward(self, ids: Tensor) -> Tensor:
        embeddings: Tensor = self.own(ids)
        (model,) = self._model
        encoder = model.prompt_encoder[model.active_adapter]
        return encoder.embedded(embeddings) if isinstance(encoder, PromptEncoder) else embeddings


_peft_setup = PeftModel._setup_prompt_encoder


def _setup_prompt_encoder(self: PeftModel, adapter_name: str) -> Any:
    """peft builds encoders for a fixed list of its own types; another package's is built as prompt tuning's is."""
    config, table = self.peft_config[adapter_name], PEFT_TYPE_TO_TUNER_MAPPING
    encoder, usual = table[config.peft_type], table[PeftType.PROMPT_TUNING]
    if encoder.__module__.startswith("peft."):
        return _peft_setup(self, adapter_name)
    own, config.peft_type = config.peft_type, PeftType.PROMPT_TUNING
    table[PeftType.PROMPT_TUNING] = encoder
    try:
        _peft_setup(self, adapter_name)
    finally:
        config.peft_type, table[PeftType.PROMPT_TUNING] = own, usual
    if encoder.embedded is not PromptEncoder.embedded:
        self.word_embeddings = InputEmbeddings(self.word_embeddings, self)


PeftModel._setup_prompt_encoder = _setup_prompt_encoder


def _as_prompt_tuning(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `PeftModelForSeq2SeqLM`, which knows the methods that it serves by name, for other packages' too."""

    @wraps(method)
    def call(self: PeftModelForSeq2SeqLM, *args: Any, **kwargs: Any) -> Any:
        config = self.active_peft_config
        own = config.peft_type
        if not issubclass(PEFT_TYPE_TO_TUNER_MAPPING.get(own, object), PromptEncoder):
            return method(self, *args, **kwargs)
        config.peft_type = PeftType.PROMPT_TUNING
        try:
            return method(self, *args, **kwargs)
        finally:
            config.peft_type = own

    return call


PeftModelForSeq2SeqLM.forward = _as_prompt_tuning(PeftModelForSeq2SeqLM.forward)
PeftModelForSeq2SeqLM.generate = _as_prompt_tuning(PeftModelForSeq2SeqLM.generate)
