"""Syntax trees of code, by the maintained tree-sitter packages.

Their grammars change the shape of trees from release to release, and with it every figure that is counted on them: the
versions are pinned in the extras that need them, and `grammar_version` names them beside a figure.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from suite.errors import InputError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Language = Literal["java", "python"]

_LITERALS = ("string_literal", "string", "character_literal")
_JAVA_COMMENT = re.compile(r"//.*?$|/\*.*?\*/|'(?:\\.|[^\\'])*'|\"(?:\\.|[^\\\"])*\"", re.DOTALL | re.MULTILINE)


@cache
def parser(language: Language) -> Parser:
    """The parser of a language.

    Raises:
        InputError: its package is missing, or does not go with the installed tree-sitter.
    """
    try:
        from tree_sitter import Language as Grammar
        from tree_sitter import Parser

        return Parser(Grammar(import_module(f"tree_sitter_{language}").language()))
    except ImportError as error:
        raise InputError(
            f"{error}: code is read with tree-sitter; install the extra code_review or unit_tests, e.g. "
            "pip install 'peft-suite[unit_tests]'"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"tree-sitter {version('tree-sitter')} does not go with tree-sitter-{language} "
            f"{version(f'tree-sitter-{language}')} ({error}); install the extra anew"
        ) from error


def grammar_version(language: Language) -> str:
    """The package and version whose grammar trees are of."""
    return f"tree-sitter-{language} {version(f'tree-sitter-{language}')}"


def parse(code: str, language: Language) -> Node:
    """The root of the syntax tree; what is no code of the language stands in it as `ERROR` nodes."""
    return parser(language).parse(code.encode("utf-8", "surrogatepass")).root_node


def is_token(node: Node) -> bool:
    """Whether a node is taken for one token: a leaf, or a literal with all its parts."""
    return (node.child_count == 0 or node.type in _LITERALS) and node.type != "comment"


def tokens(node: Node) -> Iterator[Node]:
    """The tokens below a node, from left to right."""
    if is_token(node):
        yield node
    else:
        for child in node.children:
            yield from tokens(child)


def subtrees(root: Node) -> list[str]:
    """The root and every node below it that has children, each as the types that it is made of."""
    waiting, found = [root], []
    while waiting:
        node = waiting.pop()
        found.append(str(node))
        waiting += [child for child in node.children if child.child_count]
    return found


def without_comments(code: str, language: Language) -> str:
    """Code without comments, docstrings and blank lines; code that cannot be read for it stays as it is."""
    if language == "java":
        bare = _JAVA_COMMENT.sub(lambda match: " " if match[0].startswith("/") else match[0], code)
    else:
        try:
            bare = _without_python_comments(code)
        except (tokenize.TokenError, SyntaxError):
            return code
    return "\n".join(line for line in bare.split("\n") if line.strip())


def _without_python_comments(code: str) -> str:
    pieces: list[str] = []
    before, last_line, last_column = tokenize.INDENT, -1, 0
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        line, column = token.start
        if line > last_line:
            last_column = 0
        pieces.append(" " * (column - last_column))
        # A string that begins a line of its own is a docstring, or as good as one.
        docstring = token.type == tokenize.STRING and (before in (tokenize.INDENT, tokenize.NEWLINE) or column == 0)
        if token.type != tokenize.COMMENT and not docstring:
            pieces.append(token.string)
        before = token.type
        last_line, last_column = token.end
    return "".join(pieces)
