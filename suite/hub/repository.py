"""Fetch repositories of the Hugging Face hub through huggingface_hub; check every file by the hub's checksums."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from suite.errors import InputError
from suite.files import read_json, write_text
from suite.hub import checksums, formats, paths, trouble
from suite.hub.references import HubRepository

_INDEX = "model_index.json"
# Copies of the same weights for other programs.
_VARIANT = re.compile(
    r"(?P<stem>[\w-]+?)(\.safetensors\.index)?\.(?!safetensors|index)\w+(-\d+-of-\d+)?\.(safetensors|json)"
)
"""`model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`, `model.safetensors.index.fp16.json`."""
_FOREIGN = (
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".gguf",
    ".tflite",
    ".mlmodel",
    ".mlpackage",
    ".pb",
    ".rten",
)
_WEIGHTS = (".safetensors", *formats.PICKLES, *_FOREIGN)


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at one commit, on this machine.

    Attributes:
        root: the folder of the snapshot in the Hugging Face cache.
        commit: the commit that the revision meant.
        files: path in the repository to its digest: sha256 for large files, git's blob id for the others.
    """

    root: Path
    commit: str
    files: Mapping[str, str]


def fetch(reference: HubRepository, *, pickles: bool = False, weights: bool = True) -> Path:
    """The folder of a repository at a revision, complete and verified.

    Where safetensors files are, pickles beside them are left out unless `pickles` is true; without `weights` only
    settings and vocabularies are fetched. Without a network, what was complete and verified before is used.

    Raises:
        InputError: the repository, revision or folder does not exist or is not open to this user; the hub cannot be
            reached (with the command to run when online); a file arrives damaged twice; the disk is full.
    """
    with trouble.disk_full_as_input_error(str(reference), paths.hub_cache()):
        try:
            snapshot = _online(reference, pickles, weights)
        except _NoAnswerError as error:
            snapshot = _offline(reference, pickles, weights, error.why)
    return snapshot.root / reference.folder


def upload(
    folder: Path, names: Sequence[str], target: HubRepository, *, private: bool = False, message: str | None = None
) -> str:
    """Upload the named files of a folder as one commit, making the repository if need be; return the commit's address.

    Raises:
        InputError: the user is not logged in or may not write there; the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        with _refusals(target):
            api.create_repo(target.repository, private=private, exist_ok=True)
            if target.revision != "main":
                api.create_branch(target.repository, branch=target.revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=target.repository,
                folder_path=folder,
                path_in_repo=target.folder or None,
                allow_patterns=[glob.escape(name) for name in names],
                revision=target.revision,
                commit_message=message or f"Upload {folder.name}",
            )
            return str(commit.commit_url)
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = "run hf auth login with a token that may write" if status in (401, 403) else _line(error)
        raise InputError(f"{target} refuses the upload ({status}): {why}") from error
    except (_transport_error(), ConnectionError) as error:
        host = endpoint_host()
        raise InputError(f"{host} cannot be reached; when online run: suite adapters push {folder} {target}") from error


def cached(reference: HubRepository, *, pickles: bool = False) -> Path | None:
    """Where the folder is if it was fetched before; looks at no network and at no content."""
    snapshot = _remembered(reference, pickles)
    return snapshot.root / reference.folder if snapshot else None


def endpoint_host() -> str:
    """The hub that is asked, e.g. `huggingface.co`; `HF_ENDPOINT` sets another."""
    from huggingface_hub import constants

    return constants.ENDPOINT.split("://", 1)[-1]


class _NoAnswerError(Exception):
    """The hub is not there; `why` says what it answered, if anything."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


def _online(reference: HubRepository, pickles: bool, weights: bool) -> Snapshot:
    """Ask the hub."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        with _refusals(reference):
            return _complete(reference, *_listed(reference), pickles, weights)
    except (OfflineModeIsEnabled, ConnectionError) as error:
        raise _NoAnswerError from error
    except (_transport_error(), LocalEntryNotFoundError) as error:
        # The client wraps a refused file as a missing local one.
        refusal = error if isinstance(error, HfHubHTTPError) else error.__cause__
        if not isinstance(refusal, HfHubHTTPError):
            raise _NoAnswerError from error
        status = f"{refusal.response.status_code} {refusal.response.reason_phrase}"
        if refusal.response.status_code >= 500:
            raise _NoAnswerError(f"answers {status}") from error
        raise InputError(f"{reference}: the hub refuses it: {_line(refusal)}") from error


_CHECK = "check HF_ENDPOINT, and whether the network asks to sign in first"


def _listed(reference: HubRepository) -> tuple[str, dict[str, Any]]:
    """The commit that the revision means, and what the hub says of each file of the repository.

    Raises:
        InputError: the answer is none of the hub's (a proxy's page, say), or names files outside of the repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi().model_info(reference.repository, revision=reference.revision, files_metadata=True, timeout=15)
        files = {str(PurePosixPath(file.rfilename)): file for file in info.siblings or ()}
        commit = str(info.sha)
    except HFValidationError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{reference}: what {endpoint_host()} sends is no answer of the Hugging Face hub's; {_CHECK}"
        ) from error
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise InputError(f"{reference} is refused: it lists a file {name!r}, which is outside of it")
    return commit, files


def _complete(
    reference: HubRepository, commit: str, listed: Mapping[str, Any], pickles: bool, weights: bool
) -> Snapshot:
    from huggingface_hub import snapshot_download

    files = _wanted(reference, listed, pickles, _components(reference, commit, listed))
    if not weights:
        files = {name: file for name, file in files.items() if not name.endswith(_WEIGHTS)}
    trouble.need_space(paths.hub_cache(), _missing_bytes(reference, commit, files), str(reference))
    expected = {name: file.lfs.sha256 if file.lfs else file.blob_id for name, file in files.items()}
    if unknown := [name for name, digest in expected.items() if not digest]:
        raise InputError(
            f"{reference}: {endpoint_host()} sends no checksum of {', '.join(unknown[:8])}, and nothing is taken "
            "unverified; fetch the folder by hand and name its path"
        )
    for again in (False, True):
        root = Path(
            snapshot_download(
                reference.repository,
                revision=commit,
                allow_patterns=[glob.escape(name) for name in files],
                cache_dir=paths.hub_cache(),
            )
        )
        try:
            checksums.check(
                root, expected, name=str(reference), remedy="the hub sends it so: ask its owner to upload it again"
            )
            break
        except InputError:
            _drop_damaged(root, expected)
            if again:
                raise
    snapshot = Snapshot(root, commit, expected)
    _remember(reference, pickles, weights, snapshot)
    return snapshot


def _components(reference: HubRepository, commit: str, listed: Mapping[str, Any]) -> frozenset[str] | None:
    """The parts that a diffusers pipeline's `model_index.json` names; None where the folder is no pipeline.

    Raises:
        InputError: the file is no JSON object.
    """
    from huggingface_hub import hf_hub_download

    name = f"{reference.folder}/{_INDEX}" if reference.folder else _INDEX
    if name not in listed:
        return None
    path = hf_hub_download(reference.repository, name, revision=commit, cache_dir=paths.hub_cache())
    index = read_json(path)
    return frozenset(part for part, kind in index.items() if isinstance(kind, list) and any(kind))


def _wanted(
    reference: HubRepository, files: Mapping[str, Any], pickles: bool, components: frozenset[str] | None = None
) -> dict[str, Any]:
    """The files of the folder that our libraries read; of a diffusers pipeline one set of weights a part.

    A pipeline's repository holds its weights several times over: in half precision too (`NAME.fp16.safetensors`), in
    one file at its top for other programs, and in folders of parts that the pipeline does not name (SDXL's `vae_1_0`,
    parts for other runtimes). The library reads none of them unless told to.

    Args:
        components: the parts that the pipeline names; None takes every folder.
    """
    prefix = f"{reference.folder}/" if reference.folder else ""
    inside = {name: file for name, file in files.items() if name.startswith(prefix)}
    if not inside:
        folders = sorted({name.split("/")[0] for name in files if "/" in name})
        raise InputError(
            f"{reference}: the repository has no folder {reference.folder!r}; it has {', '.join(folders) or 'none'}"
        )
    safe = {PurePosixPath(name).parent for name in inside if name.endswith(".safetensors")}
    unnamed = set() if components is None else _folders_of_weights(prefix, inside) - components
    kept = {}
    for name, file in inside.items():
        path = PurePosixPath(name)
        doubled = path.suffix in formats.PICKLES and path.parent in safe and not pickles
        spare = f"{prefix}{_INDEX}" in inside and _is_spare(path, prefix, inside)
        spare = spare or PurePosixPath(name.removeprefix(prefix)).parts[0] in unnamed
        if path.suffix not in _FOREIGN and not doubled and not spare:
            kept[name] = file
    return kept


def _folders_of_weights(prefix: str, inside: Iterable[str]) -> set[str]:
    """The folders at the top that hold weights themselves, in any format."""
    found = (PurePosixPath(name.removeprefix(prefix)) for name in inside)
    return {path.parts[0] for path in found if len(path.parts) == 2 and path.suffix in _WEIGHTS}


def _is_spare(path: PurePosixPath, prefix: str, inside: Mapping[str, Any]) -> bool:
    """Whether a file of a pipeline is weights at its top, or a variant of weights that lie beside it plain."""
    if path.suffix not in (".safetensors", ".json"):
        return False
    if path.suffix == ".safetensors" and str(path) == f"{prefix}{path.name}":
        return any(name.endswith(".safetensors") and "/" in name.removeprefix(prefix) for name in inside)
    variant = _VARIANT.fullmatch(path.name)
    if variant is None:
        return False
    beside = [PurePosixPath(name).name for name in inside if PurePosixPath(name).parent == path.parent]
    plain = re.compile(rf"{re.escape(variant['stem'])}(-\d+-of-\d+)?\.safetensors")
    return any(plain.fullmatch(name) for name in beside)


def _missing_bytes(reference: HubRepository, commit: str, files: Mapping[str, Any]) -> int:
    folder = f"models--{reference.repository.replace('/', '--')}"
    root = paths.hub_cache() / folder / "snapshots" / commit
    return sum(file.size or 0 for name, file in files.items() if not (root / name).exists())


def _drop_damaged(root: Path, expected: Mapping[str, str]) -> None:
    for name, digest in expected.items():
        path = root / name
        if path.is_file() and checksums.digest(path, like=digest) != digest:
            path.resolve().unlink()
            path.unlink(missing_ok=True)


def _offline(reference: HubRepository, pickles: bool, weights: bool, why: str) -> Snapshot:
    snapshot = _remembered(reference, pickles)
    if snapshot is None and not weights:
        snapshot = _remembered(reference, pickles, weights=False)
    if snapshot is None:
        raise trouble.offline(reference, endpoint_host(), answer=why)
    checksums.check(
        snapshot.root, snapshot.files, name=str(reference), remedy=f"when online run: suite adapters pull {reference}"
    )
    return snapshot


def _note(reference: HubRepository, pickles: bool, weights: bool) -> Path:
    key = f"{endpoint_host()} {reference} {pickles}{'' if weights else ' settings'}"
    return paths.cache() / "repositories" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _remember(reference: HubRepository, pickles: bool, weights: bool, snapshot: Snapshot) -> None:
    """Note what was complete: the cache itself cannot tell a whole snapshot from the beginning of one."""
    content = {
        "reference": str(reference),
        "root": str(snapshot.root),
        "commit": snapshot.commit,
        "files": dict(snapshot.files),
    }
    write_text(_note(reference, pickles, weights), json.dumps(content, indent=1))


def _remembered(reference: HubRepository, pickles: bool, weights: bool = True) -> Snapshot | None:
    try:
        noted = json.loads(_note(reference, pickles, weights).read_text(encoding="utf-8"))
        snapshot = Snapshot(Path(noted["root"]), noted["commit"], noted["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return snapshot if all((snapshot.root / name).is_file() for name in snapshot.files) else None


@contextmanager
def _refusals(reference: HubRepository) -> Iterator[None]:
    """The hub's refusals in one line each."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://{endpoint_host()}/{reference.repository}"
    try:
        yield
    except GatedRepoError as error:
        raise InputError(f"{reference} is gated: accept its terms on {page}, then run hf auth login") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{reference}: there is no such repository, or it is private: check the name, or run hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{reference}: {reference.repository} has no revision {reference.revision!r}; see its branches on {page}"
        ) from error
    except HFValidationError as error:
        raise InputError(f"{reference}: {_line(error)}") from error


def _transport_error() -> type[Exception]:
    """The base of all errors of the client library below huggingface_hub, which is httpx or httpx2 by its version."""
    from huggingface_hub.errors import HfHubHTTPError

    return cast("type[Exception]", HfHubHTTPError.__bases__[0])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
