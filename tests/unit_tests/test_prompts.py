"""What a model reads before it writes a test in Python, and what is made of its answer."""

from __future__ import annotations

import ast

import pytest

from domains.unit_tests import discover
from domains.unit_tests.data.python_sources import python_context
from domains.unit_tests.inference.indents import ended, finished
from domains.unit_tests.inference.prompts import asked
from domains.unit_tests.inference.python_repair import functions_in, repaired
from suite.errors import InputError

FILE = '''"""Shelves."""

import json
import math
from pathlib import Path

LIMIT = 3
OTHER = 4


@total
class Shelf(Base):
    """Holds books."""

    width = 10

    def __init__(self, name: str, size: int = 1):
        self.name = name

    @property
    def room(self) -> int:
        """Free places."""
        return math.floor(self.width) - LIMIT

    def add(self, book, *, at=None):
        self.books.append(book)


def clamp(x, low, high):
    """Clamp."""
    return min(max(x, low), high)


async def fetch(url: str) -> str:
    return url


def _private():
    pass
'''
METHOD = '''import math

LIMIT = 3

@total
class Shelf(Base):
    width = 10

    def __init__(self, name: str, size: int=1): ...

    @property
    def room(self) -> int:
        """Free places."""
        return math.floor(self.width) - LIMIT

    def add(self, book, *, at=None): ...

def clamp(x, low, high): ...
async def fetch(url: str) -> str: ...

# tests/test_store.py
import pytest

from lib.store import Shelf

# Shelf('a')


def test_Shelf_room'''


@pytest.fixture
def file(tmp_path):
    (tmp_path / "src" / "lib").mkdir(parents=True)
    path = tmp_path / "src" / "lib" / "store.py"
    path.write_text(FILE)
    return path


def functions(file):
    return {one.name: one for one in discover(file, file.parents[2])}


def test_a_method_is_shown_in_its_class_with_what_it_uses(file):
    context = python_context(functions(file)["Shelf.room"], FILE)
    assert context.source() == METHOD
    assert "LIMIT = 3" not in context.shortened(1).source() and "width = 10" not in context.shortened(1).source()
    assert "clamp" in context.shortened(1).source() and "clamp" not in context.shortened(2).source()
    assert "__init__" in context.shortened(2).source() and "__init__" not in context.shortened(3).source()
    for groups in range(4):
        assert "return math.floor(self.width) - LIMIT" in context.shortened(groups).source()


def test_a_function_is_shown_whole_and_its_file_without_bodies(file):
    source = python_context(functions(file)["clamp"], FILE, notes=["failed: 1"]).source()
    assert source.startswith(
        'def clamp(x, low, high):\n    """Clamp."""\n    return min(max(x, low), high)\n\nasync def'
    )
    assert source.endswith("from lib.store import clamp\n\n\n# failed: 1\ndef test_clamp")
    assert "_private" not in source and "import math" not in source
    assert "import asyncio\nimport pytest" in python_context(functions(file)["fetch"], FILE).source()


def test_of_a_source_that_is_too_long_whole_groups_go_and_the_function_stays(file):
    focal = functions(file)["Shelf.room"]
    shortest = python_context(focal, FILE).shortened(3).source()
    found = asked(focal, FILE, len(shortest), len, notes=["x"])
    assert found.source == shortest
    with pytest.raises(InputError, match=r"store.py:20: Shelf.room has \d+ tokens with its test's head"):
        asked(focal, FILE, len(shortest) - 1, len)


ONE = "def test_f():\n    assert f(1) == 1\n"


@pytest.mark.parametrize(
    ("text", "over"),
    [
        (ONE, False),
        (ONE + "\n\nd", False),
        (ONE + "\n\ndef test_g", False),
        (ONE + "\n\ndef g", True),
        (ONE + "\n\ni", True),
        (ONE + '    text = """\nleft\n"""\n', False),
        ("def test_f(\n    x=1,\n):\n    assert f(x)\n", False),
        (ONE + "\n\n@mark\ndef test_g(", False),
        (ONE + "\n\ndef test_g():\n    assert f(2)\n\n\ndef test_h", True),
        (ONE + "\n\ndef test_g():\n    assert f(2)\n\n\n@", True),
    ],
)
def test_an_answer_is_over_where_no_test_goes_on(text, over):
    assert ended(text, tests=2) is over
    assert not any(ended(text[:at], 2) for at in range(len(text) if not over else len(ONE)))


def test_of_an_answer_that_was_cut_the_statement_that_is_not_whole_is_left_out():
    two = ONE + "    assert f(2) == 2\n"
    assert finished(two, 3, complete=True) == two
    assert finished(two[:-1], 3, complete=False) == ONE, "the last line may be the beginning of another number"
    assert finished(two + "    assert f([1,", 3, complete=False) == two
    assert finished(two + "\n\ndef test_g():\n    assert (", 3, complete=True) == two
    assert finished(ONE + "\n\ndef g():\n    pass\n", 3, complete=True) == ONE
    assert finished("def test_f():\n    assert (", 3, complete=True) == "def test_f():\n    assert (\n"


def test_rules_mend_what_needs_no_model_and_never_a_value():
    text = (
        "def test_f(self, tmp_path):\n\timport os\n\tfrom mod import g\n"
        "\twith pytest.raises(ValueError):\n\t\tf(tmp_path)\n"
        "\tassert math.floor(LIMIT) == g(1) == 17\n"
    )
    [test] = functions_in(text)
    mended = repaired(test, "pkg.mod", {"f", "g", "LIMIT"})
    assert mended.imports == ("from pkg.mod import LIMIT", "from pkg.mod import f", "import math", "import pytest")
    code = ast.unparse(mended.node)
    assert code.startswith("def test_f(tmp_path):") and "from pkg.mod import g" in code and "== 17" in code
    assert mended.rules == ("unused parameter", "module path")
    assert functions_in("def test_f(:\n") is None and functions_in("x = 1\n") == []
