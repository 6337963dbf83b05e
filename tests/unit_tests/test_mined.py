"""Mined pairs: secrets are masked in both languages, and whole files are held out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from domains.unit_tests.data.mining import mine_command
from domains.unit_tests.data.sources import read_pairs
from suite.errors import InputError

TEST = """package shop;
public class {name}Test {{
  @Test
  public void testAdd() {{ String apiKey = "abcdefgh12345678"; assertEquals({n}, new {name}().add({n})); }}
}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for number, name in enumerate("ABCDE"):
        for kind, text in (
            ("main", f"package shop;\npublic class {name} {{ public int add(int by) {{ return by; }} }}\n"),
            ("test", TEST.format(name=name, n=number)),
        ):
            ending = "Test" if kind == "test" else ""
            path = tmp_path / "project" / "src" / kind / "java" / "shop" / f"{name}{ending}.java"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return tmp_path / "project"


def rows(path: Path) -> list[str]:
    return [json.loads(line)["test_class"]["file"][-10:-9] for line in path.read_text().splitlines()]


def test_secrets_of_java_are_masked_and_files_are_held_out_whole(project, tmp_path):
    out = tmp_path / "pairs.jsonl"
    found = mine_command(project, out, held_out=0.4)
    held = tmp_path / "pairs.held_out.jsonl"
    assert (found["written"], found["held_out"]) == (3, 2) and set(rows(out)) | set(rows(held)) == set("ABCDE")
    assert "abcdefgh12345678" not in out.read_text() + held.read_text()
    assert 'apiKey = "***"' in next(read_pairs(str(out))).target
    drawn = {tuple(rows(held))}
    for seed in range(1, 5):
        mine_command(project, out, held_out=0.4, seed=seed)
        drawn.add(tuple(rows(held)))
    assert len(drawn) > 1
    assert "held_out" not in mine_command(project, tmp_path / "all.jsonl") and len(rows(tmp_path / "all.jsonl")) == 5


def test_by_time_those_are_held_out_that_were_changed_last(project, tmp_path):
    def git(*words: str, day: int = 1) -> None:
        mine = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"2026-01-{day:02} 12:00:00 +0000")
        argv = ["git", "-C", str(project), *mine, *words]
        subprocess.run(argv, check=True, capture_output=True, env={**os.environ, **dates})

    with pytest.raises(InputError, match="--by time: git says: fatal: not a git repository"):
        mine_command(project, tmp_path / "pairs.jsonl", held_out=0.2, by="time")
    git("init", "-q")
    for day, name in enumerate("DABEC", 1):
        git("add", f"src/test/java/shop/{name}Test.java")
        git("commit", "-qm", name, day=day)
    mine_command(project, tmp_path / "pairs.jsonl", held_out=0.4, by="time")
    assert sorted(rows(tmp_path / "pairs.held_out.jsonl")) == ["C", "E"]


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "--held-out 1.0: give a share"), (-0.1, "give a share"), (0.9, "of 5 test files none would stay")],
)
def test_a_share_that_leaves_nothing_is_refused(project, tmp_path, share, said):
    with pytest.raises(InputError, match=said):
        mine_command(project, tmp_path / "pairs.jsonl", held_out=share)
