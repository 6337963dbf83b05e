"""The grammar of references: how a base or an adapter is named.

==========================================  =========================================================
`tiny`, `relation_extraction/tiny`          a name in the catalogue; `tiny` is the embedded default
`hf:org/name[@revision][:sub/folder]`       a repository of the Hugging Face hub
`https://host/file[#sha256=…]`              a file or archive anywhere
`./folder`, `../folder`, `/folder`, `~/…`   a path on this machine
==========================================  =========================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

from suite.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class CatalogueName:
    """A name in the catalogue; `domain` is empty when the reference leaves it to the context."""

    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}" if self.domain else self.name


@dataclass(frozen=True)
class HubRepository:
    """A repository of the Hugging Face hub, at a revision, or a folder in it."""

    repository: str
    revision: str = "main"
    folder: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repository}{revision}{f':{self.folder}' if self.folder else ''}"


@dataclass(frozen=True)
class Url:
    """A file on the web, with its expected sha256 where known."""

    address: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.address}#sha256={self.sha256}" if self.sha256 else self.address


@dataclass(frozen=True)
class LocalPath:
    """A file or folder on this machine, absolute."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Reference = CatalogueName | HubRepository | Url | LocalPath


def parse(reference: str, domain: str | None = None) -> Reference:
    """Read a reference.

    Args:
        reference: in the grammar of this module.
        domain: the domain that a name without one belongs to.

    Raises:
        InputError: it is none of the forms; says which form was probably meant.
    """
    text = reference.strip()
    if not text:
        raise InputError("an empty reference names nothing; write tiny, hf:org/name, https://… or ./folder")
    if text.startswith((".", "/", "~")):
        return LocalPath(_expand(text))
    if text.startswith("hf:"):
        return _repository(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", text):
        return _url(text)
    return _name(text, domain)


def _expand(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # `~nobody/…`
        raise InputError(f"{text}: there is no such user; write the whole path") from error


def _repository(text: str) -> HubRepository:
    rest, _, folder = text.removeprefix("hf:").partition(":")
    repository, at, revision = rest.partition("@")
    parts = repository.split("/")
    if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts) or ".." in repository:
        raise InputError(
            f"{text}: {repository or 'nothing'!r} is no repository; write hf:org/name[@revision][:sub/folder]"
        )
    if at and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./\-]*", revision):
        raise InputError(f"{text}: {revision!r} is no revision; write a branch, a tag or a commit after the @")
    if ".." in PurePosixPath(folder).parts or folder.startswith("/") or "\\" in folder:
        raise InputError(f"{text}: the folder {folder!r} leaves the repository; write a path inside it")
    return HubRepository(repository, revision or "main", str(PurePosixPath(folder)) if folder else "")


def _url(text: str) -> Url:
    address, _, fragment = text.partition("#")
    split = urlsplit(address)
    fields = parse_qs(fragment)
    if set(fields) - {"sha256"} or (fragment and not fields):
        raise InputError(f"{text}: only #sha256=… may follow the address")
    sha256 = fields.get("sha256", [""])[0].lower()
    if fragment and not _SHA256.fullmatch(sha256):
        raise InputError(f"{text}: a sha256 has 64 hexadecimal digits")
    if split.scheme != "https" and not (split.scheme == "http" and (sha256 or split.hostname in _LOOPBACK)):
        hint = (
            "use https, or add #sha256=… so that the file can be trusted" if split.scheme == "http" else "use https://"
        )
        raise InputError(f"{text}: downloads over {split.scheme}:// are not accepted; {hint}")
    if not split.hostname or split.path in ("", "/"):
        raise InputError(f"{text}: names no file; write the whole address of a file or archive")
    return Url(address, sha256)


def _name(text: str, domain: str | None) -> CatalogueName:
    parts = text.split("/")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise InputError(f"{text!r} is no reference; write tiny, hf:org/name, https://… or ./{text.lstrip('/')}")
    return CatalogueName(parts[0] if len(parts) == 2 else domain or "", parts[-1])
