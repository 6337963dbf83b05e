"""What a model reads before it writes a test in Python: the focal function in the context of its file, and the head of
the test file up to the test's name.

Groups stand in this order, an empty line between: imports and constants that the function uses; for a method its class
with attributes and constructor; the function itself, whole; signatures of what stands beside it; the test file's head.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from domains.unit_tests.data.python_text import Definition, definitions, lines_of
from domains.unit_tests.types import Focal

INDENT = "    "
GROUPS = 3
"""How many groups `PythonContext.shortened` can leave out."""

_EXAMPLES = {"int": "1", "float": "1.0", "str": "'a'", "bool": "True", "bytes": "b'a'", "list": "[]", "dict": "{}"}


@dataclass(frozen=True)
class PythonContext:
    """The parts of a source.

    Attributes:
        imports: that the focal function uses, as they stand.
        fields: constants that it uses, or its class's attributes.
        header: of its class, decorators too; empty for a function.
        constructor: of its class, cut down to its signature.
        focal: whole, indented as it stands in its class.
        signatures: of what stands beside it, in its class and in its file.
        test_path: of the test file. head: its imports.
        notes: what the model is told of an earlier attempt; comments above the test.
        name: of the test.
    """

    imports: tuple[str, ...]
    constants: tuple[str, ...]
    fields: tuple[str, ...]
    header: str
    constructor: str
    focal: str
    methods: tuple[str, ...]
    signatures: tuple[str, ...]
    test_path: str
    head: str
    name: str
    notes: tuple[str, ...] = ()

    def source(self) -> str:
        """The text that a model reads; it ends behind the test's name.

        The bracket is left to the model: tokenizers of code write `():` as one token, which `(` would forbid.
        """
        body = "\n\n".join(
            filter(None, ["\n".join(self.fields), self.constructor, self.focal, "\n".join(self.methods)])
        )
        focal = f"{self.header}\n{body}" if self.header else body
        groups = ["\n".join(self.imports), "\n".join(self.constants), focal, "\n".join(self.signatures)]
        context = "\n\n".join(filter(None, groups))
        notes = "".join(f"# {line}\n" for line in self.notes)
        return f"{context}\n\n# {self.test_path}\n{self.head}\n\n\n{notes}{self.opening}"

    @property
    def opening(self) -> str:
        """What an answer goes on with."""
        return f"def {self.name}"

    def shortened(self, groups: int) -> PythonContext:
        """The same without fields and constants, then signatures, then constructor: as many of these as asked."""
        fewer = self
        if groups > 0:
            fewer = replace(fewer, fields=(), constants=())
        if groups > 1:
            fewer = replace(fewer, methods=(), signatures=())
        return replace(fewer, constructor="") if groups > 2 else fewer


def python_context(focal: Focal, file: str, notes: Iterable[str] = ()) -> PythonContext:
    """The parts of a source from a file's text.

    Args:
        focal: one of the file's functions. file: its text, which is Python.
        notes: what the model is told of an earlier attempt.
    """
    tree, lines = ast.parse(file), [line.rstrip("\n") for line in lines_of(file)]
    holder, _, own = focal.name.rpartition(".")
    used = {name for one in definitions(focal.source) for name in _names(one)}
    of_class = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == holder), None)
    members = of_class.body if of_class is not None else []
    constructor = next((one for one in members if _named(one, "__init__") and own != "__init__"), None)
    if of_class is not None:
        used |= {name for node in (*of_class.bases, *of_class.decorator_list) for name in _names(node)}
    beside = [one for one in tree.body if isinstance(one, Definition) and one.name != focal.name]
    others = [one for one in members if isinstance(one, Definition) and one.name not in (own, "__init__")]
    fields = [one for one in members if isinstance(one, ast.Assign | ast.AnnAssign)]
    constants = [one for one in tree.body if isinstance(one, ast.Assign | ast.AnnAssign) and _assigned(one) & used]
    return PythonContext(
        imports=tuple(_line(one, lines) for one in tree.body if _imported(one) & used),
        constants=tuple(_line(one, lines) for one in constants),
        fields=tuple(_line(one, lines) for one in fields),
        header="" if of_class is None else _header(of_class, lines),
        constructor="" if constructor is None else _signature(constructor, INDENT),
        focal=focal.source.rstrip("\n"),
        methods=tuple(_signature(one, INDENT) for one in others),
        signatures=tuple(_signature(one) for one in beside if not one.name.startswith("_")),
        test_path=path_of_tests(focal),
        head=head(focal, of_class),
        name=name_of_test(focal),
        notes=tuple(notes),
    )


def path_of_tests(focal: Focal) -> str:
    """Where its tests usually stand."""
    return f"tests/test_{focal.module.rpartition('.')[2]}.py"


def name_of_test(focal: Focal) -> str:
    """Of its first test."""
    return f"test_{focal.name.replace('.', '_').replace('___', '_').rstrip('_')}"


def imported_name(focal: Focal) -> str:
    """What a test imports of the focal file: the function, or its class."""
    return focal.name.partition(".")[0]


def head(focal: Focal, of_class: ast.ClassDef | None = None) -> str:
    """The imports of its test file; how an object of its class is made, where annotations and defaults tell it."""
    lines = ["import pytest", "", f"from {focal.module} import {imported_name(focal)}"]
    if any(isinstance(one, ast.AsyncFunctionDef) for one in definitions(focal.source)):
        lines.insert(0, "import asyncio")
    if of_class is not None and (made := construction(of_class)):
        lines += ["", f"# {made}"]
    return "\n".join(lines)


def construction(of_class: ast.ClassDef) -> str:
    """A call that makes an object, `Shelf('a', 1)`; empty where the types of its arguments are not told."""
    made = next((one for one in of_class.body if isinstance(one, Definition) and one.name == "__init__"), None)
    if made is None:
        return f"{of_class.name}()" if not of_class.bases and not of_class.decorator_list else ""
    given = made.args
    needed = [*given.posonlyargs, *given.args][1 : len(given.posonlyargs) + len(given.args) - len(given.defaults)]
    values = [
        _EXAMPLES.get(ast.unparse(one.annotation).partition("[")[0]) if one.annotation else None for one in needed
    ]
    if None in values or any(default is None for default in given.kw_defaults):
        return ""
    return f"{of_class.name}({', '.join(filter(None, values))})"


def _names(tree: ast.AST) -> Iterator[str]:
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not hasattr(builtins, node.id))


def _named(node: ast.stmt, name: str) -> bool:
    return isinstance(node, Definition) and node.name == name


def _imported(node: ast.stmt) -> set[str]:
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    return {(one.asname or one.name).partition(".")[0] for one in node.names}


def _assigned(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}


def _line(node: ast.stmt, lines: list[str]) -> str:
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])


def _header(node: ast.ClassDef, lines: list[str]) -> str:
    first, inside = (
        min([one.lineno, *(mark.lineno for mark in getattr(one, "decorator_list", []))]) for one in (node, node.body[0])
    )
    return "\n".join(lines[first - 1 : max(inside - 1, first)]).rstrip()


def _signature(node: ast.stmt, indent: str = "") -> str:
    assert isinstance(node, Definition)
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{indent}{kind} {node.name}({ast.unparse(node.args)}){returns}: ..."
