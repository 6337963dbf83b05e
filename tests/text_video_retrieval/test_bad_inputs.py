"""Section 10 of the specification, row by row: what is wrong is said in a line, and the rest is done all the same.

Rates that cannot be, annotations that are laid out in another way and pickles stand in `test_data.py`, more schedules
in `test_schedule.py`, queries that ask for nothing in `test_index.py`.
"""

from __future__ import annotations

import re
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from domains.text_video_retrieval.data.captions import Files, Pair, made_set
from domains.text_video_retrieval.inference.finding import find
from domains.text_video_retrieval.inference.indexing import found, open_or_create, update
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.inference.store import FRAMES, VECTORS, Store
from domains.text_video_retrieval.inference.upkeep import exported, imported
from domains.text_video_retrieval.model import bases
from domains.text_video_retrieval.model.schedule import Schedule
from domains.text_video_retrieval.output import page
from suite.errors import InputError
from tests.text_video_retrieval import clips
from tests.text_video_retrieval.test_index import encoder, indexed, library, store  # noqa: F401


def sound(path: Path) -> None:
    """A file with a second of silence, and no picture."""
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    path.with_suffix(".wav").rename(path)


@pytest.mark.parametrize(
    "write", [lambda path: path.write_bytes(b"torn"), lambda path: path.touch(), sound], ids=["torn", "empty", "sound"]
)
def test_a_file_without_pictures_is_a_line_and_no_vector(encoder: Encoder, tmp_path: Path, write) -> None:  # noqa: F811
    videos = tmp_path / "videos"
    clips.made(videos / "z.mp4", 0)
    write(videos / "bad.mp4")
    made = open_or_create(tmp_path / "index", encoder, [videos], 4.0)
    changes = update(made, encoder, found([videos]), [videos])
    assert (changes.added, list(changes.failed)) == (["z.mp4"], ["bad.mp4"])
    assert changes.failed["bad.mp4"] and "\n" not in changes.failed["bad.mp4"]
    assert made.videos()["bad.mp4"].status == "error"
    assert (np.linalg.norm(made.vectors(), axis=1) > 0.99).all() and len(made.live()) == 1
    made.close()


@pytest.mark.parametrize("frames", [1, 3])
def test_a_video_of_fewer_frames_repeats_them_and_says_so(encoder: Encoder, tmp_path: Path, frames: int) -> None:  # noqa: F811
    clips.still(tmp_path / "videos" / "short.mp4", frames)
    made = open_or_create(tmp_path / "index", encoder, [tmp_path / "videos"])
    update(made, encoder, found([tmp_path / "videos"]))
    assert made.videos()["short.mp4"].status == "short"
    [segment] = made.segments().values()
    assert len(segment.times) == 4 and len(set(segment.times)) == min(frames, 4)
    made.close()


@pytest.mark.parametrize(("query", "cut"), [("a red square moves left " * 4, "moves"), ("a" * 60, "a")])
def test_a_query_that_is_too_long_is_cut_and_the_rest_is_named(encoder: Encoder, query: str, cut: str) -> None:  # noqa: F811
    vectors, [notice] = encoder.texts([query])
    assert re.search(r"longer than 12 tokens; cut: '.+'", notice) and cut in notice
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("query", ["собака бежит", "一只狗在跑"])
def test_a_query_of_other_letters_is_warned_of_once(encoder: Encoder, query: str) -> None:  # noqa: F811
    fresh = Encoder(encoder.model, encoder.stated, encoder.look, encoder.words)
    assert "non-Latin" in " ".join(fresh.texts([query])[1])
    assert "non-Latin" not in " ".join(fresh.texts([query])[1])


@pytest.mark.parametrize(
    ("settings", "frames", "message"),
    [({"merge_frame_num": [2, 3]}, 4, "2 clips enter layer 4, which joins 3"), ({"merge_layer": [3, 6]}, 4, "0 to 5")],
)
def test_a_schedule_that_does_not_fit_is_refused_before_weights_are_read(
    tmp_path: Path, settings: dict, frames: int, message: str
) -> None:
    home = bases.hub.resolve("tiny", bases.DOMAIN, kind="base")
    (tmp_path / "config.json").write_bytes((home / "config.json").read_bytes())  # and no weights at all
    schedule = Schedule.of({"merge_layer": [3, 4], "merge_frame_num": [2, 2], "tome_r": 4, **settings})
    with pytest.raises(InputError, match=message):
        bases.load_folder(tmp_path, schedule, frames)


@pytest.mark.parametrize(("name", "rows"), [(VECTORS, 4), (FRAMES, 3)])
def test_a_store_whose_files_are_cut_is_refused_with_what_to_do(store: Store, name: str, rows: int) -> None:  # noqa: F811
    file = store.folder / name
    file.write_bytes(file.read_bytes()[: rows * file.stat().st_size // 5])
    with pytest.raises(InputError, match=rf"{name} holds {rows} of 5 rows; run: .* store repair"):
        Store.open(store.folder)


@pytest.mark.parametrize(
    ("name", "damaged", "said"),
    [
        ("vectors.npy", lambda content: content[:-4], "is no export that can be read"),
        ("frames.npy", lambda content: b"words", "is no export that can be read"),
        ("segments.csv", lambda content: content.replace(b"path", b"file"), "is no export that can be read"),
        ("segments.csv", lambda content: content.replace(b"[", b"("), "is no export that can be read"),
        (
            "segments.csv",
            lambda content: content[: content.rindex(b"\n", 0, -1) + 1],
            "5 frames and 4 segments; export anew$",
        ),
        ("vectors.npy", None, "lacks vectors.npy"),
    ],
)
def test_an_export_that_is_damaged_makes_no_store(store: Store, tmp_path: Path, name: str, damaged, said: str) -> None:  # noqa: F811
    exported(store, tmp_path / "export")
    file = tmp_path / "export" / name
    content = file.read_bytes()
    file.unlink()
    if damaged is not None:
        file.write_bytes(damaged(content))
    with pytest.raises(InputError, match=said) as error:
        imported(tmp_path / "export", tmp_path / "again")
    assert str(tmp_path / "export") in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_a_store_with_a_vector_that_is_none_is_refused_when_it_is_opened(store: Store, value: float) -> None:  # noqa: F811
    with (store.folder / VECTORS).open("r+b") as file:
        file.write(np.full(store.dim, value, np.float32).tobytes())
    with pytest.raises(InputError, match=r"1 vectors are no unit vectors, e\.g\. of row 0; run: .* store repair"):
        Store.open(store.folder)


@pytest.mark.parametrize(("name", "what"), [("digest", "adapter"), ("base_digest", "base")])
def test_a_store_of_another_model_names_both_digests(
    store: Store,  # noqa: F811
    encoder: Encoder,  # noqa: F811
    name: str,
    what: str,
) -> None:
    own = encoder.identity[name]
    with pytest.raises(InputError, match=rf"another {what} than this one: .* of digest {own}, not 0123456789ab;"):
        Store.open(store.folder, {**encoder.identity, name: "0123456789abcdef"})


def test_videos_of_one_name_and_sentences_of_none_are_counted_and_named(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        clips.still(tmp_path / folder / "a.mp4")
    pairs = made_set("own", [Pair("a", "x"), Pair("b", "y"), Pair("c", "z"), Pair("c", "w")], Files.below(tmp_path))
    assert (len(pairs), pairs.missing) == (1, ("b", "c"))
    assert pairs.notices == (
        "own: 2 videos are missing (b, c); 1 pairs are left",
        f"{tmp_path}: 1 names appear twice, e.g. a; the first counts",
    )
    clips.still(tmp_path / "third" / "a.mp4")
    many = made_set("own", [Pair(name, "x") for name in ("a", *"bcdef")], Files.below(tmp_path))
    assert many.notices == (
        "own: 5 videos are missing (b, c, d ...); 1 pairs are left",
        f"{tmp_path}: 2 names appear twice, e.g. a; the first counts",
    )


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.mp4", "two\nlines & more.mp4"])
def test_names_of_files_are_text_on_the_page_and_pictures_stay_in_the_store(
    store: Store,  # noqa: F811
    tmp_path: Path,
    name: str,
) -> None:
    hits = find(store, np.array(store.vectors()[0]))
    assert all(hit.thumbnail.resolve().is_relative_to(store.folder.resolve()) for hit in hits)
    odd = replace(hits[0], path=name, file=tmp_path / name)
    text = page.write(tmp_path / "out", "x", [odd])[0].read_text()
    assert name.split("\n")[0].split(".mp4")[0] not in text or "<" not in name
    assert ("&lt;img" in text) == ("<" in name)
    assert "%0A" in text or "\n" not in name
