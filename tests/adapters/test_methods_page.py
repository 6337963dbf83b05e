"""The table in docs/methods.md and the record of `suite methods` are what the methods say. Run this to rewrite both."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from suite import adapters
from suite.adapters.registry import peft_type_of
from suite.cli import methods

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
HEAD = "| method | kind | by | identity at start | merges | 4-bit | many | layers | paper |\n" + "|---" * 9 + "|"


def shipped(info: adapters.MethodInfo) -> bool:
    """Whether this package or peft ships the method; other tests bring methods of their own."""
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(info.name)].__module__.startswith(("peft.", "suite."))


def record() -> dict[str, Any]:
    """What `suite methods` reads instead of importing what it tells of."""
    said, known = methods.asked(), adapters.methods()
    kept = {name: entry for name, entry in said.items() if shipped(known[name])}
    return {"peft": version("peft"), "files": methods.files(), "methods": kept}


def table() -> str:
    """One row a method that this package or peft ships."""

    def yes(value: bool) -> str:
        return "yes" if value else "-"

    rows = [HEAD]
    for info in filter(shipped, adapters.methods().values()):
        flags = map(yes, (info.identity_at_start, info.mergeable, info.quantizable, info.multi_adapter))
        layers = ", ".join(info.layers).replace("*", "any")
        rows.append(f"| `{info.name}` | {info.kind} | {info.source} | {' | '.join(flags)} | {layers} | {info.paper} |")
    return "\n".join(rows)


def test_the_page_lists_what_the_methods_declare() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [row for row in table().splitlines() if row not in text.splitlines()]
    assert not missing, f"run `python -m tests.adapters.test_methods_page`: {missing[:3]}"
    assert text.count("\n| `") == len(table().splitlines()) - 2


def test_the_record_that_ships_is_what_the_methods_say() -> None:
    kept, now = json.loads(methods.RECORD.read_text(encoding="utf-8")), record()
    if kept["peft"] != now["peft"]:
        pytest.skip(f"the record is of peft {kept['peft']}; with {now['peft']} the methods are asked")
    assert kept == now, "run `python -m tests.adapters.test_methods_page`"


if __name__ == "__main__":
    methods.RECORD.write_text(json.dumps(record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("| `", "|---" * 9))]
    position = next(number for number, line in enumerate(kept) if line.startswith("| method | kind |"))
    kept[position : position + 1] = table().splitlines()
    PAGE.write_text("\n".join(kept) + "\n", encoding="utf-8")
