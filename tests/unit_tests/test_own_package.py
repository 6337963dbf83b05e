"""A package as people write them: properties, overloads, coroutines, texts further left, other encodings."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from domains.unit_tests import WriterQuery, discover
from domains.unit_tests.data.readers.humaneval_x import read
from domains.unit_tests.data.sources import records
from domains.unit_tests.inference.candidates import parsed, split
from domains.unit_tests.inference.outcomes import own_lines
from domains.unit_tests.inference.prompts import asked
from domains.unit_tests.inference.sandbox import probe
from suite.cli.main import main
from suite.errors import InputError
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")

MODULE = '''"""A basket."""
from __future__ import annotations

from typing import overload

\x0c
class Basket:
    def __init__(self, owner: str = "a\u2028b"):
        self.owner = owner
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        if value < 0:
            raise ValueError("below zero")
        self._size = value

    def shown(self) -> str:
# begins further left than the method does
        return """
{}
""".format(self.owner)


@overload
def double(x: int) -> int: ...
@overload
def double(x: str) -> str: ...
def double(x):
    """Twice."""
    return x + x


async def later(x: int) -> int:
    return x
'''


def test_functions_are_cut_at_the_lines_that_the_parser_counts(project):
    """Form feeds and other ends of lines that are none to Python stand in files, too."""
    found = {one.name: one for one in discover(project / "mod.py", project)}
    assert found["later"].source.startswith("async def later") and found["later"].source.endswith("    return x\n")
    assert found["Basket.__init__"].source.rstrip().endswith("self._size = 0")
    assert "class Basket:" in asked(found["Basket.shown"], MODULE, 4096, len).source


def test_a_property_with_its_setter_and_overloads_are_one_function(project):
    found = {one.name: one for one in discover(project / "mod.py", project)}
    names = [one.name for one in discover(project / "mod.py", project)]
    assert names == ["Basket.__init__", "Basket.size", "Basket.shown", "double", "later"]
    size = found["Basket.size"]
    assert size.source.startswith("    @property") and "self._size = value" in size.source
    lines = MODULE.split("\n")
    assert {lines[number - 1].strip() for number in own_lines(size)} >= {"return self._size", "self._size = value"}
    assert {lines[number - 1].strip() for number in own_lines(found["double"])} == {"return x + x"}


def test_texts_and_comments_further_left_than_their_method_are_read(project):
    [shown] = discover(project / "mod.py", project, ["Basket.shown"])
    assert "begins further left" in asked(shown, MODULE, 4096, len).source
    assert len(own_lines(shown)) == 3
    tests = 'class TestA:\n    def test_a(self):\n        assert f() == """\nleft\n"""\n'
    [one] = split(tests)
    assert parsed(one.code) and ast.parse(one.code).body[0].name == "test_a"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"# -*- coding: latin-1 -*-\ndef f():\n    return '\xe9'\n", "return 'é'"),
        (b"\xef\xbb\xbfdef f():\n    return 1\n", "return 1"),
        (b"def f():\r\n    return 1\r\n", "return 1\n"),
    ],
)
def test_a_file_is_decoded_as_python_does_it(tmp_path, raw, text):
    (tmp_path / "mod.py").write_bytes(raw)
    [one] = discover(tmp_path / "mod.py", tmp_path)
    assert text in one.source


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"x = '\xe9'\n", r"mod.py: is not in the encoding that it says, else UTF-8; save it so"),
        (b"1\n2\nx = '\xe9'\n", r"mod.py: is not in the encoding"),
        (b"# coding: klingon\n", r"mod.py: is not in the encoding"),
        (None, r"mod.py: is no file; check the path"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_plain_line(tmp_path, raw, said):
    if raw is not None:
        (tmp_path / "mod.py").write_bytes(raw)
    with pytest.raises(InputError, match=said) as caught:
        discover(tmp_path / "mod.py", tmp_path)
    assert "\n" not in str(caught.value) and "Errno" not in str(caught.value)
    with pytest.raises(InputError, match="is a folder; give a file"):
        discover(tmp_path, tmp_path)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_users_tests_keep_their_line_ends(project, end):
    own = f"from mod import double{end}{end}{end}def test_mine():{end}    assert double(1) == 2{end}"
    mine = project / "test_mod.py"
    mine.write_bytes(own.encode())
    for _ in range(2):
        [written] = Scripted({"double": ["):\n    assert double(2) == 4\n"]}).predict(
            project / "mod.py", project=project, out=project, function=("double",), samples=1, no_run=True
        )
        assert written.error is None, written.error
        raw = mine.read_bytes()
        assert raw.startswith(own.encode()) and raw.count(b"def test_double") == 1
        assert (b"\r\n" in raw) is (end == "\r\n") and raw.count(b"\n") == raw.count(end.encode())


@pytest.mark.parametrize("raw", [b"# coding: latin-1\nx = '\xe9'\n", b"\xef\xbb\xbfx = 1\n"])
def test_a_test_file_that_would_not_stay_as_it_is_is_let_be(project, raw):
    (project / "test_mod.py").write_bytes(raw)
    [written] = Scripted({}).predict(project / "mod.py", project=project, out=project, no_run=True)
    assert "tests are added to files" in written.error and (project / "test_mod.py").read_bytes() == raw


@isolated
def test_an_asynchronous_test_needs_no_plugin(project, tmp_path):
    script = {
        "later": ["):\n    pass\n\n\n@pytest.mark.asyncio\nasync def test_more():\n    assert await later(3) == 3\n"]
    }
    [written] = Scripted(script).predict(
        project / "mod.py", project=project, out=tmp_path / "out", function=("later",), samples=1, repeat=1
    )
    assert [verdict.reason for verdict in written.judged.verdicts] == ["no assertion", ""]
    text = (tmp_path / "out" / "test_mod.py").read_text()
    assert "asyncio.run(run())" in text and "mark.asyncio" not in text


@isolated
@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (
            "import no_such_thing\ndef f(): return 1\n",
            [],
            "No module named 'no_such_thing'; what it needs must be installed",
        ),
        ("import sys\nsys.exit(3)\ndef f(): return 1\n", [], "importing it ends the process; what a module does when"),
        ("from . import x\ndef f(): return 1\n", [], "relative import with no known parent package; --project names"),
        ("from project import x\ndef f(): return 1\n", [], "is another folder the project?"),
        (
            "def f(): return 1\n",
            ["--plugins", "no_such_plugin"],
            "--plugins no_such_plugin: pytest says: ERROR: ",
        ),
    ],
)
def test_why_a_module_cannot_be_tested_is_said_with_what_to_do(project, capsys, module, options, said):
    (project / "mod.py").write_text(module)
    (project / "made.py").write_text("from mod import f\n\ndef test_f():\n    assert f() == 1\n")
    words = [str(project / "mod.py"), str(project / "made.py"), "--project", str(project), "--repeat", "1"]
    assert main(["unit_tests", "judge", *words, *options]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


@isolated
def test_judge_names_what_is_dropped_and_why(project, capsys):
    tests = "".join(
        f"\n\ndef test_{name}():\n    assert double(1) == {value}\n" for name, value in (("a", 2), ("b", 3))
    )
    (project / "made.py").write_text(f"from mod import double{tests}")
    words = [str(project / "mod.py"), str(project / "made.py"), "--project", str(project), "--repeat", "1"]
    assert main(["unit_tests", "judge", *words]) == 0
    assert "  test_b: failed: assert 2 == 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--repeat", "--repeat 0: give 1 or more"),
        ("--memory", "--memory 0: give 64 or more"),
        ("--timeout", "0.1 or more"),
    ],
)
def test_an_option_of_judge_that_is_too_small_is_named(project, capsys, option, said):
    assert main(["unit_tests", "judge", str(project / "mod.py"), str(project / "mod.py"), option, "0"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_what_cannot_be_mined_is_named(project, capsys):
    (project / "broken.py").write_text("def f(:\n")
    (project / "latin.py").write_bytes(b"# coding: latin-1\ndef f():\n    return '\xe9'\n")
    (project / "test_mod.py").write_text("from mod import double\n\ndef test_double():\n    assert double(1) == 2\n")
    assert main(["unit_tests", "mine", str(project), str(project / "p.jsonl"), "--language", "python"]) == 0
    out = capsys.readouterr().out
    assert "  broken.py: cannot be parsed" in out and "latin.py" not in out


@isolated
def test_a_file_that_cannot_be_tested_is_named_once_as_it_was_given(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (project / "mod.py").write_text("import nowhere\ndef f(): return 1\n")
    [written] = Scripted({}).predict("project/mod.py", project=project)
    assert "mod.py" not in written.error and written.error.startswith("importing it fails")
    [written] = Scripted({}).predict("-", project=project)
    assert "tests are written for files" in written.error


def test_in_python_a_string_is_one_name_and_one_path():
    query = WriterQuery(project="a", function="f", existing=["b"])
    assert (query.project, query.function, query.existing) == (Path("a"), ("f",), (Path("b"),))
    with pytest.raises(InputError, match="samples must be a whole number"):
        WriterQuery(samples="5")


def test_a_line_of_json_may_hold_what_ends_lines_elsewhere(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"id": "a", "source": "x\u2028y\x85", "target": "z"}, ensure_ascii=False) + "\n")
    assert [row["source"] for _, row in records(path)] == ["x\u2028y\x85"]
    row = {"task_id": "Python/0", "prompt": "def f():\n", "test": "", "canonical_solution": "    return '\u2028'\n"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert [one.task for one in read(path)] == ["Python/0"]
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="codec can't decode"):
        read(path)


def test_a_name_that_cannot_be_imported_is_to_be_changed(tmp_path):
    (tmp_path / "my-mod.py").write_text("def f(): return 1\n")
    with pytest.raises(InputError, match=r"'my-mod' is no name of a package; rename it"):
        discover(tmp_path / "my-mod.py", tmp_path)
