"""The index: added, changed, renamed and deleted videos, kills, other models, broken files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains.text_video_retrieval.inference import cutting, nearest
from domains.text_video_retrieval.inference import segments as reading
from domains.text_video_retrieval.inference.asking import Asked, combined
from domains.text_video_retrieval.inference.cutting import Cut
from domains.text_video_retrieval.inference.duplicates import same_videos
from domains.text_video_retrieval.inference.finding import Filter, find
from domains.text_video_retrieval.inference.indexing import found, index, open_or_create, update
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.inference.merging import merging
from domains.text_video_retrieval.inference.nearest import Nearest
from domains.text_video_retrieval.inference.searching import VideoSearcher, search
from domains.text_video_retrieval.inference.store import FRAMES, TABLES, VECTORS, Segment, Store, VideoRow
from domains.text_video_retrieval.inference.upkeep import compacted, exported, imported, repaired
from domains.text_video_retrieval.inference.upkeep import store as look_after
from domains.text_video_retrieval.model.manifest import Stated
from domains.text_video_retrieval.output import page, sheet
from domains.text_video_retrieval.tiny import networks
from domains.text_video_retrieval.types import TextVideoQuery
from suite.cli.options import of_dataclass
from suite.clip.pictures import Preprocessing
from suite.clip.words import Words
from suite.errors import InputError
from suite.media.video import frame_times
from tests.text_video_retrieval import clips, models


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    tokens = networks.tokenizer(["a", "red", "square", "moves", "left"])
    torch.manual_seed(0)
    model = models.tempme(vocabulary=len(tokens))
    stated = Stated(frames=models.FRAMES, words=12, fps=2.0, schedule=models.MERGING)
    identity = {"base": "some", "base_digest": "b", "adapter": "other", "digest": "a"}
    return Encoder(model, stated, Preprocessing(24), Words(tokens, 12), identity=identity)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos: two of one segment, one of three, one that is no video."""
    folder = tmp_path_factory.mktemp("library")
    clips.made(folder / "a.mp4", 0)
    clips.made(folder / "sub" / "b.mp4", 1)
    clips.made(folder / "long.mp4", 2, 3, 4)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


@pytest.fixture
def videos(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library, tmp_path / "videos"))


def brought_up(folder: Path, encoder: Encoder, videos: Path) -> dict[str, int]:
    store = open_or_create(folder, encoder, [videos], 4.0, hop=4.0)
    try:
        return update(store, encoder, found([videos]), [videos]).counts()
    finally:
        store.close()


def content(folder: Path) -> dict[tuple[str, float], bytes]:
    """Vectors of all live segments, by path and start."""
    store = Store.open(folder)
    names = {video.id: path for path, video in store.videos().items()}
    vectors, frames = store.vectors(), store.frames()
    held = {
        (names[one.video], round(one.start, 3)): vectors[row].tobytes() + frames[row].tobytes()
        for row, one in store.segments().items()
    }
    store.close()
    return held


def test_what_is_added_changed_renamed_and_deleted_is_found_out(encoder: Encoder, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    first = brought_up(folder, encoder, videos)
    assert first == {"added": 3, "changed": 0, "renamed": 0, "removed": 0, "unchanged": 0, "failed": 1}
    assert len(content(folder)) == 5
    assert brought_up(folder, encoder, videos)["unchanged"] == 4
    old = content(folder)["sub/b.mp4", 0.0]
    (videos / "sub" / "b.mp4").rename(videos / "c.mp4")
    (videos / "long.mp4").unlink()
    clips.made(videos / "a.mp4", 7)
    again = brought_up(folder, encoder, videos)
    assert {name: again[name] for name in ("added", "changed", "renamed", "removed")} == {
        "added": 0, "changed": 1, "renamed": 1, "removed": 1,
    }  # fmt: skip
    assert sorted(content(folder)) == [("a.mp4", 0.0), ("c.mp4", 0.0)]
    assert content(folder)["c.mp4", 0.0] == old


def test_any_history_ends_in_the_index_of_a_fresh_build(encoder: Encoder, videos: Path, tmp_path: Path) -> None:
    """Random additions, changes, moves and deletions against an index made anew, to the bit."""
    rng, pool = random.Random(0), [clips.made(tmp_path / "pool" / f"{n}.mp4", n) for n in range(4)]
    for turn in range(4):
        for number in range(3):
            target = videos / f"v{number}.mp4"
            action = rng.choice(["write", "delete", "move", "nothing"])
            if action == "write":
                shutil.copyfile(rng.choice(pool), target)
                os.utime(target, ns=(turn * 10**9, turn * 10**9))
            elif action == "delete":
                target.unlink(missing_ok=True)
            elif action == "move" and target.exists():
                target.rename(videos / f"moved{turn}{number}.mp4")
        brought_up(tmp_path / "index", encoder, videos)
    brought_up(tmp_path / "fresh", encoder, videos)
    assert content(tmp_path / "index") == content(tmp_path / "fresh")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_in_the_middle_and_run_again_it_is_the_uninterrupted_index(
    encoder: Encoder, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Killed while a video's rows are in the files and not in the tables; what is there can be searched at once."""
    commit, done = Store._drop, []

    def dies(self: Store, path: str) -> None:
        done.append(path)
        if len(done) == at:
            raise KeyboardInterrupt
        commit(self, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "_drop", dies)
        brought_up(tmp_path / "index", encoder, videos)
    store = Store.open(tmp_path / "index")
    assert len(store.videos()) == at - 1
    find(store, encoder.texts(["a red square"])[0][0])
    store.close()
    brought_up(tmp_path / "index", encoder, videos)
    brought_up(tmp_path / "whole", encoder, videos)
    for name in (VECTORS, FRAMES):
        assert (tmp_path / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert content(tmp_path / "index") == content(tmp_path / "whole")


@pytest.fixture(scope="module")
def indexed(encoder: Encoder, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "index"
    brought_up(folder, encoder, library)
    return folder


@pytest.fixture
def store(indexed: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(indexed, tmp_path / "index")
    opened = Store.open(tmp_path / "index")
    yield opened
    opened.close()


def test_a_search_names_the_video_its_segment_and_second(store: Store, encoder: Encoder, library: Path) -> None:
    row = next(row for row, one in store.segments().items() if one.start == 4.0)
    hits = find(store, store.vectors()[row], top=3)
    assert [hits[0].path, hits[0].start, hits[0].end] == ["long.mp4", 4.0, 8.0]
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert 4.0 <= hits[0].moment < 8.0
    assert hits[0].file == library / "long.mp4"
    assert hits[0].thumbnail.is_file()
    assert len({hit.path for hit in hits}) == 3
    every = find(store, store.vectors()[row], top=9, per="segment")
    assert len(every) == 5
    assert [hit.score for hit in every] == sorted((hit.score for hit in every), reverse=True)


def test_a_searcher_finds_the_same_again_and_again(store: Store, encoder: Encoder, tmp_path: Path) -> None:
    searcher = VideoSearcher(store, encoder)
    hits = searcher.search("a red square moves left", top=2)
    assert searcher.search("a red square moves left", top=2) == hits
    assert find(store, encoder.texts(["a red square moves left"])[0][0], top=2) == hits
    with pytest.raises(InputError, match="without is one str; give a list"):
        searcher.search("a red square", without="a circle")
    with pytest.raises(InputError, match="query is empty"):
        searcher.search()
    with pytest.raises(InputError, match="nowhere"):
        VideoSearcher.open(tmp_path / "nowhere")


def test_scores_of_a_video_are_its_best_or_the_mean_of_three(store: Store) -> None:
    row = next(row for row, one in store.segments().items() if one.start == 4.0)
    query = np.array(store.vectors()[row])
    own = sorted((float(store.vectors()[r] @ query) for r, s in store.segments().items() if s.video == _of(store, row)))
    top3 = {hit.path: hit.score for hit in find(store, query, by="top3")}
    assert top3["long.mp4"] == pytest.approx(sum(own) / 3, abs=1e-5)


def _of(store: Store, row: int) -> int:
    return store.segments()[row].video


def test_cells_find_what_exact_search_finds() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 16))
    vectors = (centres[rng.integers(40, size=3000)] + 0.2 * rng.standard_normal((3000, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(3000) * 2
    exact, cells = Nearest.over(vectors, rows, "exact"), Nearest.over(vectors, rows, "cells")
    assert (exact.kind, exact.recall, cells.kind) == ("exact", 1.0, "cells")
    assert cells.recall > 0.9
    _, found_rows = cells.search(vectors[:5], 1)
    assert found_rows[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert np.array_equal(exact.search(vectors[:5], 1)[1], found_rows)
    by_hand = np.argsort(-(vectors[:5] @ vectors.T), axis=1)[:, :7]
    assert [set(row) for row in exact.search(vectors[:5], 7)[1] // 2] == [set(row) for row in by_hand]


def test_cells_are_kept_beside_the_vectors_and_made_anew_when_rows_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((nearest.LEAST, store.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frames = np.zeros((store.per_row, store.dim), np.float32)
    times = (0.0,) * store.per_row
    store.put(VideoRow("many.mp4", 1, 1, "d"), [Segment(0, 1, vector, frames, times, 0) for vector in vectors])
    built = []
    monkeypatch.setattr(Nearest, "over", lambda *given, over=Nearest.over: built.append(given[2]) or over(*given))
    made, again = Nearest.of(store, "cells"), Nearest.of(store, "cells")
    assert (built, made.kind, again.recall) == (["cells"], "cells", made.recall)
    for one, other in zip(made.search(vectors[:2], 3), again.search(vectors[:2], 3), strict=True):
        assert np.array_equal(one, other)
    store.remove("a.mp4")
    assert len(Nearest.of(store, "cells").rows) == nearest.LEAST + 4 and built == ["cells"] * 2
    (store.folder / nearest.FILE).write_bytes(b"torn")
    assert len(Nearest.of(store, "cells").rows) == nearest.LEAST + 4 and built == ["cells"] * 3


def test_segments_overlap_by_half_and_share_the_frames_between_them(
    encoder: Encoder, library: Path, tmp_path: Path
) -> None:
    made = open_or_create(tmp_path / "index", encoder, [library], 4.0)
    update(made, encoder, [library / "long.mp4"])
    rows = made.segments()
    assert [(one.start, one.end) for one in rows.values()] == [(2.0 * k, 2.0 * k + 4.0) for k in range(5)]
    assert rows[0].times[2:] == rows[1].times[:2]
    query = np.array(made.vectors()[1])
    hit, *others = find(made, query, per="segment")
    assert (hit.start, hit.end) == (0.0, 8.0)  # two neighbours overlap the nearest, and are merged into it
    assert len(others) == 1 and others[0].start >= 4.0
    made.close()
    with pytest.raises(InputError, match=r"its hops are of 2\.0 s; give another --store for 4\.0 s"):
        open_or_create(tmp_path / "index", encoder, [library], 4.0, hop=4.0)


def test_shots_end_where_the_picture_changes(encoder: Encoder, tmp_path: Path) -> None:
    with clips.video_writer(tmp_path / "shots.mp4", 8.0) as writer:
        for grey, frames in ((40, 24), (200, 4), (90, 72)):  # 3 s, half a second, 9 s
            for _ in range(frames):
                writer.write(np.full((64, 64, 3), grey, np.uint8))
    found_shots = cutting.shots(tmp_path / "shots.mp4", 12.5, Cut(4.0, 2.0, "shots"))
    assert found_shots[0] == pytest.approx((0.0, 3.0))
    assert found_shots[1][0] == pytest.approx(3.0)  # too short alone: with the next, which is cut in two
    assert [end for _, end in found_shots][-2:] == pytest.approx([7.75, 12.5])
    made = open_or_create(tmp_path / "index", encoder, [tmp_path], 4.0, cut="shots")
    update(made, encoder, [tmp_path / "shots.mp4"])
    assert np.allclose([(one.start, one.end) for one in made.segments().values()], found_shots)
    made.close()


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        (Filter(path="sub/*"), {"sub/b.mp4"}),
        (Filter(longer=6), {"long.mp4"}),
        (Filter(shorter=6), {"a.mp4", "sub/b.mp4"}),
        (Filter(after="2000-01-01"), {"a.mp4", "long.mp4", "sub/b.mp4"}),
        (Filter(before="2000-01-01"), set()),
        (Filter(threshold=0.9999), {"a.mp4"}),
    ],
)
def test_a_search_may_be_among_some_videos_alone(store: Store, only: Filter, paths: set[str]) -> None:
    row = next(row for row, one in store.segments().items() if one.video == store.videos()["a.mp4"].id)
    assert {hit.path for hit in find(store, np.array(store.vectors()[row]), only=only)} == paths


def test_dates_that_are_none_are_one_line() -> None:
    with pytest.raises(InputError, match="after is 'soon'; give a date"):
        Filter(after="soon")


def test_more_like_a_video_finds_the_video(store: Store, encoder: Encoder, library: Path) -> None:
    searcher = VideoSearcher(store, encoder)
    [hit] = searcher.search(video=[library / "a.mp4"], top=1)
    assert (hit.path, hit.score) == ("a.mp4", pytest.approx(1, abs=1e-5))


def test_hits_come_as_one_picture_and_as_clips(store: Store, tmp_path: Path) -> None:
    hits = find(store, np.array(store.vectors()[0]))
    from PIL import Image

    with Image.open(sheet.contact_sheet(tmp_path / "sheet.png", hits)) as image:
        assert image.width > image.height > 100
    written = sheet.clips(tmp_path / "clips", hits)
    assert [path.name[:3] for path in written] == ["01_", "02_", "03_"]
    begin, end = hits[0].snippet
    assert frame_times(written[0])[-1] == pytest.approx(end - begin, abs=1.1)


def test_a_marker_in_a_query_is_text(encoder: Encoder) -> None:
    (one, other), _ = encoder.texts(["a red square moves", "a red <|endoftext|> square moves"])
    cut = encoder.texts(["a red"])[0][0]
    assert not np.allclose(other, cut, atol=1e-3)
    assert not np.allclose(other, one, atol=1e-3)


def test_several_sentences_a_picture_and_what_is_not_wanted_make_one_vector(encoder: Encoder, tmp_path: Path) -> None:
    (one, other), _ = encoder.texts(["a red", "a square"])
    both, _ = combined(encoder, Asked(["a red", "a square"], weight=[3.0, 1.0]))
    assert both @ (3 * one + other) == pytest.approx(np.linalg.norm(3 * one + other), rel=1e-5)
    away, _ = combined(encoder, Asked(["a red"], without=["a square"]))
    assert away @ (one - other) == pytest.approx(np.linalg.norm(one - other), rel=1e-5)
    from PIL import Image

    Image.new("RGB", (30, 40), "red").save(tmp_path / "red.png")
    pictured, _ = combined(encoder, Asked(image=[tmp_path / "red.png"]))
    assert pictured @ encoder.image(np.asarray(Image.new("RGB", (30, 40), "red"))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "image", "without", "weight", "message"),
    [
        ([], [], [], [], "query is empty"),
        (["  "], [], [], [], "query is empty"),
        (["a"], [], [], [1.0, 2.0], "2 weights for 1"),
        (["a"], [], ["a"], [], "takes away what it asks for"),
        ([], [Path("absent.png")], [], [], "absent.png: no picture"),
    ],
)
def test_what_cannot_be_sought_is_one_line(
    encoder: Encoder, query: list, image: list, without: list, weight: list, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        combined(encoder, Asked(query, image, [], without, weight))


def test_long_and_foreign_queries_are_told_of_and_emoji_are_not(encoder: Encoder) -> None:
    long = encoder.texts(["a red square moves left " * 4])[1]
    assert "cut: 'square moves left a red square moves left'" in long[0] or "cut:" in long[0]
    fresh = Encoder(encoder.model, encoder.stated, encoder.look, encoder.words)
    assert "non-Latin" in fresh.texts(["кот"])[1][0]
    assert fresh.texts(["кот"])[1] == ()
    assert encoder.texts(["a 🐕"])[1] == ()


def test_another_model_version_or_broken_files_are_refused_and_repaired(
    store: Store, encoder: Encoder, videos: Path, library: Path
) -> None:
    folder = store.folder
    with pytest.raises(InputError, match="made by another adapter"):
        Store.open(folder, {**encoder.identity, "digest": "z"})
    text = (folder / "store.json").read_text()
    (folder / "store.json").write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(InputError, match="format 9"):
        Store.open(folder)
    (folder / "store.json").write_text(text)
    size = (folder / VECTORS).stat().st_size
    with (folder / VECTORS).open("r+b") as file:
        file.truncate(size - 4)
    with pytest.raises(InputError, match=r"vectors\.f32 holds 4 of 5 rows.*store repair"):
        Store.open(folder)
    assert repaired(store).startswith("1 videos forgotten")
    assert not store.faults()
    lost = {"a.mp4", "long.mp4", "sub/b.mp4"} - set(store.videos())
    again = update(store, encoder, found([library]), [library])
    assert set(again.added) == lost


def test_a_vector_that_is_none_is_found_by_verify(store: Store) -> None:
    with (store.folder / VECTORS).open("r+b") as file:
        file.write(np.full(store.dim, np.nan, np.float32).tobytes())
    assert "no unit vectors, e.g. of row 0" in store.faults()[0]
    repaired(store)
    assert not store.faults()


def test_compacting_drops_deleted_rows_and_nothing_else(store: Store) -> None:
    before = content(store.folder)
    store.remove("a.mp4")
    kept = {key: value for key, value in before.items() if key[0] != "a.mp4"}
    assert compacted(store) == "1 of 5 rows dropped"
    assert content(store.folder) == kept
    assert (store.folder / VECTORS).stat().st_size == 4 * 4 * store.dim


def test_an_export_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    exported(store, tmp_path / "export")
    assert np.load(tmp_path / "export" / "vectors.npy").shape == (5, store.dim)
    imported(tmp_path / "export", tmp_path / "again")
    assert content(tmp_path / "again") == content(store.folder)


def test_the_same_video_twice_is_found(encoder: Encoder, videos: Path, tmp_path: Path) -> None:
    shutil.copyfile(videos / "a.mp4", videos / "copy of a.mp4")
    brought_up(tmp_path / "index", encoder, videos)
    store = Store.open(tmp_path / "index")
    pairs = same_videos(store, 0.9999, 0.5)
    store.close()
    assert [(pair["one"], pair["other"], pair["same_file"]) for pair in pairs] == [("a.mp4", "copy of a.mp4", True)]


def test_adding_never_rewrites_what_is_there(store: Store) -> None:
    before = (store.folder / VECTORS).read_bytes()
    vector = np.eye(store.dim, dtype=np.float32)[0]
    frames = np.tile(vector, (store.per_row, 1))
    store.put(VideoRow("new.mp4", 1, 1, "d"), [Segment(0, 1, vector, frames, (0.0,) * store.per_row, 0)])
    assert (store.folder / VECTORS).read_bytes()[: len(before)] == before


def test_an_index_moves_with_its_videos(indexed: Path, library: Path, tmp_path: Path) -> None:
    shutil.copytree(indexed, tmp_path / "moved")
    store = Store.open(tmp_path / "moved")
    hits = find(store, np.array(store.vectors()[0]), root=tmp_path / "elsewhere")
    store.close()
    assert all(hit.file.is_relative_to(tmp_path / "elsewhere") for hit in hits)
    assert not any(Path(name).is_absolute() for name in (hit.path for hit in hits))


def test_the_page_plays_each_hit_from_its_second_and_escapes_names(store: Store, tmp_path: Path) -> None:
    hits = find(store, np.array(store.vectors()[0]))
    from dataclasses import replace

    evil = replace(hits[0], path="<script>\n.mp4", file=tmp_path / "<script> 1.mp4")
    [written, *_] = page.write(tmp_path / "out", str(Asked(["<b>"], without=["rain"])), [evil, *hits[1:]])
    text = written.read_text()
    assert "<script>" not in text.replace("<script>", "", 0) or "&lt;script&gt;" in text
    assert "%3Cscript%3E%201.mp4#t=" in text
    assert "<video controls" in text
    assert "poster=" in text
    assert "&lt;b&gt;, without rain" in text


def test_a_long_video_is_held_a_few_segments_at_a_time(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its length: no more frames are alive than of the batches that are decoded ahead."""
    alive, most = [0], [0]

    class Picture:
        def __init__(self) -> None:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            self.pixels, self.time = np.zeros((8, 8, 3), np.uint8), 0.0

        def __del__(self) -> None:
            alive[0] -= 1

    monkeypatch.setattr(reading, "frames_at", lambda path, times: (Picture() for _ in times))
    cut = reading._batches(Path("long.mp4"), 2000.0, encoder, Cut(4.0, 4.0))
    assert sum(len(batch) for batch in reading.ahead(cut, reading.AHEAD)) == 500
    assert most[0] <= 2 * models.FRAMES


def test_the_command_says_what_it_did_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: no such file or folder"):
        index([tmp_path / "absent"])
    with pytest.raises(InputError, match="seconds is 0"):
        index([tmp_path], seconds=0)
    with pytest.raises(InputError, match=r"no index; make one with"):
        Store.open(tmp_path)
    assert TABLES.endswith(".sqlite")


def test_an_index_run_again_counts_what_can_be_found_and_still_names_what_cannot_be_read(
    encoder: Encoder, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Encoder, "from_pretrained", lambda *args, **options: encoder)
    first = index((videos,), store=tmp_path / "index", seconds=4.0, hop=4.0)["message"].splitlines()
    told = capsys.readouterr().err.splitlines()
    again = index((videos,), store=tmp_path / "index", seconds=4.0, hop=4.0)["message"].splitlines()
    assert ": 3 videos in " in first[0] and ": 3 videos in " in again[0]
    assert first[1].startswith("  broken.mp4: ") and again[1] == f"{first[1]} (as before)"
    assert told[0].startswith("1/4 a.mp4: 1 segment (about ") and told[-1] == "4/4 sub/b.mp4: 1 segment"


def test_a_first_index_of_a_folder_without_videos_is_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "from_pretrained", lambda *args, **options: pytest.fail("loaded a model"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no video to index"):
        index((tmp_path / "empty",), store=tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "query is empty"),
        ({"query": ("a",), "weight": (1.0, 2.0)}, "2 weights for 1"),
        ({"query": ("a",), "interactive": True}, "leave out sentences"),
        ({"image": (Path("a.png"),), "clips": True, "interactive": True}, "leave out --image, --clips"),
        ({"out": Path("pages"), "interactive": True}, "leave out --out"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused_before_an_index_is_opened(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VideoSearcher, "open", lambda *args, **options: pytest.fail("opened an index"))
    with pytest.raises(InputError, match=message):
        search(**options)


def test_a_search_without_an_index_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from domains.text_video_retrieval.inference.searching import search\n"
        "from suite.errors import InputError\n"
        "try:\n"
        "    search(('a',), store=Path('nowhere'))\n"
        "except InputError as error:\n"
        "    print(error, 'torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("nowhere: no index; make one with") and ran.stdout.endswith(" False\n")


@pytest.mark.parametrize(
    ("action", "options", "message"),
    [
        ("verify", {"out": Path("vectors")}, "--out is of store export"),
        ("export", {"out": Path("vectors"), "source": Path("other")}, "--source is of store import"),
        ("export", {}, "export needs --out"),
    ],
)
def test_an_option_of_another_action_on_an_index_is_not_ignored(
    action: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        look_after(action, store=tmp_path, **options)


def test_every_option_of_a_prediction_has_its_line_in_the_help() -> None:
    assert [option.name for option in of_dataclass(TextVideoQuery) if not option.help] == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"longer": 5, "shorter": 2}, "no video can be both"),
        ({"after": "2027-01-01", "before": "2020-01-01"}, "no video can be written between them"),
    ],
)
def test_limits_that_leave_no_video_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Filter(**limits)


def test_an_index_is_not_made_over_another_one_and_is_called_an_index(store: Store) -> None:
    with pytest.raises(InputError, match="holds an index already"):
        Store.create(store.folder, store.about)


def test_which_patches_are_merged_is_a_png_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "from_pretrained", lambda *args, **options: pytest.fail("loaded a model"))
    with pytest.raises(InputError, match=r"picture\.txt; give a file that ends in \.png"):
        merging(tmp_path / "a.mp4", out=tmp_path / "picture.txt")
