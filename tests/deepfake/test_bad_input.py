"""What users get wrong, two ways and more of each: one line that names it, exit code 2, and the good ones are done."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake.data import world
from domains.deepfake.model import bases
from suite.cli.main import main
from suite.hub import weights
from suite.media.video_writing import video_writer
from tests.deepfake.small import write_adapter, write_base


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter on it, a face and a video."""
    folder = tmp_path_factory.mktemp("bad")
    write_adapter(write_base(folder / "base"), folder / "adapter")
    clip = world.clip(77, "splice", frames=3, size=160)
    Image.fromarray(clip.frames[0]).save(folder / "face.png")
    with video_writer(folder / "clip.mp4", Fraction(10)) as writer:
        for frame in clip.frames:
            writer.write(frame)
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run a command that must exit with 2; its lines of errors, in which nothing of a traceback is."""

    def run(*words: object) -> list[str]:
        assert main(["deepfake", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return [line for line in error.splitlines() if line.startswith("error: ")]

    return run


def predict(home: Path, *inputs: object) -> tuple[object, ...]:
    return ("predict", *inputs, "--adapter", home / "adapter", "--base", home / "base", "--detector", "haar")


def _bomb(path: Path) -> None:
    """A PNG of 30,000 by 30,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")))


@pytest.mark.parametrize("kind", ["empty.png", "words.jpg", "cut.png", "bomb.png", "empty.mp4", "words.avi", "cut.mp4"])
def test_a_damaged_file_costs_one_line_and_the_next_one_is_done(
    kind: str, home: Path, tmp_path: Path, said: Callable[..., list[str]]
) -> None:
    bad = tmp_path / kind
    if kind == "bomb.png":
        _bomb(bad)
    elif kind.startswith("cut"):
        whole = (home / ("face.png" if kind.endswith("png") else "clip.mp4")).read_bytes()
        bad.write_bytes(whole[: len(whole) // 3])
    else:
        bad.write_bytes(b"" if kind.startswith("empty") else b"these are words")
    out = tmp_path / "out"
    [line] = said(*predict(home, bad, home / "face.png"), "--out", out)
    assert str(bad) in line
    assert (out / "face.json").is_file() and not list(out.glob("*.part*"))


def test_a_sound_without_pictures_is_no_video(home: Path, tmp_path: Path, said: Callable[..., list[str]]) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [line] = said(*predict(home, path))
    assert str(path) in line and "picture" in line


@pytest.mark.parametrize("size", [20, 160])
def test_no_face_is_an_answer(size: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((size, size, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    assert main(["deepfake", *map(str, predict(home, tmp_path / "wall.png"))]) == 0
    assert "no face found in the picture; nothing to judge" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["fake/a/0.png"], "it must contain 'real'"),
        (["nothing/a/0.png"], "it must contain 'real'"),
        (["real/a/0.png", "real/b/7.png"], "1 of 2 frames are not there: real/b/7.png"),
        ([f"real/b/{number}.png" for number in range(8)], "8 of 8 frames are not there: real/b/0.png, real/b/1.png"),
        (["real/a/0.png", f"real/{'b' * 300}/0.png"], "1 of 2 frames are not there"),
        (["\xff\xfe\x00\x01"], "frames are not there"),
        (["../up/real/a/0.png"], "leads out of the list's folder"),
        (["/etc/../etc/hostname"], "leads out of the list's folder"),
    ],
)
def test_lists_that_are_wrong(
    command: str, lines: list[str], words: str, home: Path, tmp_path: Path, said: Callable[..., list[str]]
) -> None:
    for name in ("fake/a", "real/a", "nothing/a"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(home / "face.png", tmp_path / name / "0.png")
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="latin-1")
    options = ["--adapter", home / "adapter", "--base", home / "base"]
    [line] = said(command, tmp_path / "list.txt", *options)
    assert words in line and str(tmp_path / "list.txt") in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.json", '{"a.mp4": 5}'),
        ("metadata.json", '{"a.mp4": {"is_fake": "yes"}}'),
        ("metadata.json", "[1]"),
        ("labels.csv", "name,label\na.mp4,1\n"),
        ("labels.csv", "label,filename\n1\n"),
    ],
)
def test_labels_of_dfdc_that_are_none(
    name: str, content: str, home: Path, tmp_path: Path, said: Callable[..., list[str]]
) -> None:
    (tmp_path / name).write_text(content)
    [line] = said("evaluate", tmp_path, "--adapter", home / "adapter", "--base", home / "base")
    assert str(tmp_path / name) in line


@pytest.mark.parametrize("below", ["face.png", "face.png/below", "face.png/far/below"])
def test_results_below_a_file_are_refused(below: str, home: Path, said: Callable[..., list[str]]) -> None:
    [line] = said(*predict(home, home / "face.png"), "--out", home / below)
    assert f"{home / 'face.png'} is a file" in line or f"{home / 'face.png'}: is a file" in line


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"hidden_size": 32}, "width 48, that of base {} has 32"),
        ({"num_hidden_layers": 2}, "layers 3, that of base {} has 2"),
        ({"patch_size": 16}, "patch 8, that of base {} has 16"),
    ],
)
def test_an_adapter_of_another_tower_says_what_is_expected_and_what_is_there(
    sizes: dict[str, int],
    words: str,
    home: Path,
    tmp_path: Path,
    said: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = write_base(tmp_path / "other", **sizes)
    monkeypatch.setattr(bases, "of_folder", lambda *_: pytest.fail("the tower was made before it was compared"))
    [line] = said("predict", home / "face.png", "--adapter", home / "adapter", "--base", other)
    assert words.format(other) in line


@pytest.mark.parametrize("kind", ["pickle", "program", "words"])
def test_files_that_would_run_code_are_not_read(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = {"pickle": "model.ckpt", "program": "model.torchscript", "words": "model.safetensors"}[kind]
    if kind == "pickle":
        torch.save({"state_dict": {}, "hyper_parameters": Path("x")}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"PK or words")
    words = ["adapters", "convert", str(tmp_path / name), "--domain", "deepfake", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and str(tmp_path / name) in error and not (tmp_path / "out").exists()


def test_an_adapter_without_its_weights_never_predicts_from_a_random_head(
    home: Path, tmp_path: Path, said: Callable[..., list[str]]
) -> None:
    broken = tmp_path / "adapter"
    shutil.copytree(home / "adapter", broken)
    file = broken / "parameters" / "adapter_model.safetensors"
    state = weights.read(file)
    file.unlink()
    [line] = said("predict", home / "face.png", "--adapter", broken, "--base", home / "base")
    assert "parameters" in line
    weights.write({name: value for name, value in state.items() if "bias" not in name}, file)
    [line] = said("predict", home / "face.png", "--adapter", broken, "--base", home / "base")
    assert "bias" in line


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0), ("threshold", 1.5), ("head", "MLP"), ("thresholds", 3), ("calibrated_frames", "many")],
)
def test_a_manifest_that_says_the_impossible_is_refused(
    field: str, value: object, home: Path, tmp_path: Path, said: Callable[..., list[str]]
) -> None:
    broken = tmp_path / "adapter"
    shutil.copytree(home / "adapter", broken)
    manifest = json.loads((broken / "suite.json").read_text())
    manifest["domain"][field] = value
    (broken / "suite.json").write_text(json.dumps(manifest))
    [line] = said("predict", home / "face.png", "--adapter", broken, "--base", home / "base")
    assert str(value) in line or field in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["preprocess", "./nowhere", "--out", "faces"], "no such file or folder"),
        (["preprocess", ".", "--out", "."], "is the source itself"),
        (["preprocess", ".", "--out", "o", "--target-size", "native"], "native belongs to protocol gend"),
        (["preprocess", ".", "--out", "o", "--num-frames", "0"], "give at least 1"),
        (["preprocess", ".", "--out", "o", "--detector", "haar", "--detector-score", "2"], "give 0 to 1"),
        (["evaluate", "faces:val:2", "--adapter", "nobody"], "nobody"),
        (["evaluate", "./nowhere"], "no such file or folder"),
        (["evaluate", "faces:test:2", "--corrupt", "fog:3"], "corruption 'fog:3' is unknown"),
        (["calibrate", "faces:val:2", "--adapter", "tiny"], "stays as it is; give --out"),
        (["calibrate", "faces:val:2", "--adapter", "tiny", "--out", "o", "--threshold", "half"], "is no rule"),
        (["explain", "./nowhere.png"], "nowhere.png"),
        (["benchmark", "--faces", "0"], "faces is 0"),
        (["config", "./nowhere.yaml", "--out", "o.yaml"], "nowhere.yaml"),
        (["predict", "./a.png", "--frames", "0"], "no such file"),
        (["train", "--config", "configs/deepfake/tiny.yaml", "--data.train", "./nowhere"], "no such file or folder"),
        (["train", "--config", "configs/deepfake/tiny.yaml", "--data.scale", "0"], "data.scale is 0"),
    ],
)
def test_commands_that_cannot_be_done(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., list[str]]
) -> None:
    root = Path(__file__).resolve().parents[2]
    words = [str(root / word) if word.startswith("configs/") else word for word in words]
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "x.png")
    [line] = said(*words)
    assert told in line
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()} - {"x.png"}
    assert not left, left


def test_standard_input_is_refused_where_it_is_not_read(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deepfake", "predict", "-", "--adapter", "./nowhere"]) == 2
    assert "standard input is not read; name files or folders" in capsys.readouterr().err
    assert main(["deepfake", "predict", "--help"]) == 0
    assert "standard input" not in capsys.readouterr().out


def test_a_sheet_of_refusals_alone_is_not_what_to_open(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    words = [str(tmp_path / "broken.jpg"), "--adapter", str(home / "adapter"), "--base", str(home / "base")]
    assert main(["deepfake", "predict", *words, "--out", str(tmp_path / "out"), "--detector", "haar"]) == 2
    assert capsys.readouterr().out == "0 done, 1 failed\n"
