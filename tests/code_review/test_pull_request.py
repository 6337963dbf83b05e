"""Pull requests over the network, on a server of this machine: what is read, what is posted, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from domains.code_review.data.hosts import client
from domains.code_review.data.hosts.files import RequestedFiles
from domains.code_review.data.hosts.github import GitHub
from domains.code_review.data.hosts.naming import named_pull_request
from suite.errors import InputError
from tests.code_review import changes
from tests.code_review.server import BASE, DIFF, HEAD, SECRET, Answer, Hub, asked, hub, only_line

PULL = "/repos/o/r/pulls/7"


@pytest.fixture
def server(monkeypatch, at_hand) -> Iterator[Hub]:
    with hub() as own:
        monkeypatch.setenv("GITHUB_API_URL", own.address)
        monkeypatch.setenv("GITHUB_TOKEN", SECRET)
        own.pull_request(DIFF)
        yield own


@pytest.mark.parametrize("word", ["o/r#7", "https://github.com/o/r/pull/7", "https://github.com/o/r/pull/7/files#x"])
def test_a_pull_request_is_known_by_its_name_and_by_its_address(monkeypatch, word):
    monkeypatch.delenv("GITHUB_API_URL", raising=False)
    assert str(named_pull_request(word)) == "o/r#7"


@pytest.mark.parametrize(
    "word", ["o/r", "o/r#x", "a/b/c#1", "-x/r#1", "http://github.com/o/r/pull/7", "o/r/pull/7", b"d"]
)
def test_other_words_name_none(word):
    assert named_pull_request(word) is None


def test_a_pull_request_of_another_host_is_not_asked_of_this_one(server, capsys):
    code, _, err = asked(capsys, "https://evil.example/o/r/pull/7")
    assert code == 2 and "knows nothing of evil.example; set GITHUB_API_URL" in only_line(err)
    assert not server.asked


def test_a_pull_request_is_read_and_reviewed_at_its_head(server, capsys):
    code, out, _ = asked(capsys, "o/r#7", "--format", "json")
    told = json.loads(out)
    assert code == 0 and [one["line"] for one in told["findings"]] == [2, 22]
    assert (told["source"], told["commit"]) == ("o/r#7", HEAD)
    assert {one.headers["Authorization"] for one in server.asked} == {f"Bearer {SECRET}"}
    assert all(one.method == "GET" for one in server.asked), "nothing is sent unless it is asked for"


def test_public_pull_requests_need_no_token_and_netrc_gives_none(server, capsys, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password other-secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("GITHUB_TOKEN")
    assert asked(capsys, "o/r#7")[0] == 0
    assert not any("Authorization" in one.headers for one in server.asked)


def test_a_diff_that_is_too_large_is_read_file_by_file(server, capsys):
    server.says(f"GET {PULL} diff", Answer({"message": "Sorry, the diff exceeded the maximum number of lines"}, 406))
    files = [{"filename": f"{n}.py", "status": "added", "patch": "@@ -0,0 +1 @@\n+breakpoint()"} for n in range(3)]
    following = {"Link": f'<{server.address}{PULL}/files?per_page=100&page=2>; rel="next"'}
    server.says(f"GET {PULL}/files?per_page=100", Answer(files[:2], headers=following))
    server.says(f"GET {PULL}/files?per_page=100&page=2", files[2:])
    code, out, _ = asked(capsys, "o/r#7")
    assert code == 0 and "3 findings in 3 hunks of 3 files" in out


def test_only_what_came_after_a_commit_is_looked_at(server, capsys):
    newer = b"--- a/a.py\n+++ b/a.py\n@@ -21,3 +21,4 @@\n a = 1\n+eval(a)\n b = 2\n c = 3\n"
    server.says(f"GET /repos/o/r/compare/{'c' * 40}...{HEAD} diff", newer)
    code, out, _ = asked(capsys, "o/r#7", "--since", "c" * 40, "--format", "github")
    body = json.loads(out)
    assert code == 0 and [one["line"] for one in body["comments"]] == [22] and "in 1 hunk" in body["body"]
    code, _, err = asked(capsys, "o/r#7", "--since", "main")
    assert code == 2 and "give a commit's sha" in only_line(err)


def test_a_review_is_shown_and_then_posted(server, capsys):
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 0
    [sent] = [one for one in server.asked if one.method == "POST"]
    assert sent.body["commit_id"] == HEAD and sent.body["event"] == "COMMENT"
    assert [(one["path"], one["line"], one["side"]) for one in sent.body["comments"]] == [
        ("a.py", 2, "RIGHT"),
        ("a.py", 22, "RIGHT"),
    ]
    start = err.index("{")
    shown, end = json.JSONDecoder().raw_decode(err[start:])
    assert shown == sent.body, "what is sent is what was shown"
    assert "posted 2 comments; https://github.com/o/r/pull/7#review-1" in err[start + end :]


def test_what_stands_there_already_is_not_posted_again(server, capsys):
    asked(capsys, "o/r#7", "--post")
    [first, second] = server.asked[-1].body["comments"]
    server.says(f"GET {PULL}/comments?per_page=100", [{"path": first["path"], "body": first["body"], "line": None}])
    _, _, err = asked(capsys, "o/r#7", "--post")
    assert server.asked[-1].body["comments"] == [second] and "1 comment, 1 more stood there already" in err
    server.says(f"GET {PULL}/comments?per_page=100", [first, second])
    sent = sum(one.method == "POST" for one in server.asked)
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 0 and "nothing is posted, 2 comments stand there already" in err
    assert sum(one.method == "POST" for one in server.asked) == sent


def test_a_review_without_findings_is_not_posted(server, capsys):
    server.pull_request(DIFF.replace(b"breakpoint()", b"pass").replace(b"eval(a)", b"pass"))
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 0 and "nothing was found, nothing is posted" in err
    assert all(one.method == "GET" for one in server.asked)


def test_posting_needs_a_token_and_a_pull_request_before_anything_is_read(server, capsys, monkeypatch, tmp_path):
    (tmp_path / "a.diff").write_bytes(DIFF)
    code, _, err = asked(capsys, str(tmp_path / "a.diff"), "--post")
    assert code == 2 and "--post is for pull requests" in only_line(err)
    monkeypatch.delenv("GITHUB_TOKEN")
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 2 and "environment variable GITHUB_TOKEN" in only_line(err)
    assert not server.asked


REFUSED = [
    (Answer({"message": "Bad credentials"}, 401), "does not know the token in GITHUB_TOKEN"),
    (Answer({"message": "Resource not accessible"}, 403), "forbids it: Resource not accessible; set GITHUB_TOKEN"),
    (Answer({"message": "Not Found"}, 404), "has no such thing, or not for this token; correct the name"),
    (Answer({"message": "oops"}, 500), "answers 500: oops; try later"),
    (Answer({"message": "limit"}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}), "no more"),
    (Answer({"message": "limit"}, 429, {"Retry-After": "3600"}), "takes no more requests for about 60 min"),
    (Answer(b"<html>502 \x1b[31m proxy</html>"), "the answer is no JSON"),
    (Answer([1]), "names no revision of its head"),
    (Answer({"head": {"sha": "../x"}, "base": {"sha": BASE}}), "names no revision of its head"),
    (Answer(b"", 302, {"Location": "https://evil.example/steal"}), "sends us to another host, evil.example"),
]


@pytest.mark.parametrize(("answer", "said"), REFUSED)
def test_a_refusal_is_one_line_and_exit_code_2(server, capsys, waits, answer, said):
    server.says(f"GET {PULL} json", answer)
    code, _, err = asked(capsys, "o/r#7")
    assert code == 2 and said in only_line(err) and only_line(err).startswith("error: o/r#7: ")
    assert "\x1b" not in err


def test_without_a_token_a_refusal_names_the_variable_and_the_way_round(server, capsys, monkeypatch):
    monkeypatch.delenv("GITHUB_TOKEN")
    server.says(f"GET {PULL} json", Answer({"message": "Not Found"}, 404))
    line = only_line(asked(capsys, "o/r#7")[2])
    assert "(GITHUB_TOKEN is not set)" in line and "save the diff to a file and give that" in line


def test_a_review_that_is_refused_whole_says_why(server, capsys):
    said = {"message": "Unprocessable Entity", "errors": ["Line must be part of the diff"]}
    server.says(f"POST {PULL}/reviews", Answer(said, 422))
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 2 and "refuses it whole: Unprocessable Entity; Line must be part of the diff" in err


@pytest.mark.parametrize("status", [403, 429])
def test_a_short_limit_is_waited_for_as_long_as_it_says(server, capsys, waits, status):
    busy = Answer({"message": "secondary limit"}, status, {"Retry-After": "7"})
    good = server.answers["POST /repos/o/r/pulls/7/reviews"][0]
    server.says(f"POST {PULL}/reviews", busy, good)
    assert asked(capsys, "o/r#7", "--post")[0] == 0
    assert waits == [7.0]


def test_a_troubled_server_is_asked_again_and_a_troubled_post_is_not(server, capsys, waits):
    good = server.answers[f"GET {PULL} json"][0]
    server.says(f"GET {PULL} json", Answer({}, 502), Answer({}, 503), good)
    server.says(f"POST {PULL}/reviews", Answer({}, 502))
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 2 and "answers 502" in err and waits == [0.5, 1.0]
    assert sum(one.method == "POST" for one in server.asked) == 1


def test_a_server_that_says_nothing_is_left(server, capsys, waits, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", (2.0, 0.1))
    server.says(f"GET {PULL} json", Answer({}, seconds=5.0))
    code, _, err = asked(capsys, "o/r#7")
    assert code == 2 and "says nothing for 0.1 s" in only_line(err)


def test_a_post_without_an_answer_is_never_sent_twice(server, capsys, waits, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", (2.0, 0.3))
    server.says(f"POST {PULL}/reviews", Answer({}, seconds=5.0))
    code, _, err = asked(capsys, "o/r#7", "--post")
    assert code == 2 and "look whether it is there before trying again" in err
    assert sum(one.method == "POST" for one in server.asked) == 1


def test_nobody_there_is_told_with_a_way_round(capsys, monkeypatch, waits):
    with hub() as gone:
        address = gone.address
    monkeypatch.setenv("GITHUB_API_URL", address)
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    line = only_line(asked(capsys, "o/r#7")[2])
    assert "cannot be reached" in line and "GITHUB_API_URL" in line and "ave the diff to a file" in line


def test_a_redirect_on_the_same_host_is_followed_and_none_elsewhere(server, capsys):
    moved = Answer(b"", 301, {"Location": f"{server.address}/repositories/1/pulls/7"})
    server.says("GET /repositories/1/pulls/7 json", *server.answers[f"GET {PULL} json"])
    server.says(f"GET {PULL} json", moved)
    assert asked(capsys, "o/r#7")[0] == 0
    with hub() as other:
        server.says(f"GET {PULL} json", Answer(b"", 302, {"Location": f"{other.address}/x"}))
        assert asked(capsys, "o/r#7")[0] == 2
        assert not other.asked, "the token goes nowhere else"
        following = {"Link": f'<{other.address}/x>; rel="next"'}
        server.says(f"GET {PULL} json", *server.answers["GET /repositories/1/pulls/7 json"])
        server.says(f"GET {PULL}/comments?per_page=100", Answer([], headers=following))
        assert asked(capsys, "o/r#7", "--post")[0] == 2
        assert not other.asked


@pytest.mark.parametrize("address", ["http://example.org", "ftp://127.0.0.1", "api.github.com", "https://"])
def test_an_interface_without_encryption_is_refused(monkeypatch, address):
    monkeypatch.setenv("GITHUB_API_URL", address)
    with pytest.raises(InputError, match=r"GITHUB_API_URL is .* give an https address"):
        GitHub()


@pytest.mark.parametrize("token", ["a b", "a\nX-Evil: 1", "é"])
def test_what_cannot_be_a_token_is_not_shown(monkeypatch, token):
    monkeypatch.setenv("GITHUB_TOKEN", token)
    with pytest.raises(InputError, match="GITHUB_TOKEN holds blanks") as caught:
        GitHub()
    assert token not in str(caught.value)


def test_an_answer_without_end_is_cut_off(server, capsys, monkeypatch):
    monkeypatch.setattr(client, "MOST_BYTES", 1000)
    server.says(f"GET {PULL} diff", b"+" * 5000)
    assert "answers with more than" in only_line(asked(capsys, "o/r#7")[2])


def test_one_bad_pull_request_leaves_the_others_done(server, capsys, tmp_path):
    code, _, err = asked(capsys, "o/r#8", "o/r#7", "--out", str(tmp_path))
    assert code == 2 and "error: o/r#8" in err
    assert json.loads((tmp_path / "o-r-7.json").read_text())["source"] == "o/r#7"


def test_suggestions_for_a_pull_request_are_tried_on_its_files_at_the_head(server):
    server.says(f"GET /repos/o/r/contents/a%20b/%C3%BC.py?ref={HEAD} json", b"x = 1\n")
    pull = named_pull_request("o/r#7")
    files = RequestedFiles(GitHub(), pull, HEAD)
    assert files.read("a b/ü.py") == b"x = 1\n" == files.read("a b/ü.py")
    assert files.read("../x") is None and files.read("gone.py") is None
    assert len(server.asked) == 2, "each file once, and none outside of the tree"


def test_a_range_of_a_work_tree_can_be_narrowed_to_what_is_new(tmp_path, capsys):
    lines = [b"line %d\n" % n for n in range(40)]
    tree = changes.repository(tmp_path / "tree", {"a.py": b"".join(lines)})
    for at, line in ((5, b"breakpoint()\n"), (30, b"eval(x)\n")):
        lines[at] = line
        changes.write(tree, {"a.py": b"".join(lines)})
        changes.git(tree, "commit", "-q", "-a", "-m", str(at))
    both = ["--range", "HEAD~2..HEAD", "--format", "json"]
    assert [one["line"] for one in json.loads(asked(capsys, str(tree), *both)[1])["findings"]] == [6, 31]
    told = json.loads(asked(capsys, str(tree), *both, "--since", "HEAD~1")[1])
    assert [one["line"] for one in told["findings"]] == [31] and told["hunks"] == 1
    code, _, err = asked(capsys, str(tree), "--since=--output=x")
    assert code == 2 and "is no revision" in only_line(err)


GITLAB_KEYS = {"position_type", "base_sha", "start_sha", "head_sha", "old_path", "new_path"}


def test_discussions_for_gitlab_stand_at_lines_between_known_revisions(tmp_path, capsys):
    tree = changes.repository(tmp_path / "tree", {"a.py": b"x = 1\ny = 2\n", "old.py": b"a\nb\nc\nd\ne\n" * 4})
    changes.git(tree, "branch", "-m", "main")
    changes.git(tree, "checkout", "-q", "-b", "topic")
    (tree / "old.py").rename(tree / "new.py")
    changes.write(tree, {"a.py": b"x = 1\nbreakpoint()\ny = 2\n", "new.py": b"a\nb\nc\nd\ne\n" * 4 + b"eval(x)\n"})
    changes.git(tree, "add", "-A")
    changes.git(tree, "commit", "-q", "-m", "topic")
    changes.git(tree, "checkout", "-q", "main")
    changes.write(tree, {"b.py": b"1\n"})
    changes.git(tree, "add", "-A")
    changes.git(tree, "commit", "-q", "-m", "main")
    base, start, head = (
        changes.git(tree, "rev-parse", name).stdout.decode().strip() for name in ("main~1", "main", "topic")
    )
    _, out, _ = asked(capsys, str(tree), "--range", "main...topic", "--format", "gitlab")
    first, second = json.loads(out)
    assert set(first["position"]) == {*GITLAB_KEYS, "new_line"}
    assert [first["position"][key] for key in ("base_sha", "start_sha", "head_sha")] == [base, start, head]
    assert (first["position"]["new_line"], first["position"]["new_path"]) == (2, "a.py")
    assert (second["position"]["old_path"], second["position"]["new_path"]) == ("old.py", "new.py")


def test_gitlab_needs_revisions_and_takes_those_that_are_stated(tmp_path, capsys):
    (tmp_path / "a.diff").write_bytes(DIFF)
    code, _, err = asked(capsys, str(tmp_path / "a.diff"), "--format", "gitlab")
    assert code == 2 and "--base-commit and --commit" in only_line(err)
    words = ["--format", "gitlab", "--base-commit", BASE, "--commit", HEAD]
    _, out, _ = asked(capsys, str(tmp_path / "a.diff"), *words)
    assert [one["position"]["start_sha"] for one in json.loads(out)] == [BASE, BASE]
