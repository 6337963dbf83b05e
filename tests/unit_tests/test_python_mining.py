"""Tests of a Python project with the functions that they are for."""

from __future__ import annotations

import json

import pytest

from domains.unit_tests.data.mining import mine_command
from domains.unit_tests.data.sources import read_pairs
from suite.errors import InputError

FILES = {
    "src/shop/prices.py": (
        "LIMIT = 3\n\n\ndef total(prices):\n    return sum(prices[:LIMIT])\n\n\n"
        "def tax(price):\n    return price / 5\n\n\n"
        "class Shelf:\n    def add(self, book):\n        return [book]\n"
    ),
    "tests/test_prices.py": (
        "import pytest\n\nfrom shop.prices import Shelf, tax, total\n\n\n"
        "def test_total():\n    assert total([1, 2]) == 3\n\n\n"
        "def test_what_is_paid():\n    api_token = 'abcdefghijkl'\n    assert tax(5) == 1\n\n\n"
        "def test_both():\n    assert tax(total([5])) == 1\n\n\n"
        "class TestShelf:\n    def test_add(self):\n        assert Shelf().add(1) == [1]\n\n\n"
        "def test_total_again():\n    assert total([1, 2]) == 3\n"
    ),
    "tests/broken_test.py": "def test_x(:\n",
}


def test_tests_are_mapped_by_their_names_or_their_only_call(tmp_path):
    for path, text in FILES.items():
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_text(text)
    out = tmp_path / "pairs.jsonl"
    counts = mine_command(tmp_path / "project", out, "python")
    assert (counts["test_cases"], counts["mapped_cases"], counts["written"], counts["not_python"]) == (5, 4, 3, 1)
    pairs = {pair.id.partition("::")[2]: pair for pair in read_pairs(str(out))}
    assert list(pairs) == ["test_total", "test_what_is_paid", "test_add"]
    total = pairs["test_total"]
    assert total.source.startswith(
        "LIMIT = 3\n\ndef total(prices):\n    return sum(prices[:LIMIT])\n\ndef tax(price): ..."
    )
    assert total.source.endswith(
        "# tests/test_prices.py\nimport pytest\n\nfrom shop.prices import total\n\n\ndef test_total"
    )
    assert total.target == "():\n    assert total([1, 2]) == 3\n"
    assert "class Shelf:" in pairs["test_add"].source and "api_token = '***'" in pairs["test_what_is_paid"].target
    assert "abcdefghijkl" not in out.read_text() and len(out.read_text().splitlines()) == 3
    assert all(set(json.loads(line)) == {"id", "source", "target"} for line in out.read_text().splitlines())


def test_a_project_without_a_test_that_can_be_mapped_is_refused(tmp_path):
    (tmp_path / "test_a.py").write_text("def test_a():\n    assert 1\n")
    with pytest.raises(InputError, match=r"1 files test_\*.py or \*_test.py with 1 tests"):
        mine_command(tmp_path, tmp_path / "out.jsonl", "python")
    with pytest.raises(InputError, match=r"--parity is of Java"):
        mine_command(tmp_path, tmp_path / "out.jsonl", "python", parity=True)
    assert not (tmp_path / "out.jsonl").exists()
