"""Relation schemas: which relations there are, what they mean, and by which spellings they are known.

A schema is a YAML or JSON file; `schemas/` holds the built-in ones. No relation name is written anywhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from rapidfuzz import process

from suite.errors import InputError
from suite.files import read_text

_BUILT_IN = Path(__file__).parent / "schemas"
_PID = re.compile(r"P\d+")
# What data sets call "no relation" in their name-to-index tables.
_NO_RELATION = frozenset({"NA", "Na", "na", "no_relation", "Other"})


NOTHING = "none"
"""What an answer of our protocols says where there is nothing to say."""


@dataclass(frozen=True)
class Relation:
    """One relation of a schema.

    Attributes:
        name: the spelling that is read, asked for and written.
        description: the roles of head and tail and an example; part of the prompts of the protocols with descriptions.
        pid: its Wikidata property, e.g. `P17`.
        aliases: other spellings that are read.
        inverse: name of the relation that the relation step adds beside this one (see `Schema.expand`).
        symmetric: whether (a, r, b) says the same as (b, r, a).
        head_types, tail_types: the entity types it holds between; empty: any.
        literal_tail: whether its tail is a value (a date, a number) rather than a thing.
    """

    name: str
    description: str = ""
    pid: str | None = None
    aliases: tuple[str, ...] = ()
    inverse: str | None = None
    symmetric: bool = False
    head_types: tuple[str, ...] = ()
    tail_types: tuple[str, ...] = ()
    literal_tail: bool = False

    def allows(self, head_type: str | None = None, tail_type: str | None = None) -> bool:
        """Whether the relation can hold between entities of these types; an unknown type (None) is allowed."""
        head = head_type is None or not self.head_types or head_type in self.head_types
        return head and (tail_type is None or not self.tail_types or tail_type in self.tail_types)


_FIELDS = {field.name for field in fields(Relation)}
_LISTS = frozenset({"aliases", "head_types", "tail_types"})
_FLAGS = frozenset({"symmetric", "literal_tail"})


@dataclass(frozen=True)
class Schema:
    """An ordered, immutable set of relations.

    Raises:
        InputError: there are no relations, or two of them share a name, an alias or a property id.
    """

    name: str
    relations: tuple[Relation, ...]

    def __post_init__(self) -> None:
        if not self.relations:
            raise InputError(f"schema {self.name}: it has no relations; list at least one under `relations:`")
        seen: dict[str, str] = {}
        for relation in self.relations:
            for key in filter(None, (relation.name, *relation.aliases, relation.pid)):
                if key in seen:
                    raise InputError(
                        f'schema {self.name}: duplicate name "{key}" (relations "{seen[key]}" and "{relation.name}"); '
                        "names, aliases and pids must differ"
                    )
                seen[key] = relation.name

    @classmethod
    def load(cls, ref: str | Path) -> Schema:
        """Return the built-in schema called `ref`, or read the file `ref`.

        Besides our own layout a JSON file may be a table `{pid: name}` (DocRED's `rel_info.json`), a table
        `{name: index}` (a `rel2id.json`, HacRED's for example), or a plain list of names.

        Raises:
            InputError: there is no such schema, or the file is not one.
        """
        if isinstance(ref, str) and ref in built_in():
            return _load_built_in(ref)
        path = Path(ref)
        if not path.is_file():
            raise InputError(
                f"schema {ref}: neither a built-in schema ({', '.join(built_in())}) nor a YAML or JSON file; "
                "give one of these names or the path of a schema file"
            )
        return cls.from_dict(_read(path), name=path.stem, where=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "custom", where: str = "") -> Schema:
        """Make a schema of what `to_dict` gave or of what a schema file holds.

        Args:
            name: used where `data` names none.
            where: the file that `data` comes from, for error messages.

        Raises:
            InputError: `data` is not a schema.
        """
        where = where or f"schema {name}"
        table = _as_table(data, where)
        title = table.get("name", name)
        if not isinstance(title, str):
            raise InputError(f"{where}: `name` must be a string, not {title!r}")
        relations = (
            _relation(entry, f"{where}: relation {number}") for number, entry in enumerate(table["relations"], 1)
        )
        schema = cls(title, tuple(relations))
        for relation in schema:
            if relation.inverse is not None and relation.inverse not in schema:
                raise InputError(
                    f'{where}: relation "{relation.name}" has the inverse "{relation.inverse}", which the schema '
                    "lacks; add it or leave `inverse` out"
                )
        return schema

    @classmethod
    def of(cls, given: Schema | str | Path | Mapping[str, Any] | Sequence[Any]) -> Schema:
        """A schema however it is given: as it is, by name or file, as what a schema file holds, or as a list of names.

        Raises:
            InputError: it is none.
        """
        if isinstance(given, Schema):
            return given
        if isinstance(given, str | Path):
            return cls.load(given)
        return cls.from_dict(list(given) if isinstance(given, tuple) else given)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain JSON values, defaults left out; `from_dict` takes it back."""
        blank = asdict(Relation(""))
        return {
            "name": self.name,
            "relations": [
                {
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in asdict(relation).items()
                    if value != blank[key]
                }
                for relation in self.relations
            ],
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(relation.name for relation in self.relations)

    @cached_property
    def _by_name(self) -> dict[str, Relation]:
        return {relation.name: relation for relation in self.relations}

    @cached_property
    def _by_key(self) -> dict[str, Relation]:
        return {
            key: relation
            for relation in self.relations
            for key in (relation.name, *relation.aliases, relation.pid)
            if key is not None
        }

    def find(self, text: str) -> Relation | None:
        """Return the relation whose name, alias or property id is exactly `text`, or None."""
        return self._by_key.get(text)

    def require(self, text: str) -> Relation:
        """Return the relation that `text` names.

        Raises:
            InputError: there is none; the message names the nearest one.
        """
        relation = self.find(text)
        if relation is None:
            kind = "property id" if _PID.fullmatch(text) else "relation"
            near = None if kind == "property id" else process.extractOne(text, self.names, score_cutoff=60)
            hint = f'nearest is "{near[0]}"' if near else "add it to the schema or choose another schema"
            raise InputError(f'unknown {kind} "{text}" (schema {self.name}, {len(self)} relations); {hint}')
        return relation

    def require_all(self, given: Sequence[str]) -> tuple[str, ...]:
        """The names of several relations; parts of a name that has commas itself are put together again.

        Raises:
            InputError: there is no such relation.
        """
        names, rest = [], [part.strip() for part in given]
        while rest:
            ends = (end for end in range(len(rest), 0, -1) if self.find(", ".join(rest[:end])))
            end = next(ends, 1)
            names.append(self.require(", ".join(rest[:end])).name)
            rest = rest[end:]
        return tuple(names)

    def __contains__(self, name: object) -> bool:
        """Whether `name` is the name (not an alias) of a relation."""
        return name in self._by_name

    def __getitem__(self, name: str) -> Relation:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Relation]:
        return iter(self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    def expand(self, names: Iterable[str]) -> list[str]:
        """Return `names` that the schema has, then the inverses of them that it has, each once, in order.

        The official code also queries inverses that no inventory holds ("members"); they can never score and are
        left out (spec section 2.3).
        """
        kept = dict.fromkeys(name for name in names if name in self)
        inverses = (self[name].inverse for name in list(kept))
        return list(dict.fromkeys([*kept, *(name for name in inverses if name is not None and name in self)]))

    def subset(self, names: Iterable[str]) -> Schema:
        """Return the schema that holds only the relations that `names` (names, aliases, pids) find, in schema order.

        Raises:
            InputError: a name is unknown.
        """
        wanted = {self.require(name).name for name in names}
        return replace(self, relations=tuple(relation for relation in self if relation.name in wanted))

    def with_descriptions(self, file: str | Path) -> Schema:
        """Return the schema with the descriptions of a JSON file `{relation name: text}` in place of its own.

        Names that the schema lacks are passed over: AutoRE's file serves several data sets.

        Raises:
            InputError: the file is not such a table, or none of its names is in the schema.
        """
        table = _read(Path(file))
        if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
            raise InputError(f"{file}: expected a JSON object {{relation name: description}}")
        texts = {found.name: text for key, text in table.items() if (found := self.find(str(key))) is not None}
        if not texts:
            raise InputError(f"{file}: describes no relation of schema {self.name}; its keys must be relation names")
        described = (replace(relation, description=texts.get(relation.name, relation.description)) for relation in self)
        return replace(self, relations=tuple(described))


def built_in() -> tuple[str, ...]:
    """The names of the schemas that come with the suite."""
    return tuple(sorted(path.stem for path in _BUILT_IN.glob("*.yaml")))


@lru_cache
def _load_built_in(name: str) -> Schema:
    path = _BUILT_IN / f"{name}.yaml"
    return Schema.from_dict(_read(path), name=name, where=str(path))


def _read(path: Path) -> Any:
    try:
        text = read_text(path, encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    try:
        return json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not valid {'JSON' if path.suffix.lower() == '.json' else 'YAML'}: {reason}"
        ) from error


def _as_table(data: Any, where: str) -> Mapping[str, Any]:
    """Bring the other layouts that `Schema.load` knows into ours: `{"relations": [...]}`."""
    if isinstance(data, dict) and isinstance(data.get("relations"), list):
        if unknown := set(data) - {"name", "relations"}:
            raise InputError(f"{where}: unknown key `{min(map(str, unknown))}`; a schema has `name` and `relations`")
        return data
    if isinstance(data, list):
        return {"relations": data}
    if isinstance(data, dict) and data and all(isinstance(key, str) for key in data):
        values = data.values()
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            return {"relations": [key for key in data if key not in _NO_RELATION]}
        if all(_PID.fullmatch(key) for key in data) and all(isinstance(value, str) for value in values):
            return {"relations": [{"name": value, "pid": key} for key, value in data.items()]}
    raise InputError(f"{where}: not a schema; expected `relations:` with a list of relations, or a table {{pid: name}}")


def _relation(entry: Any, where: str) -> Relation:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected a name or a mapping with `name`, not {entry!r}")
    if unknown := {str(key) for key in entry} - _FIELDS:
        raise InputError(f"{where}: unknown key `{min(unknown)}`; known keys are {', '.join(sorted(_FIELDS))}")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip() or len(name.splitlines()) > 1:
        raise InputError(f"{where}: `name` must be one line of text, not {name!r}")
    if name != name.strip():
        raise InputError(f"{where}: `name` {name!r} has blanks around it, which no answer has; write {name.strip()!r}")
    if name == NOTHING:
        raise InputError(f'{where}: a relation called "{NOTHING}" reads as the answer for nothing; rename it')
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value is None:
            continue
        if key in _LISTS:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise InputError(f'{where} ("{name}"): `{key}` must be a list of strings, not {value!r}')
            values[key] = tuple(value)
        elif isinstance(value, bool) is (key in _FLAGS) and isinstance(value, bool | str):
            values[key] = value
        else:
            kind = "true or false" if key in _FLAGS else "a string"
            raise InputError(f'{where} ("{name}"): `{key}` must be {kind}, not {value!r}')
    return Relation(**values)
