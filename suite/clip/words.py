"""Texts as a CLIP takes them: byte pairs between a start and an end, at a fixed length."""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ftfy
import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPTokenizer

from suite.errors import InputError, first_line

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49152 - 256 - 2
"""Of CLIP's vocabulary; OpenAI's file holds more, which its models have no rows for."""

Padding = Literal["zero", "end"]
"""What fills up a text: token 0, as in OpenAI's code and all that followed it, or the end again, as in transformers."""


class Words:
    """Texts to token ids.

    Args:
        tokenizer: of transformers.
        length: of every text, start and end counted.
    """

    def __init__(self, tokenizer: CLIPTokenizer, length: int = 77) -> None:
        self.tokenizer, self.length = tokenizer, length

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        length: int | None = None,
        padding: Padding = "zero",
        markers: bool = True,
    ) -> Tensor:
        """Token ids (texts, length), int64. A longer text is cut, and ends all the same.

        Args:
            markers: whether a start or end that is written out in a text is one, as in OpenAI's code.

        Raises:
            ValueError: the length has no room for a token between start and end.
        """
        length = length or self.length
        if length < 3:
            raise ValueError(f"length {length}: start and end alone take 2")
        rows = [self.tokens(text, markers=markers) for text in ([texts] if isinstance(texts, str) else texts)]
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        result = torch.full((len(rows), length), 0 if padding == "zero" else end)
        for place, row in enumerate(rows):
            ids = torch.tensor([start, *row[: length - 2], end])
            result[place, : len(ids)] = ids
        return result

    def tokens(self, text: str, *, markers: bool = True) -> list[int]:
        """The text's own tokens, without start and end, however many."""
        return list(self.tokenizer.encode(clean(text), add_special_tokens=False, split_special_tokens=not markers))

    def cut(self, text: str) -> bool:
        """Whether a part of the text does not fit."""
        return len(self.tokens(text)) > self.length - 2


def clean(text: str) -> str:
    """A caption as its author meant it, by OpenAI's rules.

    Curly quotes are straightened and letters of a wrong encoding mended (ftfy); `&amp;amp;` is how some data sets write
    `&`.
    """
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def from_merges(file: str | Path, length: int = 77) -> Words:
    """CLIP's tokenizer from OpenAI's list of merges, a text file or its `.gz` (`bpe_simple_vocab_16e6.txt.gz`).

    Raises:
        InputError: the file cannot be read, or is no list of merges.
    """
    path = Path(file)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of merges ({first_line(error)})") from error
    lines = text.split("\n")[1 : MERGES + 1]  # the first line is the file's version
    merges = [tuple(line.split()) for line in lines if line.strip()]
    if len(merges) < 2 or any(len(pair) != 2 for pair in merges):
        raise InputError(f"{path}: no list of merges, which has two tokens a line; give bpe_simple_vocab_16e6.txt.gz")
    letters = _letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return Words(CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length), length)


def of_base(folder: str | Path, length: int = 77) -> Words:
    """The tokenizer in a base's folder.

    Raises:
        InputError: it holds none.
    """
    try:
        return Words(AutoTokenizer.from_pretrained(folder), length)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{folder}: no tokenizer that transformers reads ({first_line(error)})") from error


def _letters() -> list[str]:
    """A printable character for each of the 256 bytes, in the order of CLIP's vocabulary.

    Bytes that print stand for themselves and come first; the others take the characters from 256 on.
    """
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printing)
    return [chr(code) for code in (*printing, *range(256, 256 + others))]
