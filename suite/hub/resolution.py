"""From a reference to a verified folder on this machine."""

from __future__ import annotations

from pathlib import Path

from suite.errors import InputError
from suite.hub import checksums, formats, index, paths, references
from suite.hub.index import Entry, Kind
from suite.hub.references import CatalogueName, HubRepository, LocalPath, Reference


def resolve(reference: str, domain: str | None = None, *, kind: Kind = "adapter") -> Path:
    """The verified local folder of a base or an adapter, downloaded and converted first where need be.

    Args:
        reference: a name in the catalogue, `hf:org/name[@revision][:sub/folder]`, `https://…[#sha256=…]`, or a path
            that starts with `.`, `/` or `~`.
        domain: the domain that a name without one belongs to.
        kind: what it must be. An adapter's folder is a peft folder or a bundle of them; a run folder stands for the
            adapter in it. A base's folder is what its library's `from_pretrained` reads.

    Returns:
        A folder without pickles: torch files are converted to safetensors on the way.

    Raises:
        InputError: it names nothing, cannot be had (offline: with the command to run when online), is damaged, or is
            not of this kind.
    """
    parsed = references.parse(reference, domain)
    found, entry = fetch(parsed, kind)
    from suite.hub import ingest

    return ingest.adapter(found, str(parsed), entry) if kind == "adapter" else ingest.base(found, str(parsed))


def fetch(reference: Reference, kind: Kind, *, pickles: bool = False) -> tuple[Path, Entry | None]:
    """What a reference names as it is, a verified folder or file in whatever format, and its catalogue entry.

    `pickles` asks for torch files even where safetensors are beside them: authors' own files may be either.
    """
    if isinstance(reference, LocalPath):
        if not reference.path.exists():
            raise InputError(f"{reference.path} does not exist; {_nearby(reference.path)}")
        if not (reference.path.is_file() or reference.path.is_dir()):
            raise InputError(f"{reference.path} is a pipe or a device; name a folder or a regular file")
        return reference.path, None
    if isinstance(reference, CatalogueName):
        entry = index.find(reference, kind)
        return _entry(entry, pickles), entry
    if isinstance(reference, HubRepository):
        from suite.hub import repository

        return repository.fetch(reference, pickles=pickles), None
    from suite.hub import download

    return download.fetch(reference), None


def settings(reference: str) -> Path:
    """The folder of a `hf:` repository without its weights: settings and vocabularies, verified.

    Raises:
        InputError: it is no reference of the hub's, or cannot be had.
    """
    parsed = references.parse(reference)
    if not isinstance(parsed, HubRepository):
        raise InputError(f"{reference} is no repository of the hub; write hf:org/name")
    from suite.hub import repository

    return repository.fetch(parsed, weights=False)


def _entry(entry: Entry, pickles: bool) -> Path:
    if entry.embedded:
        folder = paths.checkpoints() / entry.source
        remedy = "take it from the repository again"
        if entry.source.startswith(f"tiny/{entry.domain}/"):  # a base that domains share is no one domain's to rebuild
            remedy += f", or rebuild it with python -m domains.{entry.domain}.tiny"
        if not folder.is_dir():
            raise InputError(f"the embedded {entry.kind} {entry.reference} is missing from {folder}; {remedy}")
    else:
        source = references.parse(entry.source)
        folder, _ = fetch(source, entry.kind, pickles=pickles or entry.format == formats.OFFICIAL)
        remedy = f"fetch it again with suite adapters pull {entry.reference} --kind {entry.kind}"
    home = folder.parent if folder.is_file() else folder
    checksums.check(home, entry.sha256, name=f"{entry.kind} {entry.reference}", remedy=remedy)
    return folder


def _nearby(path: Path) -> str:
    """What a mistyped path may have meant."""
    parent = path.parent
    if not parent.is_dir():
        return f"{parent} does not exist either; check the path"
    names = sorted(child.name for child in parent.iterdir() if not child.name.startswith("."))
    return f"{parent} holds {', '.join(names[:8]) or 'nothing'}{' …' if len(names) > 8 else ''}"
