"""Diffs: read and written again byte for byte, and never a crash."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from domains.code_review.data import selection
from domains.code_review.data.readers import diff as reader
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.paths import quoted, unquote
from suite.errors import InputError
from tests.code_review import changes

DIFF = b"""diff --git a/f.py b/f.py
index 1..2 100644
--- a/f.py
+++ b/f.py
@@ -1,3 +1,4 @@ def f():
 a
-b
+c
+d
 e
"""


def test_diffs_of_git_are_written_again_and_applied(tmp_path):
    rng = random.Random(0)
    folder = changes.repository(tmp_path, {f"d {n}/f{n}.txt": changes.content(rng) for n in range(60)})
    for path in sorted(folder.glob("d */*")):
        kind = rng.random()
        if kind < 0.1:
            path.unlink()
        elif kind < 0.2:
            path.rename(path.with_name(f"ä moved {path.name}"))
        else:
            path.write_bytes(changes.changed(rng, path.read_bytes()))
    changes.write(folder, {"new\tfile": b"one\ntwo", "empty": b"", "bytes.bin": bytes(range(256))})
    changes.git(folder, "add", "-A")
    raw = changes.git(folder, "diff", "--cached", "-M").stdout
    found = parse_diff(raw)
    assert found.render() == raw
    assert {file.status for file in found} == {"modified", "added", "deleted", "renamed"}
    assert {"new\tfile", "empty", "bytes.bin"} <= {file.path for file in found}
    # What the hunks say of the new side is what the files hold.
    for file in found:
        if file.new_path is None or file.binary:
            continue
        lines = (folder / file.new_path).read_bytes().split(b"\n")
        for hunk in file.hunks:
            for line in hunk.side("RIGHT"):
                assert lines[line.new - 1] == line.text.encode("utf-8", "surrogateescape")


def test_ten_thousand_mutations_end_in_a_diff_or_in_one_line():
    rng = random.Random(1)
    pieces = [
        b"@@ -1 +1 @@\n",
        b"\n",
        b"+",
        b"--- a/x\n+++ b/x\n",
        b"\\ No\n",
        b"diff --git a/x b/y\n",
        b'"',
        b"\xff\0",
    ]
    read = 0
    for _ in range(10_000):
        raw = bytearray(DIFF * rng.choice([1, 1, 2]))
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(raw))
            kind = rng.random()
            if kind < 0.4:
                raw[at] = rng.randrange(256)
            elif kind < 0.6:
                del raw[at : at + rng.choice([1, 1, 5, 40])]
            else:
                raw[at:at] = rng.choice(pieces)
            if not raw:
                raw += b"x"
        try:
            found = parse_diff(bytes(raw), lenient=rng.random() < 0.3)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        read += 1
        if not found.notices:
            assert found.render() == bytes(raw)
    assert read > 1000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"please review\n", "line 1: expected 'diff --git', '---' or '@@', found 'please review'"),
        (b'\n\n{"error": 502}\n', "line 3: expected"),
        (b"<html>\x1b[31m</html>", r"found '<html>\\\\x1b\[31m"),
        (
            DIFF.replace(b"1,3 +1,4", b"1,4 +1,4"),
            r"line 5: f.py: hunk 1 announces 4 old and 4 new lines and has 3 and 4",
        ),
        (DIFF.replace(b"1,3 +1,4", b"1,2 +1,3"), r"line 10: f.py: hunk 1 goes on behind the lines"),
        (DIFF.replace(b"-1,3", b"-1,1000000000000"), "above 2,147,483,647"),
        (DIFF.replace(b"-1,3", b"--1,3"), "no header of a hunk|followed by no hunk"),
        (DIFF.replace(b" a\n", b"a\n"), "line 6 is none of it: a"),
        (DIFF.split(b"@@")[0], "followed by no hunk"),
        (b"--- " + b"a b " * 10_000 + b"\n+++ b\n@@ -1 +1 @@\n-a\n+b\n", "a header of"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(raw, said):
    with pytest.raises(InputError, match=said):
        parse_diff(raw)


def test_lenient_counts_anew_and_says_so():
    found = parse_diff(DIFF.replace(b"1,3 +1,4", b"1,9 +1,9"), lenient=True)
    [hunk] = found.files[0].hunks
    assert (hunk.old_count, hunk.new_count) == (3, 4) and "counted anew" in found.notices[0]
    assert parse_diff(found.render()).files[0].hunks[0].lines == hunk.lines


def test_nothing_to_review_is_no_error():
    assert parse_diff(b"").files == () and parse_diff(" \n\n").files == ()


def test_a_line_of_fifty_megabytes_is_passed_over(monkeypatch):
    long = DIFF.replace(b"+c\n", b"+" + b"c" * 50_000_000 + b"\n") + DIFF.replace(b"f.py", b"g.py")
    tracemalloc.start()
    found = parse_diff(long)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [file.path for file in found] == ["f.py", "g.py"]
    assert "10 MB" in found.files[0].refused and found.files[1].added == 2
    assert peak < 60_000_000


def test_more_hunks_than_are_read_are_passed_over(monkeypatch):
    monkeypatch.setattr(reader, "MOST_HUNKS", 3)
    found = parse_diff(DIFF * 4 + DIFF)
    assert [bool(file.refused) for file in found] == [False, False, False, True, True]


def test_mail_signature_and_merge(tmp_path):
    mail = b"From abc Mon Sep 17\nSubject: x\n\n---\n f.py | 2\n\n" + DIFF + b"-- \n2.39.2\n\n"
    found = parse_diff(mail)
    assert found.render() == mail and found.preamble.startswith("From abc") and found.files[0].tail.startswith("-- ")
    merge = b"diff --cc f.py\nindex 1,2..3\n--- a/f.py\n+++ b/f.py\n@@@ -1,1 -1,1 +1,1 @@@\n- a\n -b\n++c\n"
    found = parse_diff(merge + DIFF)
    assert "merge" in found.files[0].refused and not found.files[1].refused


@pytest.mark.parametrize(
    ("path", "unsafe"),
    [
        ("../x", True),
        ("/etc/passwd", True),
        ("C:\\x", True),
        ("a/../../b", True),
        ("a..b/c", False),
        ("dots...", False),
    ],
)
def test_paths_that_leave_the_tree(path, unsafe):
    raw = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+b\n"
    if path.startswith("/"):
        raw = raw.replace("a//", "/").replace("b//", "/")
    assert parse_diff(raw).files[0].unsafe == unsafe


def test_quoting_goes_both_ways():
    for path in ("plain.txt", "sp äce\t1.txt", 'quo"te', "back\\slash", "new\nline", "\udcff"):
        assert unquote(quoted(path)) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("poetry.lock", "a lock file"),
        ("web/app.min.js", "minified"),
        ("vendor/x.go", "vendored"),
        ("api_pb2.py", "generated"),
        ("src/f.py", None),
    ],
)
def test_files_that_nobody_reviews_are_passed_over(path, why):
    diff = parse_diff(DIFF.replace(b"f.py", path.encode()))
    assert selection.passed_over(diff).get(path) == why


def test_patterns_of_paths():
    assert selection.matches("src/a/b.py", "src/**") and selection.matches("src/a/b.py", "src/**/*.py")
    assert selection.matches("src/b.py", "src/**/*.py") and not selection.matches("src/a/b.py", "src/*.py")
    assert selection.matches("src/a.py", "src") and selection.matches("deep/in/a.py", "*.py")
