"""Answers kept on disk, and the ways of choosing tokens that they depend on."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3

import pytest
import torch

from domains.code_review import CodeReviewer, ReviewQuery, parse_diff
from domains.code_review.inference import answers
from domains.code_review.inference.answers import Answers, adapter_identity
from domains.code_review.inference.session import Session, Written
from suite import adapters
from suite.generation.engine import Engine, Request
from tests.code_review import changes, small

SHORT = {"threshold": 0.0, "max_new_tokens": 6}


@pytest.fixture
def diff(tmp_path, monkeypatch) -> bytes:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    tree = changes.repository(tmp_path / "tree", {"a.py": b"def f(x):\n    return x\n"})
    changes.write(tree, {"a.py": b"def f(x):\n    return x + 1\n"})
    return changes.git(tree, "diff").stdout


@pytest.fixture
def forwards(monkeypatch) -> list[str]:
    """What was asked of the model."""
    asked: list[str] = []
    for name in ("generate", "next_logits", "logprobs"):
        own = getattr(Engine, name)

        def counted(self, *given, own=own, name=name, **more):
            asked.append(name)
            return own(self, *given, **more)

        monkeypatch.setattr(Engine, name, counted)
    return asked


def reviewer(adapter: str | None = None, **options) -> CodeReviewer:
    place = small.home()
    return CodeReviewer.from_pretrained(adapter or str(place / "adapter"), base=str(place / "base"), **options)


def said(diff: bytes, own: CodeReviewer, **options) -> dict:
    [result] = own.predict(diff, **SHORT, **options)
    assert result.error is None
    return result.to_dict()


def test_the_same_review_again_loads_no_model(diff, monkeypatch):
    first = said(diff, reviewer())
    monkeypatch.setattr(CodeReviewer, "model", property(lambda self: pytest.fail("loaded")))
    assert said(diff, reviewer()) == first


def test_other_settings_are_other_answers(diff, forwards):
    said(diff, reviewer())
    count = len(forwards)
    assert count >= 2
    said(diff, reviewer(), max_comments=1)
    assert len(forwards) == count
    said(diff, reviewer(), num_beams=2)
    assert "generate" not in forwards[count:], "beams are another search"
    said(diff, reviewer(), cache=False)
    assert len(forwards) >= 2 * count
    count = len(forwards)
    said(diff, reviewer(), temperature=1.0)
    said(diff, reviewer(), temperature=1.0)
    assert forwards[count:].count("generate") >= 2, "what is drawn is drawn anew"


def test_another_adapter_under_the_same_name_is_asked(diff, forwards, tmp_path):
    place = small.home()
    folder = tmp_path / "adapter"
    shutil.copytree(place / "adapter", folder)
    said(diff, reviewer(str(folder)))
    count = len(forwards)
    shutil.rmtree(folder / "comment")
    small.adapter(folder / "comment", place / "base", "comment", r=3)
    said(diff, reviewer(str(folder)))
    assert len(forwards) > count


def test_answers_beyond_the_limit_go_those_first_that_were_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "MOST_BYTES", 20 * 110)
    own = Answers({}, tmp_path / "a.sqlite")
    for number in range(50):
        own.keep({own.key(number): "x" * 40})
        own.find([own.key(0)])
    known = own.find([own.key(number) for number in range(50)])
    assert 10 < len(known) <= 20
    assert own.key(0) in known and own.key(1) not in known and own.key(49) in known
    assert os.stat(own.file).st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [b"", b"no database at all, only text " * 100, None])
def test_a_damaged_file_is_begun_anew(tmp_path, damage):
    own = Answers({}, tmp_path / "a.sqlite")
    own.keep({own.key(number): "x" * 500 for number in range(200)})
    raw = bytearray(own.file.read_bytes())
    if damage is None:
        raw[8192:-4096] = b"\xff" * (len(raw) - 12288)
    own.file.write_bytes(raw if damage is None else damage)
    own.find([own.key(number) for number in range(200)])
    own.keep({own.key("new"): 1})
    own.keep({own.key("new"): 1})
    assert own.find([own.key("new")]) == {own.key("new"): 1}


def test_a_file_that_cannot_be_used_is_as_good_as_none(tmp_path):
    (tmp_path / "file").write_text("")
    own = Answers({}, tmp_path / "file" / "a.sqlite")
    own.keep({"a": 1})
    assert own.find(["a"]) == {}


def test_half_of_a_write_is_none_of_it(tmp_path):
    own = Answers({}, tmp_path / "a.sqlite")
    with pytest.raises(TypeError):
        own.keep({"a": 1, "b": object()})
    assert own.find(["a", "b"]) == {}
    with sqlite3.connect(own.file) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers._PATIENCE, before = 0.01, answers._PATIENCE
        try:
            own.keep({"a": 1})  # another process is writing: it is left alone
        finally:
            answers._PATIENCE = before
        other.rollback()
    assert own.find(["a"]) == {}


def test_an_adapter_is_known_by_its_weights(tmp_path):
    place = small.home() / "adapter"
    assert adapter_identity(place / "comment") != adapter_identity(place / "necessity")
    shutil.copytree(place / "comment", tmp_path / "copy")
    assert adapter_identity(tmp_path / "copy") == adapter_identity(place / "comment")


def session(**options) -> Session:
    return reviewer().session(ReviewQuery(cache=False, **options))


PROMPTS = ("Below is a hunk. ### Response:", "def f(x): return x ### Response:")


def test_beams_find_what_is_at_least_as_likely_and_tell_how_likely():
    [greedy, _] = session(max_new_tokens=5).written("comment", PROMPTS)
    own = session(max_new_tokens=5, num_beams=4)
    [found, other] = own.written("comment", PROMPTS)
    assert own.written("comment", PROMPTS[:1])[0].text == found.text, "the batch does not matter"
    assert found.logprob >= greedy.logprob - 1e-5 and found.text != other.text
    adapters.activate(own.model, "comment")
    ids, answer = own._ids(PROMPTS[0]), own.tokenizer.encode(found.text, add_special_tokens=False)
    logits = own.model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    mean = float(logits[range(len(answer)), answer].mean())
    assert found.logprob == pytest.approx(mean, abs=1e-4)


def test_a_penalty_of_one_is_none_and_a_greater_one_says_nothing_twice():
    own = session(max_new_tokens=8)
    plain = own.written("comment", PROMPTS)
    slow = Session._search(own, "comment", [Request(own._ids(one)) for one in PROMPTS], 8)
    assert [own.vocabulary.decode(one.tokens)[0] for one in slow] == [one.text for one in plain]
    words = session(max_new_tokens=8, repetition_penalty=1e4)
    [one] = Session._search(words, "comment", [Request(words._ids(PROMPTS[0]))], 8)
    assert len(set(one.tokens)) == len(one.tokens) == 8


def test_a_comment_that_the_model_doubts_is_not_shown(diff, monkeypatch):
    said = Written("This adds one too many.", math.log(0.5), True)
    monkeypatch.setattr(Session, "written", lambda self, task, prompts, most=None: [said] * len(prompts))
    [result] = reviewer().predict(diff, suggest=False, min_confidence=0.49, **SHORT)
    assert result.findings[0].comment == said.text
    [result] = reviewer().predict(diff, suggest=False, min_confidence=0.51, **SHORT)
    assert not result.findings[0].comment and result.dropped == {"comment below --min-confidence": 1}


def test_the_frame_of_a_task_is_forwarded_once_for_all_reviews(diff, monkeypatch):
    prefilled: list[int] = []
    own = Engine._plan

    def counted(self, rows):
        prefilled.append(sum(len(row.prompt) for row in rows))
        return own(self, rows)

    monkeypatch.setattr(Engine, "_plan", counted)
    one = reviewer()
    files = parse_diff(diff)
    [(file, hunk, first)] = one.necessity(files)
    [(*_, second)] = one.necessity(files)
    asked = one.session(ReviewQuery())
    whole = len(asked._ids(asked.about("necessity", hunk, file.path)))
    assert prefilled == [prefilled[0]] and prefilled[0] < whole / 2, "the second answer was known"
    frame = one._frames["necessity"]
    assert len(frame.tokens) + prefilled[0] == whole and first == second
    one._frames.clear()
    monkeypatch.setattr("domains.code_review.inference.session._LEAST_FRAME", 10**6)
    [chance] = one.session(ReviewQuery(cache=False)).chances([asked.about("necessity", hunk, file.path)])
    assert chance == pytest.approx(first, abs=1e-5) and prefilled[-1] == whole
