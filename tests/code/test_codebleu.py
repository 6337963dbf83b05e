"""CodeBLEU where the published code has no answer of its own."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from suite.code import syntax
from suite.code.codebleu import codebleu
from suite.errors import InputError

BODY = "def f(xs):\n    s = 0\n    for x in xs:\n        s += x\n    return s\n"


def test_the_strict_score_gives_nothing_for_nothing():
    empty = codebleu([""], [BODY], "python")
    assert empty.codebleu == pytest.approx(0.25) and empty.strict == 0.0
    same = codebleu([BODY], [BODY], "python")
    assert same.codebleu == same.strict == pytest.approx(1.0)
    # A reference without any flow: the part is left out, and the others weigh more.
    plain = codebleu(["pass"], ["pass"], "python")
    assert plain.dataflow == 0.0
    parts = (plain.ngram + plain.weighted_ngram + plain.syntax) / 3
    assert plain.strict == pytest.approx(parts)


def test_names_are_no_matter_of_the_flow_but_of_the_words():
    renamed = BODY.replace("s", "total").replace("xtotal", "xs")
    scored = codebleu([renamed], [BODY], "python")
    assert scored.dataflow == 1.0 and scored.syntax == 1.0 and scored.ngram < 0.8


def test_the_score_is_the_same_under_every_hash_seed(tmp_path):
    import os
    import subprocess

    java = "int a = f(b, c); for (int i = 0; i < a; i++) { c = a + b + i; b = c; } g(x -> x + c + b);"
    code = (
        f"from suite.code.codebleu import codebleu; print(codebleu([{java!r}], [{java[:60]!r} + ' c = b; }}'], 'java'))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "012"
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    "code", ["def f(:", "for (", "x = = 1", "\x00", "é = 1\nü = é", "'''", "if a:\n  b = 1\nelif c:\n"]
)
def test_broken_code_is_scored_and_never_an_error(code):
    for language in ("python", "java"):
        assert 0.0 <= codebleu([code], [BODY], language).codebleu <= 1.0


def test_what_does_not_go_together_is_said(monkeypatch):
    with pytest.raises(InputError, match="1 predictions and 2 references"):
        codebleu(["a"], ["b", "c"], "java")
    syntax.parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_java", None)
    with pytest.raises(InputError, match="install the extra code_review or unit_tests"):
        codebleu(["a"], ["b"], "java")
    monkeypatch.setitem(sys.modules, "tree_sitter_java", type(sys)("tree_sitter_java"))
    monkeypatch.setattr(sys.modules["tree_sitter_java"], "language", lambda: "no pointer", raising=False)
    with pytest.raises(InputError, match=r"tree-sitter [\d.]+ does not go with tree-sitter-java"):
        codebleu(["a"], ["b"], "java")
    monkeypatch.undo()
    syntax.parser.cache_clear()
    import_module("tree_sitter_java")
