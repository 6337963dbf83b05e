"""The acceptance list, item by item: which test holds what, and the rest of it.

Items 1 to 6 are held by golden cases of the released code, and, for whoever has none at hand, by plain loops and the
numbers that follow from the definitions.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domains.deepfake.data.datasets import frame_lists
from domains.deepfake.recipe import DeepfakeRecipe
from suite import adapters
from tests.deepfake.small import write_base
from tests.deepfake.test_data import picture
from tests.held import missing

HELD = {
    "1: 104,450 in 102 tensors, and the names at full size": (
        "golden:deepfake/keys",
        "test_classifier:test_what_trains_of_every_tower",
        "test_official:test_the_names_at_full_size",
    ),
    "2: features, logits, embeddings, the identity at the start": (
        "golden:deepfake/ln_tuned_clip",
        "golden:deepfake/clip_preprocess",
        "test_classifier:test_the_feature_is_the_class_token_after_the_last_norm",
        "test_classifier:test_the_adapter_starts_as_the_frozen_base_to_the_bit_and_merges_to_the_bit",
    ),
    "3: losses and slerp, without pairs, of equal vectors, in bfloat16": (
        "golden:deepfake/losses_slerp",
        "test_classifier:test_uniformity_and_alignment_of_known_pairs",
        "test_classifier:test_the_embedding_losses_are_means_over_unordered_pairs",
        "test_classifier:test_slerp_in_bfloat16_has_no_nan_for_equal_and_opposite_features",
        "test_classifier:test_features_are_interpolated_within_classes_and_a_lonely_one_stays",
    ),
    "4: metrics": (
        "golden:deepfake/metrics",
        "test_metrics:test_auroc_is_the_share_of_pairs_in_order",
        "test_metrics:test_average_precision_weighs_precision_by_the_recall_that_it_adds",
        "test_metrics:test_the_two_equal_error_rates_differ_where_the_curve_has_steps",
        "test_metrics:test_a_perfect_detector_and_one_that_says_always_the_same",
    ),
    "5: alignment by both protocols": (
        "golden:deepfake/face_align",
        "test_data:test_the_least_squares_similarity_is_the_best_one",
        "test_data:test_the_templates_are_the_published_ones",
        "test_data:test_a_landmark_far_off_does_not_count_for_the_robust_similarity",
    ),
    "6: listing and selection": (
        "golden:deepfake/dataset_listing",
        "golden:deepfake/frame_selection",
        "test_data:test_lists_are_joined_once_sorted_by_bytes_and_scored_by_name",
        "test_data:test_a_limit_takes_whole_videos_in_the_released_order",
        "test_data:test_frames_evenly_spread_and_farthest_first",
    ),
    "7: the released layouts there and back": (
        "test_official:test_a_checkpoint_goes_through_adapter_and_merge_to_a_hub_folder_with_equal_logits",
    ),
    "8: equal folder names never mix": (
        "test_metrics:test_videos_of_one_name_in_two_sources_are_two_but_one_for_deepfakebench",
        "test_acceptance:test_frames_of_equal_folders_in_two_sources_are_videos_of_their_own",
    ),
    "9: pictures, folders and videos end to end; no face": (
        "test_predict:test_a_folder_of_pictures_and_videos_gives_tables_and_annotated_copies",
        "test_predict:test_no_face_is_an_answer_of_the_command_and_what_cannot_be_read_is_named",
    ),
    "10: calibration is kept and used; undefined figures": (
        "test_calibrate:test_calibration_is_kept_with_the_adapter_and_predicted_by",
        "test_evaluation:test_every_threshold_and_how_many_frames_gave_it_are_kept",
        "test_evaluation:test_frames_that_calibrated_an_adapter_do_not_evaluate_it",
        "test_evaluation:test_a_single_class_is_undefined_and_said_which",
        "test_calibrate:test_evaluation_prints_a_row_a_data_set_and_undefined_for_a_single_class",
    ),
    "the minimal experiments: norms beat the head, another frequency, shortcuts, calibration": (
        "test_experiments:test_tuned_norms_beat_the_head_alone_and_leave_the_rest_to_the_byte",
        "test_experiments:test_a_pattern_of_another_frequency_is_a_data_set_of_its_own",
        "test_data:test_shortcuts_between_the_classes_are_told",
        "test_experiments:test_calibration_on_half_of_the_videos_does_not_raise_the_error_of_the_other",
    ),
    "the bad inputs": (
        "test_bad_input:test_a_damaged_file_costs_one_line_and_the_next_one_is_done",
        "test_bad_input:test_lists_that_are_wrong",
        "test_bad_input:test_an_adapter_of_another_tower_says_what_is_expected_and_what_is_there",
        "test_bad_input:test_files_that_would_run_code_are_not_read",
        "test_bad_input:test_commands_that_cannot_be_done",
        "test_preprocess:test_faces_stay_in_their_folder_and_are_of_one_video_each",
    ),
}


@pytest.mark.parametrize("item", HELD)
def test_every_item_is_held_by_a_test_that_is_there(item: str) -> None:
    tests = [name for name in HELD[item] if not name.startswith("golden:")]
    cases = [name.removeprefix("golden:") for name in HELD[item] if name.startswith("golden:")]
    assert missing(Path(__file__).parent, tests, cases) == []


def test_frames_of_equal_folders_in_two_sources_are_videos_of_their_own(tmp_path: Path) -> None:
    """Item 8, from the list on."""
    paths = [picture(tmp_path / source / "000" / "0.png") for source in ("real", "Deepfakes")]
    listing = tmp_path / "all.txt"
    listing.write_text("".join(f"{path.relative_to(tmp_path)}\n" for path in paths))
    found = frame_lists.read([listing])
    assert len(found.videos) == 2
    assert {frame.video.rpartition("/")[0].rpartition("/")[2]: frame.label for frame in found.frames} == {
        "real": 0,
        "Deepfakes": 1,
    }


def test_a_step_leaves_every_frozen_number_as_it_is_and_an_adapter_is_small(tmp_path: Path) -> None:
    """Of section 8: what is frozen, byte for byte; 104,450 numbers of 4 bytes and their names."""
    recipe = DeepfakeRecipe(base=str(write_base(tmp_path / "base")))
    recipe.configure_model()
    frozen = {n: p.detach().clone() for n, p in recipe.model.named_parameters() if not p.requires_grad}
    trained = {n: p.detach().clone() for n, p in recipe.model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in recipe.model.parameters() if p.requires_grad], lr=1e-2)
    torch.manual_seed(0)
    batch = {"image": torch.randn(6, 3, 64, 64), "label": torch.tensor([0, 1, 0, 1, 1, 0])}
    recipe.compute(batch).loss.backward()
    optimizer.step()
    after = dict(recipe.model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert all(not torch.equal(after[name], value) for name, value in trained.items())
    folder = adapters.save(recipe.model, tmp_path / "adapter")
    numbers = sum(value.numel() for value in trained.values())
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    names = 200 * len(trained) + 400  # of the headers
    assert 4 * numbers < size < 4 * numbers + names
    assert 4 * 104_450 + 200 * 102 + 400 <= 440_000
