"""The catalogue `checkpoints/index.yaml`: every adapter and base that the suite knows by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from suite.errors import InputError
from suite.files import read_text, write_text
from suite.hub import checksums, formats, paths
from suite.hub.references import CatalogueName

Kind = Literal["adapter", "base"]
_SECTIONS: dict[Kind, str] = {"adapter": "adapters", "base": "bases"}
_REQUIRED = ("source", "format", "licence")
_OPTIONAL = ("method", "base", "sha256", "size", "metric", "converter")


@dataclass(frozen=True)
class Metric:
    """A figure that was measured: which metric, its value, and on what data."""

    name: str
    value: float
    data: str


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue.

    Attributes:
        domain: the domain it belongs to.
        name: its name within the domain.
        kind: whether it is an adapter or a base.
        method: the adapter's methods, e.g. `lora` or `pcsa + lora`; empty for a base.
        base: reference of the base that the adapter was trained on; empty for a base.
        source: `hf:…`, `https://…`, or a folder relative to the catalogue's own.
        format: as `suite.hub.formats` names it, or `official` for the authors' own files, which `converter` reads.
        sha256: file within the source to its sha256. May be empty for `hf:` alone, where the hub's own checksums serve.
        size: bytes of those files.
        licence: SPDX name of the weights' licence.
        metric: what it reached.
        converter: import string of the function that makes an `official` source into an adapter folder.
    """

    domain: str
    name: str
    kind: Kind
    source: str
    format: str
    licence: str
    method: str = ""
    base: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    metric: Metric | None = None
    converter: str = ""

    @property
    def reference(self) -> str:
        """How to name it from anywhere."""
        return f"{self.domain}/{self.name}"

    @property
    def embedded(self) -> bool:
        """Whether it comes with the suite itself."""
        return ":" not in self.source

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {"reference": self.reference, **asdict(self), "sha256": dict(self.sha256)}


def catalogue(domain: str | None = None, kind: Kind | None = None) -> list[Entry]:
    """The entries of a domain and kind, or all, in the order of the file.

    Raises:
        InputError: the catalogue cannot be read; names the entry at fault.
    """
    entries = _read(paths.checkpoints() / "index.yaml")
    return [entry for entry in entries if domain in (None, entry.domain) and kind in (None, entry.kind)]


def find(name: CatalogueName, kind: Kind) -> Entry:
    """The entry that a name means.

    An embedded default (`checkpoints/tiny/<domain>/<kind>`) that is not listed yet is found too.

    Raises:
        InputError: there is none; says what there is, or how a repository or folder of that name is written.
    """
    entries = catalogue(kind=kind)
    matching = [entry for entry in entries if entry.name == name.name and name.domain in ("", entry.domain)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        choices = ", ".join(entry.reference for entry in matching)
        raise InputError(f"{name.name!r} is the name of several {_SECTIONS[kind]}; write one of {choices}")
    folder = Path("tiny") / name.domain / kind
    if name.name == "tiny" and name.domain and (paths.checkpoints() / folder).is_dir():
        detected = formats.detect(paths.checkpoints() / folder)
        return Entry(name.domain, "tiny", kind, folder.as_posix(), detected, "Apache-2.0")
    raise InputError(_unknown(name, kind, entries))


def record(
    folder: Path,
    *,
    domain: str,
    licence: str,
    name: str = "tiny",
    kind: Kind = "adapter",
    method: str = "",
    base: str = "",
    metric: Metric | None = None,
) -> Entry:
    """Write or renew the entry of an embedded checkpoint, its sizes and checksums taken from its folder.

    Raises:
        InputError: `folder` is not inside the catalogue's folder.
    """
    home = paths.checkpoints()
    try:
        source = folder.resolve().relative_to(home.resolve()).as_posix()
    except ValueError as error:
        raise InputError(f"{folder} is not inside {home}, where embedded checkpoints live; save it there") from error
    entry = Entry(
        domain, name, kind, source, formats.detect(folder), licence, method, base,
        checksums.digests(folder), checksums.size(folder), metric,
    )  # fmt: skip
    others = [old for old in catalogue() if (old.reference, old.kind) != (entry.reference, kind)]
    _write(home / "index.yaml", [*others, entry])
    return entry


def _unknown(name: CatalogueName, kind: Kind, entries: list[Entry]) -> str:
    """What to tell somebody who named what is not there: what is, or how something else is written."""
    domains = {entry.domain for entry in entries} | {path.name for path in (paths.checkpoints() / "tiny").glob("*")}
    if name.domain and name.domain not in domains:
        return (
            f"{name} is no {kind} in the catalogue; for a repository of the Hugging Face hub write hf:{name}, "
            f"for a folder ./{name}"
        )
    if not name.domain and name.name == "tiny":
        return "tiny needs its domain; write for example relation_extraction/tiny"
    near = [entry for entry in entries if name.domain in ("", entry.domain)]
    known = [entry.name if name.domain else entry.reference for entry in near]
    close = difflib.get_close_matches(name.name if name.domain else str(name), known, n=3) or sorted(known)[:8]
    where = f" of {name.domain}" if name.domain else ""
    listed = f"there is {', '.join(close)}" if close else "there is none yet"
    folder = f". For a folder write ./{name}" if Path(str(name)).exists() else ""
    return f"{name.name!r} is no {kind}{where} in the catalogue; {listed} (suite adapters list shows all){folder}"


def _read(path: Path) -> list[Entry]:
    if not path.is_file():
        return []
    try:
        content = yaml.safe_load(read_text(path)) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"the catalogue {path} is not YAML: {line}; mend it or take it from the repository") from error
    if not isinstance(content, dict) or set(content) - set(_SECTIONS.values()):
        raise InputError(f"the catalogue {path} must have the sections adapters and bases and no other")
    entries = []
    for kind, section in _SECTIONS.items():
        for reference, fields in (content.get(section) or {}).items():
            entries.append(_entry(str(reference), kind, fields, path))
    return entries


def _entry(reference: str, kind: Kind, fields: Any, path: Path) -> Entry:
    where = f"entry {reference} of the catalogue {path}"
    domain, _, name = reference.partition("/")
    if not isinstance(fields, dict) or not name:
        raise InputError(f"{where} must be domain/name with fields below it")
    missing = [key for key in _REQUIRED if not fields.get(key)]
    unknown = set(fields) - {*_REQUIRED, *_OPTIONAL}
    if missing or unknown:
        raise InputError(f"{where} lacks {missing or 'nothing'} and has unknown fields {sorted(unknown) or 'none'}")
    if fields["format"] == formats.OFFICIAL and not fields.get("converter"):
        raise InputError(f"{where} has the format official and so needs a converter")
    if "://" in fields["source"] and not fields.get("sha256"):
        raise InputError(f"{where} is downloaded from the web and so needs its sha256")
    try:
        metric = Metric(**fields["metric"]) if fields.get("metric") else None
    except TypeError as error:
        raise InputError(f"{where}: a metric has name, value and data and no other field") from error
    return Entry(domain, name, kind, **{**fields, "metric": metric})


def _write(path: Path, entries: list[Entry]) -> None:
    """Write the catalogue anew, under the comment that heads the old one."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    header = "".join(line for line in old.splitlines(keepends=True) if line.startswith("#"))
    content: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS.values()}
    for entry in sorted(entries, key=lambda entry: (entry.domain, entry.name != "tiny", entry.name)):
        fields = {key: value for key, value in entry.to_dict().items() if value}
        for key in ("reference", "domain", "name", "kind"):
            fields.pop(key)
        content[_SECTIONS[entry.kind]][entry.reference] = fields
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    write_text(path, header + text)
