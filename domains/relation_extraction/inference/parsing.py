"""What a generation says: relation names, heads, triples, and why a line was dropped.

`strict` reproduces AutoRE's parser (spec section 6.2) with a literal parser in place of its `eval`. `lenient`, the
default for users, also reads what models write beside the trained form, and repairs strings with more caution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from domains.relation_extraction.inference.fuzzy import LENIENT_THRESHOLD, repair
from domains.relation_extraction.inference.literal import literal, salvage, unnumbered, unquoted
from domains.relation_extraction.model.schema import Schema

Mode = Literal["strict", "lenient"]
Reason = Literal[
    "not_literal",
    "not_list",
    "wrong_arity",
    "non_string",
    "empty",
    "reflexive",
    "unknown_relation",
    "other_relation",
    "head_not_in_text",
    "tail_not_in_text",
    "wrong_type",
    "duplicate",
    "truncated",
    "limit",
]
"""Why a line gave nothing. `other_relation`: a known relation, not the queried one. `wrong_type`: the schema's entity
types forbid it. `truncated`: the last line of an answer that ran out of tokens. `limit`: more than a call may give."""

REASONS: tuple[Reason, ...] = get_args(Reason)

# AutoRE also queries these inverses although no inventory of it holds them (spec section 2.3).
_OFFICIAL_ONLY: Mapping[str, str] = {"member of": "members", "ethnic group": "ethnicity of people"}


@dataclass(frozen=True)
class Dropped:
    """A line that gave nothing, and why."""

    line: str
    reason: Reason


@dataclass(frozen=True)
class Parsed:
    """What a generation says.

    Attributes:
        items: relation names, heads, or `(head, relation, tail)`, distinct, in the order of the lines.
        dropped: the lines that gave nothing; blank lines are not among them.
        spans: for each item the `(start, end)` in the generation of the line that it comes from.
    """

    items: tuple[Any, ...]
    dropped: tuple[Dropped, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


class _Reader:
    """Collects the distinct items of a generation and the reasons of the rest."""

    def __init__(self) -> None:
        self.items: dict[Any, tuple[int, int]] = {}
        self.dropped: list[Dropped] = []

    def add(self, item: Any, line: str, span: tuple[int, int]) -> None:
        if item in self.items:
            self.drop(line, "duplicate")
        else:
            self.items[item] = span

    def drop(self, line: str, reason: Reason) -> None:
        self.dropped.append(Dropped(line, reason))

    def parsed(self) -> Parsed:
        return Parsed(tuple(self.items), tuple(self.dropped), tuple(self.items.values()))


def parse_relations(
    text: str,
    schema: Schema,
    mode: Mode = "lenient",
    complete: bool = True,
    *,
    inverses: bool | None = None,
    fold: bool = False,
    empty: str | None = None,
) -> Parsed:
    """Read the answer of the relation step.

    Args:
        complete: whether the generation ended by itself; `lenient` drops the last line of one that did not.
        inverses: whether each relation brings its inverse along; default: in strict mode. Strict adds even the two
            names that no inventory holds; drop what `schema` lacks before asking about it.
        fold: lower-case every line first, as AutoRE does for `D_R_F` (names with capitals are then never found).
        empty: the answer that says "nothing".
    """
    reader = _Reader()
    strict = mode == "strict"
    for line, span in _lines(text, complete or strict, reader, empty):
        name = (line.lower() if fold else line).strip()
        if not strict:
            name = relation_name(name, schema)
        if name not in schema:
            reader.drop(line, "unknown_relation")
            continue
        reader.add(name, line, span)
        inverse = schema[name].inverse or (_OFFICIAL_ONLY.get(name) if strict else None)
        if inverse and (strict if inverses is None else inverses) and (strict or inverse in schema):
            reader.items.setdefault(inverse, span)
    return reader.parsed()


def parse_heads(
    text: str, passage: str, mode: Mode = "lenient", complete: bool = True, *, empty: str | None = None
) -> Parsed:
    """Read the answer of the subject step: strings of the passage, one a line."""
    reader = _Reader()
    strict = mode == "strict"
    for line, span in _lines(text, complete or strict, reader, empty, keep_blank=strict):
        if strict:
            head = line.strip() if line.strip() in passage else repair(line.strip(), passage)
            found = bool(head) or not line.strip()
        else:
            head = next((form for form in _forms(line) if form in passage), "") or locate(unnumbered(line), passage)
            found = bool(head)
        if found and head in passage:
            reader.add(head, line, span)
        else:
            reader.drop(line, "head_not_in_text")
    return reader.parsed()


def parse_facts(
    text: str,
    passage: str,
    schema: Schema,
    mode: Mode = "lenient",
    complete: bool = True,
    *,
    subject: str | None = None,
    relation: str | None = None,
    keep_other_relations: bool = False,
    empty: str | None = None,
) -> Parsed:
    """Read the answer of the fact step: one triple a line, as Python writes a list of three strings.

    Args:
        subject: the queried head. Strict puts it in place of the generated head, as AutoRE's single-adapter routine
            does; lenient only where the generated head is not in the passage.
        relation: the queried relation; lenient drops triples of another one unless `keep_other_relations`.
        complete, empty: as in `parse_relations`.
    """
    if mode == "strict":
        return _strict_facts(text, passage, schema, subject)
    reader = _Reader()
    queried = None if keep_other_relations else relation
    for line, span in _lines(text, complete, reader, empty, whole=lambda last: last.endswith("]")):
        try:
            values = salvage(line, schema.names)
        except ValueError:
            reader.drop(line, "not_literal")
            continue
        for value in values:
            outcome = _malformed(value) or _lenient_triple(value, passage, schema, subject, queried)
            if isinstance(outcome, str):
                reader.drop(line, outcome)
            else:
                reader.add(outcome, line, span)
    return reader.parsed()


def locate(entity: str, passage: str) -> str:
    """Return the string of `passage` that `entity` means: itself, a difference of case, or a cautious repair.

    Strings that are mostly digits are never repaired: a wrong year is worse than none.

    Returns:
        the string, or an empty one.
    """
    entity = entity.strip()
    if not entity or entity in passage:
        return entity
    folded, wanted = passage.lower(), entity.lower()
    if len(folded) == len(passage) and (start := folded.find(wanted)) >= 0:
        return passage[start : start + len(wanted)]
    if 2 * sum(map(str.isdigit, entity)) >= len(entity.replace(" ", "")):
        return ""
    return repair(entity, passage, LENIENT_THRESHOLD)


def _strict_facts(text: str, passage: str, schema: Schema, subject: str | None) -> Parsed:
    reader = _Reader()
    seen = set()
    for line, span in _lines(text, True, reader, None):
        try:
            value = literal(line.strip())
        except ValueError:
            reader.drop(line, "not_literal")
            continue
        reason = _malformed(value) if isinstance(value, list) else "not_list"
        if reason is None and tuple(value) in seen:
            reason = "duplicate"
        elif reason is None:
            seen.add(tuple(value))
            reason = None if value[1] in schema else "unknown_relation"
        if reason:
            reader.drop(line, reason)
            continue
        head, tail = subject or value[0].strip(), value[2].strip()
        if not subject and head not in passage:
            head = repair(head, passage)
        if (not head and value[0].strip()) or head not in passage:
            reader.drop(line, "head_not_in_text")
            continue
        if tail not in passage:
            tail = repair(tail, passage)
            if not tail or tail not in passage:
                reader.drop(line, "tail_not_in_text")
                continue
        reader.add((head, value[1], tail), line, span)
    return reader.parsed()


def _malformed(value: Any) -> Reason | None:
    if not isinstance(value, list):
        return "not_list"
    if len(value) != 3:
        return "wrong_arity"
    if not all(isinstance(item, str) for item in value):
        return "non_string"
    if not value[0] or not value[2]:
        return "empty"
    return "reflexive" if value[0] == value[2] else None


def _lenient_triple(
    value: list[str], passage: str, schema: Schema, subject: str | None, queried: str | None
) -> tuple[str, str, str] | Reason:
    head, tail = value[0].strip(), value[2].strip()
    if not head or not tail:
        return "empty"
    name = relation_name(value[1], schema)
    if name not in schema:
        return "unknown_relation"
    if queried is not None and name != queried:
        return "other_relation"
    if head not in passage:
        head = subject or locate(head, passage)
    tail = locate(tail, passage)
    if not head or head not in passage:
        return "head_not_in_text"
    if not tail or tail not in passage:
        return "tail_not_in_text"
    return "reflexive" if head == tail else (head, name, tail)


def relation_name(text: str, schema: Schema) -> str:
    """Return the name of the relation that `text` means (alias, property id, other case), or `text` itself."""
    for form in _forms(text):
        if relation := schema.find(form) or schema.find(form.lower()):
            return relation.name
    wanted = unquoted(unnumbered(text)).casefold()
    return next((name for name in schema.names if name.casefold() == wanted), text)


def _forms(line: str) -> Iterator[str]:
    """What a line may mean, the line itself first: without number or bullet, without quotes, without a final mark."""
    plain = unnumbered(line)
    for form in dict.fromkeys((line.strip(), plain, unquoted(plain), unquoted(plain.rstrip(".,;")))):
        if form:
            yield form


def _lines(
    text: str,
    complete: bool,
    reader: _Reader,
    empty: str | None,
    *,
    keep_blank: bool = False,
    whole: Callable[[str], bool] = lambda last: False,
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the lines that say something, with their place; drop the last one when it was cut off."""
    lines, start = text.split("\n"), 0
    for number, line in enumerate(lines):
        span = (start, start + len(line))
        start += len(line) + 1
        if not line or (not keep_blank and not line.strip()) or line.strip() == empty:
            continue
        if not complete and number == len(lines) - 1 and not whole(line.rstrip()):
            reader.drop(line, "truncated")
            continue
        yield line, span
