"""Writing files so that nothing half-written is left behind and nothing of somebody else's is written over; reading
small files of somebody else's so that none of them holds the program up."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import InputError, one_line

FILES = "files"
MOST_BYTES = 16 * 2**20
"""Of a file of settings: many times the largest that is known, and nothing that a machine notices."""
_DEBRIS = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}\.(?P<kind>part|old)")
"""What `atomic_file` and `atomic_folder` call what they have not finished."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder that we write, by which one of them is told from a folder that is somebody's own.

    Attributes:
        what: it in words.
        record: the JSON file at its top that says we wrote it; gets the list of the folder's files under `files`.
        names: names, at any depth, of files that belong to it without being listed (earlier versions, other writers).
        marks: files any of which, at the top, says what the record does.
        added: the record is none of the folder's own files, and is added to it.
    """

    what: str
    record: str
    names: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    added: bool = False

    def foreign(self, folder: Path) -> list[str]:
        """The files in `folder` that are no part of it, sorted; everything where nothing says that we wrote it."""
        held = _held(folder)
        if not {self.record, *self.marks} & set(held):
            return held
        listed = {self.record, *_listed(folder / self.record)}
        return [name for name in held if name not in listed and name.rpartition("/")[2] not in self.names]


ADAPTER = Kind(
    "an adapter",
    "suite.json",
    names=frozenset({"suite.json", "adapter_config.json", "adapter_model.safetensors", "README.md"}),
    marks=frozenset({"adapter_config.json"}),
)
BASE = Kind("a base", ".suite.json", added=True)
EXPORT = Kind("an export", ".suite.json", added=True)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`: renamed onto `path` when the block ends, deleted when it raises.

    Raises:
        InputError: `path` is a folder, or lies below a file.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder: give the name of a file")
    _make_folder(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    # mkstemp makes files private to their owner; what we publish follows the user's umask instead.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(one for one in (folder, *folder.parents) if one.exists())
        raise InputError(f"{file}: is a file; give a folder") from None


@contextmanager
def atomic_folder(path: str | os.PathLike[str], kind: Kind | None = None, *, own: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`: swapped in as `path` when the block ends, deleted when it raises.

    What ends here is on the disk before it takes its name, so that a power cut leaves the old folder or the new one.

    Args:
        path: the folder to write. It may be there if it is empty, or of the `kind` and with nothing else in it.
        kind: what is written.
        own: the place is ours (the cache, the embedded defaults): whatever is there may be replaced.

    Raises:
        InputError: `path` is a file or lies below one, or is a folder with files that are not ours to replace; nothing
            is changed.
    """
    target = Path(os.path.realpath(path))  # a link to a folder stays one
    if not own:
        check_replaceable(path, kind)
    _make_folder(target.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o777 & ~umask)
    try:
        yield temporary
        if kind is not None:
            _list_files(temporary, kind)
        if not own:
            _flush_folder(temporary)
            check_replaceable(path, kind)  # the block may have taken a day, and the user the folder
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: str | os.PathLike[str], kind: Kind | None = None) -> None:
    """Refuse to write a folder where something is that we did not write.

    Raises:
        InputError: `path` is a file, or holds files that are no part of a folder of this kind.
    """
    target = Path(path)
    if target.is_dir():
        foreign = kind.foreign(target) if kind else _held(target)
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            part = f", which is no part of {kind.what} that suite wrote" if kind else ""
            raise InputError(
                f"{target} is not replaced, it holds {foreign[0]}{more}{part}: choose another folder, or empty it"
            )
    elif os.path.lexists(target) and not target.is_symlink():
        raise InputError(f"{target} is a file: choose another name for the folder")


def _held(folder: Path) -> list[str]:
    """Everything below `folder` that is no folder, by its path in it, sorted."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(found)


def _listed(record: Path) -> list[str]:
    """What a record lists; nothing where there is none, or it is damaged."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    files = content.get(FILES) if isinstance(content, dict) else None
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _list_files(folder: Path, kind: Kind) -> None:
    """Enter into the record of a new folder what the folder holds, where that is not known without."""
    record = folder / kind.record
    if kind.added:
        record.unlink(missing_ok=True)  # of what was copied
        content: dict[str, Any] = {"holds": kind.what}
    elif record.is_file() and kind.foreign(folder):
        content = json.loads(record.read_text(encoding="utf-8"))
    else:
        return
    content[FILES] = _held(folder)
    record.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _swap(temporary: Path, target: Path) -> None:
    if target.exists():
        discarded = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        os.replace(target, discarded / "old")
        os.replace(temporary, target)
        shutil.rmtree(discarded)
    else:
        os.replace(temporary, target)
    _flush(target.parent)


def replace_durably(temporary: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename a finished file onto `target`; after a power cut either the old one or all of the new one is there."""
    _flush(Path(temporary))
    os.replace(temporary, target)
    _flush(Path(target).parent)


def _flush_folder(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            _flush(Path(parent, name))
        _flush(Path(parent))


def _flush(path: Path) -> None:
    """Have the system write a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems keep no folders to write
            raise
    finally:
        os.close(handle)


def read_text(path: str | os.PathLike[str], *, encoding: str | None = "utf-8", most: int = MOST_BYTES) -> str:
    """The text of a small file that somebody names or sends along: a configuration, a list, a table.

    Args:
        encoding: of the file; None: what it looks like (`decoded`), for what people write in editors of their own.

    Raises:
        InputError: it is a pipe, a device or a socket, which may never end, or larger than such files are.
        OSError, UnicodeDecodeError: as from `Path.read_text`.
    """
    path = Path(path)
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise InputError(f"{path} is a pipe or a device; give a regular file")
    with path.open("rb") if encoding is None else path.open(encoding=encoding) as file:
        # What /proc holds has no size before it is read.
        found = "" if status.st_size > most else file.read(most + 1)
    text = found if isinstance(found, str) else decoded(found)
    if status.st_size > most or len(text) > most:
        raise InputError(f"{path} has more than {most / 2**20:,.0f} MiB, which no file of its kind has; check the path")
    return text


def decoded(content: bytes) -> str:
    """Text as editors on any system save it: by its byte-order mark, else UTF-16, UTF-8 or Windows-1252.

    The mark is left out, and lines end in a line feed alone.
    """
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marked = next((encoding for mark, encoding in marks.items() if content.startswith(mark)), None)
    # In UTF-16, letters of Latin scripts have a zero in their upper half, and no other text has zeros.
    halves = {"utf-16-le": content[1::2], "utf-16-be": content[::2]}
    wide = [name for name, upper in halves.items() if upper.count(0) > len(content) // 5]
    for encoding in (marked, *wide, "utf-8", "cp1252"):
        if encoding is not None:
            with suppress(UnicodeDecodeError):
                return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    return content.decode("latin-1")


def read_json(path: str | os.PathLike[str], remedy: str = "") -> dict[str, Any]:
    """The JSON object in a small file that somebody names or sends along.

    Args:
        remedy: what to do where there is none, for the error.

    Raises:
        InputError: the file cannot be read, as for `read_text` too, is no JSON, or holds something else than an object.
    """
    advice = f"; {remedy}" if remedy else ""
    try:
        content = json.loads(read_text(path, encoding="utf-8-sig"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({one_line(error)}){advice}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, not {type(content).__name__}{advice}")
    return content


def check_kinds(section: Mapping[str, Any], kinds: Mapping[str, tuple[Any, str]], where: str) -> None:
    """Check what stands in the `domain` section of a stranger's manifest.

    Args:
        kinds: by key the type of its value, and that in words; a key may be missing.
        where: the section stands, for the error.

    Raises:
        InputError: a value is of another type.
    """
    for key, (kind, what) in kinds.items():
        value = section.get(key)
        if key in section and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise InputError(f"{where}: {key!r} of 'domain' is {value!r}, not {what}; restore the file")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` as UTF-8 to `path`, all or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what `atomic_file` and `atomic_folder` left in `folder`, at any depth, when they were killed.

    No writer may be at work in it. A folder that was moved aside, and whose successor did not come, is put back.
    """
    for path in sorted(Path(folder).rglob(".*")):
        match = _DEBRIS.fullmatch(path.name)
        if match is None:
            continue
        target = path.with_name(match["target"])
        if match["kind"] == "old" and (path / "old").exists() and not target.exists():
            os.replace(path / "old", target)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
