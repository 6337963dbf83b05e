"""Merge requests over the network, on a server of this machine: what is read, what is posted, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from domains.code_review.data.hosts.files import RequestedFiles
from domains.code_review.data.hosts.gitlab import GitLab
from domains.code_review.data.hosts.naming import named_merge_request, named_request
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.merge_request import diff_of_changes
from suite.errors import InputError
from tests.code_review.server import BASE, DIFF, HEAD, MERGE, SECRET, START, Answer, Hub, asked, hub, only_line

NAME = "g/s/p!7"
HUNKS = DIFF.decode().split("+++ b/a.py\n")[1]
FILE = {"old_path": "a.py", "new_path": "a.py", "a_mode": "100644", "b_mode": "100644", "diff": HUNKS}
POST = f"POST {MERGE}/discussions"


@pytest.fixture
def server(monkeypatch, at_hand) -> Iterator[Hub]:
    with hub() as own:
        monkeypatch.setenv("GITLAB_API_URL", own.address)
        monkeypatch.setenv("GITLAB_TOKEN", SECRET)
        monkeypatch.delenv("CI_API_V4_URL", raising=False)
        own.merge_request(FILE)
        yield own


def sent(server: Hub) -> list[dict]:
    return [one.body for one in server.asked if one.method == "POST"]


@pytest.fixture
def public(monkeypatch) -> None:
    for name in ("GITLAB_API_URL", "CI_API_V4_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("word", "project", "address"),
    [
        ("g/p!7", "g/p", "https://gitlab.com/api/v4"),
        ("https://gitlab.com/g/p/-/merge_requests/7", "g/p", "https://gitlab.com/api/v4"),
        ("https://git.example:8443/g/s.1/_p/-/merge_requests/7/diffs?x=1#n", "g/s.1/_p", "https://git.example:8443/api/v4"),
        ("https://GitLab.Example/g/p/merge_requests/7", "g/p", "https://gitlab.example/api/v4"),
    ],
)  # fmt: skip
def test_a_merge_request_is_known_by_its_name_and_by_its_page_on_any_host(public, word, project, address):
    found = named_request(word)
    assert (found.project, found.number, found.address) == (project, 7, address)


@pytest.mark.parametrize(
    "word",
    [
        "p!7",
        "g/p!x",
        "../p!7",
        "g/../p!7",
        "https://u:pass@git.example/g/p/-/merge_requests/7",
        "ftp://h/g/p/-/merge_requests/7",
        "https://h/p/-/merge_requests/7",
        b"d",
    ],
)
def test_other_words_name_none(word):
    assert named_merge_request(word) is None


def test_gitlab_below_a_path_and_in_its_own_jobs(monkeypatch, public):
    monkeypatch.setenv("CI_API_V4_URL", "https://git.example/gitlab/api/v4")
    page = "https://git.example/gitlab/g/p/-/merge_requests/7"
    found = named_merge_request(page)
    assert (found.project, found.address, found.page) == ("g/p", "https://git.example/gitlab/api/v4", page)
    monkeypatch.setenv("GITLAB_API_URL", "https://other.example")
    assert named_merge_request("g/p!7").address == "https://other.example/api/v4"


def test_a_merge_request_is_read_and_reviewed_between_its_revisions(server, capsys):
    code, out, _ = asked(capsys, NAME, "--format", "gitlab")
    first, second = json.loads(out)
    assert code == 0 and [one["position"]["new_line"] for one in (first, second)] == [2, 22]
    shas = [first["position"][f"{name}_sha"] for name in ("base", "start", "head")]
    assert shas == [BASE, START, HEAD], "the newest version's"
    assert {one.headers["Authorization"] for one in server.asked} == {f"Bearer {SECRET}"}
    assert all(one.method == "GET" for one in server.asked), "nothing is sent unless it is asked for"


def test_a_page_of_another_host_is_asked_there_and_without_the_token(server, capsys):
    with hub() as other:
        other.merge_request(FILE)
        page = f"{other.address}/g/s/p/-/merge_requests/7"
        code, out, _ = asked(capsys, page, "--format", "json")
        assert code == 0 and len(json.loads(out)["findings"]) == 2
        assert other.asked and not any("Authorization" in one.headers for one in other.asked)
        other.says(f"GET {MERGE}/versions?per_page=100", Answer({"message": "404 Project Not Found"}, 404))
        code, _, err = asked(capsys, page)
        own = server.address.removeprefix("http://")
        assert code == 2 and f"GITLAB_TOKEN is sent to {own} alone; set GITLAB_API_URL to {other.address}" in err
        other.asked.clear()
        code, _, err = asked(capsys, page, "--post")
        assert code == 2 and f"GITLAB_TOKEN is sent to {own} alone" in only_line(err) and not other.asked
    assert not server.asked


def test_a_page_without_encryption_is_refused(server, capsys):
    code, _, err = asked(capsys, "http://gitlab.example/g/p/-/merge_requests/7")
    assert code == 2 and "give an https address" in only_line(err) and not server.asked


def test_gitlabs_files_make_the_diff_that_git_would(server, capsys):
    def file(name: str, diff: str = "", **more) -> dict:
        return {"old_path": name, "new_path": name, "a_mode": "100644", "b_mode": "100644", "diff": diff} | more

    raw, unseen = diff_of_changes(
        [
            file("new ä.py", "@@ -0,0 +1 @@\n+breakpoint()\n", new_file=True, a_mode="0", b_mode="100755"),
            file("gone.py", "@@ -1 +0,0 @@\n-x\n\\ No newline at end of file", deleted_file=True, b_mode="0"),
            file("b.py", "@@ -1 +1 @@\n-x\n+y\n", old_path="a.py", renamed_file=True),
            file("run.sh", a_mode="100644", b_mode="100755"),
            file("p.png", "Binary files a/p.png and b/p.png differ\n"),
            file("old.py", "--- a/old.py\n+++ b/old.py\n@@ -1 +1 @@\n-x\n+y\n"),
            file("empty.py", new_file=True, a_mode="0"),
            file("big.py", too_large=True),
            file("long.py", collapsed=True),
        ],
        "the list",
    )
    files = parse_diff(raw).files
    assert [(one.old_path, one.new_path, one.status, one.added, one.removed) for one in files] == [
        (None, "new ä.py", "added", 1, 0),
        ("gone.py", None, "deleted", 0, 1),
        ("a.py", "b.py", "renamed", 1, 1),
        ("run.sh", "run.sh", "mode changed", 0, 0),
        ("p.png", "p.png", "modified", 0, 0),
        ("old.py", "old.py", "modified", 1, 1),
        (None, "empty.py", "added", 0, 0),
    ]
    assert files[4].binary and files[0].new_mode == "100755" and set(unseen) == {"big.py", "long.py"}
    server.merge_request(FILE, file("big.py", too_large=True))
    _, out, _ = asked(capsys, NAME)
    assert "passed over: big.py: GitLab does not show its diff, it is too large" in out
    assert "2 findings in 2 hunks of 1 file" in out


def test_a_saved_answer_is_read_as_the_merge_request_is(server, capsys, tmp_path):
    for name, told in (("list", [FILE]), ("changes", {"iid": 7, "changes": [FILE]}), ("version", {"diffs": [FILE]})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(told))
        code, out, _ = asked(capsys, str(path))
        assert code == 0 and "2 findings in 2 hunks of 1 file" in out
    (tmp_path / "list.json").write_text(json.dumps([{"new_path": "a.py", "diff": 1}]))
    code, _, err = asked(capsys, str(tmp_path / "list.json"))
    assert code == 2 and "file 1 of the saved answer: expected old_path, new_path and diff" in only_line(err)


def test_only_what_came_after_a_commit_is_looked_at(server, capsys):
    newer = "@@ -21,3 +21,4 @@\n a = 1\n+eval(a)\n b = 2\n c = 3\n"
    place = f"/api/v4/projects/g%2Fs%2Fp/repository/compare?from={'e' * 40}&to={HEAD}"
    server.says(f"GET {place}", {"diffs": [{**FILE, "diff": newer}]})
    code, out, _ = asked(capsys, NAME, "--since", "e" * 40, "--format", "json")
    assert code == 0 and [one["line"] for one in json.loads(out)["findings"]] == [22]
    code, _, err = asked(capsys, NAME, "--since", "main&x=1")
    assert code == 2 and "of a merge request give a commit's sha" in only_line(err)
    code, _, err = asked(capsys, NAME, "--range", "a..b")
    assert code == 2 and "a merge request is read as its host shows it" in only_line(err)


def test_discussions_are_shown_and_then_posted_one_by_one(server, capsys):
    code, _, err = asked(capsys, NAME, "--post")
    assert code == 0
    shown, end = json.JSONDecoder().raw_decode(err[(start := err.index("[\n")) :])
    assert shown == sent(server), "what is sent is what was shown"
    assert [(one["position"]["new_path"], one["position"]["new_line"]) for one in shown] == [("a.py", 2), ("a.py", 22)]
    assert f"posted 2 discussions; {server.address}/g/s/p/-/merge_requests/7" in err[start + end :]


def test_what_stands_there_already_is_not_posted_again(server, capsys):
    asked(capsys, NAME, "--post")
    first, second = sent(server)
    there = {
        "notes": [{"system": True, "body": "added 1 commit", "position": None}, {**first, "body": first["body"] + " "}]
    }
    following = {"Link": f'<{server.address}{MERGE}/discussions?per_page=100&page=2>; rel="next"'}
    server.says(f"GET {MERGE}/discussions?per_page=100", Answer([{"notes": []}], headers=following))
    server.says(f"GET {MERGE}/discussions?per_page=100&page=2", [there])
    _, _, err = asked(capsys, NAME, "--post")
    assert sent(server)[2:] == [second] and "posted 1 discussion, 1 more stood there already" in err
    server.says(f"GET {MERGE}/discussions?per_page=100", [there, {"notes": [second]}])
    code, _, err = asked(capsys, NAME, "--post")
    assert code == 0 and "nothing is posted, 2 discussions stand there already" in err and len(sent(server)) == 3


def test_a_discussion_that_is_refused_leaves_the_others(server, capsys):
    said = {"message": {"base": ["line_code can't be blank"]}}
    server.says(POST, Answer(said, 400), Answer({"id": "1"}, 201))
    code, _, err = asked(capsys, NAME, "--post")
    assert code == 2 and len(sent(server)) == 2
    assert "refuses it: base line_code can't be blank; 1 of 2 discussions were posted" in err.splitlines()[-1]


def test_a_post_that_breaks_off_says_how_far_it_came(server, capsys, waits):
    server.says(POST, Answer({"id": "1"}, 201), Answer({"error": "insufficient_scope", "scope": "api"}, 403))
    code, _, err = asked(capsys, NAME, "--post")
    line = err.splitlines()[-1]
    assert code == 2 and "forbids it: insufficient_scope; set GITLAB_TOKEN" in line
    assert "1 of 2 discussions were posted, the same command tries the others" in line
    server.says(POST, Answer({}, 502))
    assert asked(capsys, NAME, "--post")[0] == 2 and len(sent(server)) == 3, "never told twice"


def test_posting_needs_a_token_before_anything_is_read(server, capsys, monkeypatch):
    monkeypatch.delenv("GITLAB_TOKEN")
    code, _, err = asked(capsys, NAME, "--post")
    assert code == 2 and "may write merge requests in the environment variable GITLAB_TOKEN" in only_line(err)
    assert not server.asked


REFUSED = [
    (Answer({"message": "401 Unauthorized"}, 401), "does not know the token in GITLAB_TOKEN"),
    (Answer({"error": "insufficient_scope"}, 403), "forbids it: insufficient_scope; set GITLAB_TOKEN"),
    (Answer({"message": "404 Project Not Found"}, 404), "has no such thing, or not for this token; correct the name"),
    (Answer("Retry later", 429, {"Retry-After": "3600"}), "takes no more requests for about 60 min"),
    (Answer("Retry later", 429, {"RateLimit-Reset": "99999999999"}), "takes no more requests for about"),
    (Answer({"message": "500 Internal Server Error"}, 500), "answers 500: 500 Internal Server Error; try later"),
    (Answer(b"<html>sign in \x1b[31m</html>"), "the answer is no JSON; is GITLAB_API_URL right"),
    (Answer({"versions": 1}), "answers with no list of objects; is GITLAB_API_URL right?"),
    (Answer([]), "has no diff of it; it is empty, or not made yet"),
    (Answer([{"base_commit_sha": "../x"}]), "names no revision of its base"),
    (Answer(b"", 302, {"Location": "https://evil.example/steal"}), "sends us to another host, evil.example"),
]


@pytest.mark.parametrize(("answer", "said"), REFUSED)
def test_a_refusal_is_one_line_and_exit_code_2(server, capsys, waits, answer, said):
    server.says(f"GET {MERGE}/versions?per_page=100", answer)
    code, _, err = asked(capsys, NAME)
    assert code == 2 and said in only_line(err) and only_line(err).startswith(f"error: {NAME}: ")
    assert "\x1b" not in err


def test_without_a_token_a_refusal_names_the_variable_and_the_way_round(server, capsys, monkeypatch):
    monkeypatch.delenv("GITLAB_TOKEN")
    for status, said in ((401, "wants a token"), (404, "has no such thing")):
        server.says(f"GET {MERGE}/versions?per_page=100", Answer({"message": "no"}, status))
        line = only_line(asked(capsys, NAME)[2])
        assert said in line and "(GITLAB_TOKEN is not set)" in line and "save the diff to a file" in line


def test_suggestions_are_tried_on_the_files_at_the_head(server):
    place = f"/api/v4/projects/g%2Fs%2Fp/repository/files/a%20b%2F%C3%BC.py/raw?ref={HEAD}"
    server.says(f"GET {place}", b"x = 1\n")
    files = RequestedFiles(GitLab(), named_merge_request(NAME), HEAD)
    assert files.read("a b/ü.py") == b"x = 1\n" == files.read("a b/ü.py")
    assert files.read("../x") is None and files.read("gone.py") is None
    assert len(server.asked) == 2, "each file once, and none outside of the tree"


@pytest.mark.parametrize("token", ["a b", "a\nX-Evil: 1", "é"])
def test_what_cannot_be_a_token_is_not_shown(server, monkeypatch, token):
    monkeypatch.setenv("GITLAB_TOKEN", token)
    with pytest.raises(InputError, match="GITLAB_TOKEN holds blanks") as caught:
        GitLab()
    assert token not in str(caught.value)


def test_results_are_named_after_the_merge_request_and_hold_no_token(server, capsys, tmp_path):
    code, _, _ = asked(capsys, NAME, "--out", str(tmp_path))
    assert code == 0 and json.loads((tmp_path / "g-s-p-7.json").read_text())["source"] == NAME
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.iterdir())
