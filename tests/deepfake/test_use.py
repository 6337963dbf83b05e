"""What users do: predict, evaluate, calibrate, preprocess, explain; by an adapter that no training made."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake import DeepfakeDetector
from domains.deepfake.data import detection, world
from domains.deepfake.data.alignment import template
from domains.deepfake.data.preprocess import _mask_of, preprocess
from domains.deepfake.demo import demo
from domains.deepfake.evaluation.benchmark import benchmark
from domains.deepfake.evaluation.calibrate import best_temperature, calibrate, fit
from domains.deepfake.evaluation.evaluate import evaluate
from domains.deepfake.evaluation.explain import explain
from domains.deepfake.inference import frames, heatmaps
from domains.deepfake.inference.frames import Looked, fills
from domains.deepfake.inference.onnx import onnx
from domains.deepfake.inference.tracks import Tracks
from domains.deepfake.model.manifest import Manifest
from domains.deepfake.output import pictures
from domains.deepfake.output.result import DetectionResult, How, ScoredFace
from domains.deepfake.predict import SUSPICIOUS, Painter, _Gathered
from suite.cli.main import main
from suite.errors import InputError
from suite.media.video import Frame, probe, read_frames
from suite.media.video_writing import video_writer
from tests.deepfake.small import write_adapter, write_base


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter, and media: a face, a video of it, pictures and a video without any."""
    folder = tmp_path_factory.mktemp("home")
    write_adapter(write_base(folder / "base"), folder / "adapter", noise=0.3)
    media = folder / "media"
    media.mkdir()
    clip = world.clip(77, "splice", frames=6, size=160)
    Image.fromarray(clip.frames[0]).save(media / "face.png")
    blank = np.full((120, 120, 3), 90, dtype=np.uint8)
    Image.fromarray(blank).save(media / "nobody.jpg")
    for name, shown in (("clip.mp4", clip.frames), ("empty.mkv.mp4", [blank] * 4)):
        with video_writer(media / name, Fraction(10)) as writer:
            for frame in shown:
                writer.write(frame)
    return folder


@pytest.fixture(scope="module")
def detector(home: Path) -> DeepfakeDetector:
    return DeepfakeDetector.from_pretrained(str(home / "adapter"), base=str(home / "base"), device="cpu")


def test_a_folder_of_pictures_and_videos_gives_tables_and_annotated_copies(
    home: Path, detector: DeepfakeDetector, tmp_path: Path
) -> None:
    results = {
        Path(r.source).name: r for r in detector.predict(home / "media", out=tmp_path, frames=3, keep_crops=True)
    }
    assert {name: result.status for name, result in results.items()} == {
        "face.png": "ok",
        "clip.mp4": "ok",
        "nobody.jpg": "no_face",
        "empty.mkv.mp4": "no_face",
    }
    clip = results["clip.mp4"]
    assert clip.frames_read == 3 and [face.frame for face in clip.faces] == [0, 2, 5]
    assert len(clip.tracks) == 1
    assert clip.p_fake == pytest.approx(np.mean([face.p_fake for face in clip.faces]))
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    faces = [row for row in rows if row["status"] == "ok"]
    assert len(faces) == 4 and all(0 <= float(row["p_fake"]) <= 1 for row in faces)
    assert all((tmp_path / row["crop"]).is_file() for row in faces)
    assert {row["detector"] for row in rows} == {"haar:frontalface_alt2"}
    nobody = [row for row in rows if row["status"] == "no_face"]
    assert len(nobody) == 2 and all(row["p_fake"] == "" for row in nobody)
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)
    summary = {Path(row["path"]).name: row for row in csv.DictReader((tmp_path / "summary.csv").open())}
    assert float(summary["clip.mp4"]["p_fake_max"]) == pytest.approx(max(f.p_fake for f in clip.faces))
    assert summary["nobody.jpg"]["decision"] == "no_face"
    copy = probe(tmp_path / "clip.annotated.mp4")
    assert (copy.width, copy.height) == (160, 160)
    assert sum(1 for _ in read_frames(tmp_path / "clip.annotated.mp4")) == 6
    original = np.asarray(Image.open(home / "media" / "face.png"))
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "face.annotated.png")), original)
    for name in ("contact_sheet.png", "clip.timeline.png", "face.json"):
        assert (tmp_path / name).is_file()


def test_no_face_is_an_answer_of_the_command_and_what_cannot_be_read_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--adapter", str(home / "adapter"), "--base", str(home / "base")]
    assert main(["deepfake", "predict", str(home / "media" / "nobody.jpg"), *words]) == 0
    assert "no face found in the picture; nothing to judge" in capsys.readouterr().out
    for name, content in (("cut.jpg", b"\xff\xd8\xff"), ("cut.mp4", b"no video"), ("notes.txt", b"words")):
        (tmp_path / name).write_bytes(content)
    bad = [str(tmp_path / name) for name in ("cut.jpg", "cut.mp4", "notes.txt", "absent.png")]
    assert main(["deepfake", "predict", str(home / "media" / "face.png"), *bad, *words]) == 2
    said = capsys.readouterr()
    assert "face.png" in said.out and "1 done, 4 failed" in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 4
    assert "not a picture" in said.err and "neither a picture" in said.err and "no such file" in said.err
    assert "Traceback" not in said.err


def test_the_next_inputs_are_read_while_the_model_has_one_and_errors_stay_their_own(
    detector: DeepfakeDetector, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["0.png", "1.png", "cut.jpg", "3.png"]
    for name in names:
        shutil.copy(home / "media" / "face.png", tmp_path / name)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    opened, second, readers = [], threading.Event(), set()
    read, score = frames.open_picture, detector.predict_crops

    def reading(path: Path) -> Image.Image:
        opened.append(Path(path).name)
        readers.add(threading.current_thread())
        if len(opened) == 2:
            second.set()
        return read(path)

    def scoring(crops: list[np.ndarray]) -> np.ndarray:
        assert second.wait(60), "nothing was read while the model had the first picture"
        return score(crops)

    monkeypatch.setattr(frames, "open_picture", reading)
    monkeypatch.setattr(detector, "predict_crops", scoring)
    results = list(detector.predict([tmp_path / name for name in names]))
    assert [Path(result.source).name for result in results] == names == opened
    assert [result.error is None for result in results] == [True, True, False, True]
    assert len({result.faces[0].p_fake for result in results if result.faces}) == 1
    assert threading.current_thread() not in readers and not any(reader.is_alive() for reader in readers)


def test_what_is_said_beside_a_score(detector: DeepfakeDetector, home: Path) -> None:
    result = detector(home / "media" / "face.png")
    record = result.to_dict()
    assert "no proof" in record["scope"] and "nothing" in record["scope"]  # what it was trained on
    assert record["decision"] in ("likely manipulated", "no sign of manipulation")
    assert any("Haar cascades" in notice for notice in result.notices)
    points = np.zeros((5, 2))
    assert detection.Face((0, 0, 39, 39), 0.9, points).low_quality
    assert detection.Face((0, 0, 90, 90), 0.6, points).low_quality
    assert not detection.Face((0, 0, 90, 90), 0.9, points).low_quality


def test_crops_are_scored_as_they_are_in_batches_of_any_size(detector: DeepfakeDetector, home: Path) -> None:
    crop = np.asarray(Image.open(home / "media" / "face.png"))
    as_given = detector(home / "media" / "face.png", detector="crops")
    assert as_given.faces[0].p_fake == pytest.approx(float(detector.predict_crops([crop])[0]), abs=1e-6)
    options = {"detector": "crops", "frames": 5}
    one, many = (detector(home / "media" / "clip.mp4", batch_size=size, **options) for size in (1, 4))
    assert [f.p_fake for f in one.faces] == pytest.approx([f.p_fake for f in many.faces], abs=1e-6)


def test_a_crop_is_told_by_how_its_face_fills_it_and_lies_in_it() -> None:
    square, landmarks = np.zeros((200, 200, 3), dtype=np.uint8), template("deepfakebench", 200)
    whole = detection.Face((50.0, 20.0, 150.0, 160.0), 1.0, landmarks)
    assert fills(square, [whole]) and not fills(square, [whole, whole])
    assert not fills(np.zeros((200, 300, 3), dtype=np.uint8), [whole])
    assert not fills(square, [detection.Face((50.0, 50.0, 150.0, 160.0), 1.0, landmarks)])  # 55 %
    assert not fills(square, [detection.Face(whole.box, 1.0, landmarks + 10)])
    assert fills(square, [detection.Face(whole.box, 1.0, landmarks + 10, estimated=True)])


def test_a_camera_is_looked_at_a_few_times_a_second(
    detector: DeepfakeDetector, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def camera(source: str, *, fps: float) -> Iterator[Frame]:
        asked[source] = fps
        for number in itertools.count():  # without an end
            yield Frame(number / fps, np.asarray(Image.open(home / "media" / "face.png")), number)

    monkeypatch.setattr(frames, "read_frames", camera)
    [result] = detector.predict("webcam", frames=3)
    assert asked == {"webcam": 4.0} and result.kind == "video" and result.frames_read == 3
    assert [face.time for face in result.faces] == [0.0, 0.25, 0.5] and len(result.tracks) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [({"frames": 0}, "frames is 0"), ({"threshold": 2.0}, "threshold is 2"), ({"detector": "scrfd"}, "non-commercial")],
)
def test_options_out_of_range_are_refused(detector: DeepfakeDetector, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(detector.predict(["x.png"], **options))


def test_detectors_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give YuNet's"):
        detection.detector("yunet", tmp_path / "yunet.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="reads no YuNet in it"):
        detection.detector("yunet", tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="shape_predictor_81_face_landmarks"):
        detection.detector("dlib")
    with pytest.raises(InputError, match="needs no file"):
        detection.detector("haar", tmp_path / "bad.onnx")


def test_the_cascades_find_most_made_portraits_about_where_they_are() -> None:
    find, found, misses = detection.Haar(), 0, []
    for number in range(12):
        clip = world.clip(300 + number, frames=1, size=128)
        faces = find(clip.frames[0])
        found += len(faces) == 1
        if len(faces) == 1:
            unit = np.linalg.norm(clip.landmarks[0][1] - clip.landmarks[0][0])
            misses.append(np.linalg.norm(faces[0].landmarks - clip.landmarks[0], axis=1).mean() / unit)
    assert found >= 8
    assert np.mean(misses) < 0.25


def test_tracks_follow_faces_that_move_and_cross_frames_without_them() -> None:
    tracks = Tracks()
    left, right = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)
    assert tracks.take([left, right]) == [0, 1]
    assert tracks.take([(52.0, 1.0, 62.0, 11.0), (2.0, 1.0, 12.0, 11.0)]) == [1, 0]
    assert tracks.take([]) == []
    assert tracks.take([(3.0, 1.0, 13.0, 11.0), (100.0, 0.0, 110.0, 10.0)]) == [0, 2]


def test_a_small_face_that_walks_on_stays_one_person() -> None:
    """Looked at a few times a second, a face of 10 pixels is beside where it was, and nobody else is near."""
    tracks = Tracks()
    for step in range(5):
        left = 12.0 * step
        assert tracks.take([(left, 0.0, left + 10, 10.0), (200.0, 0.0, 210.0, 10.0)]) == [0, 1]
    # Another one who stands twice as far away is somebody else, and so is a face of three times the size.
    assert tracks.take([(75.0, 0.0, 85.0, 10.0)]) == [2]
    assert tracks.take([(215.0, 0.0, 245.0, 30.0)]) == [3]


def face(time: float, score: float, track: int = 0, left: float = 0.0) -> ScoredFace:
    return ScoredFace(round(10 * time), time, track, (left, 0.0, left + 10, 10.0), (), 1.0, score)


def test_a_video_is_judged_by_its_most_suspicious_person_who_is_there_long_enough() -> None:
    real = [face(t, 0.1) for t in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]
    forged = [face(t, 0.9, 1, 50) for t in (2.0, 3.0)]
    passing = [face(5.0, 1.0, 2, 90)]
    result = DetectionResult("v.mp4", kind="video", faces=(*real, *forged, *passing), how=How(threshold=0.5))
    assert result.p_fake == pytest.approx(0.9) and result.decision == "likely manipulated"
    assert result.suspicious_span == (2.0, 3.0)
    assert result.frames_with_face == 8 and len(result.tracks) == 3
    calm = DetectionResult("v.mp4", kind="video", faces=tuple(real), how=How(threshold=0.5))
    assert calm.suspicious_span is None and calm.p_fake == pytest.approx(0.1)
    assert DetectionResult("v.mp4", status="no_face").p_fake is None


def test_boxes_move_evenly_between_the_frames_that_were_looked_at() -> None:
    low = {"landmarks": (), "det_score": 1.0, "p_fake": 0.9}
    seen = tuple(ScoredFace(None, t, 0, (left, 5.0, left + 10, 38.0), **low) for t, left in ((0.0, 10.0), (1.0, 30.0)))
    painter = Painter(DetectionResult("v.mp4", kind="video", faces=seen, times=(0.0, 1.0)))
    black = np.zeros((40, 60, 3), dtype=np.uint8)
    halfway = painter(Frame(0.5, black.copy()))
    lit = np.flatnonzero(halfway[38].any(-1))
    assert lit.min() in (19, 20) and lit.max() in (30, 31)
    assert not painter(Frame(5.0, black.copy())).any()


def test_heatmaps_are_of_the_models_own_numbers(detector: DeepfakeDetector) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = detector.logits(pixels)
    for kind in ("patches", "rollout"):
        maps = heatmaps.heatmap(detector.model, pixels, kind)
        assert maps.shape == (2, 64, 64) and float(maps.min()) >= 0 and float(maps.max()) <= 1
        assert torch.equal(maps, heatmaps.heatmap(detector.model, pixels, kind))
    assert torch.equal(detector.logits(pixels), before)  # nothing of it stays
    flow = heatmaps.rollout(detector.model, pixels[:1])
    torch.testing.assert_close(flow, _rollout(detector, pixels[:1]))


def _rollout(detector: DeepfakeDetector, pixels: torch.Tensor) -> torch.Tensor:
    """Gradient rollout from the formula, attention computed here."""
    tower = detector.model.vision_model
    tower.set_attn_implementation("eager")
    outputs = tower(pixel_values=pixels.clone().requires_grad_(True), output_attentions=True)
    feature = outputs.pooler_output
    logits = detector.model.classify(feature).logits
    gradients = torch.autograd.grad((logits[0, 1] - logits[0, 0]), outputs.attentions)
    tower.set_attn_implementation("sdpa")
    joint = torch.eye(65)
    for weights, gradient in zip(outputs.attentions, gradients, strict=True):
        layer = (weights * gradient).clamp(min=0)[0].mean(0) + torch.eye(65)
        joint = (layer / layer.sum(1, keepdim=True)) @ joint
    row = joint[0, 1:]
    return ((row - row.min()) / (row.max() - row.min())).detach().view(1, 8, 8)


def test_calibration_is_kept_with_the_adapter_and_predicted_by(home: Path, tmp_path: Path) -> None:
    told = calibrate(
        "faces:val:6", adapter=str(home / "adapter"), base=str(home / "base"), out=tmp_path / "calibrated", device="cpu"
    )
    stated = json.loads((tmp_path / "calibrated" / "suite.json").read_text())["domain"]
    assert stated["temperature"] == told["temperature"] != 1 and stated["calibrated_on"] == "faces:val:6"
    again = DeepfakeDetector.from_pretrained(str(tmp_path / "calibrated"), base=str(home / "base"), device="cpu")
    result = again(home / "media" / "face.png", detector="crops")
    assert result.how.threshold == told["threshold"] and result.how.temperature == told["temperature"]
    crop = again.preprocessing.batch([Image.open(home / "media" / "face.png")])
    margin = again.logits(crop)[0]
    share = torch.sigmoid((margin[1] - margin[0]).double() / told["temperature"])
    assert result.p_fake == pytest.approx(float(share))
    untouched = json.loads((home / "adapter" / "suite.json").read_text())["domain"]
    assert untouched["temperature"] == 1


def test_the_temperature_is_the_one_of_least_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    labels = (rng.uniform(size=4000) < 1 / (1 + np.exp(-true))).astype(int)
    logits = np.stack([np.zeros(4000), 3 * true], 1)  # three times too sure
    assert best_temperature(logits, labels) == pytest.approx(3, rel=0.1)
    half = np.arange(4000) % 2 == 0
    fitted = fit([f"v/{n}/0" for n in range(2000)], logits[half], labels[half])
    assert fitted.ece_after < fitted.ece_before
    with pytest.raises(InputError, match="one class alone"):
        fit(["a/0"], logits[:1], labels[:1])


def test_evaluation_prints_a_row_a_data_set_and_undefined_for_a_single_class(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base"), "device": "cpu"}
    told = evaluate(["faces:test:4"], out=tmp_path / "scores", **words)  # type: ignore[arg-type]
    head, row, *_ = told["message"].splitlines()
    assert "video AUROC" in head and row.startswith("faces:test:4")
    assert 0 <= told["faces:test:4"]["video"]["auroc"] <= 1
    assert (tmp_path / "scores" / "report.html").is_file()
    frames = list(csv.DictReader((tmp_path / "scores" / "frames.csv").open()))
    assert len([frame for frame in frames if frame["data"] == "faces:test:4"]) == 16
    single = tmp_path / "real" / "a"
    single.mkdir(parents=True)
    Image.open(home / "media" / "face.png").save(single / "0.png")
    (tmp_path / "one.txt").write_text("real/a/0.png\n")
    told = evaluate([str(tmp_path / "one.txt")], **words)  # type: ignore[arg-type]
    assert "undefined" in told["message"]


def test_faces_are_cut_into_a_tree_of_their_own_and_a_second_call_goes_on(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "set"
    (source / "real").mkdir(parents=True)
    (source / "lists.txt").write_text("real/clip\n")
    for name in ("clip.mp4", "empty.mkv.mp4"):
        (source / "real" / name).write_bytes((home / "media" / name).read_bytes())
    out = tmp_path / "faces"
    told = preprocess(source, out=out, detector="haar", num_frames=3)
    assert told["with_face"] == 1 and told["files"] == 2 and told["failed"] == 0
    pictures = sorted((out / "real" / "clip").iterdir())
    assert [path.name for path in pictures] == ["000.png", "002.png", "005.png"]
    assert Image.open(pictures[0]).size == (256, 256)
    assert (out / "lists.txt").is_file()
    for path in pictures:
        path.unlink()
    preprocess(source, out=out, detector="haar", num_frames=3)
    assert not list((out / "real" / "clip").iterdir())  # noted as done, and not cut again
    with pytest.raises(InputError, match="cut with frames 3, now 4"):
        preprocess(source, out=out, detector="haar", num_frames=4)
    with pytest.raises(InputError, match="native belongs to protocol gend"):
        preprocess(source, out=tmp_path / "x", target_size="native")


def test_gend_takes_frames_from_the_middle_until_enough_have_a_face(home: Path, tmp_path: Path) -> None:
    told = preprocess(
        home / "media" / "clip.mp4", out=tmp_path, protocol="gend", detector="haar", num_frames=2, target_size="native"
    )
    names = sorted(path.name for path in (tmp_path / "clip").iterdir())
    assert names == ["000.png", "003.png"] and told["mode"] == "at_least"


def test_masks_of_faceforensics_lie_in_itself_whatever_the_compression(tmp_path: Path) -> None:
    forgery = tmp_path / "manipulated_sequences" / "Deepfakes"
    video, mask = forgery / "c23" / "videos" / "000_003.mp4", forgery / "masks" / "videos" / "000_003.mp4"
    for path in (video, mask):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    assert _mask_of(video, tmp_path, tmp_path) == mask
    assert _mask_of(video, tmp_path, None) is None
    mask.unlink()
    assert _mask_of(video, tmp_path, tmp_path) is None  # and not the video itself
    other = tmp_path.parent / "masks" / "manipulated_sequences" / "Deepfakes" / "c23" / "videos" / "000_003_mask.mp4"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    assert _mask_of(video, tmp_path, tmp_path.parent / "masks") == other


def test_masks_choose_the_forged_face_and_are_cut_beside_it(home: Path, tmp_path: Path) -> None:
    clip = world.clip(77, "splice", frames=2, size=160)
    source, masks = tmp_path / "set", tmp_path / "masks_of_set"
    source.mkdir()
    masks.mkdir()
    wide = np.concatenate([clip.frames, clip.frames], axis=2)  # the same face twice; the right one is forged
    marks = np.concatenate([0 * clip.masks, clip.masks], axis=2)
    for path, shown in (
        (source / "v.mp4", wide),
        (masks / "v.mp4", (255 * marks[..., None]).astype(np.uint8).repeat(3, 3)),
    ):
        with video_writer(path, Fraction(10)) as writer:
            for frame in shown:
                writer.write(frame)
    preprocess(source, out=tmp_path / "out", detector="haar", num_frames=1, masks=masks)
    mask = np.asarray(Image.open(tmp_path / "out" / "v" / "masks" / "000.png"))
    assert mask.mean() > 20  # of the left face it would be empty


def test_an_explanation_is_a_crop_its_maps_and_the_picture_under_them(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base"), "device": "cpu"}
    told = explain(home / "media" / "face.png", out=tmp_path, detector="haar", **words)  # type: ignore[arg-type]
    assert {Path(file).name for file in told["files"]} == {
        "face.face0.crop.png",
        *(f"face.face0.{kind}{place}.png" for kind in ("patches", "rollout") for place in ("", ".frame")),
    }
    assert "no mask of the forgery" in told["message"]
    with pytest.raises(InputError, match="no face found by haar"):
        explain(home / "media" / "nobody.jpg", out=tmp_path, detector="haar", **words)  # type: ignore[arg-type]


def test_a_detector_goes_out_as_a_graph_that_answers_the_same(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base")}
    told = onnx(out=tmp_path / "detector.pt", format="torchscript", **words)  # type: ignore[arg-type]
    assert told["side"] == 64 and told["difference"] < 1e-4
    scorer = DeepfakeDetector.from_pretrained(**words, device="cpu")
    crop = np.asarray(Image.open(home / "media" / "face.png").resize((64, 64)))
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    loaded = torch.jit.load(str(tmp_path / "detector.pt"))
    assert float(loaded(pixels)[0, 1]) == pytest.approx(float(scorer.predict_crops([crop])[0]), abs=1e-5)


def test_the_onnx_file_answers_the_same_too(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    words = {"adapter": str(home / "adapter"), "base": str(home / "base")}
    onnx(out=tmp_path / "detector.onnx", **words)  # type: ignore[arg-type]
    pixels = torch.rand(3, 3, 64, 64)
    scorer = DeepfakeDetector.from_pretrained(**words, device="cpu")
    wanted = scorer.predict_crops(scorer.preprocessing.normalize(255 * pixels.movedim(1, -1)))
    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"))
    [found] = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    assert found[:, 1] == pytest.approx(wanted, abs=1e-5)


def test_the_demo_draws_and_scores_every_family(tmp_path: Path) -> None:
    told = demo(tmp_path)
    assert all(Path(picture).is_file() for picture in told["pictures"])
    assert told["seconds"] < 20
    rows = told["tables"]["Families"]
    assert [row["family"] for row in rows] == ["real", *world.SEEN, *world.UNSEEN]
    real, *forged = (float(row["score"]) for row in rows)
    assert sum(forged) / len(forged) > real + 0.2


def test_scores_go_from_green_to_red_and_the_corner_says_the_mean_so_far() -> None:
    colors = [pictures.color_of(score) for score in (0.0, 0.5, 1.0)]
    assert colors[0][1] > colors[0][0] and colors[2][0] > 2 * colors[2][1]
    assert colors[0][0] < colors[1][0] and colors[1][1] > colors[2][1]
    black = np.zeros((200, 300, 3), dtype=np.uint8)
    boxed = pictures.boxes(black, [((100.0, 60.0, 160.0, 120.0), 1.0)])
    assert tuple(boxed[119, 130]) == colors[2] and not boxed[:8].any()  # nothing in the corner
    seen = tuple(face(t, score) for t, score in ((0.0, 0.2), (1.0, 0.8)))
    painter = Painter(DetectionResult("v.mp4", kind="video", faces=seen, times=(0.0, 1.0)))
    assert painter.means.tolist() == pytest.approx([0.2, 0.5])
    early, late = (painter(Frame(t, black.copy()))[4:24, 20:].copy() for t in (0.5, 1.0))
    assert early.any() and not np.array_equal(early, late)


def test_the_most_suspicious_frames_of_a_video_are_shown(
    detector: DeepfakeDetector, home: Path, tmp_path: Path
) -> None:
    [result] = detector.predict(home / "media" / "clip.mp4", out=tmp_path, frames=6)
    worst = sorted(result.faces, key=lambda one: -one.p_fake)
    assert [time for time, _ in result.suspicious] == sorted(one.time for one in worst[:SUSPICIOUS])
    assert (tmp_path / "clip.suspicious.png").is_file()
    gathered = _Gathered()
    for number in range(20):
        gathered.see(Looked(np.zeros((8, 8, 3), np.uint8), float(number), (None,)))  # type: ignore[arg-type]
        gathered.take(face(float(number), (7 * number % 20) / 20))
    assert [time for time, _ in gathered.suspicious()] == sorted(
        sorted(range(20), key=lambda n: -(7 * n % 20))[:SUSPICIOUS]
    )


def test_a_result_says_which_threshold_and_where_it_is_from(detector: DeepfakeDetector, home: Path) -> None:
    result = detector(home / "media" / "face.png")
    assert "threshold 0.500, uncalibrated" in str(result) and result.to_dict()["threshold_from"] == "uncalibrated"
    assert "threshold 0.900, as asked for" in str(detector(home / "media" / "face.png", threshold=0.9))
    known = Manifest(calibrated_on="faces:val:320", threshold_rule="eer")
    assert known.origin == "eer on faces:val:320"


def test_the_largest_face_of_each_frame_alone_gives_the_benchmarks_mean(
    detector: DeepfakeDetector, home: Path, tmp_path: Path
) -> None:
    """Two people in turn, far apart: two tracks, or one video of one mean."""
    clip = world.clip(77, "splice", frames=4, size=160)
    with video_writer(tmp_path / "turns.mp4", Fraction(10)) as writer:
        for number, frame in enumerate(clip.frames):
            wide = np.full((160, 480, 3), 90, dtype=np.uint8)
            left = 320 * (number % 2)
            wide[:, left : left + 160] = frame
            writer.write(wide)
    followed = detector(tmp_path / "turns.mp4", detector="haar")
    alone = detector(tmp_path / "turns.mp4", detector="haar", face="largest")
    assert len(followed.tracks) == 2 and len(alone.tracks) == 1
    assert alone.p_fake == pytest.approx(np.mean([one.p_fake for one in alone.faces]))
    assert [one.p_fake for one in alone.faces] == pytest.approx([one.p_fake for one in followed.faces])


def test_patterns_lists_and_streams_are_inputs_of_the_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--adapter", str(home / "adapter"), "--base", str(home / "base"), "--detector", "haar"]
    assert main(["deepfake", "predict", str(home / "media" / "*.[pj][np]g"), *words]) == 0
    said = capsys.readouterr().out
    assert "face.png" in said and "nobody.jpg" in said and "2 done" in said
    (tmp_path / "list.txt").write_text(f"# mine\n{home / 'media' / 'face.png'}\n\n")
    assert main(["deepfake", "predict", str(tmp_path / "list.txt"), *words]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["deepfake", "predict", "rtsp://127.0.0.1:9/none", *words]) == 2
    assert "rtsp://127.0.0.1:9/none: " in capsys.readouterr().err.replace("error: ", "")
    assert main(["deepfake", "predict", str(tmp_path / "*.mp4"), *words]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no path in it"), ("a.png\nb.png\n", r"2 of 2 paths are not there: .*a\.png, .*b\.png")],
)
def test_what_is_wrong_with_a_list_of_inputs_is_said(
    text: str, said: str, detector: DeepfakeDetector, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        detector(tmp_path / "list.txt")


def test_a_detector_that_must_be_surer_finds_fewer_and_boxes_cover_their_last_pixel() -> None:
    picture = world.clip(77, "splice", frames=1, size=160).frames[0]
    [found] = detection.detector("haar")(picture)
    assert detection.detector("haar", None, found.score)(picture)
    assert not detection.detector("haar", None, min(1.0, found.score + 0.01))(picture)
    with pytest.raises(InputError, match=r"detector score 1\.5: give 0 to 1"):
        detection.detector("haar", None, 1.5)
    # Of 4 x 4 pixels each, shifted by 1: 12 of 20 are shared. As areas they would be 6 of 12.
    boxes = np.array([[0.0, 0.0, 3.0, 3.0], [1.0, 0.0, 4.0, 3.0], [20.0, 20.0, 30.0, 30.0]])
    scores = np.array([0.9, 0.8, 0.95])
    assert detection.suppressed(boxes, scores, 0.55) == [2, 0]
    assert detection.suppressed(boxes, scores, 0.65) == [2, 0, 1]


def test_yunets_file_is_the_one_for_this_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, year in (("4.14.0", "2023mar"), ("5.0.1", "2026may")):
        monkeypatch.setattr(detection, "opencv", lambda version=version: SimpleNamespace(__version__=version))
        assert year in detection._yunet_url().address and len(detection._yunet_url().sha256) == 64


@pytest.mark.parametrize("kind", ["link", "name"])
def test_faces_stay_in_their_folder_and_are_of_one_video_each(kind: str, home: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "set", tmp_path / "out"
    (source / "real").mkdir(parents=True)
    shutil.copy(home / "media" / "clip.mp4", source / "real" / "clip.mp4")
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.mkdir()
        (out / "real").symlink_to(tmp_path / "elsewhere")
    else:
        shutil.copy(home / "media" / "clip.mp4", source / "real" / "clip.mov")
    told = preprocess(source, out=out, detector="haar", num_frames=2)
    assert told["failed"] == 1
    assert ("a link leads out of" if kind == "link" else "as those of real/clip.mov do") in told["message"]
    assert not list((tmp_path / "elsewhere").iterdir()) if kind == "link" else (out / "real" / "clip").is_dir()


def test_a_benchmark_says_what_a_face_costs(home: Path) -> None:
    told = benchmark(adapter=str(home / "adapter"), base=str(home / "base"), faces=5, batch_size=4, device="cpu")
    assert told["faces_per_second"] > 0 and told["loading_seconds"] > 0 and told["peak_memory_gb"] > 0.05
    assert "a second by 4" in told["message"]
    with pytest.raises(InputError, match="faces is 0"):
        benchmark(faces=0)
