"""The verb `mine`: a data set from one's own history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domains.code_review.data.filters import masked, reason_against
from domains.code_review.data.sources import examples
from suite.cli.main import main
from tests.code_review import changes
from tests.code_review.server import Answer, hub


def comment(number: int, path: str, body: str, commit: str = "", line: int = 2, **more) -> dict:
    hunk = f"@@ -1,3 +1,3 @@\n a = {number}\n-b = 2\n+b = {number}"
    user = {"login": more.pop("login", "ann"), "type": more.pop("type", "User")}
    told = {"id": number, "path": path, "diff_hunk": hunk, "body": body, "original_line": line, "user": user}
    return {**told, "original_commit_id": commit, "created_at": f"2024-01-{number + 1:02}T00:00:00Z", **more}


@pytest.fixture
def history(tmp_path) -> tuple[Path, Path]:
    """A repository whose second commit answers a comment, and recorded answers with comments and files."""
    before = b"".join(b"line %d\n" % n for n in range(8))
    tree = changes.repository(tmp_path / "tree", {f"src/m{n}.py": before for n in range(10)})
    first = changes.git(tree, "rev-parse", "HEAD").stdout.decode().strip()
    changes.write(tree, {"src/m0.py": before.replace(b"line 1", b"better 1")})
    changes.git(tree, "commit", "-aqm", "second")
    saved = tmp_path / "saved"
    saved.mkdir()
    comments = [comment(n, f"src/m{n}.py", f"Please rename this variable, {n}.", first) for n in range(10)]
    comments += [
        comment(11, "src/m1.py", "LGTM"),
        comment(12, "src/m1.py", "Please rename this variable now.", type="Bot"),
        comment(13, "src/m1.py", "I did what you asked for.", in_reply_to_id=1),
        comment(14, "src/m1.py", "https://example.org/x"),
        comment(15, "src/m2.py", "Write to bob@example.org or @bob about ghp_abcdefghij0123456789 here."),
    ]
    (saved / "comments.json").write_text(json.dumps(comments))
    files = [{"filename": f"src/q{n}.py", "patch": f"@@ -1 +1 @@\n-q = {n}\n+q = {n + 1}"} for n in range(30)]
    (saved / "files.json").write_text(json.dumps([*files, files[0], {"filename": "a.png"}]))
    return tree, saved


def mined(history, out: Path, *more: str) -> dict:
    tree, saved = history
    words = ["code_review", "mine", str(tree), "--responses", str(saved), "--out", str(out), *more]
    assert main([*words, "--json"]) == 0
    return {}


def rows(folder: Path, pattern: str) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.rglob(pattern)) for line in file.read_text().splitlines()]


def test_comments_become_cases_of_all_three_tasks(history, tmp_path, capsys):
    out = tmp_path / "out"
    mined(history, out)
    said = json.loads(capsys.readouterr().out)
    comments = rows(out, "msg-*.jsonl")
    assert len(comments) == 11
    assert [row["old"] for row in rows(out, "ref-*.jsonl")] == [" line 0\n-line 1\n line 2\n line 3\n line 4"]
    needed = rows(out, "cls-*.jsonl")
    assert sum(row["y"] for row in needed) == sum(1 - row["y"] for row in needed) == 11, "as many of either"
    assert said["left_out"]["by a bot"] == said["left_out"]["a reply"] == 1
    assert said["left_out"]["nothing but a nit or praise"] == said["left_out"]["nothing but links"] == 1
    # What was written is read again by training.
    for task in ("necessity", "comment"):
        assert list(examples(str(out), task, "train"))
    [case] = [one for split in ("train", "val", "test") for one in _cases(out, "refinement", split)]
    assert "better 1" in case.answer and case.comment.startswith("Please rename")


def _cases(out: Path, task: str, split: str) -> list:
    from suite.errors import InputError

    try:
        return list(examples(str(out), task, split))
    except InputError:
        return []


def test_no_file_is_in_two_splits_and_the_test_split_is_the_newest(history, tmp_path, capsys):
    out = tmp_path / "out"
    mined(history, out)
    split_of: dict[str, set[str]] = {}
    for file in out.rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if "path" in row:
                split_of.setdefault(row["path"], set()).add(file.stem.split("-")[1])
    assert all(len(splits) == 1 for splits in split_of.values())
    assert split_of["src/m9.py"] == {"test"} and "train" in split_of["src/m0.py"]


def test_addresses_tokens_and_names_are_masked(history, tmp_path, capsys):
    out = tmp_path / "out"
    mined(history, out)
    text = "".join(file.read_text() for file in out.rglob("*.jsonl"))
    assert "bob" not in text and "ghp_" not in text and "EMAIL" in text and "@NAME" in text and "TOKEN" in text


def test_a_dry_run_writes_nothing(history, tmp_path, capsys):
    mined(history, tmp_path / "out", "--dry-run")
    assert not (tmp_path / "out").exists()
    assert json.loads(capsys.readouterr().out)["counts"]["comment"]["train"] > 0


def test_training_comes_next_only_where_there_is_something_to_train_on(history, tmp_path, capsys):
    mined(history, tmp_path / "out")
    capsys.readouterr()
    tree, saved = history
    assert main(["code_review", "mine", str(tree), "--responses", str(saved), "--out", str(tmp_path / "out")]) == 0
    assert "next     suite code_review train" in capsys.readouterr().out
    assert main(["code_review", "mine", str(tree), "--out", str(tmp_path / "alone")]) == 0
    out = capsys.readouterr().out
    assert "next" not in out and "too little to train on: no task has cases for training and for validation" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "a.txt"), "a.txt: is a file; give a folder for the results"),
        (("--out", "out", "--most-pulls", "0"), "most_pulls is 0; give 1 or more"),
        (("--out", "out", "--responses", "a.txt"), "a.txt: is a file; give a folder of saved answers"),
        (("--out", "out", "--repo", "o/r", "--responses", "a.txt"), "a.txt: is a file; give a folder of saved answers"),
    ],
)
def test_what_cannot_be_mined_is_told_first(history, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    assert main(["code_review", "mine", str(history[0]), *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line and not (tmp_path / "out").exists()


def test_a_repository_alone_gives_hunks_that_drew_no_comment(history, tmp_path, capsys):
    tree, _ = history
    assert main(["code_review", "mine", str(tree), "--out", str(tmp_path / "out")]) == 0
    assert "no --responses" in capsys.readouterr().out
    assert {row["y"] for row in rows(tmp_path / "out", "cls-*.jsonl")} == {0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nit", "nothing but a nit or praise"),
        ("LGTM, thanks!", "nothing but a nit or praise"),
        ("https://a.b/c https://d.e", "nothing but links"),
        ("Why this?", "fewer than 3 words"),
        ("word " * 200, "more than 128 words"),
        ("请在这里使用另外一个变量 please now ok so", "mostly not ASCII"),
        ("nit: rename this to `count`, it counts.", ""),
        ("This is O(n²), use a set here.", ""),
    ],
)
def test_comments_that_teach_nothing_are_left_out(text, why):
    assert reason_against(text) == why


def test_what_is_masked_is_no_code():
    assert masked("Use `@property` and @dataclass? mail a.b@c.de") == "Use `@property` and @NAME? mail EMAIL"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("{}", "expected a list"),
        ("[1]", "item 1 is no object"),
        ('[{"a": 1}]', "neither a review comment"),
    ],
)
def test_answers_that_are_none_are_named(tmp_path, capsys, content, said):
    tree = changes.repository(tmp_path / "tree", {"a.py": b"x = 1\n"})
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "a.json").write_text(content)
    words = ["code_review", "mine", str(tree), "--responses", str(saved), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and "a.json" in err and err.count("\n") == 1


def test_a_folder_that_is_no_repository_is_refused(tmp_path, capsys):
    assert main(["code_review", "mine", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no git work tree" in capsys.readouterr().err


@pytest.fixture
def server(monkeypatch):
    with hub() as own:
        monkeypatch.setenv("GITHUB_API_URL", own.address)
        monkeypatch.setenv("GITHUB_TOKEN", "ghp_something")
        yield own


LIST = "GET /repos/o/r/pulls?state=closed&sort=updated&direction=desc&per_page=100"


def said_by(server, first: str) -> None:
    """Three comments on two pages, and four closed pull requests, of which two were merged."""
    page = "GET /repos/o/r/pulls/comments?sort=created&direction=asc&page={}&per_page=100"
    comments = [comment(n, f"src/m{n % 10}.py", f"Please rename this variable, {n}.", first) for n in range(101)]
    link = {"Link": f'<{server.address}{page.format(2).removeprefix("GET ")}>; rel="next"'}
    server.says(page.format(1), Answer(comments[:100], headers=link))
    server.says(page.format(2), comments[100:])
    pulls = [
        {"number": n, "updated_at": f"2024-0{8 - n}-02T00:00:00Z", "merged_at": f"2024-0{8 - n}-01T00:00:00Z"}
        for n in range(1, 5)
    ]
    pulls[1]["merged_at"] = None
    server.says(LIST, pulls)
    for n in (1, 3, 4):
        patch = f"@@ -{n} +{n} @@\n-old {n}\n+new {n}"
        server.says(f"GET /repos/o/r/pulls/{n}/files?per_page=100", [{"filename": f"q{n}.py", "patch": patch}])


def fetched(history, tmp_path, *more: str) -> int:
    words = ["--repo", "o/r", "--responses", str(tmp_path / "fetched"), "--out", str(tmp_path / "out")]
    return main(["code_review", "mine", str(history[0]), *words, *more])


def test_a_repository_is_recorded_once_and_mined(history, tmp_path, capsys, server):
    said_by(server, changes.git(history[0], "rev-parse", "HEAD~1").stdout.decode().strip())
    assert fetched(history, tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["counts"]["comment"].values()) == 101
    negative = [row for row in rows(tmp_path / "out", "cls-*.jsonl") if not row["y"]]
    assert {row["path"] for row in negative} == {"q1.py", "q3.py", "q4.py"}
    before = len(server.asked)
    assert fetched(history, tmp_path) == 0
    again = [one.path for one in server.asked[before:]]
    assert len(again) == 2 and "page=2" in again[0], "a page that is not full, and the list of pull requests"


def test_a_recording_that_was_cut_off_goes_on(history, tmp_path, capsys, server):
    said_by(server, "")
    good = server.answers["GET /repos/o/r/pulls/3/files?per_page=100"]
    limit = Answer({"message": "limit"}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"})
    server.says("GET /repos/o/r/pulls/3/files?per_page=100", limit)
    assert fetched(history, tmp_path) == 2
    err = capsys.readouterr().err
    assert "takes no more requests" in err and "goes on where it was" in err and "Traceback" not in err
    server.says("GET /repos/o/r/pulls/3/files?per_page=100", *good)
    assert fetched(history, tmp_path) == 0
    assert sum(one.path.startswith("/repos/o/r/pulls/1/files") for one in server.asked) == 1
    assert fetched(history, tmp_path, "--since", "2024-05-01") == 2
    assert "take another folder" in capsys.readouterr().err


def test_what_is_older_than_a_date_is_left_out(history, tmp_path, capsys):
    tree, saved = history
    words = ["code_review", "mine", str(tree), "--out", str(tmp_path / "out"), "--json", "--since", "2024-01-06"]
    assert main([*words, "--responses", str(saved)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["left_out"]["before --since"] == 5 and sum(told["counts"]["comment"].values()) == 6
    assert main([*words[:-1], "no date"]) == 2
    assert "is no date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repo", "o/r"), "name it by --responses"),
        (("--repo", "o", "--responses", "x"), "write owner/name"),
        (("--repo", "o/r", "--responses", "x"), "environment variable GITHUB_TOKEN"),
    ],
)
def test_recording_says_what_it_needs(history, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["code_review", "mine", str(history[0]), "--out", "out", *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "x").exists()
