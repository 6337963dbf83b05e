"""Videos: times, rotation, parts, limits, and what is wrong with a file, on videos made here and on real ones."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import InputError
from suite.media import video, video_decoding
from suite.media.video import frame_times, frames_at, probe, read_frames
from suite.media.video_writing import annotate, video_writer
from tests.real_data import real_data

av = pytest.importorskip("av")

CLOCK = Fraction(1, 1000)
VARIABLE = [0, 40, 80, 400, 440, 1200, 1240, 1280, 2000]
"""Milliseconds."""


def shade(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A frame that tells its index (modulo 50) by its grey, and its upper left corner by a bright patch."""
    pixels = np.full((height, width, 3), 20 + 4 * (index % 50), dtype=np.uint8)
    pixels[:16, :16] = 255
    return pixels


def index_of(pixels: np.ndarray) -> int:
    return round((float(pixels[24:40, 24:40].mean()) - 20) / 4)


def corner_of(pixels: np.ndarray) -> tuple[str, str]:
    """Where the bright patch is."""
    height, width = pixels.shape[:2]
    y, x = np.unravel_index(pixels.mean(axis=2).argmax(), (height, width))
    return ("top" if y < height / 2 else "bottom", "left" if x < width / 2 else "right")


def make(
    path: Path,
    stamps: Sequence[int],
    *,
    prepare: Callable[[Any], None] = lambda stream: None,
    sound: bool = False,
    format: str | None = None,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    key_frames: int = 250,
) -> Path:
    """A video whose frames are shown at these milliseconds."""
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = CLOCK
        stream.codec_context.gop_size = key_frames
        prepare(stream)
        tone = container.add_stream("aac", rate=16_000) if sound else None
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(shade(index), format="rgb24")
            frame.pts, frame.time_base = stamp, CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            write_sound(container, tone)
    return path


def write_sound(container: Any, tone: Any) -> None:
    for index in range(40):
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts, silence.time_base = 16_000, index * 1024, Fraction(1, 16_000)
        container.mux(tone.encode(silence))
    container.mux(tone.encode(None))


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("video") / "variable.mp4", VARIABLE)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 frames a second, a key frame every 10."""
    return make(tmp_path_factory.mktemp("video") / "steady.mp4", range(0, 2000, 40), key_frames=10)


def test_times_of_a_variable_rate_are_the_files_own(variable: Path) -> None:
    frames = list(read_frames(variable))
    assert [round(frame.time * 1000) for frame in frames] == VARIABLE
    assert [index_of(frame.pixels) for frame in frames] == list(range(9))
    assert [frame.index for frame in frames] == list(range(9))
    assert [round(time * 1000) for time in frame_times(variable)] == VARIABLE


def test_the_frame_on_the_screen_at_a_moment_is_not_found_by_counting(variable: Path) -> None:
    moments = [0.0, 0.39, 0.4, 1.19, 1.2, 1.9, 5.0]
    assert [index_of(frame.pixels) for frame in frames_at(variable, moments)] == [0, 2, 3, 4, 5, 7, 8]


def test_probe(variable: Path, steady: Path) -> None:
    info = probe(steady)
    assert (info.width, info.height, info.codec, info.rotation) == (64, 48, "h264", 0)
    assert (info.fps, info.frames) == (25, 50)
    assert info.duration == pytest.approx(2.0, abs=0.01)
    uneven = probe(variable)
    assert uneven.fps is not None and uneven.real_fps is not None and uneven.real_fps > uneven.fps


@pytest.mark.parametrize(
    ("degrees", "corner"),
    [(0, ("top", "left")), (90, ("bottom", "left")), (180, ("bottom", "right")), (-90, ("top", "right"))],
)
def test_pictures_are_turned_as_they_are_shown(tmp_path: Path, degrees: int, corner: tuple[str, str]) -> None:
    turned = make(
        tmp_path / "turned.mp4", range(0, 200, 40), prepare=lambda stream: stream.set_display_rotation(degrees)
    )
    frame = next(read_frames(turned))
    info = probe(turned)
    assert corner_of(frame.pixels) == corner
    assert (info.height, info.width) == frame.pixels.shape[:2] == ((64, 48) if degrees % 180 else (48, 64))
    assert info.rotation % 360 == degrees % 360


def test_mirrored_pictures_are_mirrored(tmp_path: Path) -> None:
    one = 1 << 16
    mirror = (-one, 0, 0, 0, one, 0, 64 * one, 0, 1 << 30)
    path = make(tmp_path / "mirror.mp4", [0, 40], prepare=lambda stream: stream.set_display_matrix(mirror))
    assert corner_of(next(read_frames(path)).pixels) == ("top", "right")


@pytest.mark.parametrize("name", ["part.mp4", "part.mkv", "part.avi", "part.ts"])
def test_a_part_is_the_same_frames_as_of_the_whole(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = make(tmp_path / name, range(0, 2000, 40), key_frames=10, codec=codec)
    whole = [frame for frame in read_frames(path) if 0.99 <= frame.time < 1.5]
    part = list(read_frames(path, start=0.99, end=1.5))
    assert [round(frame.time, 3) for frame in part] == [round(frame.time, 3) for frame in whole]
    assert [index_of(frame.pixels) for frame in part] == [index_of(frame.pixels) for frame in whole]


def test_seeking_to_far_moments_gives_what_decoding_everything_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "long.mp4", range(0, 20_000, 400), key_frames=5)
    moments = [0.1, 4.0, 4.1, 11.3, 11.3, 19.7]
    sought = [(frame.time, index_of(frame.pixels)) for frame in frames_at(path, moments)]
    monkeypatch.setattr(video, "_JUMP", 1e9)
    assert [(frame.time, index_of(frame.pixels)) for frame in frames_at(path, moments)] == sought
    assert [index for _, index in sought] == [0, 10, 10, 28, 28, 49]


def test_fewer_frames_a_second_are_the_first_of_every_tick(steady: Path) -> None:
    assert [index_of(frame.pixels) for frame in read_frames(steady, fps=5)] == list(range(0, 50, 5))
    part = [index_of(frame.pixels) for frame in read_frames(steady, start=0.4, fps=5)]
    assert part == list(range(10, 50, 5))


def test_a_pipe_and_an_open_file_are_read_as_they_come(tmp_path: Path, steady: Path) -> None:
    with steady.open("rb") as file:
        assert len(list(read_frames(file))) == 50
    stream = make(tmp_path / "stream.ts", range(0, 2000, 40)).read_bytes()
    reader, writer = os.pipe()
    feed = threading.Thread(target=lambda: _write_all(writer, stream))
    feed.start()
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        assert len(list(read_frames(pipe, start=0.8))) == 30
    feed.join()


def _write_all(handle: int, content: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def test_standard_input(steady: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(make(steady.with_suffix(".ts"), range(0, 400, 40)).read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert len(list(read_frames("-"))) == 10


def test_a_long_video_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with video_writer(path, 25) as writer:
        for _ in range(200):
            writer.write(np.zeros((240, 320, 3), dtype=np.uint8))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_frames(path)) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 240 * 320 * 3


def test_sound_that_goes_on_after_the_pictures_is_no_fault(tmp_path: Path) -> None:
    assert len(list(read_frames(make(tmp_path / "sound.mp4", [0, 40, 80], sound=True)))) == 3


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        write_sound(container, container.add_stream("aac", rate=16_000))
    assert "song.m4a: holds only sound" in refusal(lambda: list(read_frames(path)))


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "none.mkv", [], prepare=lambda stream: stream.container.start_encoding())
    for read in (lambda: list(read_frames(path)), lambda: frame_times(path), lambda: list(frames_at(path, [0.0]))):
        assert "no picture" in refusal(read) or "no video" in refusal(read)


@pytest.mark.parametrize(
    ("options", "kept", "said"),
    [
        ({}, 0.3, "no video that can be read"),  # its table of contents was at the end
        ({}, 0.7, "no picture that can be decoded"),  # half of the table is there
        ({"movflags": "+faststart"}, 0.6, "it is cut"),
    ],
)
def test_a_cut_file_is_refused(tmp_path: Path, options: dict[str, str], kept: float, said: str) -> None:
    whole = make(tmp_path / "whole.mp4", range(0, 8000, 40), options=options, key_frames=10).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(len(whole) * kept)])
    message = refusal(lambda: list(read_frames(path)))
    assert message.startswith(f"{path}: ") and said in message


def test_the_frames_of_a_cut_file_come_before_the_refusal(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.mp4", range(0, 8000, 40), options={"movflags": "+faststart"}, key_frames=10)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    frames = []
    with pytest.raises(InputError):
        for frame in read_frames(whole):
            frames.append(index_of(frame.pixels))
    assert frames and frames[:20] == list(range(20))


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    assert "no video that can be read" in refusal(lambda: probe(tmp_path / "text.mp4"))
    assert "empty" in refusal(lambda: probe(tmp_path / "empty.mp4"))
    assert "does not exist" in refusal(lambda: probe(tmp_path / "none.mp4"))
    assert "is a folder" in refusal(lambda: probe(tmp_path))


def test_a_playlist_does_not_reach_for_other_machines(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    refusal(lambda: list(read_frames(path)))


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, steady: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http:a.mp4").write_bytes(steady.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe("http:a.mp4").frames == 50


def test_limits(steady: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(read_frames(steady, most_frames=50))) == 50
    assert "more than 49 frames" in refusal(lambda: list(read_frames(steady, most_frames=49)))
    monkeypatch.setattr(video_decoding, "MOST_PIXELS", 1000)
    assert "64 x 48" in refusal(lambda: probe(steady))


def test_a_part_outside_of_the_video_is_refused(steady: Path) -> None:
    assert "it lasts 2.00 s" in refusal(lambda: list(read_frames(steady, start=7)))
    assert "give 0 <= start < end" in refusal(lambda: list(read_frames(steady, start=2, end=1)))
    assert "above 0" in refusal(lambda: list(read_frames(steady, fps=0)))


def test_an_unknown_rate_is_said() -> None:
    info = video.VideoInfo(64, 48, 0, "h264", None, None, None, None, 0.0)
    assert "camera: says no frame rate" in refusal(lambda: info.rate("camera"))


def test_moments_must_ascend(steady: Path) -> None:
    with pytest.raises(ValueError, match="ascend"):
        list(frames_at(steady, [1.0, 0.0]))


def test_an_annotated_copy_has_the_frames_times_and_size_of_its_original(tmp_path: Path, variable: Path) -> None:
    copy = tmp_path / "copy.mp4"

    def draw(frame: video.Frame) -> video.Pixels:
        frame.pixels[-8:, -8:] = (255, 0, 0)
        return frame.pixels

    assert annotate(variable, copy, draw) == len(VARIABLE)
    before, after = probe(variable), probe(copy)
    assert (after.width, after.height, after.frames) == (before.width, before.height, before.frames)
    assert [round(time * 1000) for time in frame_times(copy)] == VARIABLE
    last = list(read_frames(copy))[-1].pixels
    assert last[-4:, -4:, 0].mean() > 200 and index_of(last) == 8


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(24), 12.5])
def test_rates_and_odd_sizes_are_kept(tmp_path: Path, rate: Fraction | float) -> None:
    path, copy = tmp_path / "odd.mp4", tmp_path / "copy.mp4"
    with video_writer(path, rate) as writer:
        for index in range(12):
            writer.write(shade(index, 63, 47))
    annotate(path, copy, lambda frame: frame.pixels)
    for one in (path, copy):
        info = probe(one)
        assert info.fps == pytest.approx(Fraction(rate)) and (info.width, info.height, info.frames) == (63, 47, 12)


def test_a_turned_video_is_copied_as_it_is_shown(tmp_path: Path) -> None:
    turned = make(tmp_path / "turned.mp4", range(0, 200, 40), prepare=lambda stream: stream.set_display_rotation(90))
    annotate(turned, tmp_path / "copy.mp4", lambda frame: frame.pixels)
    info = probe(tmp_path / "copy.mp4")
    assert (info.width, info.height, info.rotation) == (48, 64, 0)


def test_a_video_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), video_writer(tmp_path / "half.mp4", 25) as writer:
        writer.write(shade(0))
        raise RuntimeError("killed")
    with pytest.raises(InputError, match="no frame"), video_writer(tmp_path / "none.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_real_clips_are_read_with_ascending_times() -> None:
    files = [path for path in sorted(real_data("video").rglob("*")) if path.suffix.lower() in video.SUFFIXES]
    for path in files[:3]:
        times = [frame.time for frame in read_frames(path, end=1.0)]
        assert times and times == sorted(set(times))
        assert times == pytest.approx(frame_times(path)[: len(times)])
