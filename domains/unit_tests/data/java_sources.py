"""What a model of the study reads before it writes a test: the focal class, cut down, and the test class up to the
test's opening brace.

Groups stand in this order, an empty line between: the focal method with its body, constructors, other methods'
signatures, fields; then the test class's own fields, and the test's head. Members keep their file's indentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from domains.unit_tests.data.java_classes import JavaClass, JavaMethod
from suite.errors import InputError

INDENT = "    "


@dataclass(frozen=True)
class JavaContext:
    """The parts of a source, as lines of text with their indentation.

    Attributes:
        focal_class: `class Stack extends List`. focal: the focal method, whole.
        constructors, methods: signatures, each ending in `;`. fields: whole.
        test_class: `class StackTest`. test_fields: whole. head: annotations and signature up to the opening brace.
    """

    focal_class: str
    focal: str
    constructors: tuple[str, ...]
    methods: tuple[str, ...]
    fields: tuple[str, ...]
    test_class: str
    test_fields: tuple[str, ...]
    head: str

    def source(self) -> str:
        """The text that a model reads."""
        focal_groups = [self.focal, *map("\n".join, (self.constructors, self.methods, self.fields))]
        test_groups = ["\n".join(self.test_fields), self.head]
        focal = "\n\n".join(group for group in focal_groups if group)
        test = "\n\n".join(group for group in test_groups if group)
        return f"{self.focal_class} {{\n\n{focal}\n\n}}\n\n{self.test_class} {{\n\n{test}\n"

    def shortened(self, groups: int) -> JavaContext:
        """The same without fields, then other methods, then constructors: as many of these groups as asked."""
        fewer = self
        if groups > 0:
            fewer = replace(fewer, fields=())
        if groups > 1:
            fewer = replace(fewer, methods=())
        return replace(fewer, constructors=()) if groups > 2 else fewer


def java_context(
    focal_class: JavaClass,
    focal: JavaMethod,
    test_class: JavaClass | None = None,
    head: str = "",
    indent: str = INDENT,
) -> JavaContext:
    """The parts of a source from classes.

    Args:
        test_class: the user's; a new one named after the focal class where there is none.
        head: of the test; one named after the focal method where it is empty.
        indent: of the members.

    Raises:
        InputError: the focal method is none of the class's.
    """
    if focal not in focal_class.methods:
        raise InputError(f"{focal_class.name} has no method {focal.signature.strip()!r}")
    others = [method for method in focal_class.methods if method is not focal]
    constructors = [one for one in others if one.constructor]
    methods = [one for one in others if not one.constructor]
    name = f"{focal.name[:1].upper()}{focal.name[1:]}"
    return JavaContext(
        _header(focal_class),
        indent + focal.body,
        tuple(_signature(one, indent) for one in constructors),
        tuple(_signature(one, indent) for one in methods),
        tuple(indent + one.text for one in focal_class.fields),
        _header(test_class) if test_class is not None else f"class {focal_class.name}Test",
        tuple(indent + one.text for one in test_class.fields) if test_class is not None else (),
        head or f"{indent}@Test\n{indent}public void test{name}() {{",
    )


def _header(of: JavaClass) -> str:
    return " ".join(part for part in (f"class {of.name}", of.superclass, of.interfaces) if part)


def _signature(method: JavaMethod, indent: str) -> str:
    """A constructor keeps two blanks before its name, where a method's type stands."""
    return f"{indent}{f'{method.modifiers} {method.signature}'.strip()};"
