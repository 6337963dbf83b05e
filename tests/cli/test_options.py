"""From typed signatures to options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from suite.cli.options import HelpAsked, Parser, of_dataclass, of_function, parse
from suite.domain import Whole
from suite.errors import InputError


def verb(
    files: list[Path],
    *,
    mode: Literal["fast", "slow"] = "fast",
    depth: Literal[1, 2] = 1,
    names: tuple[str, ...] = (),
    limit: int | None = None,
    rate: float = 0.5,
    dry_run: bool = False,
    anything: Path | str | None = None,
    corner: tuple[float, float] | None = None,
    boxes: tuple[Whole, ...] = (),
) -> None:
    """Do it.

    Args:
        files: what to read,
            one or more.
        limit: at most so many (100 % safe).
    """


def parsed(*argv: str) -> dict[str, Any]:
    options = of_function(verb)
    return parse(Parser("suite verb", options), options, argv)


def test_only_what_is_given_is_passed_on() -> None:
    assert parsed("a") == {"files": [Path("a")]}


def test_bare_words_fill_the_first_parameter_wherever_they_stand() -> None:
    expected = {"files": [Path("a"), Path("b"), Path("-")], "limit": 3}
    assert parsed("a", "b", "-", "--limit", "3") == parsed("a", "--limit", "3", "b", "-") == expected


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--mode", "slow"], "mode", "slow"),
        (["--depth", "2"], "depth", 2),
        (["--names", "a,b", "--names=c"], "names", ("a", "b", "c")),
        (["--rate", "1e-3"], "rate", 1e-3),
        (["--dry-run"], "dry_run", True),
        (["--dry_run"], "dry_run", True),
        (["--no-dry-run"], "dry_run", False),
        (["--anything", "x,y"], "anything", Path("x,y")),
        (["--corner", "3", "-4.5"], "corner", (3.0, -4.5)),
        (["--boxes", "1,2", "--boxes", "3"], "boxes", ("1,2", "3")),
    ],
)
def test_values_take_the_annotated_type(argv: list[str], name: str, value: object) -> None:
    given = parsed("file", *argv)[name]
    assert given == value
    assert type(given) is type(value) or isinstance(value, Path)


def test_a_path_may_hold_a_comma() -> None:
    assert parsed("--files", "a,b.txt")["files"] == [Path("a,b.txt")]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--files must be given"),
        (["f", "--limit", "many"], "'many' is no whole number"),
        (["f", "--rate", "fast"], "'fast' is no number"),
        (["f", "--mode", "quick"], "'quick' is none of fast, slow"),
        (["f", "--limt", "3"], "did you mean --limit?"),
        (["f", "--limit"], "expected one argument"),
    ],
)
def test_errors_are_one_line_that_says_where_to_look(argv: list[str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(*argv)
    message = str(caught.value)
    assert said in message
    assert message.startswith("suite verb: ")
    assert message.endswith("(see suite verb --help)")
    assert "\n" not in message


def test_words_that_nothing_takes_are_refused() -> None:
    def single(first: int, *, other: int = 0) -> None:
        """Do it."""

    options = of_function(single)
    with pytest.raises(InputError, match="unexpected 2"):
        parse(Parser("suite single", options), options, ["1", "2"])


def test_help_shows_docstring_and_defaults() -> None:
    with pytest.raises(HelpAsked) as asked:
        parsed("--help")
    text = " ".join(asked.value.text.split())
    assert "usage: suite verb FILES ... [options]" in text
    assert "what to read, one or more. (required)" in text
    assert "at most so many (100 % safe)." in text
    assert "(default: 0.5)" in text


def test_parameters_that_share_a_line_have_each_their_own_help() -> None:
    def verb(low: int = 1, *, high: int = 2, edges: tuple[float, float] = (0.0, 0.5)) -> None:
        """Do it.

        Args:
            low: the least of all. high: the most; without
                it: none.
            edges: left out.
        """

    low, high, edges = of_function(verb)
    assert low.help == "the least of all."
    assert high.help == "the most; without it: none."
    with pytest.raises(HelpAsked) as asked:
        parse(Parser("suite verb", [edges]), [edges], ["--help"])
    assert "left out. (default: 0.0 0.5)" in asked.value.text


def test_a_dataclass_gives_its_fields() -> None:
    @dataclass(frozen=True)
    class Query:
        needed: int
        words: list[str] = field(default_factory=lambda: ["a"])

    globals()["Query"] = Query
    options = {option.name: option for option in of_dataclass(Query)}
    assert options["needed"].required
    assert options["words"].default == ["a"]


def test_an_annotation_that_no_option_can_hold_is_a_bug_of_ours() -> None:
    def odd(value: complex) -> None:
        """Do it."""

    with pytest.raises(TypeError, match="complex"):
        Parser("suite odd", of_function(odd))


def test_untyped_and_starred_parameters_are_bugs_of_ours() -> None:
    def untyped(value) -> None:  # type: ignore[no-untyped-def]  # what is tested
        """Do it."""

    def starred(*values: int) -> None:
        """Do it."""

    for function in (untyped, starred):
        with pytest.raises(TypeError):
            of_function(function)


def test_a_flag_whose_name_begins_with_no_means_itself() -> None:
    def careful(*, no_run: bool = False) -> None:
        """Do it."""

    options = of_function(careful)
    assert parse(Parser("suite careful", options), options, ["--no-run"]) == {"no_run": True}
    assert parse(Parser("suite careful", options), options, []) == {}
