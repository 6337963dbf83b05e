"""Whether a module's forward calls a child or reads the child's weight past it, told from its source.

An adapter acts when its layer is called. `F.linear(x, self.qkv.weight)` calls nothing.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from torch import nn

# What says something of a weight without being a value of it.
_PROPERTIES = (
    *("data_ptr", "device", "dim", "dtype", "element_size", "grad", "is_contiguous", "is_floating_point", "is_meta"),
    *("ndim", "numel", "quant_state", "requires_grad", "shape", "size", "stride"),
)
_CALLED, _READ = "called", "read"


@functools.cache
def only_read(module: type[nn.Module]) -> frozenset[str]:
    """The children whose weights the class's forward, with what it calls of its own, reads and which it never calls.

    A child that is used in any other way as well, handed on or called on some path, is not among them; nor is anything
    of a class whose source is not at hand.
    """
    uses: dict[str, set[str]] = {}
    for function in _reachable(module):
        for name, use in _uses(function):
            uses.setdefault(name, set()).add(use)
    return frozenset(name for name, found in uses.items() if found == {_READ})


def _reachable(module: type[nn.Module]) -> Iterator[Callable[..., Any]]:
    """The class's forward and the methods that it calls, each as this class has it."""
    order = module.__mro__
    todo, seen = [("forward", 0)], set()
    while todo:
        name, start = todo.pop()
        place = next((at for at in range(start, len(order)) if name in vars(order[at])), None)
        if place is None or order[place] in (nn.Module, object) or (name, place) in seen:
            continue
        seen.add((name, place))
        function = inspect.unwrap(getattr(vars(order[place])[name], "__func__", vars(order[place])[name]))
        if not inspect.isfunction(function):
            continue
        yield function
        tree = _tree(function)
        if tree is None:
            continue
        for node in ast.walk(tree):
            if _is_own(node, tree):
                todo.append((node.attr, 0))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and _is_super(node.value):
                todo.append((node.attr, place + 1))


@functools.cache
def _tree(function: Callable[..., Any]) -> ast.FunctionDef | None:
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    return definition if isinstance(definition, ast.FunctionDef) and definition.args.args else None


def _uses(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Each use of an attribute of `self`: its name, and whether it is called, its weight read, or something else."""
    tree = _tree(function)
    if tree is None:
        return
    around = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if not _is_own(node, tree):
            continue
        outer = around[node]
        if not isinstance(outer, ast.Attribute) or outer.attr not in ("weight", "bias"):
            yield node.attr, _CALLED if isinstance(outer, ast.Call) and outer.func is node else "other"
        elif outer.attr == "weight" and _is_value(outer, around[outer]):
            yield node.attr, _READ


def _is_own(node: ast.AST, tree: ast.FunctionDef) -> TypeGuard[ast.Attribute]:
    """Whether a node is an attribute of the method's `self`, whatever its name."""
    own = tree.args.args[0].arg
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == own


def _is_super(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "super"


def _is_value(weight: ast.AST, outer: ast.AST) -> bool:
    if isinstance(outer, ast.Attribute):
        return outer.attr not in _PROPERTIES
    asked = isinstance(outer, ast.Call) and isinstance(outer.func, ast.Name) and outer.func.id == "isinstance"
    return not asked and not isinstance(outer, ast.Compare)
