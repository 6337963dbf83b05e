"""The acceptance list, item by item: which test or golden case holds what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.held import missing

GOLDEN = {
    "1": ("codebleu", "published_codebleu", "java_fix", "exec_metrics", "humaneval_x", "methods2test_map", "keys"),
    "2": ("trainable_counts",),
    "7": ("lora_codegen",),
    "8": ("labels",),
    "9": ("brace_stop",),
}
"""Kinds of cases of the authors' code, by item."""

HELD = {
    "1: a model's real answers of the study": ("test_evaluate:test_a_models_real_answers_of_the_study_are_scored",),
    "2: 39 numbers, two misprints": (
        "test_presets:test_a_recipe_names_all_bases_with_their_numbers_and_explains_every_line",
        "test_presets:test_count_gives_the_published_numbers_without_a_download",
    ),
    "3: of a hostile model's tests the good ones": (
        "test_judge:test_of_hostile_tests_exactly_the_good_ones_are_kept",
        "test_writer:test_of_a_hostile_models_tests_exactly_the_good_ones_are_written",
    ),
    "4: users' tests stay, the same seed writes the same": (
        "test_writer:test_the_users_tests_stay_as_they_are_and_the_same_seed_writes_the_same_file",
    ),
    "5: coverage and mutation by hand": (
        "test_judge:test_coverage_is_what_coverage_py_says_by_hand",
        "test_mutants:test_the_score_is_that_of_brute_force",
    ),
    "6: Java with a JDK and without": (
        "test_java_writer:test_with_a_jdk_tests_are_compiled_and_run",
        "test_java_writer:test_without_a_jdk_tests_are_parsed_and_that_is_said",
    ),
    "7: adapters there and back": (
        "test_training:test_an_adapter_is_trained_saved_loaded_and_merged_with_the_same_logits",
        "test_training:test_an_adapter_that_does_not_say_its_layers_has_those_of_its_tensors",
    ),
    "8: labels": ("test_training:test_the_loss_is_on_the_test_alone_and_pairs_that_are_too_long_are_counted",),
    "9: where answers end": ("test_prompts:test_an_answer_is_over_where_no_test_goes_on",),
    "10: doctor": (
        "test_sandbox:test_doctor_says_what_is_enforced",
        "test_sandbox:test_without_namespaces_nothing_runs_unless_it_is_allowed",
    ),
}


@pytest.mark.parametrize("item", HELD)
def test_every_item_is_held_by_a_test_that_is_there(item: str) -> None:
    cases = [f"unit_tests/{case}" for case in GOLDEN.get(item.partition(":")[0], ())]
    assert missing(Path(__file__).parent, HELD[item], cases) == []
