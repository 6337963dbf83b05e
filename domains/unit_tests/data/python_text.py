"""Python files as text: read as Python reads them, and cut at the lines that its parser counts."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from suite.errors import InputError

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def read_python(path: Path) -> str:
    """A file's text, decoded as it says itself (UTF-8 where it says nothing); lines end in a line feed.

    Raises:
        InputError: it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: is {'a folder; give a file' if path.is_dir() else 'no file; check the path'}")
    try:
        with tokenize.open(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, SyntaxError):  # the latter of the first two lines
        pass
    raise InputError(f"{path}: is not in the encoding that it says, else UTF-8; save it so, or say another in line 1")


def lines_of(text: str) -> list[str]:
    """The lines that the parser counts, with their ends; `str.splitlines` ends some at form feeds and more."""
    return io.StringIO(text).readlines()


def definitions(source: str) -> list[Definition]:
    """The functions of a piece of a file; their lines are counted from its first.

    Args:
        source: functions one behind the other, indented as they stand; comments and texts in them may be less so.
    """
    if not source.startswith((" ", "\t")):
        return [node for node in ast.parse(source).body if isinstance(node, Definition)]
    tree = ast.parse(f"class _:\n{source}")
    ast.increment_lineno(tree, -1)
    [holder] = tree.body
    assert isinstance(holder, ast.ClassDef)
    return [node for node in holder.body if isinstance(node, Definition)]
