"""The embedded default under use: commands, exported towers, what the tiny adapter reaches."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains.text_video_retrieval.data.datamodule import mask_of
from domains.text_video_retrieval.inference.exporting import export
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.predict import VideoMatcher
from suite.cli import merging
from suite.cli.main import main
from suite.errors import InputError
from suite.hub import paths
from tests.text_video_retrieval import clips


def said(*argv: str | Path) -> tuple[int, dict[str, Any], str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["text_video_retrieval", *map(str, argv), "--json"])
    return code, json.loads(out.getvalue()), err.getvalue()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained("tiny")


@pytest.mark.parametrize(("patch", "merged", "plain"), [(32, "34.8", "52.9"), (16, "121.6", "210.8")])
def test_count_prints_the_published_costs(patch: int, merged: str, plain: str) -> None:
    config = paths.assets() / "configs" / "text_video_retrieval" / f"msrvtt_b{patch}.yaml"
    code, counted, _ = said("count", "--config", config)
    assert (code, counted["trainable"]) == (0, 507_648)
    assert counted["costs"]["a video"].startswith(f"{merged} GMACs")
    assert counted["costs"]["without merging"].startswith(f"{plain} GMACs")


def test_count_of_64_frames() -> None:
    code, counted, _ = said("count", "--config", paths.assets() / "configs/text_video_retrieval/activitynet_b32.yaml")
    assert (code, counted["trainable"]) == (0, 491_520 + (64 + 16 + 4) * 768)
    assert "500 of 3200 tokens" in counted["costs"]["a video"]


def test_index_and_search_by_the_command(tmp_path: Path) -> None:
    film = clips.made(tmp_path / "videos" / "film.mp4", 30, 31, side=96)
    clips.made(tmp_path / "videos" / "other.mp4", 40, side=96)
    (tmp_path / "videos" / "torn.mp4").write_bytes(b"none")
    store, out = tmp_path / "index", tmp_path / "found"
    code, indexed, _ = said("index", tmp_path / "videos", "--store", store)
    assert (code, indexed["added"], indexed["failed"], indexed["segments"]) == (0, 2, 1, 4)
    assert indexed["errors"]["torn.mp4"]
    code, found, _ = said("search", clips.world.clip("test", 31, events=2).caption, "--store", store, "--out", out)
    assert code == 0
    assert (found["hits"][0]["path"], found["hits"][0]["start"]) == (film.name, 4.0)
    assert sorted(Path(file).name for file in found["files"]) == ["results.csv", "results.html", "results.json"]
    code, _, err = said("search", "", "--store", store)
    assert code == 2 and "query is empty" in err
    assert said("store", "verify", "--store", store)[0] == 0
    assert said("search", "a", "--store", tmp_path)[0] == 2


def test_the_same_weights_hardly_merged_give_the_same_vectors(encoder: Encoder) -> None:
    """85 % fewer tokens, and vectors that point the same way; only where tokens are merged are positions added."""
    hardly = encoder.scheduled(replace(encoder.stated.schedule, tome_r=0, merge_token_proportion=(1, 0)), "cpu")
    plain = encoder.unmerged("cpu")
    assert (encoder.tokens, hardly.tokens, plain.tokens) == (39, 256, 260)
    videos = [list(clips.world.clip("test", number, events=2).pictures()[::2]) for number in range(6)]
    merged, almost, unmerged = (each.videos(videos)[0] for each in (encoder, hardly, plain))
    assert ((merged * almost).sum(1) > 0.99).all()
    assert (merged @ unmerged.T).argmax(1).tolist() == list(range(6))


def test_a_clip_and_the_other_order_of_its_events_have_sentences_of_their_own(encoder: Encoder) -> None:
    made = [clips.world.clip("test", number, events=2) for number in range(8)]
    every = [each for clip in made for each in (clip, clip.turned())]
    vectors = encoder.videos([list(clip.pictures()[::2]) for clip in every])[0]
    scores = encoder.texts([clip.caption for clip in every])[0] @ vectors.T
    other = [place ^ 1 for place in range(len(every))]
    assert (scores.diagonal() > scores[range(len(every)), other]).mean() > 0.9


def test_exported_towers_are_the_encoder(encoder: Encoder, tmp_path: Path) -> None:
    made = export(tmp_path / "towers")
    assert {Path(file).name for file in made["files"]} >= {"video.pt", "text.pt", "towers.json", "tokenizer.json"}
    frames = torch.randn(3, encoder.frames, 3, 64, 64)
    video = torch.jit.load(str(tmp_path / "towers" / "video.pt"))(frames)
    torch.testing.assert_close(video, torch.from_numpy(encoder.encoded(frames)[0]), atol=1e-4, rtol=1e-4)
    tokens = encoder.words(["a red star jumps", "a", "two"])
    text = torch.jit.load(str(tmp_path / "towers" / "text.pt"))(tokens)
    expected = encoder.model.encode_text(tokens, mask_of(tokens))
    torch.testing.assert_close(text, torch.nn.functional.normalize(expected, dim=-1), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_onnx_merges_the_tokens_that_the_model_merges(encoder: Encoder, tmp_path: Path) -> None:
    """Equal tokens too, of one colour all over: the first of those that tie goes first in both."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="exports to ONNX need the extra onnx")
    answer = export(tmp_path / "towers", format="onnx")
    assert answer["video"] < 1e-4 and answer["text"] < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "towers" / "video.onnx"), providers=["CPUExecutionProvider"])
    grey = torch.zeros(1, 4, 3, 64, 64)
    half = torch.cat([grey[..., :32], grey[..., 32:] + 1], -1)
    for frames in (grey, half):
        found = torch.from_numpy(session.run(None, {"input": frames.numpy()})[0])
        expected = torch.nn.functional.normalize(encoder.model.encode_video(frames), dim=-1)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_temporal_positions_are_interpolated_to_other_frames_on_request(encoder: Encoder, tmp_path: Path) -> None:
    """Four positions to eight: the ends stay, and between them stands what the line through them says."""
    with pytest.raises(
        InputError, match=r"positions are of 4 frames; leave it at 4, interpolate them \(--interpolate\)"
    ):
        Encoder.from_pretrained("tiny", frames=8)
    longer = Encoder.from_pretrained("tiny", device="cpu", frames=8, interpolate=True)
    assert longer.frames == longer.stated.frames == 8
    for layer, (trained, wanted) in {1: (4, 8), 2: (2, 4)}.items():
        held, found = (own.model.vision_model.encoder.layers[layer].temporal_position for own in (encoder, longer))
        assert (held.shape[1], found.shape[1]) == (trained, wanted)
        at = np.linspace(0, trained - 1, wanted)
        for number in range(0, held.shape[-1], 17):
            line = np.interp(at, np.arange(trained), held[0, :, 0, number].detach().numpy())
            np.testing.assert_allclose(found[0, :, 0, number].detach().numpy(), line, atol=1e-6)
    pictures = list(clips.world.clip("test", 3, events=2).pictures())
    assert longer.videos([pictures])[0].shape == (1, encoder.dim)
    assert longer.unmerged("cpu").frames == 8
    matcher, film = VideoMatcher(encoder), clips.made(tmp_path / "film.mp4", 3)
    assert len(matcher(film, frames=8, interpolate=True).times) == 8
    assert len(matcher(film).times) == 4
    with pytest.raises(InputError, match=r"frames is 8, and the adapter's temporal positions are of 4"):
        matcher(film, frames=8)
    with pytest.raises(InputError, match="frames is 0; give at least 1"):
        matcher(film, frames=0)
    with pytest.raises(InputError, match="clips enter layer"):
        Encoder.from_pretrained("tiny", frames=5, interpolate=True)


def test_an_index_remembers_how_many_frames_it_was_made_with(tmp_path: Path) -> None:
    clips.made(tmp_path / "videos" / "film.mp4", 30, 31, side=96)
    words = ("index", tmp_path / "videos", "--store", tmp_path / "index")
    assert said(*words, "--frames", 8, "--interpolate")[1]["segments"] == 1
    assert said("search", "a red square", "--store", tmp_path / "index", "--out", tmp_path / "out")[0] == 0
    code, _, err = said(*words)
    assert code == 2 and "its segments are of 8 frames, the model takes 4; give --frames 8" in err


@pytest.mark.parametrize("named", [True, False], ids=["by the domain", "by a path alone"])
def test_merging_tempme_into_a_plain_clip_is_refused_with_what_to_do(tmp_path: Path, named: bool) -> None:
    adapter = paths.assets() / "checkpoints" / "tiny" / "text_video_retrieval" / "adapter"
    base = adapter.parent / "base"
    domain = "text_video_retrieval" if named else None
    advice = "suite text_video_retrieval export writes both towers" if named else "name the domain with --domain"
    with pytest.raises(InputError, match=advice):
        merging.merge(str(adapter), tmp_path / "out", name=None, domain=domain, base=str(base))
    assert not (tmp_path / "out").exists()
