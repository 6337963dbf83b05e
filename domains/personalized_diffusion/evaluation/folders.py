"""Folders and tables of generated and real pictures, as evaluation finds them; what is missing is counted."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from domains.personalized_diffusion.data import photos
from domains.personalized_diffusion.data.dreambooth import Protocol
from domains.personalized_diffusion.data.prompts import without_token
from domains.personalized_diffusion.output.result import COLUMNS, TABLE
from suite.errors import InputError

PictureSource = Path | Image
"""A picture on disk or in memory."""

IMAGES_TABLE = f"{TABLE}.csv"
_NAMED = 5


@dataclass(frozen=True)
class Drawn:
    """The pictures of one subject and prompt.

    Attributes:
        index: of the prompt among the subject's.
        prompt: what CLIP-T compares them with.
    """

    subject: str
    index: int
    prompt: str
    images: tuple[PictureSource, ...]


Prompts = Protocol | Sequence[str]
"""DreamBooth's prompts, which depend on the subject, or the same list for every subject."""


def read_generated(
    path: str | Path, prompts: Prompts | None = None, *, images: int = 4, token: str = "", keep_token: bool = False
) -> list[Drawn]:
    """Generated pictures of a folder or table.

    Args:
        path: a folder `<subject>/<prompt index>/<n>.png`; a CSV file with the columns image (relative to the file),
            prompt and subject; or, without prompts, a folder with such a file, `images.csv`.
        prompts: of the folders' prompt indices; a table states its own.
        images: how many a prompt has. 0: as many as are found, the same number for all prompts of a subject.
        token: the trigger, which stands in the prompts of a table.
        keep_token: leave the token in the prompts that CLIP-T is computed with.

    Raises:
        InputError: pictures are missing (with their count), or the table or folder is not of the format.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such folder or table of generated pictures")
    table = path / IMAGES_TABLE if path.is_dir() else path
    # `predict` writes its table anew for each subject, and the folders of all subjects stay: prompts mean the folders.
    if table.is_file() and (prompts is None or table == path):
        return _of_table(table, images, token, keep_token)
    if prompts is None:
        raise InputError(f"{path}: it has no {IMAGES_TABLE}; name the file of its prompts with --prompts")
    return _of_folders(path, prompts, images, token if keep_token else "")


def read_real(path: str | Path, subjects: Sequence[str]) -> dict[str, list[Path]]:
    """Real photos by subject: `<subject>/*.jpg`, or for one subject the folder of its photos itself.

    Raises:
        InputError: a subject has no photos.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of real photos")
    if len(subjects) == 1 and not (root / subjects[0]).is_dir():
        return {subjects[0]: [photo.path for photo in photos.list_photos(root)]}
    if absent := [subject for subject in subjects if not (root / subject).is_dir()]:
        raise InputError(f"{root}: no real photos of {len(absent)} subjects: {_some(absent)}; it has one folder each")
    return {subject: [photo.path for photo in photos.list_photos(root / subject)] for subject in subjects}


def _of_folders(root: Path, prompts: Prompts, images: int, token: str) -> list[Drawn]:
    subjects = sorted(child.name for child in root.iterdir() if child.is_dir() and _prompt_folders(child))
    if not subjects:
        raise InputError(f"{root}: no pictures <subject>/<prompt index>/<n>.png in it, and no {IMAGES_TABLE}")
    drawn, missing, asked = [], [], 0
    for subject in subjects:
        texts = prompts.prompts(subject, token) if isinstance(prompts, Protocol) else list(prompts)
        folders = _prompt_folders(root / subject)
        if extra := [str(index) for index in sorted(folders) if index >= len(texts)]:
            raise InputError(f"{root / subject}: {len(texts)} prompts, but also folders {_some(extra)}; counted from 0")
        found = [_numbered(folders[index]) if index in folders else {} for index in range(len(texts))]
        wanted = images or max(len(numbers) for numbers in found)
        asked += wanted * len(texts)
        for index, (text, numbers) in enumerate(zip(texts, found, strict=True)):
            missing += [f"{subject}/{index}/{n}.png" for n in range(wanted) if n not in numbers]
            drawn.append(Drawn(subject, index, text, tuple(numbers[n] for n in sorted(numbers)[:wanted])))
    _refuse(missing, asked, root)
    return drawn


def _prompt_folders(folder: Path) -> dict[int, Path]:
    return {int(child.name): child for child in folder.iterdir() if child.is_dir() and child.name.isdecimal()}


def _numbered(folder: Path) -> dict[int, Path]:
    """Pictures named by number; grids and pictures of the frozen base beside them are left out."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in photos.SUFFIXES and file.stem.isdecimal())
    found = {int(file.stem): file for file in sorted(files)}
    # Numbering from 1 is as common as from 0.
    return {n - 1: file for n, file in found.items()} if found and 0 not in found else found


def _of_table(table: Path, images: int, token: str, keep_token: bool) -> list[Drawn]:
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if absent := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise InputError(f"{table}: the table lacks columns {', '.join(absent)}; it needs {', '.join(COLUMNS)}")
        rows = list(reader)
    groups: dict[tuple[str, str], list[Path]] = {}
    for number, row in enumerate(rows, 2):
        if not (row["image"] and row["prompt"] and row["subject"]):
            raise InputError(f"{table}, line {number}: image, prompt and subject must all be given")
        groups.setdefault((row["subject"], row["prompt"]), []).append(table.parent / row["image"])
    if not groups:
        raise InputError(f"{table}: no pictures in it")
    files = [file for group in groups.values() for file in group]
    missing = [str(file.relative_to(table.parent)) for file in files if not file.is_file()]
    short = {prompt: len(group) for (_, prompt), group in groups.items() if images and len(group) < images}
    _refuse(missing, len(files), table)
    if short:
        lacking = sum(images - count for count in short.values())
        raise InputError(
            f"{table}: {lacking} pictures are missing: {len(short)} prompts have fewer than {images}, e.g. "
            f"{next(iter(short))!r} {next(iter(short.values()))}; draw them, or say with --images how many there are"
        )
    counts: dict[str, int] = {}
    drawn = []
    for (subject, prompt), group in sorted(groups.items(), key=lambda item: item[0][0]):
        index = counts[subject] = counts.get(subject, -1) + 1
        drawn.append(Drawn(subject, index, prompt if keep_token else without_token(prompt, token), tuple(group)))
    return drawn


def opened(source: PictureSource) -> Image:
    """The picture itself, RGB.

    Raises:
        InputError: the file cannot be read.
    """
    return source if isinstance(source, Image) else photos.open_photo(source)


def _refuse(missing: Sequence[str], asked: int, where: Path) -> None:
    if missing:
        raise InputError(f"{where}: {len(missing)} of {asked} pictures are missing: {_some(missing)}; draw them first")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def by_subject(drawn: Sequence[Drawn]) -> Mapping[str, list[Drawn]]:
    """The same, by subject in order."""
    grouped: dict[str, list[Drawn]] = {}
    for one in drawn:
        grouped.setdefault(one.subject, []).append(one)
    return grouped
