"""The tool as its users hold it: videos, folders and streams in; boxes, copies and pictures out."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import tracemalloc
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domains.tracking.data.pictures import Pixels
from domains.tracking.data.readers.mot import read_mot
from domains.tracking.inference.footage import Footage, FootageFrame, open_footage
from domains.tracking.inference.running import VideoRun
from domains.tracking.output.boxes import drawn
from domains.tracking.output.live import LivePage
from domains.tracking.output.rows import TrackRows
from domains.tracking.predict import Tracker, VideoTracker
from domains.tracking.types import FrameResult, TrackedBox, TrackQuery
from suite.cli.main import main
from suite.errors import InputError
from suite.media.video import frame_times, probe, read_frames
from tests.tracking import footage
from tests.tracking.footage import FIRST, FRAMES, SECOND, TRACKER, ColourFollower

TWO = ("10,12,14,14", "70,40,14,14")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.video(tmp_path_factory.mktemp("clip") / "squares.mp4")


def test_boxes_follow_the_object_and_the_first_is_the_given_one(clip: Path) -> None:
    result = TRACKER(clip, FIRST)
    assert result.boxes()[0].tolist() == list(FIRST) and result.scores()[0] == 1.0
    assert np.abs(result.boxes() - [footage.red(frame) for frame in range(FRAMES)]).max() < 1.5


def test_every_form_of_file_says_the_same(clip: Path, tmp_path: Path) -> None:
    [result] = TRACKER.predict(
        clip, out=tmp_path, box=TWO, name=("red", "blue"), formats=("txt", "json", "csv", "mot", "coco"), panels=True
    )
    boxes = {"red": result.boxes("red"), "blue": result.boxes("blue")}
    text = np.loadtxt(tmp_path / "squares.txt", delimiter=",")
    assert np.allclose(text, boxes["red"], atol=1e-3)
    assert np.allclose(np.loadtxt(tmp_path / "squares.blue.txt", delimiter=","), boxes["blue"], atol=1e-3)
    stored = json.loads((tmp_path / "squares.json").read_text())
    assert [frame["frame"] for frame in stored["frames"]] == list(range(FRAMES))
    assert stored["frames"][5]["objects"][1]["id"] == "blue"
    assert np.allclose(stored["frames"][5]["objects"][1]["box"], boxes["blue"][5], atol=1e-3)
    assert len((tmp_path / "squares.csv").read_text().splitlines()) == 1 + 2 * FRAMES
    mot = read_mot(tmp_path / "squares.mot.txt", FRAMES)
    assert np.allclose(mot["1"].boxes[:, :2], boxes["red"][:, :2], atol=0.011)
    coco = json.loads((tmp_path / "squares.coco.json").read_text())
    assert len(coco["images"]) == FRAMES and len(coco["annotations"]) == 2 * FRAMES
    assert [track["name"] for track in coco["tracks"]] == ["red", "blue"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("squares.txt", "squares.blue.txt", "squares.json", "squares.csv", "squares.mot.txt", "squares.coco.json"),
        *("squares.annotated.mp4", "squares.panels.mp4", "squares.frames.png", "squares.scores.png", "tracks.csv"),
        "progress.jsonl",
    }


def test_the_annotated_copy_has_the_frames_rate_and_size_of_its_original(clip: Path, tmp_path: Path) -> None:
    list(TRACKER.predict(clip, out=tmp_path, box=TWO))
    copy, original = probe(tmp_path / "squares.annotated.mp4"), probe(clip)
    assert (copy.width, copy.height, copy.fps) == (original.width, original.height, original.fps)
    assert np.allclose(frame_times(tmp_path / "squares.annotated.mp4"), frame_times(clip))
    [*drawn], [*plain] = read_frames(tmp_path / "squares.annotated.mp4"), read_frames(clip)
    assert all(np.abs(a.pixels.astype(int) - b.pixels).max() > 60 for a, b in zip(drawn, plain, strict=True))


def test_results_saved_later_are_those_written_meanwhile(clip: Path, tmp_path: Path) -> None:
    list(TRACKER.predict(clip, out=tmp_path / "a", box=TWO, annotate=False))
    TRACKER(clip, FIRST, SECOND).save(tmp_path / "b")
    for name in ("squares.txt", "squares.2.txt", "squares.json", "squares.mot.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"box": ("10,12,14,14",)},
        {"box": "10 12 14 14"},
        {"box": (10, 12, 14, 14)},
        {"box": [(10.0, 12.0, 14.0, 14.0)]},
        {"box_xyxy": ("10,12,24,26",)},
        {"optional_box": (10.0, 12.0, 14.0, 14.0)},
        {"first_boxes": "first.txt"},
    ],
)
def test_first_boxes_in_every_way(options: dict[str, Any], clip: Path, tmp_path: Path) -> None:
    if "first_boxes" in options:
        (tmp_path / "first.txt").write_text("10,12,14,14\n")
        options = {"first_boxes": tmp_path / "first.txt"}
    assert TRACKER(clip, **options).boxes()[0].tolist() == list(FIRST)


def test_folders_patterns_and_sequences_with_their_truth(tmp_path: Path) -> None:
    folder = footage.folder(tmp_path / "frames", form="{}.png")
    assert TRACKER(folder, FIRST).rows.frames == FRAMES
    assert TRACKER(f"{folder}/*.png", FIRST).rows.indices.tolist() == list(range(FRAMES))
    (folder / "groundtruth.txt").write_text("".join(",".join(map(str, footage.red(f))) + "\n" for f in range(FRAMES)))
    result = TRACKER(folder)
    assert result.boxes()[0].tolist() == list(FIRST)
    assert result.to_dict()["objects"][0]["mean_overlap"] > 0.8 and "mean overlap" in str(result)
    assert TRACKER(tmp_path, sequence="frames").boxes()[0].tolist() == list(FIRST)


def test_start_stride_and_end(clip: Path) -> None:
    box = footage.red(4)
    result = TRACKER(clip, box, start_frame=4, stride=2, max_frames=3)
    assert result.rows.indices.tolist() == [4, 6, 8]
    assert np.abs(result.boxes() - [footage.red(frame) for frame in (4, 6, 8)]).max() < 1.5


def test_an_object_is_added_and_pointed_at_anew_on_its_way(clip: Path, tmp_path: Path) -> None:
    starts = [
        {"name": "red", "box": FIRST},
        {"name": "blue", "box": footage.blue(5), "frame": 5},
        {"name": "red", "box": (1, 2, 9, 9), "frame": 8},
    ]
    (tmp_path / "starts.json").write_text(json.dumps(starts))
    result = TRACKER(clip, first_boxes=tmp_path / "starts.json")
    assert np.isnan(result.boxes("blue")[:5]).all() and np.isfinite(result.boxes("blue")[5:]).all()
    assert result.boxes("red")[8].tolist() == [1, 2, 9, 9] and result.statuses("blue")[4] is None


def test_a_run_goes_on_and_does_nothing_twice(clip: Path, tmp_path: Path) -> None:
    other = footage.video(tmp_path / "other.mp4", 4)
    made: list[str] = []

    def follower(query: TrackQuery) -> ColourFollower:
        made.append("one")
        return ColourFollower()

    tracker, out = VideoTracker(follower, "colours"), tmp_path / "out"
    for result in tracker.predict([clip, other], out=out, box=("10,12,14,14",)):
        assert result.source == str(clip)
        break
    with pytest.raises(InputError, match="--resume"):
        list(tracker.predict([clip, other], out=out, box=("10,12,14,14",)))
    results = list(tracker.predict([clip, other], out=out, resume=out, box=("10,12,14,14",)))
    assert [result.error for result in results] == [None, None] and len(made) == 2
    assert results[0].to_dict()["frames"] == FRAMES
    list(tracker.predict([clip], out=out, overwrite=True, box=("10,12,14,14",)))
    assert len(made) == 3


def test_a_stream_without_an_end_is_followed_in_flat_memory() -> None:
    """What is held after 3,000 frames is what was held after 500."""
    frames = 3000

    def each() -> Iterator[FootageFrame]:
        for index in range(frames):
            yield FootageFrame(index, index / 25, footage.picture(index % FRAMES))

    endless = Footage("stream", "stream", (footage.WIDTH, footage.HEIGHT), 25.0, each, live=True)
    query = TrackQuery(box=("10,12,14,14",))
    run, held = VideoRun(endless, ColourFollower(), query), []
    tracemalloc.start()
    for number, _ in enumerate(run.steps()):
        if number in (500, frames - 1):
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 200_000
    assert run.speed.frames == frames


def test_a_stream_on_loopback_that_never_ends_is_followed_in_flat_memory(tmp_path: Path) -> None:
    """A camera that encodes as long as anybody looks; boxes, files and copies are written meanwhile."""
    av = pytest.importorskip("av")
    server = socket.create_server(("127.0.0.1", 0))

    def film() -> None:
        connection, _ = server.accept()
        with suppress(OSError, av.FFmpegError), connection.makefile("wb") as file:
            container = av.open(file, "w", format="mpegts")
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = footage.WIDTH, footage.HEIGHT, "yuv420p"
            while True:
                for number in range(FRAMES):
                    frame = av.VideoFrame.from_ndarray(footage.picture(number), format="rgb24")
                    container.mux(stream.encode(frame))

    threading.Thread(target=film, daemon=True).start()
    address, held = f"tcp://127.0.0.1:{server.getsockname()[1]}", dict[int, int]()

    class Measured(ColourFollower):
        def track(self, frame: Pixels) -> Mapping[str, TrackedBox]:
            held[len(held)] = tracemalloc.get_traced_memory()[0]
            return super().track(frame)

    tracker = VideoTracker(lambda query: Measured(), "colours")
    tracemalloc.start()
    [result] = tracker.predict(address, out=tmp_path, box=("10,12,14,14",), max_frames=250)
    tracemalloc.stop()
    server.close()
    assert result.error is None and result.rows.frames == 250
    # What is kept of a frame is a row of numbers; the few pictures of the still sheet are there by then.
    assert max(list(held.values())[200:]) - min(list(held.values())[120:150]) < 400_000
    [text] = [path for path in tmp_path.glob("tcp*.txt") if not path.name.endswith(".mot.txt")]
    assert len(text.read_text().splitlines()) == 250


def test_a_pipe_is_followed_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    source = tmp_path / "stream.ts"
    with av.open(str(source), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = (
            footage.WIDTH,
            footage.HEIGHT,
            "yuv420p",
            2_000_000,
        )
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(footage.picture(number % FRAMES), format="rgb24")))
        container.mux(stream.encode(None))
    read_end, write_end = os.pipe()
    feed = threading.Thread(target=_feed, args=(write_end, source.read_bytes()))
    feed.start()
    with os.fdopen(read_end, "rb") as piped:
        monkeypatch.setattr("sys.stdin", _Standing(piped))
        [result] = TRACKER.predict("-", out=tmp_path / "out", box=("10,12,14,14",), newest=False)
    feed.join()
    assert result.error is None and result.rows.frames == 60
    assert len((tmp_path / "out" / "stdin.txt").read_text().splitlines()) == 60
    assert not (tmp_path / "out" / "progress.jsonl").read_text()


class _Standing:
    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer


def _feed(end: int, content: bytes) -> None:
    with os.fdopen(end, "wb") as pipe:
        pipe.write(content)


def test_the_newest_frame_is_taken_of_a_source_that_is_faster() -> None:
    caught_up, gate = threading.Event(), threading.Event()

    def each() -> Iterator[FootageFrame]:
        for index in range(50):
            yield FootageFrame(index, index / 25, footage.picture(0))
        caught_up.set()
        gate.wait(60)
        yield FootageFrame(50, 2.0, footage.picture(0))

    fast = Footage("stream", "stream", (96, 64), 25.0, each, live=True)
    shots = fast.shots(newest=True)
    first = next(shots)
    assert caught_up.wait(60)
    gate.set()
    rest = list(shots)
    assert rest[-1].index == 50 and len(rest) <= 2
    assert first.skipped + sum(shot.skipped for shot in rest) + len(rest) + 1 == 51


def test_a_stream_that_breaks_off_keeps_what_was_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def each() -> Iterator[FootageFrame]:
        for index in range(8):
            yield FootageFrame(index, index / 25, footage.picture(index))
        raise InputError("rtsp://camera: cannot be read to its end")

    broken = Footage("rtsp://camera", "camera", (96, 64), 25.0, each, live=True)
    monkeypatch.setattr("domains.tracking.predict.open_footage", lambda *_, **__: broken)
    [result] = TRACKER.predict("rtsp://camera", out=tmp_path, box=("10,12,14,14",))
    assert result.error is None and result.rows.frames == 8
    assert "broke off" in result.notices[0] and (tmp_path / "camera.txt").is_file()


def test_frames_of_the_same_time_are_written_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def each() -> Iterator[FootageFrame]:
        yield from (FootageFrame(index, 0.04 * (index // 2), footage.picture(index)) for index in range(6))

    camera = Footage("webcam", "webcam", (96, 64), 25.0, each, live=True)
    monkeypatch.setattr("domains.tracking.predict.open_footage", lambda *_, **__: camera)
    [result] = TRACKER.predict("webcam", out=tmp_path, box=("10,12,14,14",))
    assert result.error is None and len(frame_times(tmp_path / "webcam.annotated.mp4")) == 6


def test_frames_are_seen_live_by_a_browser() -> None:
    with LivePage(0) as page:
        seen: list[bytes] = []

        def look() -> None:
            with urllib.request.urlopen(page.address, timeout=60) as answer:
                seen.append(answer.read(400))

        browser = threading.Thread(target=look)
        browser.start()
        for frame in itertools.count():
            page.show(footage.picture(frame % FRAMES))
            browser.join(0.02)
            if not browser.is_alive():
                break
        with pytest.raises(InputError, match="port cannot be had"):
            LivePage(int(page.address.rsplit(":", 1)[1].strip("/")))
    assert seen and b"image/jpeg" in seen[0]


def test_old_frames_of_an_endless_source_are_given_up() -> None:
    rows = TrackRows(most=10)
    for index in range(100):
        rows.add(FrameResult(index, index / 5, {"a": TrackedBox((index, 1, 2, 3), 0.5)}))
    assert rows.frames == 100 and 10 <= len(rows) < 20
    assert rows.numbers("a")[-1, 0] == 99 and rows.indices[-1] == 99
    assert [result.index for result in rows] == rows.indices.tolist()


def test_a_mouse_draws_the_box() -> None:
    from matplotlib.figure import Figure
    from matplotlib.testing.widgets import click_and_drag

    from domains.tracking.inference.pointing import drawable

    figure = Figure()
    selector = drawable(figure.add_subplot(), footage.picture(0))
    click_and_drag(selector, start=(10, 12), end=(24, 26))
    left, right, top, bottom = selector.extents
    assert (left, top, right - left, bottom - top) == pytest.approx(FIRST, abs=0.6)


def test_other_frames_sizes_in_mid_video_are_borne(tmp_path: Path) -> None:
    folder = footage.folder(tmp_path / "frames")
    Image.fromarray(footage.picture(6, width=120, height=80)).save(folder / "00000007.png")
    [result] = TRACKER.predict(folder, out=tmp_path / "out", box=("10,12,14,14",))
    assert result.error is None and "frames change their size, from 96 x 64 to 120 x 80" in result.notices[0]
    assert len(frame_times(tmp_path / "out" / "frames.annotated.mp4")) == FRAMES


def test_a_frame_that_cannot_be_read_stops_or_holds(tmp_path: Path) -> None:
    folder = footage.folder(tmp_path / "frames")
    (folder / "00000005.png").write_bytes(b"\x89PNG and nothing")
    [stopped] = TRACKER.predict(folder, out=tmp_path / "a", box=("10,12,14,14",))
    assert stopped.error is not None and "frame 4" in stopped.error
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["progress.jsonl", "tracks.csv"] or not list(
        (tmp_path / "a").glob("frames*")
    )
    [held] = TRACKER.predict(folder, out=tmp_path / "b", box=("10,12,14,14",), on_damage="hold")
    assert held.error is None and held.boxes()[4].tolist() == held.boxes()[3].tolist()


def test_footage_says_what_it_is(clip: Path) -> None:
    opened = open_footage(clip)
    assert (opened.size, float(opened.fps), opened.frames, opened.live) == ((96, 64), 20, FRAMES, False)


def test_one_frame_is_one_frame_and_has_no_speed(clip: Path) -> None:
    said = str(TRACKER(clip, FIRST, max_frames=1)).splitlines()[0]
    assert said.endswith(": 1 object in 1 frame")


def test_the_command_takes_a_pattern_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = footage.folder(tmp_path / "frames", form="{}.png")
    monkeypatch.setattr(Tracker, "from_pretrained", lambda *args, **options: TRACKER)
    box = ",".join(map(str, FIRST))
    assert main(["tracking", "predict", f"{folder}/*.png", "--box", box]) == 0
    assert f"1 object in {FRAMES} frames" in capsys.readouterr().out


def test_a_name_with_marks_is_written_on_frames() -> None:
    def written(name: str) -> np.ndarray:
        seen = {name: TrackedBox((10.0, 60.0, 40.0, 20.0), 0.7)}
        return drawn(np.zeros((120, 200, 3), np.uint8), seen, {name: 0})

    # All that a font lacks is drawn as the same box.
    assert not np.array_equal(written("ü"), written("ł"))
