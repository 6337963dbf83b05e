"""LSMDC (Rohrbach et al., IJCV 2017): a sentence for each clip of a film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, made_set, rows

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
COLUMNS = ("clip", "start_aligned", "end_aligned", "start_extracted", "end_extracted", "sentence")


def fits(folder: Path) -> bool:
    return (folder / FILES["train"]).is_file() or (folder / FILES["test"]).is_file()


def read(folder: Path, videos: Path, split: Split) -> PairSet:
    """The sentences of a split; a clip may have several in training.

    Raises:
        InputError: a file is missing, or a line has not six columns.
    """
    return made_set(f"LSMDC {split}", sentences(folder / FILES[split]), Files.below(videos))


def sentences(path: Path) -> Iterator[Pair]:
    for row in rows(path, COLUMNS, delimiter="\t", header=False):
        yield Pair(row["clip"], row["sentence"])
