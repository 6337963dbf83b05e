"""Prompts as users hand them over: a sentence, a file of one a line, JSON lines; names get their diacritics."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.music.data import vocabulary
from domains.music.data.captions import slots
from domains.music.data.readers.texts import text_of
from domains.music.data.vocabulary import normalised
from suite.errors import InputError
from suite.media.audio import SUFFIXES
from suite.prediction.inputs import STDIN, is_word

_SPELLED = {"raga": "raga", "taal": "taal", "laya": "laya", "laaya": "laya", "makam": "makam", "usul": "usul"}
"""Words that a name with diacritics stands before, and the kind of the name."""
_PLAIN = ("makam", "usul")
"""Kinds whose list is of file names, without diacritics: their names are looked up and stay as they are written."""
_MOST_WORDS = 4


@dataclass(frozen=True)
class Prompt:
    """One prompt, and what its own line says of seed and length (None: what was asked for all).

    Attributes:
        source: the prompt itself, or FILE:LINE. error: why the line cannot be used.
        notices: what the user should know of it, one line each.
    """

    text: str
    source: str
    error: str | None = None
    seed: int | None = None
    seconds: float | None = None
    notices: tuple[str, ...] = ()


def read_prompts(inputs: Any) -> Iterator[Prompt]:
    """Every prompt of `inputs`, in order; what cannot be read is yielded with its error.

    Args:
        inputs: one or several of: prompts (strings with a blank in them), paths of files with a prompt a line or JSON
            lines (`{"captions": ...}` as the published suites have it, `prompt`, `text`; beside it `seed` and
            `seconds`), `-` for standard input.
    """
    for one in [inputs] if isinstance(inputs, str | Path) else inputs:
        if isinstance(one, str) and (
            is_word(one) or not one.strip() or (one != STDIN and re.search(r"\s", one.strip()))
        ):
            yield said(one, one.strip() or "(no prompt)")
            continue
        name = "stdin" if one == STDIN else str(one)
        try:
            yield from _of_text(_text(one), name)
        except InputError as error:
            yield Prompt("", name, str(error).removeprefix(f"{name}: "))


def said(text: str, source: str, seed: int | None = None, seconds: float | None = None) -> Prompt:
    """A prompt with its names spelled as captions spell them."""
    text = normalised(text)
    if not text:
        return Prompt("", source, seed=seed, seconds=seconds, notices=("no prompt: made without a condition",))
    spelled, notices = respelled(text)
    found = slots(spelled)
    if found is not None and found.swapped:
        notices = [notice for notice in notices if not notice.startswith(("unknown makam", "unknown usul"))]
        notices.append(
            f"{found.makam} is an usul and {found.usul} a makam: the prompt has them in each other's place, as the "
            "published captions do"
        )
    return Prompt(spelled, source, seed=seed, seconds=seconds, notices=tuple(notices))


def respelled(text: str) -> tuple[str, list[str]]:
    """Names of ragas, taals and layas with the diacritics of the captions, and a notice of each that nobody knows.

    >>> respelled("Sitar, yaman kalyan raga")[0]
    'Sitar, Yaman kalyāṇ raga'
    """
    notices = []
    for word, kind in _SPELLED.items():
        for found in reversed(list(re.finditer(rf"(?i)\b{word}\b", text))):
            head, tail = text[: found.start()].rstrip(), text[found.start() :]
            before = head[max(head.rfind(mark) for mark in (",", ":", ";")) + 1 :].split()
            # Between a comma and the word stands a name and nothing else; in running text it may begin anywhere.
            listed = head.rfind(",") >= 0 and len(before) <= _MOST_WORDS
            for count in [len(before)] if listed else range(min(_MOST_WORDS, len(before)), 0, -1):
                name = " ".join(before[-count:])
                if (known := vocabulary.known(kind).get(vocabulary.fold(name))) is not None:
                    if kind not in _PLAIN:
                        text = f"{head[: len(head) - len(name)]}{known} {tail}"
                    break
            else:
                if before and listed:
                    [line] = vocabulary.unknown(kind, [" ".join(before)]) or [" ".join(before)]
                    notices.append(f"unknown {kind}: {line}")
    return text, notices


def _text(one: Any) -> str:
    if one == STDIN:
        return sys.stdin.read()
    if not isinstance(one, str | Path):
        raise InputError(f"a {type(one).__name__} is no prompt; give a sentence, or the path of a file of prompts")
    path = Path(one).expanduser()
    if path.suffix.lower() in SUFFIXES:
        raise InputError(f"{path}: is a recording, no prompt; to go on from it add --continue-from {path} to a prompt")
    if not path.exists() or path.is_dir():
        raise InputError(f"{path}: no such file of prompts; write a prompt in quotes, or check the path")
    return text_of(path)


def _of_text(text: str, name: str) -> Iterator[Prompt]:
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        count += 1
        source = f"{name}:{number}"
        try:
            yield _of_json(line, source) if line.lstrip().startswith("{") else said(line, source)
        except InputError as error:
            yield Prompt("", source, str(error).removeprefix(f"{source}: "))
    if not count:
        raise InputError(f"{name}: no prompt in it; write one a line")


def _of_json(line: str, source: str) -> Prompt:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"{source}: no JSON ({error})") from None
    words = next((content[key] for key in ("captions", "prompt", "text", "caption") if key in content), None)
    if not isinstance(words, str):
        raise InputError(f"{source}: holds no prompt; give captions, prompt or text")
    seed = _number(content, "seed", source)
    if seed is not None and (seed < 0 or seed != int(seed)):
        raise InputError(f"{source}: seed is {content['seed']!r}; give a whole number from 0 on")
    seconds = _number(content, "seconds", source)
    if seconds is not None and not 0 < seconds < float("inf"):
        raise InputError(f"{source}: seconds is {content['seconds']!r}; give more than 0")
    return said(words, source, None if seed is None else int(seed), seconds)


def _number(content: Mapping[str, Any], name: str, source: str) -> float | None:
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{source}: {name} is {value!r}; give a number")
    return float(value)
