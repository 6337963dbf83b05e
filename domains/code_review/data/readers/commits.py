"""Files of commits: JSON lines of MCMD, of FIRA and of JIT-Fine, and JIT-Fine's own pair of files.

One line of JSON a commit, told apart by its keys:

- MCMD: `diff`, a list of tokens, and `msg_token`, a list of words;
- FIRA: `diff`, a hunk's lines with their marks, and `nl`, the message;
- JIT-Fine: `added_code` and `removed_code`, lists of lines, `message`, `label` (1: it brought in a defect), and the
  experts' features by name.

JIT-Fine is published as two pickles. `changes_train.pkl` holds lists, strings and numbers, and is read by an unpickler
that knows nothing else; beside it `features_train.csv` is read. Its published form is a pickled data frame, which only
pandas can read: `pandas.read_pickle("features_train.pkl").to_csv("features_train.csv", index=False)`.
"""

from __future__ import annotations

import csv
import math
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from domains.code_review.data.commits import FEATURES, Commit, grouped, marked
from domains.code_review.data.readers.records import Skipping, json_object, read_lines, text_field
from suite.errors import InputError

_HEADER = re.compile(r"@@ -\d+,\d+ \+\d+,\d+ @@")


def read_commits(path: Path, skipping: Skipping) -> Iterator[Commit]:
    """The commits of a file.

    Raises:
        InputError: it is of no known form, or a line is broken; names file, line and key.
    """
    if path.suffix == ".pkl":
        yield from _read_pickles(path)
        return
    for where, line in read_lines(path):
        try:
            commit = _of_record(json_object(line, where), where)
        except InputError as error:
            skipping.or_raise(error)
            continue
        yield commit


def _of_record(record: dict[str, Any], where: str) -> Commit:
    for key, make in _FORMS.items():
        if key in record:
            return make(record, where)
    keys = ", ".join(map(str, record)) or "none"
    raise InputError(f"{where}: no commit of MCMD (msg_token), FIRA (nl) or JIT-Fine (added_code); its keys are {keys}")


def _mcmd(record: dict[str, Any], where: str) -> Commit:
    message = " ".join(" ".join(_texts(record, "msg_token", where)).replace("\n", "").split())
    return Commit(_id(record, where), message, tokens=" ".join(_texts(record, "diff", where)), layout="tokens")


def _fira(record: dict[str, Any], where: str) -> Commit:
    rows = text_field(record, "diff", where).split("\n")
    if _HEADER.match(rows[0]):
        rows = rows[1:]
    return Commit(_id(record, where), text_field(record, "nl", where), rows=marked(rows))


def _jit_fine(record: dict[str, Any], where: str) -> Commit:
    label, own = record.get("label"), {name: record[name] for name in FEATURES if name in record}
    if label not in (None, 0, 1, "0", "1", 0.0, 1.0):
        raise InputError(f"{where}: 'label' is {label!r}, neither 0 nor 1")
    if own and len(own) < len(FEATURES):
        missing = next(name for name in FEATURES if name not in own)
        raise InputError(f"{where}: of the 14 features {missing!r} is missing; give all of them or none")
    return Commit(
        _id(record, where),
        text_field(record, "message", where) if "message" in record else "",
        rows=grouped(*(_texts(record, key, where) for key in ("added_code", "removed_code"))),
        layout="grouped",
        features=_features(own, where) if own else (),
        defective=None if label is None else bool(int(label)),
    )


_FORMS: Mapping[str, Callable[[dict[str, Any], str], Commit]] = {
    "msg_token": _mcmd,
    "nl": _fira,
    "added_code": _jit_fine,
}


class _Plain(pickle.Unpickler):
    """Knows lists, tuples, dicts, strings and numbers, and no class: nothing that a pickle names is called."""

    def find_class(self, module: str, name: str) -> Any:
        raise InputError(f"the pickle names {module}.{name}, and only lists, texts and numbers are read; it is refused")


def _read_pickles(path: Path) -> Iterator[Commit]:
    try:
        with path.open("rb") as stream:
            columns = _Plain(stream).load()
        ids, labels, messages, codes = columns
        count = len(ids)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise InputError(f"{path}: not JIT-Fine's four lists of commits, labels, messages and changes") from error
    features = _table(path.with_name(path.name.replace("changes", "features")).with_suffix(".csv"))
    for number in range(count):
        where = f"{path}: commit {number + 1}"
        record = {"message": messages[number], "label": int(labels[number]), **codes[number]}
        record |= {"id": ids[number], **features.get(str(ids[number]), {})}
        if features and str(ids[number]) not in features:
            raise InputError(f"{where}: {ids[number]} has no row among the features")
        yield _jit_fine(record, where)


def _table(path: Path) -> dict[str, dict[str, Any]]:
    """The features by commit; none where the file is not there."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        missing = [name for name in ("commit_hash", *FEATURES) if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; it needs commit_hash and {', '.join(FEATURES)}")
        return {row["commit_hash"]: {name: row[name] for name in FEATURES} for row in rows}


def _features(own: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """In their order; whether it mends a fault is 0 or 1."""
    values = []
    for name in FEATURES:
        value = own[name]
        if name == "fix":
            values.append(float(_truth(value, where)))
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{where}: {name!r} is {value!r}, not a number")
        values.append(number)
    return tuple(values)


def _truth(value: Any, where: str) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "1.0"):
        return True
    if text in ("false", "0", "0.0", ""):
        return False
    raise InputError(f"{where}: 'fix' is {value!r}, neither true nor false")


def _texts(record: Mapping[str, Any], key: str, where: str) -> list[str]:
    if key not in record:
        raise InputError(f"{where}: the key {key!r} is missing; there are {', '.join(map(str, record))}")
    found = record[key]
    if not isinstance(found, Iterable) or isinstance(found, str) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{where}: {key!r} is no list of strings")
    return list(found)


def _id(record: Mapping[str, Any], where: str) -> str:
    found = record.get("commit_id", record.get("id", record.get("idx")))
    return where if found is None else str(found)
