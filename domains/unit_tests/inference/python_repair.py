"""What is wrong with generated tests for reasons that a rule mends, before a model is asked again.

Tabs; parameters that are no fixtures and are not used, `self` among them; imports of the focal module under another
path; names of the focal module and of the standard library that were used and not imported; asynchronous tests, which
need a plugin of pytest's otherwise. Values that a test expects are never touched.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from domains.unit_tests.inference.candidates import parsed

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Repaired:
    """A test after the repair.

    Attributes:
        node: its function. imports: lines that it needs. rules: what was mended.
    """

    node: Definition
    imports: tuple[str, ...]
    rules: tuple[str, ...]


def functions_in(text: str) -> list[Definition] | None:
    """The test functions at the top of a text; None where it is no Python."""
    text = text if parsed(text) else text.expandtabs(4)
    if not parsed(text):
        return None
    return [one for one in ast.parse(text).body if isinstance(one, Definition) and one.name.startswith("test")]


def repaired(test: Definition, module: str, names: Collection[str]) -> Repaired:
    """Mend a test of a module.

    Args:
        test: is changed in place, but for an asynchronous one.
        names: that the module's file defines at its top.
    """
    rules = []
    if isinstance(test, ast.AsyncFunctionDef):
        test = _awaited(test)
        rules.append("asynchronous test")
    used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    given = test.args.args
    parametrized = " ".join(ast.unparse(one) for one in test.decorator_list)
    test.args.args = [one for one in given if one.arg in used or one.arg in parametrized]
    if len(test.args.args) < len(given):
        rules.append("unused parameter")
    for node in ast.walk(test):
        if isinstance(node, ast.ImportFrom) and node.module != module and _same(node.module, module):
            node.module, node.level = module, 0
            rules.append("module path")
    known = {*_bound(test), *dir(builtins)}
    imports = []
    for name in sorted(used - known):
        if name in names:
            imports.append(f"from {module} import {name}")
        elif name == "pytest" or name in sys.stdlib_module_names:
            imports.append(f"import {name}")
    return Repaired(test, tuple(imports), tuple(dict.fromkeys(rules)))


def _awaited(test: ast.AsyncFunctionDef) -> ast.FunctionDef:
    """The test as a function that runs it; marks for plugins, which would run it, are left out."""
    marks = [one for one in test.decorator_list if not re.search(r"\bmark\.(asyncio|anyio|trio)\b", ast.unparse(one))]
    [plain] = ast.parse(f"def {test.name}():\n    async def run(): ...\n    asyncio.run(run())").body
    assert isinstance(plain, ast.FunctionDef) and isinstance(plain.body[0], ast.AsyncFunctionDef)
    plain.args, plain.decorator_list, plain.body[0].body = test.args, marks, test.body
    if ast.get_docstring(test) is not None:
        plain.body.insert(0, test.body[0])
    return ast.fix_missing_locations(ast.copy_location(plain, test))


def names_of(source: str) -> set[str]:
    """What a file defines at its top."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, Definition | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


def _same(path: str | None, module: str) -> bool:
    """Whether a path may mean the module: its last part is the module's."""
    return path is None or path.rpartition(".")[2] == module.rpartition(".")[2]


def _bound(test: Definition) -> Iterator[str]:
    """Names that a test gives a value itself."""
    for node in ast.walk(test):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, Definition | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
