"""Prompts as users hand them over: a sentence, a file of one a line with settings of its own, DreamBooth's protocol."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.personalized_diffusion.data import dreambooth
from domains.personalized_diffusion.model.manifest import TriggerWords
from domains.personalized_diffusion.types import check_drawing, checked_size, parse_size
from suite.errors import InputError
from suite.files import read_text
from suite.prediction.inputs import STDIN, Names, is_word, slug

_TEXTS = (".txt", ".csv", ".jsonl", ".md")
"""Files that are text whatever their encoding."""


@dataclass(frozen=True)
class Prompt:
    """One prompt, and what its own line says of seed, steps, guidance and size (None: what was asked for all).

    Attributes:
        source: the prompt itself, or FILE:LINE. error: why the line cannot be used.
        subject, number: of DreamBooth's protocol.
        size: (width, height) in pixels.
    """

    text: str
    source: str
    error: str | None = None
    subject: str = ""
    number: int | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    negative: str | None = None


def read_prompts(inputs: Any, trigger: TriggerWords | None = None, subject: str | None = None) -> Iterator[Prompt]:
    """Every prompt of `inputs`, in order; what cannot be read is yielded with its error.

    Args:
        inputs: one or several of: prompts (strings with a blank in them), paths of prompt files, `-` for standard
            input. Files hold one prompt a line, or JSON objects, or are DreamBooth's own prompts file.
        trigger: token and class of the adapter, which fill the protocol's prompts.
        subject: whose prompts of the protocol; the only one of the trigger's class where it is left out.
    """
    several = [inputs] if isinstance(inputs, str | Path) else inputs
    for one in several:
        if not isinstance(one, str | Path) or not str(one).strip():
            yield Prompt("", repr(one), "a prompt is a text of at least one word, or the path of a file of prompts")
            continue
        if is_word(one) or (isinstance(one, str) and one != STDIN and any(map(str.isspace, one.strip()))):
            yield Prompt(" ".join(one.split()), one)
            continue
        name = "stdin" if one == STDIN else str(one)
        try:
            yield from _of_text(_text(one), name, trigger or TriggerWords(), subject)
        except InputError as error:
            yield Prompt("", name, str(error).removeprefix(f"{name}: "))


def _text(one: str | Path) -> str:
    if one == STDIN:
        return sys.stdin.read()
    path = Path(one)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; write a prompt in quotes, or name a file of prompts")
    if not path.exists():
        raise InputError(f"{path}: no such file of prompts; write a prompt in quotes, or check the path")
    try:
        return read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        if path.suffix.lower() in _TEXTS:
            return read_text(path, encoding=None)
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _of_text(text: str, name: str, trigger: TriggerWords, subject: str | None) -> Iterator[Prompt]:
    if dreambooth.is_protocol(text):
        yield from _of_protocol(dreambooth.parse_protocol(text, name), name, trigger, subject)
        return
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        count += 1
        source = f"{name}:{number}"
        try:
            yield parse_line(line, source)
        except InputError as error:
            yield Prompt("", source, str(error).removeprefix(f"{source}: "))
    if not count:
        raise InputError(f"{name}: no prompt in it; write one a line")


def _of_protocol(given: dreambooth.Protocol, name: str, trigger: TriggerWords, subject: str | None) -> Iterator[Prompt]:
    if subject is None:
        fitting = [one for one, noun in given.classes.items() if noun == trigger.noun]
        if len(fitting) != 1:
            which = f"{len(fitting)} subjects of class {trigger.noun!r}" if trigger.noun else "30 subjects"
            raise InputError(f"{name}: it has prompts for {which}; choose one with --subject, e.g. --subject dog6")
        [subject] = fitting
    for number, text in enumerate(given.prompts(subject, trigger.token)):
        yield Prompt(text, f"{name}: {subject} {number}", subject=subject, number=number)


def parse_line(line: str, source: str) -> Prompt:
    """One line of a prompt file: text, text with kohya's options (`--w 512 --h 768 --d 1 --s 30 --l 7 --n blurry`), or
    a JSON object (`prompt`, `seed`, `steps`, `guidance`, `width`, `height`, `size`, `negative`).

    Raises:
        InputError: an option or key is not known, or its value is of the wrong kind.
    """
    fields = _of_json(line, source) if line.startswith("{") else _of_options(line, source)
    text = " ".join(str(fields.pop("prompt", "")).split())
    if not text:
        raise InputError(f"{source}: the line holds no prompt")
    width, height = fields.pop("width", None), fields.pop("height", None)
    if width or height:
        fields["size"] = checked_size((width or height, height or width), source)
    try:
        check_drawing(seed=fields.get("seed"), steps=fields.get("steps"), guidance=fields.get("guidance"))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return Prompt(text, source, **fields)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError
    return int(value)


def _text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "prompt": _text_of, "seed": _whole, "steps": _whole, "guidance": float, "width": _whole, "height": _whole,
    "negative": _text_of,
}  # fmt: skip
_LETTERS = {"w": "width", "h": "height", "d": "seed", "s": "steps", "l": "guidance", "n": "negative"}


def _of_options(line: str, source: str) -> dict[str, Any]:
    text, *options = re.split(r"\s--([A-Za-z]\w*)(?=\s|$)", f" {line}")
    found = {"prompt": text}
    for letter, value in zip(options[::2], options[1::2], strict=True):
        if letter not in _LETTERS:
            known = ", ".join(f"--{known} {name}" for known, name in _LETTERS.items())
            raise InputError(f"{source}: option --{letter} is not known; there are {known}")
        found[_LETTERS[letter]] = value.strip()
    return _converted(found, source)


def _of_json(line: str, source: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{source}: not JSON ({error})") from error
    size = record.pop("size", None)
    if unknown := sorted(set(record) - set(_KINDS)):
        raise InputError(f"{source}: keys {', '.join(unknown[:5])} are not known; there are {', '.join(_KINDS)}, size")
    if size is not None:
        record["width"], record["height"] = parse_size(str(size), source)
    return _converted(record, source)


def _converted(found: Mapping[str, Any], source: str) -> dict[str, Any]:
    converted = {}
    for name, value in found.items():
        try:
            converted[name] = _KINDS[name](value)
        except (OverflowError, TypeError, ValueError):
            kind = "text" if _KINDS[name] is _text_of else "number of its kind"
            raise InputError(f"{source}: {name} {value!r} is no {kind}") from None
    return converted


def without_token(text: str, token: str) -> str:
    """A prompt without the trigger token: "a sks dog in the jungle" becomes "a dog in the jungle"."""
    if not token:
        return text
    return " ".join(re.sub(rf"(?<!\w){re.escape(token)}(?!\w)", " ", text, flags=re.IGNORECASE).split())


def name_of(prompt: Prompt, names: Names) -> str:
    """Folder of a result: SUBJECT/NUMBER for the protocol, else the prompt's own words, made unique by a number."""
    if prompt.number is not None:
        return f"{slug(prompt.subject, otherwise='prompt')}/{prompt.number:02d}"
    return names.of(slug(prompt.text, otherwise="prompt"))
