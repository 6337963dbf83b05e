"""MSVD (Chen and Dolan, ACL 2011): 1,200 videos to train, 100 to validate, 670 to test, some forty sentences each.

The sentences come as a Python pickle, which can run anything: it is converted once, by `convert-msvd`, and never loaded
otherwise.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, annotation, listed, made_set, words
from suite.errors import InputError
from suite.files import write_text

PICKLE, CONVERTED = "raw-captions.pkl", "raw-captions.json"


def fits(folder: Path) -> bool:
    return (folder / PICKLE).is_file() or (folder / CONVERTED).is_file()


def read(folder: Path, videos: Path, split: Split) -> PairSet:
    """Every sentence of the split's videos.

    Raises:
        InputError: a file is missing or broken, or the pickle is not converted yet.
    """
    if not (folder / CONVERTED).is_file():
        raise InputError(
            f"{folder / PICKLE}: is a pickle, which may run anything when it is read; if you trust it, convert it: "
            f"suite text_video_retrieval convert-msvd {folder / PICKLE}"
        )
    captions = annotation(
        folder / CONVERTED,
        '{"<video id>": ["<sentence>", ...]}',
        lambda content: all(several and words(several) for several in content.values()),
    )
    ids = listed(folder / f"{split}_list.txt")
    pairs = (Pair(one, sentence) for one in ids for sentence in captions.get(one, ()))
    return made_set(f"MSVD {split}", pairs, Files.below(videos), several=split != "train")


class _PlainOnly(pickle.Unpickler):
    """Lists, dictionaries, strings and numbers: what captions are made of, and nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def convert_msvd(captions: Path) -> dict[str, Any]:
    """Convert MSVD's pickle of captions to JSON beside it; a pickle of anything but plain words is refused.

    Args:
        captions: `raw-captions.pkl`.
    """
    try:
        with captions.open("rb") as file:
            content = _PlainOnly(file, encoding="latin1").load()
        sentences = {
            str(video): [" ".join(one) if isinstance(one, list | tuple) else str(one) for one in several]
            for video, several in content.items()
        }
    except OSError as error:
        raise InputError(f"{captions}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a broken pickle raises whatever its bytes say
        raise InputError(f"{captions}: no pickle of captions ({error}); nothing was written") from None
    written = write_text(captions.with_suffix(".json"), json.dumps(sentences, ensure_ascii=False, indent=1))
    return {"file": str(written), "videos": len(sentences), "message": f"{len(sentences)} videos in {written}"}
