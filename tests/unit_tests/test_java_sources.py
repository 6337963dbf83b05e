"""What a model reads of a Java class before it writes a test."""

from __future__ import annotations

import pytest

from domains.unit_tests.data.java_classes import classes
from domains.unit_tests.data.java_sources import java_context
from suite.errors import InputError

STACK = """
public class Stack<T> extends Base implements Cloneable {
    private int count = 0;
    public Stack() { }
    @Override
    public int size() {

        return count;
    }
    void push(T t) { count++; }
    void push(T t, int times) { }
}
"""
WANTED = """class Stack extends Base implements Cloneable {

    @Override
    public int size() {

        return count;
    }

    public  Stack();

    void push(T t);
    void push(T t, int times);

    private int count = 0;

}

class StackTest {

    @Test
    public void testSize() {
"""


def test_a_source_is_made_of_a_parsed_class():
    [stack] = classes(STACK)
    size = next(method for method in stack.methods if method.name == "size")
    context = java_context(stack, size)
    assert context.source() == WANTED
    assert "count = 0" not in context.shortened(1).source() and "push" in context.shortened(1).source()
    assert "push" not in context.shortened(2).source() and "return count" in context.shortened(3).source()
    push = next(method for method in stack.methods if method.parameters == "(T t)")
    assert "void push(T t, int times);" in java_context(stack, push).source(), "overloads stay"
    with pytest.raises(InputError, match="Other has no method"):
        java_context(classes("class Other { }")[0], size)
