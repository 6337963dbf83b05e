"""Tokenizers of bases. Imports no torch, nor is it imported where a tokenizer is of no model's own class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from suite.errors import InputError, first_line
from suite.files import read_json

# What transformers calls a tokenizer that is its tokenizer.json and nothing more.
_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")


def load_tokenizer(folder: Path | str, revision: str | None = None) -> Any:
    """The tokenizer of a base.

    Args:
        folder: of the base; a string is a repository of the Hugging Face hub, of which nothing else is fetched.
        revision: of the repository.

    Raises:
        InputError: there is none that transformers can read.
    """
    try:
        if isinstance(folder, Path):
            tokenizer = _class_for(folder).from_pretrained(folder)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, revision=revision)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{folder}: no tokenizer that transformers reads ({first_line(error)})") from error
    # Long documents are cut into chunks before they reach the model; the warning would only mislead.
    tokenizer.model_max_length = int(1e9)
    return tokenizer


def _class_for(folder: Path) -> Any:
    """The class that `AutoTokenizer` would choose, found without the code of all models, and torch, where it can be."""
    stated = folder / "tokenizer_config.json"
    settings = read_json(stated) if stated.is_file() else {}
    if settings.get("tokenizer_class") in _GENERIC and (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def byte_level_bpe(
    texts: Iterable[str], pieces: str, vocabulary: int, special: Mapping[str, str], context: int, **options: Any
) -> Any:
    """Train the tokenizer of a small base, a byte-level BPE: any text can be encoded and decoded unchanged.

    Args:
        texts: what it learns from.
        pieces: a regular expression; what it matches, and what lies between, is merged within alone.
        vocabulary: number of tokens.
        special: tokens by role, `bos_token` and the like; several roles may share one.
        context: most tokens of a text.
        options: of transformers' tokenizer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*dict.fromkeys(special.values())],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=model, **special, clean_up_tokenization_spaces=False, model_max_length=context, **options
    )
