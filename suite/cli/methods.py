"""`suite methods`: every fine-tuning method and what it declares.

Asking the methods imports peft, transformers and torch, some seconds of work for a page of text. What they say is
therefore kept, under a name made of all that it depends on, and read back until one of these changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import Any

import suite
from suite.errors import InputError
from suite.files import read_json, write_text
from suite.hub import paths


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
    record = paths.cache() / "methods" / f"{_key()}.json"
    if record.is_file():
        try:
            return read_json(record)
        except InputError:
            pass  # cut off or not ours; it is made anew
    from suite import adapters

    found = {
        name: {"facts": dataclasses.asdict(info), "options": _options(name), "help": _help(name)}
        for name, info in adapters.methods().items()
    }
    text = json.dumps(found)
    with suppress(OSError):  # it only saves time: a cache that cannot be written stops nobody
        write_text(record, text)
    known: dict[str, Any] = json.loads(text)
    return known


def _key() -> str:
    """A digest of what the record comes from: peft, this Python, the adapter core's own files, and this one."""
    digest = hashlib.sha256(f"{version('peft')} {suite.__version__} {sys.version}".encode())
    digest.update(Path(__file__).read_bytes())
    core = Path(suite.__file__).with_name("adapters")
    for file in sorted(core.rglob("*.py")):
        digest.update(str(file.relative_to(core)).encode() + file.read_bytes())
    return digest.hexdigest()[:32]


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
