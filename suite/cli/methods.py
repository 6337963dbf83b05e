"""`suite methods`: every fine-tuning method and what it declares."""

from __future__ import annotations

import dataclasses
from typing import Any


def methods(name: str | None = None) -> dict[str, Any]:
    """List every fine-tuning method, or show one of them.

    Args:
        name: the method to show.
    """
    from suite import adapters
    from suite.adapters.registry import method_info

    if name is not None:
        facts = dataclasses.asdict(method_info(name)) | {"options": _options(name)}
        return facts | {"message": _page(facts)}
    known = adapters.methods().values()
    return {"methods": [dataclasses.asdict(info) for info in known], "message": _table(known)}


def _options(name: str) -> dict[str, Any]:
    """The fields of the method's configuration that are its own, with their defaults."""
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = next(kind for key, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items() if str(key.value).lower() == name)
    shared = {field.name for field in dataclasses.fields(PeftConfig)}
    options = {}
    for field in dataclasses.fields(kind):
        if field.init and field.name not in shared:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            options[field.name] = None if default is dataclasses.MISSING else _plain(default)
    return options


def _plain(value: Any) -> Any:
    """A default as JSON can hold it; what it cannot is shown by its text."""
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


def _page(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {_shown(value)}" for name, value in facts.items() if name != "options"]
    return "\n".join([*lines, "options", *(f"  {name} = {value!r}" for name, value in facts["options"].items())])


def _table(known: Any) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("method", "kind", "by", "merges", "4-bit", "many", "layers", "paper"):
        table.add_column(heading, no_wrap=heading == "method")
    for info in known:
        flags = (_shown(flag) for flag in (info.mergeable, info.quantizable, info.multi_adapter))
        table.add_row(info.name, info.kind, info.source, *flags, " ".join(info.layers), info.paper)
    page = StringIO()
    Console(file=page, width=140).print(table)
    return page.getvalue()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
