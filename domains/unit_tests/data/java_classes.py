"""Classes of Java files with their methods and fields, as Methods2Test records them (arXiv 2203.12776)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.code.syntax import parse

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True)
class JavaMethod:
    """A method or constructor.

    Attributes:
        name: its identifier. owner: of its class.
        parameters, modifiers, returns: as they stand, on one line; a constructor returns nothing.
        body: the whole declaration.
        constructor: whether it is one. calls: names of the methods that it calls, in order; of a constructor none is
            recorded.
    """

    name: str
    owner: str
    parameters: str
    modifiers: str
    returns: str
    body: str
    constructor: bool
    calls: tuple[str, ...] = ()

    @property
    def is_test(self) -> bool:
        """Whether `@Test` stands in its modifiers, `@TestFactory` too."""
        return "@Test" in self.modifiers

    @property
    def signature(self) -> str:
        """Of a constructor it begins with a blank, where the type would stand."""
        return f"{self.returns} {self.name}{self.parameters}"

    def to_dict(self, whole: bool = True) -> dict[str, Any]:
        """The record; `whole`: with its body and calls."""
        record: dict[str, Any] = {
            "identifier": self.name,
            "parameters": self.parameters,
            "modifiers": self.modifiers,
            "return": self.returns,
            "signature": self.signature,
            "full_signature": f"{self.modifiers} {self.signature}",
            "class_method_signature": f"{self.owner}.{self.name}{self.parameters}",
            "testcase": self.is_test,
            "constructor": self.constructor,
        }
        return record | ({"body": self.body, "invocations": list(self.calls)} if whole else {})


@dataclass(frozen=True)
class JavaField:
    """A field; of a declaration of several the first is named."""

    text: str
    modifiers: str
    type: str
    declarator: str
    name: str

    def to_dict(self) -> dict[str, str]:
        return {
            "original_string": self.text,
            "modifier": self.modifiers,
            "type": self.type,
            "declarator": self.declarator,
            "var_name": self.name,
        }


@dataclass(frozen=True)
class JavaClass:
    """A class at the top of a file.

    Attributes:
        superclass, interfaces: as they stand, with `extends` and `implements`.
        methods, fields: of its own body, not of classes in it.
    """

    name: str
    superclass: str
    interfaces: str
    methods: tuple[JavaMethod, ...]
    fields: tuple[JavaField, ...]

    def to_dict(self, methods: bool = True) -> dict[str, Any]:
        """The record; `methods`: with their signatures."""
        record: dict[str, Any] = {
            "identifier": self.name,
            "superclass": self.superclass,
            "interfaces": self.interfaces,
            "fields": [one.to_dict() for one in self.fields],
        }
        return record | ({"methods": [one.to_dict(whole=False) for one in self.methods]} if methods else {})


def classes(source: str) -> list[JavaClass]:
    """The classes at the top of a file; what cannot be parsed has none."""
    root = parse(source, "java")
    return [_class(node) for node in root.children if node.type == "class_declaration"]


def _class(node: Node) -> JavaClass:
    name = _text(node.child_by_field_name("name"))
    body = node.child_by_field_name("body")
    members = body.children if body is not None else []
    methods = [_method(one, name) for one in members if one.type in ("method_declaration", "constructor_declaration")]
    fields = [_field(one) for one in members if one.type == "field_declaration"]
    above = _text(node.child_by_field_name("superclass"))
    return JavaClass(name, above, _text(node.child_by_field_name("interfaces")), tuple(methods), tuple(fields))


def _method(node: Node, owner: str) -> JavaMethod:
    constructor = node.type == "constructor_declaration"
    return JavaMethod(
        name=_text(node.child_by_field_name("name")),
        owner=owner,
        parameters=_line(node.child_by_field_name("parameters")),
        modifiers=_modifiers(node),
        returns=_line(node.child_by_field_name("type")),
        body=_text(node),
        constructor=constructor,
        calls=() if constructor else tuple(_calls(node)),
    )


def _field(node: Node) -> JavaField:
    declarator = node.child_by_field_name("declarator")
    name = "" if declarator is None else _text(declarator.child_by_field_name("name"))
    kind = _line(node.child_by_field_name("type"))
    return JavaField(_text(node), _modifiers(node), kind, _text(declarator), name)


def _modifiers(node: Node) -> str:
    return next((_line(child) for child in node.children if child.type == "modifiers"), "")


def _calls(node: Node) -> Iterator[str]:
    return (_text(one.child_by_field_name("name")) for one in _below(node) if one.type == "method_invocation")


def _below(node: Node) -> Iterator[Node]:
    """The nodes below one, each before what is in it."""
    for child in node.children:
        yield child
        yield from _below(child)


def _text(node: Node | None) -> str:
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def _line(node: Node | None) -> str:
    return " ".join(_text(node).split())
