"""`suite methods`: every fine-tuning method and what it declares.

Asking the methods imports peft, transformers and torch, some seconds of work for a page of text. What they say with
the peft that we lock is therefore shipped, in `methods.json`; with another peft, or methods of one's own beside ours,
they are asked. `python -m tests.adapters.test_methods_page` writes the record.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

import suite
from suite.cli.loading import loading
from suite.files import read_json

RECORD = Path(__file__).with_suffix(".json")
"""What `asked` returned, by method, beside the peft and the files that it comes from."""


def methods(name: str | None = None) -> dict[str, Any]:
    """List every fine-tuning method, or show one of them.

    Args:
        name: the method to show.
    """
    known = _known()
    if name is None:
        facts = [entry["facts"] for entry in known.values()]
        return {"methods": facts, "message": _table(facts)}
    if name not in known:
        from suite.adapters.registry import method_info

        method_info(name)  # says which is meant
    shown = known[name]["facts"] | {key: value for key, value in known[name].items() if key != "facts"}
    return shown | {"message": _page(shown)}


def _known() -> dict[str, Any]:
    """What every method declares and the options of its configuration, by name."""
    record = read_json(RECORD)
    if record["peft"] == version("peft") and record["files"] == files():
        known: dict[str, Any] = record["methods"]
        return known
    with loading():
        return asked()


def files() -> list[str]:
    """The files of our methods, in the folder of the adapter core."""
    folder = Path(suite.__file__).with_name("adapters") / "methods"
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py"))


def asked() -> dict[str, Any]:
    """What the methods themselves say, ready for `json.dumps`."""
    from suite import adapters

    found = {
        name: {
            "facts": dataclasses.asdict(info) | {"year": year(info.paper)},
            **_told(name, info.source),
            "options": _options(name),
            "help": _help(name),
            "example": _example(name, info),
        }
        for name, info in adapters.methods().items()
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def year(paper: str) -> int | None:
    """The year of a paper: as its text says, or of its arXiv number."""
    found = re.search(r"\b(?:19|20)\d\d\b(?!\.)", paper)
    number = re.fullmatch(r"(\d\d)\d\d\.\d{4,5}", paper)
    return int(found[0]) if found else 2000 + int(number[1]) if number else None


def _told(name: str, source: str) -> dict[str, str]:
    """One line on the method and its equations: what its own file begins with, or what is known of peft's."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    from suite.adapters.peft_facts import FACTS
    from suite.adapters.registry import peft_type_of

    if source == "peft":
        return {"summary": "", "equations": FACTS[name].equation if name in FACTS else ""}
    tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING[peft_type_of(name)]
    text = cleandoc(sys.modules[getattr(tuner, "tuner_layer_cls", tuner).__module__].__doc__ or "")
    summary = " ".join(text.partition("\n\n")[0].split())
    parts = [part for part in text.split("\n\n") if all(line.startswith("    ") for line in part.splitlines())]
    return {"summary": summary, "equations": "\n".join(dedent(part) for part in parts)}


# What a method's example names as targets: the layers that its kind is put on most.
TARGETS = {"Linear": "[q_proj, v_proj]", "Conv2d": "[conv1]", "LayerNorm": "[norm1, norm2]", "*": "[encoder]"}


def _example(name: str, info: Any) -> str:
    """A recipe's `adapter:` section with the method."""
    lines = ["adapter:", f"  method: {name}"]
    own = {field.name for field in _fields(name)}
    target = next((text for kind, text in TARGETS.items() if kind in info.layers), None)
    if "target_modules" in own and target is not None:
        lines.append(f"  targets: {target}")
    if info.source == "peft" and info.kind == "prompt":
        lines.append("  task_type: CAUSAL_LM")
    lines += [f"  {key}: {json.dumps(value)}" for key, value in NEEDED.get(name, {}).items()]
    settings = [(key, value) for key, value in _options(name).items() if key not in SHARED and _is_plain(value)]
    lines += [f"  {key}: {json.dumps(value)}" for key, value in settings[:3]]
    return "\n".join(lines)


# What a method does not go without.
NEEDED: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 1000},
    "cpt": {"cpt_token_ids": [1, 2], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 2]},
}
# Settings that methods have in common, which an example need not show.
SHARED = {
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "bias"),
    *("init_weights", "core_version", "fan_in_fan_out", "token_dim", "num_transformer_submodules"),
}


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _options(name: str) -> dict[str, Any]:
    """The fields of the method's configuration that are its own, with their defaults."""
    options = {}
    for field in _fields(name):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        options[field.name] = None if default is dataclasses.MISSING else _plain(default)
    return options


def _help(name: str) -> dict[str, str]:
    """What each of these fields means, on one line, where the method says so."""
    # One of peft's texts is a tuple of its parts.
    texts = ((field.name, " ".join("".join(field.metadata.get("help", "")).split())) for field in _fields(name))
    return {field: text for field, text in texts if text}


def _fields(name: str) -> list[dataclasses.Field[Any]]:
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from suite.adapters.registry import peft_type_of

    shared = {field.name for field in dataclasses.fields(PeftConfig)}
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(name)]
    return [field for field in dataclasses.fields(config) if field.init and field.name not in shared]


def _plain(value: Any) -> Any:
    """A default as JSON can hold it; what it cannot is shown by its text."""
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


# What a page of a method says besides its facts, in this order, each in a part of its own.
PARTS = ("summary", "equations", "options", "help", "example")


def _page(facts: dict[str, Any]) -> str:
    listed = {name: value for name, value in facts.items() if name not in PARTS}
    width = max(map(len, listed))
    lines = [facts["summary"], ""] if facts["summary"] else []
    if facts["equations"]:
        lines += [f"    {line}" for line in facts["equations"].splitlines()] + [""]
    lines += [f"{name:<{width}}  {_shown(value)}" for name, value in listed.items()]
    lines.append("options")
    for name, value in facts["options"].items():
        text = wrap(facts["help"].get(name, ""), 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += [f"  {name} = {value!r}", *text]
    lines += ["example", *(f"  {line}" for line in facts["example"].splitlines())]
    return "\n".join(lines)


def _table(known: list[dict[str, Any]]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("method", "kind", "by", "year", "trains", "merges", "4-bit", "many", "applies to", "paper"):
        table.add_column(heading, no_wrap=heading == "method")
    for facts in known:
        flags = (_shown(facts[flag]) for flag in ("mergeable", "quantizable", "multi_adapter"))
        told = (facts["kind"], facts["source"], _shown(year(facts["paper"])), facts["trainable"])
        table.add_row(facts["name"], *told, *flags, _shown(facts["layers"]), facts["paper"])
    page = StringIO()
    Console(file=page, width=160).print(table)
    return page.getvalue()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value or "")) or "-"
