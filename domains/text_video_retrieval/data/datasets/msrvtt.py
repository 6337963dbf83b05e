"""MSR-VTT (Xu et al., CVPR 2016): every caption of training is a sample; 1k-A (JSFusion) tests 1,000 pairs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, annotation, made_set, rows, words
from suite.errors import InputError

TEST = "MSRVTT_JSFUSION_test.csv"
TRAIN = ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv")
DATA = "MSRVTT_data.json"


def fits(folder: Path) -> bool:
    return (folder / TEST).is_file() or (folder / DATA).is_file()


def read(folder: Path, videos: Path, split: Split) -> PairSet:
    """The pairs of a split; `val` is the test, which is all there is.

    Raises:
        InputError: a file is missing or broken.
    """
    pairs = training(folder) if split == "train" else tested(folder)
    return made_set(f"MSR-VTT {split}", pairs, Files.below(videos))


def training(folder: Path) -> Iterator[Pair]:
    """Every caption of the videos that the list names: 180,000 of 9,000, or 140,200 of 7,010."""
    name = next((name for name in TRAIN if (folder / name).is_file()), None)
    if name is None:
        raise InputError(f"{folder}: lacks {' or '.join(TRAIN)}, the list of training videos")
    listed = {row["video_id"] for row in rows(folder / name, ["video_id"])}
    layout = '{"sentences": [{"caption", "video_id", ...}]}'
    data = annotation(
        folder / DATA,
        layout,
        lambda content: all(words([one["caption"], one["video_id"]]) for one in content["sentences"]),
    )
    for one in data["sentences"]:
        if one["video_id"] in listed:
            yield Pair(one["video_id"], one["caption"])


def tested(folder: Path) -> Iterator[Pair]:
    for row in rows(folder / TEST, ["video_id", "sentence"]):
        yield Pair(row["video_id"], row["sentence"])
