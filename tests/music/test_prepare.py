"""`prepare`: clips, captions and splits in a folder that training reads, and what was dropped."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from domains.music.data.prepare import prepare
from domains.music.data.sources import open_recordings
from suite.cli.main import main
from suite.errors import InputError
from suite.media import audio
from tests.music.made import MBIDS, folder, tone
from tests.real_data import real_data


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "clips.csv").read_text(encoding="utf-8"))))


def told(*argv: str | Path) -> tuple[int, str, str]:
    """Exit code and streams of the command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["music", *map(str, argv)])
    return code, out.getvalue(), err.getvalue()


def test_a_folder_becomes_clips_that_training_reads(tmp_path: Path) -> None:
    folder(tmp_path / "in", 5, seconds=5.0)
    out = tmp_path / "out"
    said = prepare(tmp_path / "in", out=out, seconds=2.0, rate=16000, licence="CC BY 4.0")
    found = rows(out)
    assert said["clips"] == len(found) == 15
    for row in found:
        info = audio.probe(out / row["path"])
        assert (info.rate, info.channels) == (16000, 1)
        assert info.seconds == pytest.approx(float(row["seconds"]), abs=1e-3)
        assert row["text"].startswith("a tone number")
        assert row["licence"] == "CC BY 4.0"
    sides = {split: {row["recording"] for row in found if row["split"] == split} for split in ("train", "val", "test")}
    assert [len(side) for side in sides.values()] == [3, 1, 1]
    assert len(set.union(*sides.values())) == 5
    held = open_recordings(f"{out}:train")
    assert {one.id for one in held.recordings} == sides["train"]
    assert held.licences == ("CC BY 4.0",)
    assert held.name == "out/clips.csv"
    assert "<audio" in (out / "report.html").read_text(encoding="utf-8")
    again = tmp_path / "again"
    prepare(tmp_path / "in", out=again, seconds=2.0, rate=16000, licence="CC BY 4.0")
    assert rows(again) == found


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    home = folder(tmp_path / "in", 3, seconds=3.2)
    audio.write(home / "silent.wav", np.zeros((1, 24000), np.float32), 8000)
    soundfile = pytest.importorskip("soundfile")
    loud = np.clip(4 * np.sin(np.arange(24000) / 20), -1, 1)
    soundfile.write(home / "loud.wav", np.stack([loud, loud], 1), 8000)
    (home / "torn.wav").write_bytes(b"RIFF")
    audio.write(home / "faint.wav", (0.002 * np.sin(np.arange(24000) / 20))[None].astype(np.float32), 8000)
    with_nan = np.full(24000, 0.1)
    with_nan[20000] = np.nan
    soundfile.write(home / "nan.wav", with_nan, 8000, subtype="FLOAT")
    said = prepare(home, out=tmp_path / "out", seconds=1.0, rate=8000)
    assert said["dropped"] == {
        "incomplete clips at the end of a recording are left out": 3,
        "silent clips are left out": 3,
    }
    assert list(said["unread"]) == ["torn.wav", "nan.wav"]
    notices = "\n".join(said["notices"])
    assert "2 recordings cannot be read: torn.wav: " in notices and "; nor nan.wav" in notices
    assert "clipped, peaks are cut off: loud.wav" in notices
    assert "very quiet, below -45 dB: faint.wav" in notices
    assert "1 stereo recording is mixed down" in notices
    found = rows(tmp_path / "out")
    assert not any("nan" in row["recording"] for row in found)
    assert {path.name for path in (tmp_path / "out" / "clips").iterdir()} == {Path(row["path"]).name for row in found}
    # Neither the silent recording nor the one that breaks off stands for a side.
    assert list(said["splits"]) == ["train", "val", "test"]
    assert "torn.wav" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8").partition("Not read")[2]


def test_the_next_step_is_one_that_training_takes(tmp_path: Path) -> None:
    folder(tmp_path / "in", 1)
    _, out, _ = told("prepare", tmp_path / "in", "--out", tmp_path / "my clips", "--seconds", "1")
    assert "clip of 1 recording in" in out or "clips of 1 recording in" in out
    alone = f"--data.train '{tmp_path}/my clips:train' --data.val null --trainer.monitor null"
    assert f"next    suite music train --config configs/music/musicgen_small.yaml {alone}" in out
    folder(tmp_path / "more", 3)
    _, out, _ = told("prepare", tmp_path / "more", "--out", tmp_path / "out", "--seconds", "1", "--rate", "16000")
    assert (
        f"--config configs/music/mustango.yaml --data.train {tmp_path}/out:train --data.val {tmp_path}/out:val" in out
    )


def test_a_table_of_semicolons_is_one(tmp_path: Path) -> None:
    tone(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "table.csv").write_text("path;text\na.wav;slow, soft\n", encoding="utf-8")
    prepare(tmp_path / "in" / "table.csv", out=tmp_path / "out", seconds=1.0)
    assert rows(tmp_path / "out")[0]["text"] == "slow, soft"


def test_a_side_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    folder(tmp_path / "in", 1)
    with pytest.raises(InputError, match=r"in: none of 1 recording is in the split val; there are train \(1\)"):
        open_recordings(f"{tmp_path / 'in'}:val")


def test_voices_are_warned_of_or_left_out(tmp_path: Path) -> None:
    tone(tmp_path / "in" / "a.wav")
    tone(tmp_path / "in" / "b.wav")
    table = tmp_path / "in" / "table.csv"
    table.write_text('path,instrument,raga\na.wav,"Voice, Tabla",Jog\nb.wav,Sitar,Bhairav\n', encoding="utf-8")
    said = prepare(table, out=tmp_path / "kept", seconds=1.0)
    assert any("1 recording has a voice" in notice for notice in said["notices"])
    said = prepare(table, out=tmp_path / "dropped", seconds=1.0, vocals="drop")
    assert {row["recording"] for row in rows(tmp_path / "dropped")} == {"b"}


def test_the_command_mends_swapped_captions(tmp_path: Path) -> None:
    wrong = "Compose a soulful Makam piece that blends the rich timbre of Kanun, Aksak makam, Uşşak usul."
    for number in range(3):
        tone(tmp_path / "in" / f"Kar_{MBIDS[number]}_0.wav")
    lines = [{"location": f"x/Kar_{MBIDS[number]}_0.wav", "main_caption": wrong} for number in range(3)]
    source = tmp_path / "in" / "metadata_test.json"
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    code, out, _ = told("prepare", source, "--out", tmp_path / "as-is", "--seconds", "1")
    assert code == 0 and "swapped in 3 captions" in out
    assert rows(tmp_path / "as-is")[0]["text"] == wrong
    code, out, _ = told("prepare", source, "--out", tmp_path / "mended", "--seconds", "1", "--fix-swapped")
    assert code == 0 and "put back" in out
    assert "Uşşak makam, Aksak usul" in rows(tmp_path / "mended")[0]["text"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seconds", "0"), "seconds is 0"),
        (("--seconds", "nan"), "seconds is nan"),
        (("--rate", "10"), "rate is 10"),
        (("--channels", "3"), "channels is 3"),
        (("--edges", "0.6", "0.5"), "edges are 0.6 0.5"),
        (("--edges", "-1", "0"), "edges are|expected 2"),
        (("--format", "table"), "holds no table"),
        (("--format", "jsonl"), "holds no JSON lines"),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    folder(tmp_path / "in", 1)
    code, _, err = told("prepare", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert code == 2
    assert re.search(said, err), err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_source_of_silence_leaves_nothing_behind(tmp_path: Path) -> None:
    audio.write(tmp_path / "in" / "silent.wav", np.zeros((1, 24000), np.float32), 8000)
    with pytest.raises(InputError, match="no clip is left: 3 silent clips are left out"):
        prepare(tmp_path / "in", out=tmp_path / "out", seconds=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_somebody_s_folder_is_not_replaced(tmp_path: Path) -> None:
    folder(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"is not replaced, it holds thesis\.txt"):
        prepare(tmp_path / "in", out=tmp_path / "out", seconds=1.0)
    said = prepare(tmp_path / "in", out=tmp_path / "own", seconds=1.0)
    assert prepare(tmp_path / "in", out=tmp_path / "own", seconds=1.0)["clips"] == said["clips"]


def test_six_real_recordings_become_clips(tmp_path: Path) -> None:
    """Stereo and mono, Vorbis of several rates and lengths."""
    home = real_data("audio")
    said = prepare(home, out=tmp_path / "out", seconds=10.0, rate=16000, edges=(0.2, 0.1))
    assert {side: counts["recordings"] for side, counts in said["splits"].items()} == {"train": 4, "val": 1, "test": 1}
    assert said["licences"][0] == "see LICENSES.txt beside the recordings"
    assert "creativecommons.org/licenses/by/3.0" in said["licences"][1]  # as the tags of one say
    assert not said["unread"]
    whole = sum(audio.probe(path).seconds for path in sorted(home.glob("*.ogg")))
    assert 3600 * said["hours"] == pytest.approx(0.7 * whole, rel=0.02)
    for row in rows(tmp_path / "out"):
        assert float(row["seconds"]) <= 10
