"""The verb `predict`: whatever a model says, what is written is valid, in its place, and applies."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from domains.code_review import CodeReviewer, ReviewQuery, RuleReviewer, parse_diff
from domains.code_review.data.examples import hunk_of
from domains.code_review.inference import session as sessions
from domains.code_review.inference.session import Session, Written
from domains.code_review.inference.texts import flaw
from suite import adapters
from suite.cli.main import main
from suite.errors import InputError
from tests.code_review import changes, small
from tests.code_review.test_review import check_sarif

BEFORE = b"def total(prices):\n    found = 0\n    for price in prices:\n        found += price\n    return found\n"
AFTER = b"def total(prices):\n    found = 1\n    for price in prices:\n        found += price\n    return found\n"
MENDED = BEFORE.decode().rstrip("\n")


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A repository with a change that is not committed, in which the command runs."""
    folder = changes.repository(tmp_path / "tree", {"shop/prices.py": BEFORE})
    changes.write(folder, {"shop/prices.py": AFTER})
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def said(monkeypatch):
    """What the models say in place of their noise: a text by task; chances by hunk."""
    told: dict[str, object] = {"necessity": [0.9], "comment": "`found` must start at 0.", "refinement": MENDED}

    def written(self, task, prompts, most=None):
        return [Written(str(told[task]), -0.5, True) for _ in prompts]

    monkeypatch.setattr(Session, "written", written)
    monkeypatch.setattr(Session, "chances", lambda self, prompts: [told["necessity"][0]] * len(prompts))
    return told


def reviewer(**options) -> CodeReviewer:
    place = small.home()
    return CodeReviewer.from_pretrained(str(place / "adapter"), base=str(place / "base"), **options)


def given(monkeypatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_a_diff_of_a_repository_becomes_valid_sarif_whatever_the_model_says(tree, monkeypatch, capsys):
    diff = changes.git(tree, "diff").stdout
    for seed in range(2):
        given(monkeypatch, diff)
        more = ("--format", "sarif", "--temperature", "1.5", "--seed", str(seed))
        assert main(["code_review", "predict", "-", *small.words(*more)]) == 0
        log = json.loads(capsys.readouterr().out)
        check_sarif(log)
        assert len(log["runs"][0]["results"]) == 1


@pytest.mark.parametrize("form", ["text", "json", "sarif", "github", "rdjson", "markdown", "html", "patch"])
def test_every_format_is_printed_alone(tree, said, capsys, form):
    assert main(["code_review", "predict", str(tree), *small.words("--format", form)]) == 0
    out = capsys.readouterr().out
    if form == "patch":
        changes.git(tree, "apply", "--check", given=out.encode())
    elif form in ("json", "sarif", "github"):
        json.loads(out)
    assert "found" in out or "Found" in out


def test_a_suggestion_mends_the_file_and_goes_back(tree, said):
    [result] = reviewer().predict(tree)
    [finding] = result.findings
    assert (finding.path, finding.line, finding.side, finding.need) == ("shop/prices.py", 2, "RIGHT", 0.9)
    assert finding.suggestion is not None
    patch = finding.suggestion.patch.encode()
    changes.git(tree, "apply", given=patch)
    assert (tree / "shop/prices.py").read_bytes() == BEFORE
    changes.git(tree, "apply", "-R", given=patch)
    assert (tree / "shop/prices.py").read_bytes() == AFTER


def test_blank_lines_around_a_hunk_are_not_the_models_to_change(tmp_path, said):
    before, after = b"\n\n" + BEFORE + b"\n\nx = 1\n", b"\n\n" + AFTER + b"\n\nx = 1\n"
    tree = changes.repository(tmp_path / "tree", {"a.py": before})
    changes.write(tree, {"a.py": after})
    said["refinement"] = MENDED
    [result] = reviewer().predict(tree)
    assert result.findings[0].suggestion.lines == ("    found = 0",)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "suggestion: empty"),
        (AFTER.decode(), "suggestion: changes nothing, or cannot be placed"),
        ("def total(prices:\n  )(", "suggestion: would break the file's syntax"),
        ("x = 1\n" * 40, "suggestion: looping"),
    ],
)
def test_code_that_is_no_suggestion_is_dropped_and_counted(tree, said, answer, reason):
    said["refinement"] = answer
    [result] = reviewer().predict(tree)
    assert result.findings[0].suggestion is None and result.dropped == {reason: 1}


@pytest.mark.parametrize("text", ["", "  \n ", "###", "...", "no no no no no no no no no no no no no no no no no"])
def test_an_empty_or_looping_comment_is_never_shown(tree, said, text):
    said["comment"] = text
    [result] = reviewer().predict(tree)
    [finding] = result.findings
    assert (finding.comment, finding.rule) == ("", "review/needs-review")
    assert sum(result.dropped.values()) == 1


def test_ordinary_comments_are_no_loops():
    assert not flaw("Use `x` here, and `x` there, and `x` everywhere.")
    assert not flaw("This is very, very, very slow.")
    assert flaw("the value of the value of the value of the value of the value of the value of the value of")
    assert flaw("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")


def test_below_the_threshold_nothing_is_said(tree, said):
    said["necessity"] = [0.4]
    assert [result.findings for result in reviewer().predict(tree)] == [()]
    [result] = reviewer().predict(tree, threshold=0.3)
    assert len(result.findings) == 1


def test_what_a_model_adds_behind_its_comment_is_cut(tree, said):
    said["comment"] = "Start at 0.\n### Response: no"
    [result] = reviewer().predict(tree)
    assert result.findings[0].comment == "Start at 0."


def test_necessity_is_the_chance_of_yes_against_no_behind_the_prompt():
    hunk = hunk_of("@@ -1,2 +1,2 @@\n x\n-y\n+z")
    assert hunk is not None
    own = reviewer().session(ReviewQuery())
    prompt = own.about("necessity", hunk, "a.py")
    [chance] = own.chances([prompt])
    adapters.activate(own.model, "necessity")
    start = [own.tokenizer.bos_token_id, *own.tokenizer.encode(prompt, add_special_tokens=False)]
    logits = own.model(torch.tensor([start])).logits[0, -1]
    pair = [own.tokenizer.encode(f"{prompt}{word}", add_special_tokens=False)[-1] for word in ("yes", "no")]
    assert chance == pytest.approx(float(logits[pair].softmax(-1)[0]), abs=1e-5)


def test_answers_of_several_tokens_are_scored_whole(monkeypatch):
    own = reviewer().session(ReviewQuery())
    prompt = "x ### Response:"
    ids = own.tokenizer.encode(prompt, add_special_tokens=False)
    ids = [own.tokenizer.bos_token_id, *ids]
    yes, no = [7, 8, 9], [7, 9]
    monkeypatch.setattr(sessions, "yes_and_no", lambda tokenizer, asked: (ids, (yes, no)))
    [chance] = own.chances([prompt])
    scores = own._engine("necessity", 1).logprobs([ids, ids], [yes, no])
    assert chance == pytest.approx(1 / (1 + math.exp(scores[1] - scores[0])), abs=1e-5)


def test_a_hunk_that_is_too_long_is_read_in_parts_with_their_own_lines(tree, said):
    rows = b"".join(b"value_%d = %d\n" % (n, n) for n in range(600))
    changes.write(tree, {"shop/prices.py": rows})
    [result] = reviewer().predict(tree)
    lines = [finding.line for finding in result.findings]
    assert len(result.findings) == 1, "one comment, said once"
    said["comment"] = ""
    [result] = reviewer().predict(tree)
    lines = [finding.line for finding in result.findings]
    assert len(lines) > 3 and lines == sorted(set(lines)) and max(lines) <= 600
    assert len({finding.fingerprint for finding in result.findings}) == len(lines)


def test_a_comment_can_stand_at_the_line_that_makes_it_likeliest(tree, said, monkeypatch):
    after = AFTER.replace(b"return found", b"return -found")
    changes.write(tree, {"shop/prices.py": after})

    def likelier(self, task, prompts, answer):
        return [-9.0 if "-found" not in prompt.split("The diff hunk is")[1] else -1.0 for prompt in prompts]

    monkeypatch.setattr(Session, "logprobs", likelier)
    [result] = reviewer().predict(tree, anchor="likelihood")
    assert result.findings[0].line == 5


def test_a_comment_stands_at_the_change_that_its_suggestion_mends(tree, said):
    after = BEFORE.replace(b"found = 0", b"found = 0.0").replace(b"return found", b"return -found")
    changes.write(tree, {"shop/prices.py": after})
    said["refinement"] = after.decode().rstrip("\n").replace("-found", "found")
    [result] = reviewer().predict(tree)
    assert (result.findings[0].suggestion.start, result.findings[0].line) == (5, 5)
    [result] = reviewer().predict(tree, suggest=False)
    assert result.findings[0].line == 2


def test_an_empty_diff_needs_no_model(monkeypatch, capsys):
    given(monkeypatch, b"\n")
    monkeypatch.setattr(CodeReviewer, "model", property(lambda self: pytest.fail("loaded")))
    assert main(["code_review", "predict", "-", *small.words()]) == 0
    assert "no changes to review" in capsys.readouterr().out


def test_findings_can_fail_a_check(tree, said, capsys):
    words = ["code_review", "predict", str(tree), *small.words()]
    assert main([*words, "--fail-on", "any"]) == 3
    said["necessity"] = [0.0]
    assert main([*words[:-4], "--threshold", "0.5", "--fail-on", "any"]) == 0


def test_one_task_alone_is_enough(tree, said):
    place = small.home()
    options = {"base": str(place / "base")}
    [result] = CodeReviewer.from_pretrained(None, necessity=str(place / "adapter/necessity"), **options).predict(tree)
    assert [finding.rule for finding in result.findings] == ["review/needs-review"]
    [result] = CodeReviewer.from_pretrained(None, comment=str(place / "adapter/comment"), **options).predict(tree)
    assert [(finding.rule, finding.need) for finding in result.findings] == [("review/comment", None)]
    with pytest.raises(InputError, match="give --necessity or --comment"):
        CodeReviewer.from_pretrained(None, refinement=str(place / "adapter/refinement"), **options)


def test_an_adapter_for_another_task_or_other_prompts_is_refused(tree):
    place = small.home()
    with pytest.raises(InputError, match="is for comment, not for necessity; give it as --comment"):
        CodeReviewer.from_pretrained(None, necessity=str(place / "adapter/comment"), base=str(place / "base"))
    with pytest.raises(InputError, match="trained with the prompts llama-reviewer-v1, not other"):
        reviewer(template="other")


@pytest.mark.parametrize("width", [16, 64])
def test_an_adapter_of_another_base_is_refused_with_both_names(tree, tmp_path, capsys, width):
    other = small.base(tmp_path / "other", width)
    words = small.words()
    words[words.index("--base") + 1] = str(other)
    capsys.readouterr()
    assert main(["code_review", "predict", str(tree), *words]) == 2
    line = capsys.readouterr().err.strip().split("\r")[-1]
    assert str(other) in line and "was trained on tiny" in line and "\n" not in line


def test_swapping_adapters_moves_no_base(tree):
    own = reviewer()
    before = {name: tensor.data_ptr() for name, tensor in own.model.named_parameters()}
    list(own.predict(tree, threshold=0.0, max_new_tokens=4))
    assert before == {name: tensor.data_ptr() for name, tensor in own.model.named_parameters()}


def test_predicting_twice_says_the_same(tree):
    options = {"threshold": 0.0, "max_new_tokens": 8}
    first, second = (next(reviewer().predict(tree, **options)).to_dict() for _ in range(2))
    assert first == second


def test_parsed_files_can_be_asked_about(tree, said):
    files = parse_diff(changes.git(tree, "diff").stdout)
    own = reviewer()
    [(file, hunk, chance)] = own.necessity(files)
    assert (file.path, hunk.new_start, chance) == ("shop/prices.py", 1, 0.9)
    assert [finding.line for finding in own.review(files)] == [2]
    assert own.refine("x = 1", "Use 2.") == MENDED


def test_a_result_names_what_reviewed_and_no_path_of_this_machine(tree, said):
    own = reviewer()
    [result] = own.predict(tree)
    told = result.to_dict()["reviewer"]
    assert told["templates"] == dict.fromkeys(("necessity", "comment", "refinement"), "llama-reviewer-v1")
    assert str(small.home()) not in json.dumps(result.to_dict())
    assert next(RuleReviewer().review(tree)).to_dict()["reviewer"] == {}


def test_only_what_json_cannot_hold_is_marked_as_altered(tree, said):
    [result] = reviewer().predict(tree)
    [finding] = result.to_dict()["findings"]
    assert finding["suggestion"]["lines"] and "altered" not in finding
    result = replace(result, findings=(replace(result.findings[0], comment="caf\udce9"),))
    [finding] = result.to_dict()["findings"]
    assert finding["altered"] is True and "caf\ufffd" in finding["comment"]


def test_a_base_that_is_none_is_told_once_for_all_inputs(tree, capsys):
    assert main(["code_review", "predict", ".", ".", "--base", "nix"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: 'nix' is no base of code_review in the catalogue")


def test_the_embedded_adapters_say_how_little_they_know(tree, said, capsys):
    assert main(["code_review", "predict", "."]) == 0
    assert "notice: the embedded adapters know small made functions alone" in capsys.readouterr().err
    assert main(["code_review", "predict", ".", *small.words()]) == 0
    assert "embedded" not in capsys.readouterr().err


def test_everything_is_reviewed_against_the_empty_tree(tree, said):
    empty = changes.git(tree, "hash-object", "-t", "tree", "--stdin", given=b"").stdout.decode().strip()
    [result] = reviewer().predict(tree, range=empty)
    assert [file.status for file in result.diff] == ["added"] and len(result.findings) == 1
