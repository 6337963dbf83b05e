"""What a configuration may write where pairs of a source and its test are expected.

- `pairs.jsonl`, `pairs.jsonl.gz`, `pairs.parquet`: the study's columns id, source, target;
- `problems.jsonl`: problems with code that solves them, in the columns of CoNaLa, CodeAlpaca, APPS or MBPP;
- `mined.jsonl`: records of Methods2Test, as `suite unit_tests mine` writes them; sources are put together from them;
- `corpus/json/fm/train`: a folder of Methods2Test's corpus, one JSON a pair with `target` and `src_fm...`, or one file;
- `world:train`: the made world's repositories, optionally with a count of functions: `world:train:200`.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from domains.unit_tests.data.java_classes import JavaClass, JavaField, JavaMethod
from domains.unit_tests.data.java_sources import INDENT, java_context
from domains.unit_tests.data.problems import problem_of
from domains.unit_tests.data.python_sources import name_of_test, python_context
from domains.unit_tests.data.python_text import lines_of
from domains.unit_tests.types import Focal
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.code.repositories import Repository

LEVELS = ("src_fm", "src_fm_fc", "src_fm_fc_co", "src_fm_fc_ms", "src_fm_fc_ms_ff")
"""Of a Methods2Test corpus: the focal method alone; with its class; with constructors; methods; and fields."""
LFS = "version https://git-lfs.github.com/spec/v1"

_FORMS = (
    "id, source and target (the study's); target and src_fm… (a corpus); focal_method and test_case (mined pairs); or "
    "problems as of CoNaLa, CodeAlpaca, APPS and MBPP"
)


@dataclass(frozen=True)
class TextPair:
    """A source, and the test that belongs behind it."""

    id: str
    source: str
    target: str


def read_pairs(source: str, level: str = LEVELS[-1], seed: int = 0) -> Iterator[TextPair]:
    """The pairs that `source` names.

    Args:
        level: of a Methods2Test corpus, one of `LEVELS`.
        seed: of the made world.

    Raises:
        InputError: there is no such file or split, or a record in it is damaged or of another form; names file and
            line.
    """
    if level not in LEVELS:
        raise InputError(f"data.level {level!r}: choose one of {', '.join(LEVELS)}")
    if source.startswith("world:"):
        yield from made_pairs(source, seed)
        return
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"data {source}: no such file; give a path, or world:train for the made world")
    for where, record in records(path):
        yield pair_of(record, where, level)


def records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records of a file or of a folder's files, each with where it stands.

    Raises:
        InputError: one cannot be read; names file and line.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        if not files:
            raise InputError(f"data {path}: the folder holds no .json; unpack the corpus's archives there")
        for file in files:
            yield str(file), _parsed(_text(file), str(file))
    elif path.suffix == ".parquet":
        yield from _table(path)
    elif path.suffix == ".json":
        yield str(path), _parsed(_text(path), str(path))
    else:
        for number, line in enumerate(_text(path).split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, f"{path}:{number}")


def pair_of(record: Mapping[str, Any], where: str, level: str = LEVELS[-1]) -> TextPair:
    """A record of any of the forms as a pair.

    Raises:
        InputError: it is of none of them.
    """
    name = str(record.get("id", record.get("task_id", where)))
    if {"source", "target"} <= set(record):
        found = record["source"], record["target"]
    elif "target" in record and any(key in record for key in LEVELS):
        if level not in record:
            held = ", ".join(key for key in LEVELS if key in record)
            raise InputError(f"{where}: has no {level}; it has {held}: choose one as data.level")
        found = record[level], record["target"]
    elif {"focal_class", "focal_method", "test_class", "test_case"} <= set(record):
        return _mined(record, where, name)
    elif (problem := problem_of(record, where)) is not None:
        found = problem
    else:
        raise InputError(f"{where}: has the columns {', '.join(sorted(record)) or 'none'}; wanted are {_FORMS}")
    if not all(isinstance(text, str) for text in found):
        raise InputError(f"{where}: source and target must be texts")
    return TextPair(name, *found)


def made_repositories(source: str, seed: int = 0) -> tuple[Iterator[Repository], int]:
    """The made world's repositories of a split that can be imported, and how many of their functions are asked for.

    Args:
        source: `world:test` or `world:test:40`.

    Raises:
        InputError: there is no such split.
    """
    from suite.code.repositories import Split, repositories

    _, split, *count = source.split(":")
    if split not in get_args(Split) or len(count) > 1 or not all(part.isdecimal() for part in count):
        raise InputError(
            f"data {source}: write world:SPLIT or world:SPLIT:COUNT with one of {', '.join(get_args(Split))}"
        )
    chosen: Any = split
    # A package that is called as one of the standard library is not found where that is imported already.
    found = (one for one in repositories(seed, chosen) if one.name not in sys.stdlib_module_names)
    return found, int(count[0]) if count else DEFAULT_COUNT


def made_pairs(source: str, seed: int = 0) -> Iterator[TextPair]:
    """Functions of the made world's repositories with their tests, as a model reads and writes them.

    Raises:
        InputError: there is no such split.
    """
    found, count = made_repositories(source, seed)
    pairs = (
        made_pair(module.source, module.path, function.name, function.tests())
        for repository in found
        for module in repository.modules
        for function in module.functions
    )
    yield from islice(pairs, count)


DEFAULT_COUNT = 1000
"""Functions of a split of the made world where no count is given: there are no more names than some thousands."""


def made_pair(file: str, path: str, name: str, tests: list[str]) -> TextPair:
    """A function of a made module and its tests, named as predictions name them."""
    module = path.removesuffix(".py").replace("/", ".")
    [node] = [one for one in ast.parse(file).body if isinstance(one, ast.FunctionDef) and one.name == name]
    end = node.end_lineno or node.lineno
    text = "".join(lines_of(file)[node.lineno - 1 : end])
    focal = Focal(name, module, path, node.lineno, end, text)
    context = python_context(focal, file)
    renamed = []
    for number, test in enumerate(tests, 1):
        own = name_of_test(focal) + (f"_{number}" if number > 1 else "")
        renamed.append(f"def {own}({test.partition('(')[2]}".rstrip("\n") + "\n")
    answer = "\n\n".join(renamed).removeprefix(context.opening)
    return TextPair(f"{path}:{name}", context.source(), answer)


def _mined(record: Mapping[str, Any], where: str, name: str) -> TextPair:
    """A record of Methods2Test, whose source is put together as the study's are."""
    try:
        focal_class, test_class = record["focal_class"], record["test_class"]
        methods = [_method(one, focal_class["identifier"]) for one in focal_class["methods"]]
        wanted = _method(record["focal_method"], focal_class["identifier"])
        place = next((n for n, one in enumerate(methods) if one.signature == wanted.signature), None)
        if place is None:
            raise InputError(f"{where}: the focal method is none of its class's methods")
        methods[place] = wanted
        body = record["test_case"]["body"]
        opened = body.index("{") + 1
        context = java_context(
            _class(focal_class, tuple(methods)), wanted, _class(test_class, ()), f"{INDENT}{body[:opened]}"
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: is no whole record of Methods2Test ({error})") from error
    return TextPair(name, context.source(), f"{body[opened:].lstrip(' ').removeprefix(chr(10))}\n\n}}")


def _class(record: Mapping[str, Any], methods: tuple[JavaMethod, ...]) -> JavaClass:
    fields = tuple(
        JavaField(one["original_string"], one["modifier"], one["type"], one["declarator"], one["var_name"])
        for one in record["fields"]
    )
    return JavaClass(record["identifier"], record["superclass"], record["interfaces"], methods, fields)


def _method(record: Mapping[str, Any], owner: str) -> JavaMethod:
    return JavaMethod(
        record["identifier"],
        owner,
        record["parameters"],
        record["modifiers"],
        record["return"],
        record.get("body", ""),
        bool(record.get("constructor")),
    )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; is it whole?") from error
    if text.startswith(LFS):
        raise InputError(f"{path}:1: is a pointer of Git LFS and not the file; run `git lfs pull` in its repository")
    return text


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error}); a file that was cut short must be fetched again") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: holds {type(record).__name__}, not an object; wanted are {_FORMS}")
    return record


def _table(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.read_bytes()[:64].startswith(LFS.encode()[:40]):
        raise InputError(f"{path}:1: is a pointer of Git LFS and not the file; run `git lfs pull` in its repository")
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"{path}: Parquet is read with pyarrow; pip install pyarrow, or give .jsonl") from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for number, row in enumerate(batch.to_pylist()):
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: is no whole Parquet file: {error}") from error
