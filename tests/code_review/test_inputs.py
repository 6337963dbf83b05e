"""What a newcomer hands to the command, right and wrong: folders, work trees, addresses, nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from domains.code_review import DOMAIN
from tests.code_review import changes
from tests.code_review.server import asked, only_line

PRINT = b"print(1)\n"


@pytest.fixture
def tree(tmp_path):
    files = {"a.py": b"a = 1\n", "src/b.py": b"b = 1\n", "src/deep/c.py": b"c = 1\n"}
    return changes.repository(tmp_path / "tree", files)


def found(out: str) -> list[tuple[str, int]]:
    return [(one["path"], one["line"]) for one in json.loads(out)["findings"]]


def test_a_folder_inside_a_work_tree_is_reviewed_alone(tree, capsys):
    changes.write(tree, {"a.py": PRINT, "src/b.py": PRINT, "src/deep/c.py": PRINT})
    assert len(found(asked(capsys, str(tree), "--format", "json")[1])) == 3
    assert found(asked(capsys, str(tree / "src"), "--format", "json")[1]) == [("src/b.py", 1), ("src/deep/c.py", 1)]
    changes.git(tree, "commit", "-qam", "second")
    both = [str(tree / "src" / "deep"), "--range", "HEAD~1..HEAD", "--format", "json"]
    assert found(asked(capsys, *both)[1]) == [("src/deep/c.py", 1)]
    changes.write(tree, {"src/deep/c.py": PRINT * 2})
    assert found(asked(capsys, str(tree / "src"), "--since", "HEAD", "--format", "json")[1]) == [("src/deep/c.py", 2)]


def test_the_first_commit_can_be_reviewed_before_it_is_made(tmp_path, capsys):
    changes.git(tmp_path, "init", "-q")
    changes.write(tmp_path, {"a.py": PRINT})
    changes.git(tmp_path, "add", "-A")
    code, out, _ = asked(capsys, str(tmp_path), "--format", "json")
    assert code == 0 and found(out) == [("a.py", 1)]


def test_files_that_git_does_not_track_are_told(tree, capsys):
    changes.write(tree, {"new.py": PRINT, "src/other.py": PRINT, ".gitignore": b"*.log\n", "x.log": b"\n"})
    _, out, _ = asked(capsys, str(tree))
    assert (
        "notice: 3 files are not tracked by git and not looked at: .gitignore, new.py, src/other.py; `git add -N`"
        in out
    )
    assert "no changes to review" in out
    assert (
        "notice: 1 file is not tracked by git and not looked at: src/other.py;" in asked(capsys, str(tree / "src"))[1]
    )
    changes.git(tree, "add", "-N", ".")
    _, out, _ = asked(capsys, str(tree))
    assert "notice" not in out and "2 findings in" in out
    changes.write(tree, {"late.py": PRINT})
    assert "notice" not in asked(capsys, str(tree), "--range", "HEAD..HEAD")[1], "of commits nothing is untracked"


def test_a_folder_with_nothing_to_review_says_what_was_looked_for(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("hello")
    code, _, err = asked(capsys, str(tmp_path))
    assert code == 2 and "holds no file that ends in .diff, .patch, and is in no git work tree" in only_line(err)
    code, _, err = asked(capsys, str(tmp_path / "absent"))
    assert code == 2 and only_line(err).endswith("absent: no such file or folder; check the path")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--range", "nix"), "git knows no nix; give --range as `git diff` takes it, e.g. main...HEAD"),
        (("--range", "HEAD..nix"), "git knows no HEAD..nix; give --range"),
        (("--range", "nix..."), "git knows no nix...; give --range"),
        (("--since", "nix"), "git knows no commit nix; give --since e.g. HEAD~1"),
    ],
)
def test_what_git_does_not_know_is_told_with_the_option(tree, capsys, words, said):
    code, _, err = asked(capsys, str(tree), *words)
    assert code == 2 and said in only_line(err) and "fatal" not in err


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/o/r/issues/3",
        "http://github.com/o/r/pull/3",
        "https://gitlab.com/o/r/-/issues/1",
        "https://x.org",
    ],
)
def test_an_address_that_is_no_request_is_no_missing_file(capsys, address):
    code, _, err = asked(capsys, address)
    line = only_line(err)
    assert code == 2 and f"{address}: is no page of a pull or merge request; give e.g. https://github.com/OWNER" in line


@pytest.mark.parametrize("host", ["gitlab.com/o/r/-/merge_requests/3", "github.com/o/r/pull/3"])
def test_a_password_in_an_address_is_refused_and_never_shown(capsys, monkeypatch, tmp_path, host):
    for name in ("GITHUB_API_URL", "GITLAB_API_URL", "CI_API_V4_URL"):
        monkeypatch.delenv(name, raising=False)
    code, out, err = asked(capsys, f"https://me:hush-hush@{host}", "--out", str(tmp_path / "out"), "--json")
    assert code == 2 and "hush" not in out + err
    assert f"https://{host}: " in err and "take name and password out of the address" in err


def test_no_input_is_told_with_what_can_be_one(capsys):
    code, _, err = asked(capsys)
    assert code == 2 and "no input; name diffs, folders, work trees" in only_line(err)


def test_a_patch_without_suggestions_is_empty_and_says_so(tree, capsys):
    changes.write(tree, {"a.py": PRINT})
    code, out, err = asked(capsys, str(tree), "--format", "patch")
    assert (code, out) == (0, "") and only_line(
        err
    ) == f"notice: {tree}: no finding has a suggestion; the patch is empty"


def test_results_of_inputs_with_one_name_are_all_kept(tmp_path, capsys):
    for number in (1, 2, 3):
        changes.write(
            tmp_path / str(number), {"change.diff": b"--- a/a.py\n+++ b/a.py\n@@ -0,0 +1 @@\n+print(%d)\n" % number}
        )
    given = [str(tmp_path / str(number) / "change.diff") for number in (1, 2, 3)]
    assert asked(capsys, *given, "--out", str(tmp_path / "out"))[0] == 0
    kept = {file.name: json.loads(file.read_text())["source"] for file in (tmp_path / "out").glob("*.json")}
    assert kept == {"change.json": given[0], "change-2.json": given[1], "change-3.json": given[2]}


def test_a_change_that_the_diff_does_not_show_is_no_untouched_file(tmp_path, capsys):
    (tmp_path / "a.diff").write_bytes(b"diff --git a/a.bin b/a.bin\nindex 1234567..89abcde 100644\n")
    assert "passed over: a.bin: its change is not shown" in asked(capsys, str(tmp_path / "a.diff"))[1]


def test_a_line_of_an_input_is_named_as_editors_jump_to_it(tmp_path, capsys):
    path = tmp_path / "hunks.jsonl"
    path.write_text('{"patch": "@@ -1 +1 @@\\n-a\\n+b"}\n{"patch": 3}\n')
    code, _, err = asked(capsys, str(path))
    assert code == 2 and only_line(err) == f"error: {path}:2: 'patch' is int, not a string"


def test_a_file_that_cannot_be_reviewed_is_told_once(tmp_path, capsys):
    merge = b"diff --cc a.py\n--- a/a.py\n+++ b/a.py\n@@@ -1,2 -1,2 +1,3 @@@\n  a\n++b\n  c\n"
    (tmp_path / "a.diff").write_bytes(merge)
    _, out, _ = asked(capsys, str(tmp_path / "a.diff"))
    assert out.count("the combined diff of a merge") == 1


def test_many_files_passed_over_for_one_reason_are_one_line(tree, capsys):
    changes.write(tree, {f"many/{number:02}.py": b"x = 1\n" for number in range(40)} | {"a.py": PRINT, "b.bin": b"\0"})
    changes.git(tree, "add", "-A")
    _, out, _ = asked(capsys, str(tree), "--paths", "a.py,b.bin")
    lines = [line for line in out.splitlines() if line.startswith("passed over")]
    assert lines == [
        "passed over: b.bin: binary",
        "passed over: 40 files, e.g. many/00.py: none of --paths matches it",
    ]
    told = json.loads(asked(capsys, str(tree), "--paths", "a.py,b.bin", "--format", "json")[1])
    assert len(told["passed_over"]) == 41, "data name them all"


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_a_report_of_the_folder_one_is_in_bears_its_name(tree, capsys, monkeypatch, form):
    monkeypatch.chdir(tree / "src")
    for given, name in ((".", "src"), ("..", "tree"), (str(tree), str(tree))):
        assert f"Review of {name}" in asked(capsys, given, "--format", form)[1]


def test_a_name_with_control_characters_reaches_no_terminal(tmp_path, capsys):
    name = rb'"a/\033[31mred.bin" "b/\033[31mred.bin"'
    (tmp_path / "a.diff").write_bytes(b"diff --git " + name + b"\nBinary files differ\n")
    _, out, _ = asked(capsys, str(tmp_path / "a.diff"))
    assert "[31mred.bin: binary" in out and "\x1b" not in out


@pytest.mark.parametrize("form", ["sarif", "json", "github"])
def test_what_is_printed_for_programs_is_alone_on_standard_output_beside_a_folder_too(tree, tmp_path, capsys, form):
    changes.write(tree, {"a.py": PRINT})
    out = str(tmp_path / "out")
    code, said, err = asked(capsys, str(tree), "--format", form, "--out", out)
    assert code == 0 and json.loads(said) and err == f"1 finding\nresults  {out}\nnext     open {out}/tree.html\n"
    assert asked(capsys, str(tree), "--out", out)[1] == f"1 finding\nresults  {out}\nnext     open {out}/tree.html\n"


def test_what_was_left_out_is_told(tree, capsys):
    changes.write(tree, {"a.py": PRINT, "src/b.py": PRINT, "src/deep/c.py": PRINT})
    _, out, _ = asked(capsys, str(tree), "--max-comments", "1")
    assert "left out: 2 beyond --max-comments\n" in out and out.endswith("1 finding in 3 hunks of 3 files\n")
    assert "left out" not in asked(capsys, str(tree))[1]


@pytest.mark.parametrize("verb", DOMAIN.verbs)
def test_help_of_every_verb_is_light(verb):
    code = (
        "import sys; from suite.domain import load\n"
        f"load({DOMAIN.verbs[verb]!r})\n"
        "heavy = {'torch', 'peft', 'lightning', 'requests'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
