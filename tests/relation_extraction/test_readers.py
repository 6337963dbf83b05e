"""Readers of files of every kind: text, JSON, own annotations, folders, standard input; what is wrong is one line."""

from __future__ import annotations

import io
import json
import sys

import pytest

from domains.relation_extraction.data.readers.opened import Opened as Source
from suite.errors import InputError
from tests.relation_extraction.reading import DOCRED, annotate, error, lines, read, write


def test_a_text_file_is_one_document_with_its_line_ends(tmp_path):
    text = "Zoë lives in Oslo.\r\nShe works.\r\n"
    (document,) = read(write(tmp_path, "note.txt", text))
    assert (document.id, document.text) == ("note", text)
    assert [text[start:end] for start, end in document.sentences] == ["Zoë lives in Oslo.", "She works."]


def test_lines_can_be_documents(tmp_path):
    path = write(tmp_path, "notes.txt", "One here.\n\n  \n{two} there.\u2028Still two.\n")
    assert [(d.id, d.text) for d in read(path, per_line=True)] == [
        ("notes:1", "One here."),
        ("notes:4", "{two} there.\u2028Still two."),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_byte_order_marks_and_named_encodings(tmp_path, encoding):
    path = write(tmp_path, "a.txt", "Zoë", encoding)
    (document,) = read(path, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert document.text == "Zoë"


@pytest.mark.parametrize("filler", [0, 3, 1 << 20, (1 << 20) - 1])
def test_a_wrong_encoding_names_the_byte(tmp_path, filler):
    content = b"\xc3\xab" * (filler // 2) + b"x" * (filler % 2) + b"ab\xebc"
    path = write(tmp_path, "a.txt", content)
    offset = content.index(b"b\xeb") + 1
    assert f"a.txt: byte offset {offset} is not utf-8" in error(path)
    assert "--encoding" in error(path, per_line=True)


def test_a_cut_character_at_the_end_is_named_too(tmp_path):
    assert "byte offset 2 is not utf-8" in error(write(tmp_path, "a.txt", b"ab\xc3"))
    assert "encoding `utf-9` is unknown" in error(write(tmp_path, "a.txt", "a"), encoding="utf-9")
    assert "encoding `rot13` is unknown" in error(write(tmp_path, "a.txt", "a"), encoding="rot13")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the document is empty"),
        ("\ufeff \n", "the document is empty"),
        ("12 + 3 = 15.", "the document has no letters"),
        ("– … —", "the document has no letters"),
        ("a\0b", "character 1 is NUL"),
    ],
)
def test_acceptance_13_12_a_text_without_text_is_refused(tmp_path, content, message):
    assert message in error(write(tmp_path, "a.txt", content))
    if content.strip("\ufeff \n"):
        assert "line 2" in error(write(tmp_path, "b.txt", f"Good.\n{content}\n"), per_line=True)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.html", "<p>x", "HTML"),
        ("a.htm", "x", "HTML"),
        ("a.pdf", b"%PDF-1.7\n\xff", "PDF"),
        ("a.txt", b"%PDF-1.7\n\xff", "PDF"),
        ("b.txt", "\n<!DOCTYPE html><html>", "HTML"),
        ("a.docx", b"PK\x03\x04", "Word"),
    ],
)
def test_what_is_out_of_scope_says_so(tmp_path, name, content, kind):
    assert f"{name}: {kind} is not read; convert it to plain text" in error(write(tmp_path, name, content))


def stdin(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))


def test_standard_input_of_every_kind(monkeypatch):
    stdin(monkeypatch, "Bo lives in Oslo. [1] {x}")
    assert [(d.id, d.text) for d in read("-")] == [("stdin", "Bo lives in Oslo. [1] {x}")]
    stdin(monkeypatch, "[1] A footnote, not JSON.")
    assert read("-")[0].text.startswith("[1] A")
    stdin(monkeypatch, lines({"text": "One."}, {"id": 7, "text": "Two."}))
    assert [(d.id, d.text) for d in read("-")] == [("stdin:1", "One."), ("7", "Two.")]
    stdin(monkeypatch, '{"text": "Pretty",\n "id": "p"}')
    assert read("-")[0].id == "p"
    stdin(monkeypatch, "")
    assert "standard input: the document is empty" in error("-")


def test_a_folder_gives_all_its_documents_in_order(tmp_path):
    write(tmp_path, "b/x.txt", "In b.")
    write(tmp_path, "a.jsonl", lines({"text": "One."}, {"id": "own", "text": "Two."}))
    write(tmp_path, "c.pubtator", "1|t|Title\n")
    write(tmp_path, ".hidden/x.txt", "Not read.")
    write(tmp_path, "README.rst", "Not read.")
    assert [document.id for document in read(tmp_path)] == ["a:1", "own", "b/x", "1"]


def test_a_wrong_document_does_not_stop_the_others_if_errors_are_taken(tmp_path):
    write(tmp_path, "a.txt", "")
    write(tmp_path, "b.jsonl", lines({"text": "One."}, "{broken", {"text": ""}, "3", {"text": "Two."}))
    write(tmp_path, "c.json", [DOCRED, {**DOCRED, "title": "bad", "labels": [{"h": 0, "t": 9, "r": "P17"}]}])
    write(tmp_path, "d.pdf", b"%PDF")
    write(tmp_path, "e.txt", "Last.")
    errors = []
    found = read(tmp_path, on_error=errors.append)
    assert [document.id for document in found] == ["b:1", "b:5", "Lyon", "e"]
    assert [str(e).removeprefix(str(tmp_path)).partition(": ")[0] for e in errors] == [
        "/a.txt",
        "/b.jsonl line 2",
        "/b.jsonl line 3",
        "/b.jsonl line 4",
        "/c.json",
        "/d.pdf",
    ]
    with pytest.raises(InputError, match=r"a\.txt: the document is empty"):
        read(tmp_path)


def test_missing_and_empty_sources(tmp_path):
    assert "no such file or folder" in error(tmp_path / "none.txt")
    assert "the folder has no documents" in error(tmp_path)
    assert "it holds no documents" in error(write(tmp_path, "a.json", "[]"))
    assert "format `docx` is unknown" in error(tmp_path, format="docx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines({"text": "One."}, '{"text": "Two."'), "a.jsonl line 2: not JSON (Expecting ',' delimiter at column 16)"),
        (lines({"text": "One."}, "", "Two."), "a.jsonl line 3: not JSON (Expecting value at column 1)"),
        (lines({"text": "One."}, {"txt": "Two."}), "a.jsonl line 2: no `text`"),
        (lines({"id": "x"}), "a.jsonl line 1: no `text`"),
        (lines({"text": ["One."]}), "line 1: `text` must be a string, not ['One.']"),
        (lines({"text": "x", "id": None}), "line 1: `id` must be a string or a number"),
        (lines({"text": "  "}), "line 1: the document is empty"),
        (lines({"text": "1 2"}), "line 1: the document has no letters"),
        (lines('{"text": "a\\ud800"}'), "line 1: character 1 is half of a surrogate pair"),
        (lines("[" * 100_000), "not JSON"),
        (lines('{"a":' * 100_000), "line 1: not JSON"),
        (lines({"text": "One."}, "7"), "line 2: expected a JSON object, not int"),
    ],
)
def test_acceptance_13_12_wrong_json_lines_are_named(tmp_path, content, message):
    assert message in error(write(tmp_path, "a.jsonl", content))


def test_repeated_ids_stay_apart_but_are_refused_in_gold(tmp_path):
    path = write(tmp_path, "a.jsonl", lines(*({"id": "x", "text": "T.", "triples": []} for _ in range(3))))
    assert [document.id for document in read(path)] == ["x", "x#2", "x#3"]
    assert 'a.jsonl: duplicate title "x"' in error(path, labelled=True)
    gold = write(tmp_path, "gold.json", [DOCRED, DOCRED])
    assert [document.id for document in read(gold)] == ["Lyon", "Lyon#2"]
    assert 'gold.json: duplicate title "Lyon"' in error(gold, labelled=True)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("block", [7, 64, 1 << 20])
def test_long_arrays_are_read_element_by_element(tmp_path, monkeypatch, indent, block):
    monkeypatch.setattr("domains.relation_extraction.data.readers.opened._BLOCK", block)
    values = [{"text": f"é\\u00e9 [{number}] }} , {{", "n": [number, -1.5e-7, None, True]} for number in range(40)]
    path = write(tmp_path, "a.json", "\ufeff \n" + json.dumps(values, indent=indent) + "\n")
    assert [value for _, value in Source.file(path, "utf-8").records()] == values


def test_an_array_gives_its_first_elements_before_it_breaks(tmp_path):
    path = write(tmp_path, "a.json", '[{"text": "One."},\n {"text": "Two."},\n {"text" 3}]')
    errors = []
    assert [d.text for d in read(path, on_error=errors.append)] == ["One.", "Two."]
    assert "a.json line 3: not JSON (Expecting ':' delimiter)" in str(errors[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "One."}', "line 1: not JSON (expected `,` or `]`)"),
        ('[{"text": "One."}\n{"text": "Two."}]', "line 2: not JSON (expected `,` or `]`)"),
        ('[{"text": "One', "line 1: not JSON (Unterminated string"),
        ('{"text": "One.",}', "a.json: not JSON"),
    ],
)
def test_broken_arrays_name_the_line(tmp_path, content, message):
    assert message in error(write(tmp_path, "a.json", content))


def test_annotations_with_aliases_names_and_properties(tmp_path):
    record = annotate(
        (["Marie Curie", "Curie"], "place of birth", "Warsaw"),
        ("Curie", "P551", {"text": "Warsaw", "aliases": ["Curie's Warsaw"]}),
        ("Warsaw", "country", "Poland"),
        id="doc",
    )
    (document,) = read(write(tmp_path, "a.jsonl", lines(record)), labelled=True)
    assert document.id == "doc" and len(document.entities) == 3
    assert document.entities[0].names == ("Marie Curie", "Curie")
    assert [(fact.relation, fact.pid) for fact in document.facts] == [
        ("place of birth", "P19"),
        ("residence", "P551"),
        ("country", "P17"),
    ]
    for entity in document.entities:
        assert all(document.text[m.start : m.end] == m.text for m in entity.mentions)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            annotate(("Mary Curie", "spouse", "Warsaw")),
            'triple 1: head "Mary Curie" does not occur in the text; nearest match is "Marie Curie"',
        ),
        (
            annotate(("Curie", "country", "Poland"), ("Curie", "country", "warsaw")),
            'triple 2: tail "warsaw" does not occur in the text; nearest match is "Warsaw"',
        ),
        (annotate(("Curie", "born in", "Warsaw")), 'triple 1: unknown relation "born in"'),
        (annotate(("Curie", "P0", "Warsaw")), 'triple 1: unknown property id "P0"'),
        (annotate(("Curie", "country", "")), "triple 1: `tail` must be a string of the text"),
        (annotate((None, "country", "Poland")), "triple 1: `head` must be a string of the text"),
        (annotate(([], "country", "Poland")), "triple 1: `head` must be"),
        ({"text": "One.", "triples": {}}, "`triples` must be a list, not dict"),
        ({"text": "One.", "triples": ["a"]}, "triple 1: expected a JSON object, not str"),
        ({"text": "One.", "triples": [{"head": "One", "tail": "One"}]}, "triple 1: no `relation`"),
        ({"text": "One."}, "no `triples`"),
    ],
)
def test_wrong_annotations_name_line_triple_and_nearest_match(tmp_path, record, message):
    path = write(tmp_path, "a.jsonl", lines(annotate(("Curie", "country", "Poland")), record))
    found = error(path, labelled=True)
    assert "a.jsonl line 2" in found and message in found


def test_nothing_near_is_not_guessed(tmp_path):
    path = write(tmp_path, "a.jsonl", lines(annotate(("Ωμέγα", "country", "Poland"))))
    assert "nearest" not in error(path)


def test_plain_text_and_unlabelled_lines_are_no_gold(tmp_path):
    assert "plain text has no labels" in error(write(tmp_path, "a.txt", "One."), labelled=True)
    assert "no `triples`" in error(write(tmp_path, "a.json", {"text": "One."}), labelled=True)
