"""Pairs of tests and methods out of Java projects."""

from __future__ import annotations

import json

from suite.cli.main import main

FOCAL = "package x;\npublic class Stack {\n  public int size() { return 0; }\n  void push(int a) { }\n}\n"
TEST = """package x;
public class StackTest {
  @Test public void testSize() { new Stack().size(); }
  @Test public void again() { new Stack().size(); }
  @Test public void pushes() { new Stack().push(1); }
  @Test public void both() { Stack s = new Stack(); s.push(1); s.size(); }
}
"""


def test_pairs_are_written_once_each(tmp_path, capsys):
    project = tmp_path / "p"
    for folder, name, text in (("main", "Stack", FOCAL), ("test", "StackTest", TEST), ("test", "Broken", "class {{{")):
        file = project / f"src/{folder}/java/x/{name}.java"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    out = tmp_path / "pairs.jsonl"
    assert main(["unit_tests", "mine", str(project), str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = [(row["test_case"]["identifier"], row["focal_method"]["identifier"]) for row in rows]
    assert found == [("testSize", "size"), ("pushes", "push")], "again repeats testSize, both calls two methods"
    assert rows[0]["focal_class"]["methods"][1]["class_method_signature"] == "Stack.push(int a)"
    assert "mapped cases    3" in capsys.readouterr().out


def test_a_project_without_pairs_is_said(tmp_path, capsys):
    (tmp_path / "A.java").write_text("class A { }")
    assert main(["unit_tests", "mine", str(tmp_path), str(tmp_path / "out.jsonl")]) == 2
    assert "no test of a method was found (0 files with @Test" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
    assert main(["unit_tests", "mine", str(tmp_path / "absent"), "x"]) == 2
