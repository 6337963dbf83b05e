"""Unpack zip and tar archives from strangers: nothing outside the target, no links, no bombs, all or nothing."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from suite.errors import InputError
from suite.files import atomic_folder
from suite.hub import checksums, paths

_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MOST_FILES = 100_000
# Weights shrink by a tenth and text to a quarter; beyond this ratio (and this size) an archive is built to fill a disk.
_MOST_RATIO = 100
_HARMLESS_BYTES = 64 * 2**20
_BLOCK = 2**20


def is_archive(path: Path) -> bool:
    """Whether the name says so: torch files are zip archives too, so that the content cannot tell."""
    return path.name.lower().endswith(_ZIP + _TAR)


def unpacked(path: Path) -> Path:
    """The folder in the cache that holds an archive's content, or `path` itself when it is none.

    An archive that holds one folder and nothing else stands for that folder.
    """
    if not path.is_file() or not is_archive(path):
        return path
    folder = paths.cache() / "unpacked" / checksums.sha256(path)[:32]
    if not folder.is_dir():
        with atomic_folder(folder, own=True) as temporary:
            extract(path, temporary)
    children = [child for child in folder.iterdir() if child.name != "__MACOSX"]
    return children[0] if len(children) == 1 and children[0].is_dir() else folder


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into an existing folder.

    Raises:
        InputError: the archive is damaged or encrypted, or a member leaves the folder, is a link or a device, comes
            twice, or is out of proportion. `folder` may then hold some members: unpack into a temporary one.
    """
    allowance = max(_MOST_RATIO * archive.stat().st_size, _HARMLESS_BYTES)
    written = 0
    seen: set[str] = set()
    with _damage_as_input_error(archive):
        for name, source in _members(archive):
            target = folder / _safe(name, archive)
            if str(target).casefold() in seen:
                raise InputError(f"{archive} holds {name!r} twice; unpack it by hand if you trust it")
            seen.add(str(target).casefold())
            if len(seen) > _MOST_FILES:
                raise InputError(f"{archive} holds more than {_MOST_FILES:,} files; that is no adapter")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                while block := source.read(_BLOCK):
                    written += len(block)
                    if written > allowance:
                        raise InputError(f"{archive} unpacks to over {_MOST_RATIO} times its size; refused as a bomb")
                    out.write(block)


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder as a zip archive; the same files give the same bytes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in checksums.files(folder):
            # The archive's own default time, so that neither clocks nor owners get into the bytes.
            member = zipfile.ZipInfo(path.as_posix())
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            with (folder / path).open("rb") as source, out.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in the archive; a link or device raises, folders are passed over."""
    refusal = f"{archive} holds {{0!r}}, which is {{1}}; only plain files are unpacked"
    if archive.name.lower().endswith(_ZIP):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                mode = entry.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise InputError(refusal.format(entry.filename, "a link or device"))
                if entry.flag_bits & 1:
                    raise InputError(refusal.format(entry.filename, "encrypted"))
                if not entry.is_dir():
                    with packed.open(entry) as source:
                        yield entry.filename, source
        return
    with tarfile.open(archive, "r|*") as stream:
        for member in stream:
            if not (member.isreg() or member.isdir()):
                raise InputError(refusal.format(member.name, "a link or device"))
            if member.isreg():
                content = stream.extractfile(member)
                assert content is not None  # a regular member always has content
                yield member.name, content


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise InputError(f"{archive} holds {name!r}, which would be written outside its folder; the archive is refused")
    return path


@contextmanager
def _damage_as_input_error(archive: Path) -> Iterator[None]:
    damage = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
    try:
        yield
    except (*damage, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{archive} is damaged: {error}; fetch it again") from error
