"""The table of methods in docs/methods.md is what the methods declare. Run this file to rewrite it."""

from __future__ import annotations

from pathlib import Path

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from suite import adapters
from suite.adapters.registry import peft_type_of

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
HEAD = "| method | kind | by | identity at start | merges | 4-bit | many | layers | paper |\n" + "|---" * 9 + "|"


def table() -> str:
    """One row a method that this package or peft ships."""

    def yes(value: bool) -> str:
        return "yes" if value else "-"

    rows = [HEAD]
    for info in adapters.methods().values():
        if not PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(info.name)].__module__.startswith(("peft.", "suite.")):
            continue
        flags = map(yes, (info.identity_at_start, info.mergeable, info.quantizable, info.multi_adapter))
        layers = ", ".join(info.layers).replace("*", "any")
        rows.append(f"| `{info.name}` | {info.kind} | {info.source} | {' | '.join(flags)} | {layers} | {info.paper} |")
    return "\n".join(rows)


def test_the_page_lists_what_the_methods_declare() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [row for row in table().splitlines() if row not in text.splitlines()]
    assert not missing, f"run `python -m tests.adapters.test_methods_page`: {missing[:3]}"
    assert text.count("\n| `") == len(table().splitlines()) - 2


if __name__ == "__main__":
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("| `", "|---" * 9))]
    position = next(number for number, line in enumerate(kept) if line.startswith("| method | kind |"))
    kept[position : position + 1] = table().splitlines()
    PAGE.write_text("\n".join(kept) + "\n", encoding="utf-8")
