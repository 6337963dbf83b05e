"""Where photos come from: a folder, kohya's folders in it, or pictures of the made world's subjects."""

from __future__ import annotations

import sys
from pathlib import Path

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.data.captions import kohya_folder
from domains.personalized_diffusion.data.photos import left_out, photo_files
from suite.errors import InputError
from suite.files import atomic_folder
from suite.hub import paths

MADE = "sprites:"


def photo_folders(source: str | Path) -> list[Path]:
    """The folders that hold a source's photos.

    Args:
        source: a folder of photos, a folder without photos of kohya's folders (`10_sks dog`), or
            `sprites:NAME[:COUNT[:SEED]]`.

    Raises:
        InputError: there is no such folder or subject.
    """
    if str(source).startswith(MADE):
        return [made_photos(str(source))]
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos")
    if photo_files(folder):
        return [folder]
    named = sorted(child for child in folder.iterdir() if child.is_dir() and kohya_folder(child))
    others = [name for name in left_out(folder) if folder / name.rstrip("/") not in named]
    if named and others:
        print(f"data: left out of {folder}: {', '.join(others)}", file=sys.stderr, flush=True)
    return named or [folder]


def made_photos(source: str) -> Path:
    """Draw the pictures of `sprites:NAME[:COUNT[:SEED]]` into the cache, once.

    Raises:
        InputError: the subject is unknown or a number is none.
    """
    name, *numbers = source.removeprefix(MADE).split(":")
    if name not in world.SUBJECTS:
        raise InputError(f"{source}: the made world has no subject {name!r}; it has {', '.join(world.SUBJECTS)}")
    if len(numbers) > 2 or not all(number.isdigit() for number in numbers) or numbers[:1] == ["0"]:
        raise InputError(f"{source}: write sprites:NAME, sprites:NAME:COUNT or sprites:NAME:COUNT:SEED")
    count, seed = (*map(int, numbers), *(5, 0)[len(numbers) :])
    folder = paths.cache() / "personalized_diffusion" / f"sprites-{name}-{count}-{seed}-{world.SIZE}px"
    if not folder.is_dir():
        with atomic_folder(folder, own=True) as temporary:
            world.write_photos(temporary, name, count, seed)
    return folder
