from __future__ import annotations

from pathlib import Path

import pytest

from suite.errors import InputError
from suite.hub.references import CatalogueName, HubRepository, LocalPath, Url, parse

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiny", CatalogueName("music", "tiny")),
        ("code_review/tiny", CatalogueName("code_review", "tiny")),
        ("hf:org/name", HubRepository("org/name")),
        ("hf:org/name@v1.2", HubRepository("org/name", "v1.2")),
        ("hf:org/name@refs/pr/3:a/b", HubRepository("org/name", "refs/pr/3", "a/b")),
        ("hf:org/name:checkpoint-10", HubRepository("org/name", "main", "checkpoint-10")),
        ("https://host/a/b.zip", Url("https://host/a/b.zip")),
        (f"https://host/a?x=1#sha256={DIGEST.upper()}", Url("https://host/a?x=1", DIGEST)),
        (f"http://host/a#sha256={DIGEST}", Url("http://host/a", DIGEST)),
        ("http://127.0.0.1:80/a", Url("http://127.0.0.1:80/a")),
        ("/a/b", LocalPath(Path("/a/b"))),
        ("./a", LocalPath(Path.cwd() / "a")),
        ("~/a", LocalPath(Path.home() / "a")),
    ],
)
def test_every_form_is_read(text: str, expected: object) -> None:
    assert parse(text, domain="music") == expected


@pytest.mark.parametrize(
    "text", ["music/tiny", "hf:org/name@v1:a/b", f"https://host/a.zip#sha256={DIGEST}", "hf:org/name:a", "/a/b"]
)
def test_a_reference_prints_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "write tiny"),
        ("  ", "write tiny"),
        ("hf:name", "hf:org/name"),
        ("hf:org/name/more", "hf:org/name"),
        ("hf:../name", "hf:org/name"),
        ("hf:org/name@", "after the @"),
        ("hf:org/name@a b", "after the @"),
        ("hf:org/name:../secret", "leaves the repository"),
        ("hf:org/name:/etc", "leaves the repository"),
        ("http://host/a", "use https"),
        ("ftp://host/a", "use https"),
        ("file:///etc/passwd", "use https"),
        ("https://host", "names no file"),
        ("https://host/a#md5=00", "#sha256="),
        ("https://host/a#sha256=00", "64 hexadecimal"),
        ("a/b/c", "./a/b/c"),
        ("a b", "no reference"),
    ],
)
def test_what_is_no_reference_is_refused_with_advice(text: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint.replace(".", r"\.")) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
