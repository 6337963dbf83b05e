"""The acceptance list of the specification, item by item; where another file holds it, the test is called from here.

1 merging, 2 blocks, 3 the whole model, 4 two clips left, 5 schedule, frames, sentences, loader, pictures, 6 optimiser,
7 budget and files, 8 costs and speed, 9 independence, order and conservation, 10 the index.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.text_video_retrieval.data.datamodule import mask_of
from domains.text_video_retrieval.model.schedule import UNMERGED, Schedule
from domains.text_video_retrieval.tiny import networks
from suite.clip.pictures import MEAN, STD, Preprocessing
from suite.clip.words import Words
from tests.golden.registry import run_official
from tests.text_video_retrieval import (
    models,
    reference,
    test_data,
    test_index,
    test_official,
    test_schedule,
    test_tempme,
    test_token_merging,
    test_training,
)
from tests.text_video_retrieval.test_index import encoder, indexed, library, store, videos  # noqa: F401
from tests.text_video_retrieval.test_official import model, released  # noqa: F401


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(["bipartite_merge"], id="1-merging"),
        pytest.param(["blocks"], id="2-blocks"),
        pytest.param(["video_text_full"], id="3-whole-model"),
        pytest.param(["video_two_clips_left"], id="4-two-clips-left"),
        pytest.param(
            ["token_schedule", "frame_sampling", "tokenize", "msrvtt_loader", "transform"],
            id="5-schedule-frames-sentences-loader-pictures",
        ),
        pytest.param(["adamw_cosine"], id="6-optimiser"),
        pytest.param(["keys"], id="7-keys"),
    ],
)
def test_official_cases(kinds: list[str]) -> None:
    for kind in kinds:
        run_official(f"text_video_retrieval/{kind}")


def test_01_bipartite_merging_is_the_loop() -> None:
    test_token_merging.test_merging_is_the_loop(9, 1, 3)
    test_token_merging.test_merging_is_the_loop(8, 4, 2)


def test_02_blocks_are_the_loop() -> None:
    test_tempme.test_every_layer_is_the_loop(models.MERGING)


def test_03_vectors_loss_and_gradients_of_the_whole_model_are_the_loops() -> None:
    """Both towers, the loss and all gradients, by loops over tokens and by the fast code."""
    found, batch = [], test_training.batch(3)
    for slow in (False, True):
        recipe = test_training.recipe()
        recipe.model.train()
        if slow:
            recipe.model.encode_frames = lambda frames, own=recipe.model: _by_loops(own, frames)
        outputs = recipe.compute(batch)
        outputs.loss.backward()
        gradients = {name: p.grad for name, p in recipe.model.named_parameters() if p.grad is not None}
        found.append((outputs, gradients))
    (fast, mine), (loop, theirs) = found
    torch.testing.assert_close(fast.loss, loop.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast.vectors, loop.vectors, atol=1e-5, rtol=1e-4)
    assert set(mine) == set(theirs)
    for name, gradient in theirs.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(mine[name], gradient, atol=1e-4 * scale, rtol=1e-3)


def _by_loops(own: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    vectors = []
    for video in frames:
        clips = list(own.vision_model.pre_layrnorm(own.vision_model.embeddings(video)))
        sizes = None
        for layer in own.vision_model.encoder.layers:
            clips, sizes = reference.block(layer, clips, sizes, heads=4)
        classes = own.plan.steps[-1].classes_left
        rows = torch.cat([clip[:classes] for clip in clips])
        projected = own.visual_projection(own.vision_model.post_layernorm(rows))
        vectors.append(projected / projected.norm(dim=-1, keepdim=True))
    return torch.stack(vectors)


def test_04_a_schedule_may_end_with_several_clips() -> None:
    left = models.adapted(Schedule((2,), (2,), (30, 10), 2))
    assert left.plan.clips == 2
    frames = test_tempme.videos(1)
    torch.testing.assert_close(left.encode_frames(frames), _by_loops(left, frames), atol=1e-5, rtol=1e-4)


def test_05_schedule_frames_sentences_loader_and_pictures(tmp_path: Path) -> None:
    test_schedule.test_the_default_of_b32_is_the_published_one()
    test_schedule.test_b16_has_a_preset_of_its_own()
    test_data.test_frames_are_chosen_by_the_papers_rule(299, 4, 25.0, 1.0, [0, 75, 175, 275])
    words = Words(networks.tokenizer(["a", "red", "square"]), 6)
    [ids] = words(["A red &amp; square"], length=6)
    assert ids[0] == words.tokenizer.bos_token_id
    assert int(ids.max()) == words.tokenizer.eos_token_id == int(ids[int(mask_of(ids).sum()) - 1])
    folder = tmp_path / "Videos"
    for name in ("video0", "video1", "v_one", "clip_a"):
        test_data.clips.still(folder / f"{name}.mp4", 2)
    test_data.test_msrvtt(tmp_path, folder)
    picture = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    resized = Image.fromarray(picture).resize((38, 24), Image.Resampling.BICUBIC).crop((7, 0, 31, 24))
    expected = (np.asarray(resized) / 255 - MEAN) / STD
    np.testing.assert_allclose(Preprocessing(24)(picture).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_06_adamw_and_its_schedule_are_the_published_ones() -> None:
    test_training.test_the_published_optimiser_is_the_formula()


@pytest.mark.parametrize(("patch", "preset"), [(32, "vit-b-32"), (16, "vit-b-16")])
def test_07_507648_numbers_in_51_tensors(patch: int, preset: str) -> None:
    test_tempme.test_at_real_size_507648_numbers_in_51_tensors_train(patch, preset)


def test_07_official_state_and_adapter_come_back(model, released: Path, tmp_path: Path) -> None:  # noqa: F811
    test_official.test_a_released_file_becomes_an_adapter_and_comes_back(model, released, tmp_path)


def test_08_costs_are_348_and_1216_and_merging_is_faster() -> None:
    test_tempme.test_costs_on_paper_are_the_published_ones()
    shape = {"image_size": 80, "layers": 6}
    merging, plain = (models.tempme(kind, 8, **shape) for kind in (Schedule((2, 3), (4, 2), (50, 30), 40), UNMERGED))
    frames = test_tempme.videos(1, 8, 80)
    spent: dict[int, list[float]] = {0: [], 1: []}
    with torch.inference_mode():
        for _ in range(7):
            for place, each in enumerate((plain, merging)):
                started = time.process_time()
                each.encode_frames(frames)
                spent[place].append(time.process_time() - started)
    assert min(spent[0]) / min(spent[1]) > 1


def test_09_a_videos_vector_does_not_depend_on_its_batch() -> None:
    own = models.adapted()
    frames = test_tempme.videos(3)
    together = own.encode_frames(frames)
    alone = torch.cat([own.encode_frames(frames[place : place + 1]) for place in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_09_the_order_of_frames_matters_where_clips_are_joined_and_not_otherwise() -> None:
    frames = test_tempme.videos(1)
    turned = frames[:, [2, 0, 3, 1]]
    merging, plain = models.adapted(), models.adapted(UNMERGED)
    assert not torch.allclose(merging.encode_video(frames), merging.encode_video(turned), atol=1e-3)
    torch.testing.assert_close(plain.encode_video(frames), plain.encode_video(turned), atol=1e-6, rtol=1e-5)


def test_09_sizes_sum_to_the_tokens_that_entered_after_every_layer() -> None:
    own = models.adapted()
    x = test_tempme.entering(own, test_tempme.videos(2))
    for _, size in test_tempme.after_each_layer(own, x):
        assert size is not None
        assert size.view(2, -1).sum(1).tolist() == pytest.approx([models.FRAMES * 37.0] * 2)


def test_10_an_index_is_kept_right_and_searched(encoder, videos: Path, tmp_path: Path) -> None:  # noqa: F811
    test_index.test_what_is_added_changed_renamed_and_deleted_is_found_out(encoder, videos, tmp_path)


def test_10_a_search_names_its_seconds(store, encoder, library: Path) -> None:  # noqa: F811
    test_index.test_a_search_names_the_video_its_segment_and_second(store, encoder, library)


def test_10_exact_search_and_cells_agree() -> None:
    test_index.test_cells_find_what_exact_search_finds()


def test_10_killed_in_the_middle_the_index_can_be_used(
    encoder,  # noqa: F811
    videos: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test_index.test_killed_in_the_middle_and_run_again_it_is_the_uninterrupted_index(
        encoder, videos, tmp_path, monkeypatch, 2
    )
