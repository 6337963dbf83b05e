"""Diffs, what the published tools make of hunks, prompts, and figures of the three tasks."""

from __future__ import annotations

import pytest

from domains.code_review import metrics
from domains.code_review.data import codereviewer
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.paths import unquote
from domains.code_review.model.encoding import sample
from domains.code_review.model.wording import LLAMA_REVIEWER
from domains.code_review.types import Diff
from suite.errors import InputError
from tests.golden.registry import Case, kind


@kind("code_review/unified_diff")
def unified_diff(case: Case) -> None:
    data = case.json()
    for expected in data["cases"]:
        raw = expected["diff_latin1"].encode("latin-1")
        diff = parse_diff(raw)
        assert diff.render() == raw, expected["name"]
        check_files(diff, expected)
    good = {"wrong_context", "absolute_path", "dotdot", "trailing_signature", "empty"}
    for malformed in data["malformed"]:
        if malformed["name"] in good:
            diff = parse_diff(malformed["diff"])
            assert diff.render() == malformed["diff"].encode()
            assert any(file.unsafe for file in diff) == (malformed["name"] in ("absolute_path", "dotdot"))
        else:
            with pytest.raises(InputError, match=r"line \d+: "):
                parse_diff(malformed["diff"])


def check_files(diff: Diff, expected: dict) -> None:
    for file, wanted in zip(diff, expected["files"], strict=True):
        assert (file.added, file.removed, file.binary) == (wanted["added"], wanted["removed"], wanted["is_binary"])
        assert (file.status == "renamed") == wanted["is_rename"]
        assert (file.old_path is None, file.new_path is None) == (wanted["is_new"], wanted["is_deleted"])
        for path, name in ((file.old_path, wanted["source"]), (file.new_path, wanted["target"])):
            plain = unquote(name).removeprefix("a/").removeprefix("b/")
            assert path == (None if name == "/dev/null" else plain)
        for hunk, shown in zip(file.hunks, wanted["hunks"], strict=True):
            numbers = (hunk.old_start, hunk.old_count, hunk.new_start, hunk.new_count)
            assert numbers == tuple(shown[name] for name in ("old_start", "old_count", "new_start", "new_count"))
            assert hunk.section == shown["section"]
            rows = [[line.kind, line.old, line.new, f"{line.text}\n"] for line in hunk.lines]
            encoded = [
                [*row[:3], row[3].encode("latin-1").decode("utf-8", "surrogateescape")] for row in shown["lines"]
            ]
            assert rows == encoded
    # Applied to the files before, what was read gives git's files after.
    for file in diff:
        if file.old_path and file.new_path and not file.binary:
            after = applied(file, expected["before_latin1"][file.old_path])
            assert after == expected["after_latin1"][file.new_path]


def applied(file, before: str) -> str:
    rows, at = [], 0
    lines = before.split("\n")
    lines = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    for hunk in file.hunks:
        start = hunk.old_start - (hunk.old_count > 0)
        rows += lines[at:start]
        rows += [line.content.encode("utf-8", "surrogateescape").decode("latin-1") for line in hunk.side("RIGHT")]
        at = start + hunk.old_count
    return "".join([*rows, *lines[at:]])


@kind("code_review/diff_lines")
def diff_lines(case: Case) -> None:
    data = case.json()
    for hunk in data["hunks"]:
        made, wanted = codereviewer.surrounded(hunk["patch"], hunk["oldf"]), hunk["classification"]
        assert (made is not None) == wanted["available"], hunk["name"]
        if made is not None:
            assert (made.text, list(made.labels)) == (wanted["input"], wanted["labels"]), hunk["name"]
        assert codereviewer.comment_source(hunk["patch"]) == hunk["comment_generation"]["source"], hunk["name"]
    for pair in data["refinement"]:
        for rows, tagged, plain in (
            (pair["old"], pair["source_before_msg"], pair["simple_source_before_msg"]),
            (pair["new"], pair["target"], pair["simple_target"]),
        ):
            assert codereviewer.refinement_source(rows) == tagged
            assert codereviewer.refinement_source(rows, plain=True) == plain
        compared = pair["process_pred_gold"]
        wanted = (compared["pred_out"], compared["gold_out"])
        assert codereviewer.refinement_pair(compared["pred_in"], pair["new"]) == wanted


class Characters:
    """The golden's tokenizer: one token a character."""

    bos_token_id, eos_token_id = 1, 2

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [ord(character) + 3 for character in text]


@kind("code_review/prompts")
def prompts(case: Case) -> None:
    data = case.json()
    names = {"rnp": "necessity", "rcg": "comment", "cr": "refinement"}
    for expected in data["cases"]:
        prompt = LLAMA_REVIEWER.prompt(expected["instruction"], expected["input"])
        assert prompt == expected["prompt"]
        if expected["task"]:
            assert LLAMA_REVIEWER.instructions[names[expected["task"]]] == expected["instruction"]
        for name, most, masked in (
            ("max4096_mask0", 4096, False),
            ("max4096_mask1", 4096, True),
            ("max340_mask1", 340, True),
        ):
            wanted = expected[name]
            made = sample(Characters(), prompt, expected["output"], most, masked)
            ours = [data["ignore_index"] if label == -100 else label for label in made.labels]
            assert (made.input_ids[-40:], len(made.input_ids)) == (wanted["input_ids"], wanted["n_input_ids"])
            assert (ours[-40:], ours.count(-1)) == (wanted["labels_tail"], wanted["n_ignored"])


@kind("code_review/necessity")
def necessity(case: Case) -> None:
    data = case.json()
    for threshold, wanted in data["thresholds"].items():
        scored = metrics.necessity(data["gold"], data["p_yes"], float(threshold))
        assert [list(row) for row in scored.confusion] == wanted["confusion"]
        report = wanted["report"]
        assert scored.accuracy == pytest.approx(report["accuracy"], abs=1e-9)
        for name, found in (
            ("0", scored.of(0)),
            ("1", scored.of(1)),
            ("macro avg", scored.average()),
            ("weighted avg", scored.average(weighted=True)),
        ):
            assert found == pytest.approx(report[name], abs=1e-9), (threshold, name)


@kind("code_review/bleu")
def bleu(case: Case) -> None:
    data = case.json()
    assert set(data["stopwords"]) == metrics.stop_words()
    for pair in data["cases"]:
        a, b = [pair["prediction"]], [pair["reference"]]
        assert metrics.bleu_smooth_sentence(a, b) == pytest.approx(pair["bleu_smooth_sentence"], abs=0.005), a
        removed = metrics.bleu_smooth_sentence(a, b, rmstop=True)
        assert removed == pytest.approx(pair["bleu_smooth_sentence_rmstop"], abs=0.005), a
        assert metrics.bleu_chars(a, b) == pytest.approx(pair["bleu_chars"], abs=0.005), a
        assert metrics.smooth_sentence(a[0], b[0]) == pytest.approx(pair["unrounded_smooth"], abs=1e-9), a
        assert metrics.tokens(a[0]) == pair["tokens_prediction"] and metrics.tokens(b[0]) == pair["tokens_reference"]
    predictions = [pair["prediction"] for pair in data["cases"]]
    references = [pair["reference"] for pair in data["cases"]]
    corpus = data["corpus"]
    for name, found in (
        ("bleu_smooth_sentence", metrics.bleu_smooth_sentence(predictions, references)),
        ("bleu_smooth_sentence_rmstop", metrics.bleu_smooth_sentence(predictions, references, rmstop=True)),
        ("bleu_chars", metrics.bleu_chars(predictions, references)),
    ):
        assert found == pytest.approx(corpus[name], abs=0.005), name
    for name, smooth in (("bleu_corpus_smooth", True), ("bleu_corpus_plain", False)):
        found, wanted = metrics.bleu_corpus(predictions, references, smooth), corpus[name]
        assert found.bleu == pytest.approx(wanted["bleu"], abs=1e-9)
        assert found.precisions == pytest.approx(wanted["precisions"], abs=1e-9)
        assert (found.brevity, found.ratio) == pytest.approx((wanted["bp"], wanted["ratio"]), abs=1e-9)
        assert (found.length, found.reference_length) == (wanted["hyp_len"], wanted["ref_len"])
