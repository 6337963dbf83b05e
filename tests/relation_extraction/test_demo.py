"""The demo: quick, on shipped adapters, with a picture and with files a user can open."""

from pathlib import Path

from domains.relation_extraction.demo import demo


def test_demo_finds_facts_and_draws_them(tmp_path: Path) -> None:
    shown = demo(tmp_path)
    assert shown["seconds"] < 60
    assert shown["right"] >= shown["wrong"]
    assert shown["right"] > 0
    [picture] = shown["pictures"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "documents.txt").read_text(encoding="utf-8").splitlines()[0] in shown["text"]
