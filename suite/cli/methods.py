"""`suite methods`: every fine-tuning method and what it declares.

Asking the methods imports peft, transformers and torch, some seconds of work for a page of text. What they say with
the peft that we lock is therefore shipped, in `methods.json`; with another peft, or methods of one's own beside ours,
they are asked. `python -m tests.adapters.test_methods_page` writes the record.
"""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
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
    shown = known[name]["facts"] | {key: known[name][key] for key in ("options", "help")}
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
        name: {"facts": dataclasses.asdict(info), "options": _options(name), "help": _help(name)}
        for name, info in adapters.methods().items()
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


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


def _page(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {_shown(value)}" for name, value in facts.items() if name not in ("options", "help")]
    lines.append("options")
    for name, value in facts["options"].items():
        text = wrap(facts["help"].get(name, ""), 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += [f"  {name} = {value!r}", *text]
    return "\n".join(lines)


def _table(known: list[dict[str, Any]]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("method", "kind", "by", "merges", "4-bit", "many", "layers", "paper"):
        table.add_column(heading, no_wrap=heading == "method")
    for facts in known:
        flags = (_shown(facts[flag]) for flag in ("mergeable", "quantizable", "multi_adapter"))
        table.add_row(facts["name"], facts["kind"], facts["source"], *flags, _shown(facts["layers"]), facts["paper"])
    page = StringIO()
    Console(file=page, width=140).print(table)
    return page.getvalue()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value or "")) or "-"
