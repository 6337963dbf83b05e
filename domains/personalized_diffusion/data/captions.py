"""What is said of each photo: the trigger, sidecar files, what is left out or shuffled while training."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domains.personalized_diffusion.model.manifest import TriggerWords
from suite.errors import InputError
from suite.files import read_text

CaptionSource = Literal["auto", "trigger", "files", "filename"]
SIDECARS = (".txt", ".caption")
TABLES = ("metadata.jsonl", "metadata.csv")
MOST_REPEATS = 1000
"""A larger number in front of a folder's name is a date or a year."""
_KOHYA = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True)
class Trigger(TriggerWords):
    """The words that a training teaches: a token there must be, and the template is the instance prompt."""

    def __post_init__(self) -> None:
        if not self.token.strip():
            raise InputError("the trigger token is empty; give a rare word such as sks with data.token")
        if "{token}" not in self.template:
            raise InputError(
                f"the template {self.template!r} lacks {{token}}; write e.g. 'a photo of {{token}} {{noun}}'"
            )

    @property
    def prompt(self) -> str:
        """The instance prompt."""
        return _fill(self.template, self.token, self.noun)

    @property
    def class_prompt(self) -> str:
        """The instance prompt without the token: what prior preservation shows.

        Raises:
            InputError: there is no class noun to speak of.
        """
        if not self.noun:
            raise InputError("class images need the class of the subject; give data.noun, e.g. dog")
        return _fill(self.template, "", self.noun)

    def insert(self, caption: str) -> str:
        """The caption with the token: before the noun where it stands, else in front."""
        if re.search(rf"(?<!\w){re.escape(self.token)}(?!\w)", caption):
            return caption
        if self.noun:
            found = re.search(rf"(?<!\w){re.escape(self.noun)}(?!\w)", caption, re.IGNORECASE)
            if found:
                return f"{caption[: found.start()]}{self.token} {caption[found.start() :]}"
        called = f"{self.token} {self.noun}".strip()
        return f"{called}, {caption}" if caption else called

    def notices(self, tokenizer: Any) -> Iterator[str]:
        """What a user should know of the token, from how the base's tokenizer cuts it."""
        pieces = tokenizer.tokenize(self.token)
        cut = " ".join(piece.removesuffix("</w>") for piece in tokenizer.tokenize(self.prompt))
        yield f"the instance prompt as the base reads it: {cut}"
        if len(pieces) > 1:
            yield f"the token {self.token!r} is {len(pieces)} pieces to the base; one rare piece such as sks is usual"
        # CLIP's tokenizer numbers its pieces by how often they occur.
        elif len(tokenizer) > 10_000 and tokenizer.convert_tokens_to_ids(pieces[0]) < 0.5 * len(tokenizer):
            yield f"the token {self.token!r} is a common word that the base knows already; a rare one is better"


def _fill(template: str, token: str, noun: str) -> str:
    return " ".join(template.replace("{token}", token).replace("{noun}", noun).split())


def kohya_folder(folder: Path) -> tuple[int, str] | None:
    """Repeats and caption of a folder named as kohya's scripts want it, e.g. `10_sks dog`."""
    found = _KOHYA.fullmatch(folder.name)
    if found is None or not 1 <= int(found[1]) <= MOST_REPEATS:
        return None
    return int(found[1]), found[2].strip()


def captions_of(
    paths: Sequence[Path], trigger: Trigger, source: CaptionSource = "auto", *, folder_says: bool = True
) -> list[str]:
    """The caption of each photo, the trigger in it.

    Args:
        paths: the photos, of one folder.
        trigger: what calls the subject.
        source: `trigger` says the instance prompt of all; `files` wants a caption beside each photo (`.txt`,
            `.caption`, or a row of `metadata.jsonl` or `metadata.csv`); `filename` reads it from the name; `auto` takes
            what lies beside a photo, then a kohya folder's name, then the instance prompt.
        folder_says: the folder is one of kohya's, if it is named so.

    Raises:
        InputError: `files` is asked for and a photo has none, or a table is damaged.
    """
    if source == "trigger":
        return [trigger.prompt] * len(paths)
    if source == "filename":
        return [trigger.insert(_words_of(path.stem)) for path in paths]
    tables = {folder: _tables(folder) for folder in {path.parent for path in paths}}
    captions = []
    for path in paths:
        said = _beside(path, tables[path.parent])
        if said is None and source == "files":
            raise InputError(f"{path.name} has no caption; put {path.stem}.txt beside it, or use data.captions=trigger")
        named = kohya_folder(path.parent) if folder_says else None
        if said is None and named:
            said = named[1]
        captions.append(trigger.prompt if said is None else trigger.insert(said))
    return captions


def _beside(path: Path, table: Mapping[str, str]) -> str | None:
    for suffix in SIDECARS:
        sidecar = path.with_suffix(suffix)
        if sidecar.is_file():
            return " ".join(read_text(sidecar, encoding=None).split())
    return table.get(path.name)


def _tables(folder: Path) -> dict[str, str]:
    """Captions by file name from the tables that the datasets library lays beside the images of a folder."""
    found: dict[str, str] = {}
    for name in TABLES:
        path = folder / name
        if path.is_file():
            rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
            found |= {Path(file).name: " ".join(said.split()) for file, said in rows}
    return found


def _json_rows(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path, encoding=None).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, said = row["file_name"], row.get("text", row.get("caption", row.get("prompt")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: expected a JSON object with file_name and text") from error
        if isinstance(name, str) and isinstance(said, str):
            yield name, said


def _csv_rows(path: Path) -> Iterator[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(read_text(path, encoding=None), newline=""))
    said = next((name for name in ("text", "caption", "prompt") if name in (rows.fieldnames or ())), None)
    if said is None or "file_name" not in (rows.fieldnames or ()):
        raise InputError(f"{path}, line 1: expected a heading with file_name and text, separated by commas")
    for row in rows:
        if row["file_name"] and row[said]:
            yield row["file_name"], row[said]


def _words_of(stem: str) -> str:
    return " ".join(re.sub(r"[_\-]+|\d+$", " ", stem).split())


@dataclass(frozen=True)
class Variation:
    """What changes in a caption from one time it is shown to the next.

    Attributes:
        dropout: share of times that it is left out altogether.
        shuffle: order its parts between commas anew.
        keep_first: so many parts in front stay where they are.
        tag_dropout: share of times that each of the others is left out.
    """

    dropout: float = 0.0
    shuffle: bool = False
    keep_first: int = 1
    tag_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.tag_dropout < 1:
            raise InputError(f"data.tag_dropout is {self.tag_dropout}; give a share from 0 to below 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"data.caption_dropout is {self.dropout}; give a share from 0 to below 1")
        if self.keep_first < 0:
            raise InputError(f"data.keep_first is {self.keep_first}; give 0 or more")

    def vary(self, caption: str, rng: random.Random) -> str:
        """The caption as it is said this time."""
        if self.dropout and rng.random() < self.dropout:
            return ""
        if not self.shuffle and not self.tag_dropout:
            return caption
        parts = [part.strip() for part in caption.split(",")]
        kept, rest = parts[: self.keep_first], parts[self.keep_first :]
        if self.tag_dropout:
            rest = [part for part in rest if rng.random() >= self.tag_dropout]
        if self.shuffle:
            rng.shuffle(rest)
        return ", ".join([*kept, *rest])
