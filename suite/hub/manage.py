"""What `suite adapters list | show | pull | push | verify` do."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from suite.errors import InputError
from suite.files import ADAPTER, BASE, atomic_folder, read_json
from suite.hub import archives, checksums, formats, index, ingest, paths, references, weights
from suite.hub.index import Entry, Kind
from suite.hub.references import CatalogueName, HubRepository, LocalPath, Reference
from suite.hub.resolution import fetch, resolve

_SECRETS = (".env", ".pem", ".key", "token", "credentials", "id_rsa")


def listing(domain: str | None = None) -> list[dict[str, Any]]:
    """Every entry of the catalogue, or of a domain, with whether it is on this machine."""
    return [{**entry.to_dict(), "cached": _local(entry) is not None} for entry in index.catalogue(domain)]


def show(reference: str, domain: str | None = None, kind: Kind = "adapter") -> dict[str, Any]:
    """What is known of a reference without downloading anything.

    Returns:
        `reference`; of a name its catalogue entry; `folder` and, of what is there, `format`, `size`, `parts` (of each
        adapter its method, rank, targets and number of parameters). `folder` is None for what is not on this machine.

    Raises:
        InputError: it names nothing.
    """
    parsed = references.parse(reference, domain)
    facts: dict[str, Any] = {"reference": str(parsed)}
    if isinstance(parsed, CatalogueName):
        entry = index.find(parsed, kind)
        facts |= entry.to_dict()
        found = _local(entry)
    else:
        found = _present(parsed)
    facts["folder"] = str(found) if found else None
    if found is None:
        return facts
    facts["format"] = facts.get("format") or formats.detect(found)
    facts["size"] = checksums.size(found) if found.is_dir() else found.stat().st_size
    if found.is_dir():
        configs = sorted(found.rglob("adapter_config.json"))
        facts["parts"] = {str(config.parent.relative_to(found)): _part(config) for config in configs}
    return facts


def pull(reference: str, domain: str | None = None, *, kind: Kind = "adapter", out: str | Path | None = None) -> Path:
    """Fetch and verify a base or an adapter, so that it is there when offline.

    Args:
        reference: as for `suite.hub.resolve`.
        domain: the domain of a name without one.
        kind: what it is.
        out: a folder to write a copy to, all or nothing.

    Returns:
        The folder: `out`, or the one in the cache.

    Raises:
        InputError: as `suite.hub.resolve`.
    """
    folder = resolve(reference, domain, kind=kind)
    if out is None:
        return folder
    with atomic_folder(out, ADAPTER if kind == "adapter" else BASE) as temporary:
        # The Hugging Face cache holds links: a copy to carry away needs the content.
        shutil.copytree(folder, temporary, dirs_exist_ok=True, symlinks=False)
    return Path(out)


def verify(reference: str, domain: str | None = None, *, kind: Kind = "adapter") -> dict[str, Any]:
    """Check that a base or an adapter is whole, reading every byte of it.

    Returns:
        `folder`, `format`, `size` in bytes, and `files`: the sha256 of each.

    Raises:
        InputError: it is damaged or cannot be had; says which files.
    """
    folder = resolve(reference, domain, kind=kind)
    digests = checksums.digests(folder)
    parsed = references.parse(reference, domain)
    if isinstance(parsed, CatalogueName):
        entry = index.find(parsed, kind)
        if entry.embedded and (
            wrong := sorted(name for name in entry.sha256 if digests.get(name) != entry.sha256[name])
        ):
            raise InputError(f"{entry.reference} in {folder} is damaged: {', '.join(wrong)}; restore it")
    for name in digests:
        if name.endswith(".safetensors"):
            weights.metadata(folder / name)
    return {
        "folder": str(folder),
        "format": formats.detect(folder),
        "size": checksums.size(folder),
        "files": digests,
    }


def push(folder: str | Path, reference: str, *, private: bool = False, message: str | None = None) -> str:
    """Upload an adapter's folder to the Hugging Face hub as one commit; the repository is made if need be.

    Args:
        folder: the adapter, checked first as `suite.hub.resolve` checks it.
        reference: `hf:org/name[@branch][:sub/folder]`.
        private: whether a repository made now is private.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        InputError: the reference is no repository; the folder is no adapter or holds pickles or what looks like
            secrets; the hub cannot be reached or refuses.
    """
    target = references.parse(reference)
    if not isinstance(target, HubRepository):
        raise InputError(f"{reference} is no repository to push to; write hf:org/name")
    source = ingest.adapter(_existing(folder), str(folder))
    names = [path.as_posix() for path in checksums.files(source)]
    unsafe = [name for name in names if Path(name).suffix in formats.PICKLES]
    secret = [name for name in names if Path(name).name.lower().endswith(_SECRETS)]
    if unsafe or secret:
        kind = "pickles, which may run code where they are loaded" if unsafe else "what looks like secrets"
        raise InputError(f"{source} holds {kind}: {', '.join(unsafe or secret)}; take them out before you push")
    from suite.hub import repository

    return repository.upload(source, names, target, private=private, message=message)


def _existing(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the folder of the adapter to push")
    return path


def _local(entry: Entry) -> Path | None:
    if entry.embedded:
        folder = paths.checkpoints() / entry.source
        return folder if folder.is_dir() else None
    return _present(references.parse(entry.source), pickles=entry.format == formats.OFFICIAL)


def _present(reference: Reference, *, pickles: bool = False) -> Path | None:
    """Where the files of a reference are if they are on this machine."""
    if isinstance(reference, LocalPath):
        return archives.unpacked(fetch(reference, "adapter")[0])
    if isinstance(reference, CatalogueName):
        return _local(index.find(reference, "adapter"))
    if isinstance(reference, HubRepository):
        from suite.hub import repository

        return repository.cached(reference, pickles=pickles)
    from suite.hub import download

    file = download.cached(reference)
    return archives.unpacked(file) if file else None


def _part(config: Path) -> dict[str, Any]:
    """The facts of one peft folder, from its configuration and the headers of its weights."""
    content = read_json(config)
    file = config.with_name("adapter_model.safetensors")
    shapes = weights.shapes(file) if file.is_file() else {}
    facts = {
        "method": str(content.get("peft_type", "unknown")).lower(),
        "base": content.get("base_model_name_or_path"),
        "rank": content.get("r"),
        "targets": content.get("target_modules"),
        "tensors": len(shapes),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
    }
    return {name: value for name, value in facts.items() if value is not None}
