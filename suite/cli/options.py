"""From a typed signature to command-line options: the one way in which every verb gets its options.

`jsonargparse` reads configurations, but at the prompt it wants `--flag true` and `--formats '[csv,html]'` and answers
a typo with ten lines; people expect `--flag`, `--formats csv,html` and one line.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import difflib
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from suite.domain import Alias, Whole
from suite.errors import InputError

_WORDS = "words"  # where argparse collects the bare words


class HelpAsked(Exception):
    """`--help` was given; `text` is the answer."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Parser(argparse.ArgumentParser):
    """An argument parser whose every error is one line that says where to look, and exit code 2.

    Args:
        prog: the command's words.
        options: what it takes; they are added.
        description: what it does.
        words: how the usage line shows the bare words, where the options do not say so.
    """

    def __init__(self, prog: str, options: Sequence[Option] = (), description: str = "", words: str = "") -> None:
        super().__init__(
            prog=prog,
            usage=" ".join(filter(None, (prog, words or usage(options), "[options]"))),
            description=description.replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
        for option in options:
            option.add(self)

    def print_help(self, file: Any = None) -> NoReturn:
        raise HelpAsked(self.format_help())

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            word = unknown.split()[0].partition("=")[0]
            near = difflib.get_close_matches(word, self._option_string_actions, n=1)
            message = f"{message}; did you mean {near[0]}?" if near else message
        raise InputError(f"{self.prog}: {message} (see {self.prog} --help)")


@dataclasses.dataclass(frozen=True)
class Option:
    """One parameter of a function or one field of a dataclass, as an option.

    Attributes:
        name: of the parameter; the option is `--name` with hyphens (underscores are accepted too).
        kind: its annotation.
        default: `inspect.Parameter.empty` where it must be given.
        bare: whether a word before the first option may fill it.
        help: one paragraph for people.
        aliases: other names of it.
    """

    name: str
    kind: Any
    default: Any = inspect.Parameter.empty
    bare: bool = False
    help: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def many(self) -> bool:
        """Whether it takes several values."""
        return _item(self.kind) is not None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add it to `parser`; a value that is not given stays absent from the parsed namespace.

        Raises:
            TypeError: the annotation is of a kind that no option can hold.
        """
        others = (f"--{alias}" for alias in self.aliases)
        names = dict.fromkeys((self.flag, "--" + self.name, *others))
        common: dict[str, Any] = {"dest": self.name, "default": argparse.SUPPRESS, "help": self._help()}
        kind = _without_none(self.kind)
        item = _item(self.kind)
        if kind is bool and self.name.startswith("no_"):
            # argparse reads every flag that begins so as a "no" to another one, and would answer False.
            parser.add_argument(*names, action="store_true", **common)
        elif kind is bool:
            parser.add_argument(*names, action=argparse.BooleanOptionalAction, **common)
        elif (count := _count(self.kind)) is not None:
            parser.add_argument(*names, nargs=count, type=_converter(item), metavar=_metavar(item, "X"), **common)
        elif item is not None:
            convert = _several(_converter(item))
            metavar = _metavar(item, self.name)
            parser.add_argument(*names, action=_Extend, type=convert, metavar=metavar, **common)
        else:
            parser.add_argument(*names, type=_converter(kind), metavar=_metavar(kind, self.name), **common)

    def convert(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> Any:
        """Turn the bare words that fill it into its value.

        Raises:
            InputError: one is of the wrong kind.
        """
        item = _item(self.kind)
        convert = _converter(_without_none(self.kind) if item is None else item)
        try:
            values = [convert(word) for word in words]
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"{self.name.upper()}: {error}")
        return values[0] if item is None else values

    def collected(self, value: Any) -> Any:
        """Turn the list that was parsed into the collection that the annotation asks for."""
        origin = get_origin(_without_none(self.kind))
        return origin(value) if origin in (tuple, set, frozenset) else value

    def _help(self) -> str:
        text = self.help.replace("%", "%%")
        if self.required:
            return f"{text} (required)".strip()
        if self.default in (None, (), [], "") or isinstance(self.default, bool):
            return text
        mark = "," if _count(self.kind) is None else " "  # as it is typed
        default = mark.join(map(str, self.default)) if isinstance(self.default, list | tuple) else self.default
        return f"{text} (default: {default})".replace("%", "%%").strip()


class _Extend(argparse.Action):
    """Collect the values of all its occurrences in one list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), *values])


def of_function(function: Callable[..., Any]) -> list[Option]:
    """Return the options of a typed function; the `Args:` of its docstring are their help."""
    hints, aliases = _annotations(function)
    texts = _texts(function)
    options = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{function.__qualname__}: a verb names its parameters; *{parameter.name} gives no options")
        if parameter.name not in hints:
            raise TypeError(f"{function.__qualname__}: parameter {parameter.name} has no type")
        bare = parameter.kind is not parameter.KEYWORD_ONLY and _without_none(hints[parameter.name]) is not bool
        help_ = texts.get(parameter.name, "")
        others = aliases[parameter.name]
        options.append(Option(parameter.name, hints[parameter.name], parameter.default, bare, help_, others))
    return options


def of_dataclass(kind: type) -> list[Option]:
    """Return the options of a dataclass's fields; the `Attributes:` of its docstring are their help."""
    hints, aliases = _annotations(kind)
    texts = _texts(kind)
    options = []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            default = inspect.Parameter.empty
        help_, others = texts.get(field.name, ""), aliases[field.name]
        options.append(Option(field.name, hints[field.name], default, help=help_, aliases=others))
    return options


def _annotations(annotated: Any) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """The kind of each parameter or field, and its other names."""
    kinds: dict[str, Any] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for name, hint in get_type_hints(annotated, include_extras=True).items():
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        kinds[name] = get_args(hint)[0] if marks else hint
        aliases[name] = tuple(mark.name for mark in marks if isinstance(mark, Alias))
    return kinds, aliases


def parse(parser: Parser, options: Sequence[Option], argv: Sequence[str]) -> dict[str, Any]:
    """Parse `argv` by the parser of `options`; return what was given by name, so that the callee's own defaults hold.

    Bare words, wherever they stand, fill the options that may be bare, in order; one of many values takes all the rest.

    Raises:
        InputError: a word or option is not known, a value is missing or of the wrong kind.
    """
    parser.add_argument(_WORDS, nargs="*", help=argparse.SUPPRESS)
    given = vars(parser.parse_intermixed_args(list(argv)))
    words = given.pop(_WORDS)
    given.pop("json")
    for option in options:
        if option.bare and words and option.name not in given:
            taken = words[:] if option.many else words[:1]
            given[option.name] = option.convert(parser, taken)
            del words[: len(taken)]
    if words:
        parser.error(f"unexpected {' '.join(words)}")
    if missing := [option.flag for option in options if option.required and option.name not in given]:
        parser.error(f"{' and '.join(missing)} must be given")
    return {option.name: option.collected(given[option.name]) for option in options if option.name in given}


def description(function: Any) -> str:
    """Return the docstring without its `Args:`, `Attributes:`, `Returns:` and `Raises:` sections."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    sections = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")
    end = next((place for place, line in enumerate(lines) if line in sections), len(lines))
    return "\n".join(lines[:end]).strip()


def usage(options: Sequence[Option]) -> str:
    """Return the bare words that `options` take, as a usage line shows them."""
    words = [
        (option.name.upper() + (" ..." if option.many else ""), option.required) for option in options if option.bare
    ]
    return " ".join(word if required else f"[{word}]" for word, required in words)


def _without_none(kind: Any) -> Any:
    """`X | None` -> `X`; anything else as it is."""
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return kind


def _item(kind: Any) -> Any | None:
    """The kind of one value of a collection, None where `kind` is no collection."""
    kind = _without_none(kind)
    if get_origin(kind) in (list, tuple, set, frozenset, Sequence):
        return get_args(kind)[0]
    return None


def _count(kind: Any) -> int | None:
    """Of a tuple of so many values that many, which are so many words; None where any number will do."""
    kind = _without_none(kind)
    return len(get_args(kind)) if get_origin(kind) is tuple and get_args(kind)[-1] is not ... else None


def _converter(kind: Any) -> Callable[[str], Any]:
    kind = _without_none(kind)
    if get_origin(kind) is Literal:
        return _choice(get_args(kind))
    if kind in (int, float):
        return _number(kind)
    if kind in (str, Path, Whole):
        return kind
    if kind is Any:
        return str
    members = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):  # e.g. Path | str: the first that accepts the text
        return _first_of([_converter(member) for member in members if member is not type(None)])
    raise TypeError(f"no command-line option can hold a {kind}")


def _number(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def convert(text: str) -> int | float:
        try:
            return kind(text)
        except ValueError:
            wanted = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is no {wanted}") from None

    return convert


def _choice(values: tuple[Any, ...]) -> Callable[[str], Any]:
    by_text = {str(value): value for value in values}

    def choose(text: str) -> Any:
        if text not in by_text:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(by_text)}")
        return by_text[text]

    return choose


def _first_of(converters: Sequence[Callable[[str], Any]]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        for converter in converters[:-1]:
            try:
                return converter(text)
            except (ValueError, argparse.ArgumentTypeError):
                continue
        return converters[-1](text)

    return convert


def _several(convert: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def split(text: str) -> list[Any]:
        # a comma may be part of a file's name
        return [convert(text)] if convert in (Path, Whole) else [convert(part) for part in _parts(text) if part]

    return split


def _parts(text: str) -> list[str]:
    """The parts between commas; one that has commas itself stands in double quotes, as in CSV."""
    if '"' not in text:
        return text.split(",")
    [row] = csv.reader([text], skipinitialspace=True) if "\n" not in text else [text.split(",")]
    return row


def _metavar(kind: Any, name: str) -> str:
    kind = _without_none(kind)
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    return {int: "N", float: "X", Path: "PATH"}.get(kind, name.upper())


def _texts(documented: Any) -> Mapping[str, str]:
    """What the docstring says of each parameter or attribute."""
    from docstring_parser import DocstringStyle
    from docstring_parser import parse as parse_docstring

    parsed = parse_docstring(documented.__doc__ or "", style=DocstringStyle.GOOGLE)
    names = "|".join(map(re.escape, inspect.signature(documented).parameters))
    next_one = re.compile(rf"(?<=[.;]) ({names}): ")  # `low: its least. high: its most.` on one line
    texts: dict[str, str] = {}
    for parameter in parsed.params:
        first, *others = next_one.split(" ".join((parameter.description or "").split()))
        texts |= dict.fromkeys((name.strip() for name in parameter.arg_name.split(",")), first)
        texts |= zip(others[::2], others[1::2], strict=True)
    return texts
