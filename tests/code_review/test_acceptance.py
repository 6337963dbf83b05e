"""The acceptance list, item by item: which test or golden case holds what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.held import missing

GOLDEN = {
    "1": (
        "unified_diff",
        "diff_lines",
        "prompts",
        "lit_lora",
        "lit_to_hf",
        "lit_adapter",
        "adaption_prompt_hf",
        "keys",
    ),
    "2": ("telly",),
    "7": ("bleu",),
    "9": ("necessity",),
}
"""Kinds of cases of the authors' code, by item."""

HELD = {
    "1: files of lit-llama both ways": ("test_official:test_a_file_goes_both_ways_and_loads_on_a_llama",),
    "2: published counts, Telly's too": (
        "test_training:test_the_published_counts_on_the_meta_device",
        "test_changes:test_tellys_published_counts_on_the_meta_device",
    ),
    "3: SARIF of any diff, the same twice": (
        "test_predict:test_a_diff_of_a_repository_becomes_valid_sarif_whatever_the_model_says",
        "test_review:test_sarif_names_lines_of_the_new_files_and_is_the_same_twice",
        "test_predict:test_predicting_twice_says_the_same",
    ),
    "4: GitHub's rules": ("test_suggestions:test_githubs_rules_hold_for_every_comment",),
    "5: suggestions apply and come off": (
        "test_suggestions:test_suggestions_apply_in_git_and_come_off_again",
        "test_suggestions:test_all_suggestions_together_are_one_patch",
    ),
    "6: diffs there and back, and torn ones": (
        "test_diff:test_diffs_of_git_are_written_again_and_applied",
        "test_diff:test_ten_thousand_mutations_end_in_a_diff_or_in_one_line",
    ),
    "7: BLEU by name": ("test_evaluate:test_the_published_pair_of_line_files_is_scored",),
    "8: a separable set is learnt; what is saved is the same again": (
        "test_tiny:test_what_is_separable_is_learnt_in_two_minutes",
        "test_training:test_a_saved_adapter_gives_the_same_figures_again",
        "test_predict:test_an_adapter_of_another_base_is_refused_with_both_names",
    ),
    "9: chances decide as words do": ("test_tiny:test_words_and_chances_decide_alike",),
    "10: hostile input": (
        "test_bad_input:test_what_a_model_writes_reaches_no_terminal_and_no_page_as_code",
        "test_bad_input:test_paths_outside_the_tree_are_neither_opened_nor_patched",
        "test_review:test_control_characters_reach_no_terminal_and_repeated_words_are_said_once",
        "test_diff:test_a_line_of_fifty_megabytes_is_passed_over",
    ),
    "11: frozen layers have no gradient": (
        "test_changes:test_the_lowest_layers_of_telly_have_no_gradient_and_keep_less",
    ),
}


@pytest.mark.parametrize("item", HELD)
def test_every_item_is_held_by_a_test_that_is_there(item: str) -> None:
    cases = [f"code_review/{case}" for case in GOLDEN.get(item.partition(":")[0], ())]
    assert missing(Path(__file__).parent, HELD[item], cases) == []
