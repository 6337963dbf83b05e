"""The table in docs/methods.md and the record of `suite methods` are what the methods say. Run this to rewrite both."""

from __future__ import annotations

import ast
import dataclasses
import json
import operator
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from suite import adapters
from suite.adapters.attach import MethodSpec
from suite.adapters.registry import build_config, peft_type_of
from suite.cli import methods
from suite.errors import InputError
from tests.adapters.cases import SETTINGS, arguments, fresh

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
COLUMNS = ("method", "kind", "by", "year", "trains", "identity at start", "merges", "4-bit", "many", "layers", "paper")
HEAD = f"| {' | '.join(COLUMNS)} |\n" + "|---" * len(COLUMNS) + "|"


def shipped(info: adapters.MethodInfo) -> bool:
    """Whether this package or peft ships the method; other tests bring methods of their own."""
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(info.name)].__module__.startswith(("peft.", "suite."))


NAMES = [info.name for info in adapters.methods().values() if shipped(info)]


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
        told = (info.kind, info.source, methods.year(info.paper) or "", info.trainable.replace("*", "\\*"))
        cells = map(str, (f"`{info.name}`", *told, *flags, layers, info.paper))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_page_lists_what_the_methods_declare() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [row for row in table().splitlines() if row not in text.splitlines()]
    assert not missing, f"run `python -m tests.adapters.test_methods_page`: {missing[:3]}"
    assert text.partition("| method | kind |")[2].count("\n| `") == len(table().splitlines()) - 2


def test_the_record_that_ships_is_what_the_methods_say() -> None:
    kept, now = json.loads(methods.RECORD.read_text(encoding="utf-8")), record()
    if kept["peft"] != now["peft"]:
        pytest.skip(f"the record is of peft {kept['peft']}; with {now['peft']} the methods are asked")
    assert kept == now, "run `python -m tests.adapters.test_methods_page`"


def formula(text: str) -> ast.expr | None:
    """The text as arithmetic; None where it is words."""
    words = re.sub(r"\bin\b", "d_in", text)
    try:
        parsed = ast.parse(words, mode="eval").body
    except SyntaxError:
        return None
    return parsed


def value(node: ast.expr, known: dict[str, Any]) -> int:
    """What a formula of sums, products, quotients, `min` and `int` comes to."""
    if isinstance(node, ast.BinOp):
        left, right = value(node.left, known), value(node.right, known)
        steps = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
        return steps[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return {"min": min, "int": int}[node.func.id](*(value(argument, known) for argument in node.args))
    if isinstance(node, ast.Constant):
        return node.value
    assert isinstance(node, ast.Name)
    return known[node.id]


class OneLayer(nn.Module):
    """A linear layer alone."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.fc = nn.Linear(size, out)


FORMULAS = {
    name: parsed
    for name, info in adapters.methods().items()
    if name in NAMES and (parsed := formula(info.trainable)) is not None
}


@pytest.mark.usefixtures("quiet_and_seeded")
@pytest.mark.parametrize("method", FORMULAS)
def test_what_a_method_says_that_it_trains_is_what_trains(method: str) -> None:
    info, settings = adapters.methods()[method], SETTINGS.get(method, {})
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(method)]
    fields = {field.name: field.default for field in dataclasses.fields(config)} | settings
    if "Linear" in info.layers:
        for size, out in ((16, 32), (32, 16), (64, 64)):
            known = {**fields, "d_in": size, "out": out}
            model = adapters.attach(OneLayer(size, out), method, targets=["fc"], **settings)
            assert adapters.count(model).trainable == value(FORMULAS[method], known), (size, out)
        return
    subject = "vit" if {"PreNormBlock", "Attention"} & {*info.layers} and info.source == "suite" else "llama"
    given = {name: found for name, found in fields.items() if isinstance(found, int)}
    known = {"num_virtual_tokens": 3, "tokens": 5, **given, "hidden": 32, "layers": 2}
    blocks = 2 if info.source == "suite" else 1  # of ours it is said of one of the two blocks
    model = adapters.attach(fresh(subject), method, **arguments(method, subject))
    assert adapters.count(model).trainable == blocks * value(FORMULAS[method], known)


def test_every_method_says_what_it_trains_and_by_which_equation() -> None:
    told = record()["methods"]
    silent = [name for name, entry in told.items() if not entry["facts"]["trainable"] or not entry["equations"]]
    assert silent == [], "MethodInfo(trainable=...), and indented equations in the file's first docstring"


@pytest.mark.usefixtures("quiet_and_seeded")
@pytest.mark.parametrize("method", NAMES)
def test_the_example_of_a_method_is_a_configuration(method: str) -> None:
    section = yaml.safe_load(methods.asked()[method]["example"])["adapter"]
    spec = MethodSpec.parse(section)
    try:
        build_config(spec.method, spec.config, spec.targets)
    except InputError as error:
        if "is required for" not in str(error):
            raise
        pytest.skip(f"{method}: an optional package is not installed")


if __name__ == "__main__":
    methods.RECORD.write_text(json.dumps(record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("| method | kind |"))
    kept = lines[: at + 1] + [line for line in lines[at + 1 :] if not line.startswith(("| `", "|---" * 9))]
    position = next(number for number, line in enumerate(kept) if line.startswith("| method | kind |"))
    kept[position : position + 1] = table().splitlines()
    PAGE.write_text("\n".join(kept) + "\n", encoding="utf-8")
