"""Tokenizers of bases. Imports no torch, nor is it imported where a tokenizer is of no model's own class."""

from __future__ import annotations

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
