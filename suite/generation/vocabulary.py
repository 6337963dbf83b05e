"""Token bytes: what each token adds to the text, and which tokens keep a byte automaton alive.

Tokenizers write their tokens in three notations: byte-level BPE (every byte is a printable character), SentencePiece
(`▁` is a space, `<0x0A>` a byte) and plain strings. Here a token is simply the bytes it contributes, so that tokens
that straddle a newline, a quote or a multi-byte character need no case of their own. Imports no torch.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from suite.generation.constraints import Constraint, State

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass
class _Node:
    """One node of the trie over token bytes; `ids` are the tokens that end here."""

    ids: list[int] = field(default_factory=list)
    children: dict[int, _Node] = field(default_factory=dict)


class Vocabulary:
    """The bytes of every token of a tokenizer.

    Attributes:
        tokens: bytes by token id; empty for special tokens, which add nothing to the text.
        strips_first_space: decoding removes the space that SentencePiece puts before the first word.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokens = _token_bytes(tokenizer)
        self.strips_first_space = _strips_first_space(tokenizer, self.tokens)

    @cached_property
    def _trie(self) -> _Node:
        root = _Node()
        for token, data in enumerate(self.tokens):
            if not data:
                continue
            node = root
            for byte in data:
                node = node.children.setdefault(byte, _Node())
            node.ids.append(token)
        return root

    def piece(self, token: int, first: bool) -> bytes:
        """Return the bytes that `token` adds to the text; `first`: nothing was generated before it."""
        data = self.tokens[token] if token < len(self.tokens) else b""
        return data[1:] if first and self.strips_first_space and data.startswith(b" ") else data

    def decode(self, ids: Iterable[int]) -> tuple[str, tuple[int, ...]]:
        """Return the text of `ids`, spaces as they are, and the end position in it after each token.

        Bytes that are no UTF-8 become U+FFFD. A character made of several tokens counts at the last of them.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text, ends = "", []
        for place, token in enumerate(ids):
            text += decoder.decode(self.piece(token, place == 0))
            ends.append(len(text))
        text += decoder.decode(b"", final=True)
        if ends:
            ends[-1] = len(text)
        return text, tuple(ends)

    def allowed(self, constraint: Constraint, state: State, first: bool) -> list[int]:
        """Return the tokens whose bytes keep `constraint` alive from `state`."""
        found: list[int] = []
        stack = [(self._trie, state)]
        if first and self.strips_first_space and (space := self._trie.children.get(0x20)):
            found += space.ids
            stack.append((space, state))
        while stack:
            node, current = stack.pop()
            for byte, target in constraint.moves(current).items():
                child = node.children.get(byte)
                if child is not None:
                    found += child.ids
                    if child.children:
                        stack.append((child, target))
        return found


def _token_bytes(tokenizer: Any) -> list[bytes]:
    special = set(tokenizer.all_special_ids)
    special |= {token for token, added in getattr(tokenizer, "added_tokens_decoder", {}).items() if added.special}
    kinds = _decoder_kinds(tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    if "ByteLevel" in kinds:
        convert = _byte_level
    elif kinds & {"Metaspace", "Replace", "ByteFallback"}:
        convert = _sentencepiece
    else:
        return [b"" if token in special else _by_decoding(tokenizer, token) for token in range(len(names))]
    return [b"" if token in special or name is None else convert(name) for token, name in enumerate(names)]


def _decoder_kinds(tokenizer: Any) -> set[str]:
    """The types of the decoders of a fast tokenizer; empty when it has none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return set()
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    return {decoder.get("type"), *(part["type"] for part in decoder.get("decoders", []))}


def _byte_level(name: str) -> bytes:
    table = _unicode_to_byte()
    if all(character in table for character in name):
        return bytes(table[character] for character in name)
    return name.encode()  # an added token, written as itself


def _unicode_to_byte(_cache: dict[str, int] = {}) -> dict[str, int]:  # noqa: B006 - filled once, on first use
    """GPT-2's reversible notation: printable bytes are themselves, the others are moved above U+0100."""
    if not _cache:
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        moved = [byte for byte in range(256) if byte not in printable]
        _cache.update({chr(byte): byte for byte in printable})
        _cache.update({chr(0x100 + place): byte for place, byte in enumerate(moved)})
    return _cache


def _sentencepiece(name: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(name):
        return bytes([int(match[1], 16)])
    return name.replace("▁", " ").encode()


def _by_decoding(tokenizer: Any, token: int) -> bytes:
    """What the token adds behind itself: decoders may treat the first token of a text differently."""
    alone = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    twice = tokenizer.decode([token, token], clean_up_tokenization_spaces=False)
    return twice[len(alone) :].encode()


def _strips_first_space(tokenizer: Any, tokens: list[bytes]) -> bool:
    probe = next((token for token, data in enumerate(tokens) if len(data) > 1 and data[:1] == b" "), None)
    if probe is None:
        return False
    return not tokenizer.decode([probe], clean_up_tokenization_spaces=False).startswith(" ")
