"""Readers: every format becomes the same document, and whatever is wrong with an input is one clear line."""

from __future__ import annotations

import io
import json
import random
import sys

import pytest

from domains.relation_extraction.documents import alias_groups, alias_triples
from domains.relation_extraction.readers import read_documents
from domains.relation_extraction.readers.source import Source
from domains.relation_extraction.schema import Schema
from suite.errors import InputError
from tests.real_data import real_data

REDOCRED = Schema.load("redocred")


def write(folder, name, content, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        path.write_bytes(text.encode(encoding))
    return path


def lines(*records):
    return "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)


def read(source, schema=REDOCRED, **options):
    return list(read_documents(source, schema=schema, **options))


def triples(document):
    return alias_triples(alias_groups(document))


def error(source, schema=REDOCRED, **options):
    """The message of the one-line error that reading `source` gives."""
    with pytest.raises(InputError) as caught:
        read(source, schema, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- plain text -------------------------------------------------------------------------------------------------------


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


# --- folders ----------------------------------------------------------------------------------------------------------


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


# --- JSON -------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr("domains.relation_extraction.readers.source._BLOCK", block)
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


# --- own annotations --------------------------------------------------------------------------------------------------


def annotate(*found, text="Marie Curie was born in Warsaw. Curie's Warsaw is in Poland.", **more):
    keys = ("head", "relation", "tail")
    return {"text": text, "triples": [dict(zip(keys, triple, strict=True)) for triple in found], **more}


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


# --- DocRED and HacRED ------------------------------------------------------------------------------------------------

DOCRED = {
    "title": "Lyon",
    "sents": [["Lyon", "is", "in", "France", "."], ["It", "likes", "For", "-", "l'Évêque", "."]],
    "vertexSet": [
        [{"name": "Lyon", "sent_id": 0, "pos": [0, 1], "type": "LOC"}],
        [{"name": "France", "sent_id": 0, "pos": [3, 4], "type": "LOC"}],
        [{"name": "For-l'Évêque", "sent_id": 1, "pos": [2, 5], "type": "ORG"}],
    ],
    "labels": [{"r": "P17", "h": 0, "t": 1, "evidence": [0]}, {"r": "P17", "h": 0, "t": 1, "evidence": []}],
}


def spoilt(*path, value):
    """DocRED with the value at `path` replaced, or removed where `value` is Ellipsis."""
    record = json.loads(json.dumps(DOCRED))
    *inner, last = path
    place = record
    for key in inner:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


def test_docred(tmp_path):
    for name, content in (
        ("a.json", [DOCRED]),
        ("b.json", DOCRED),
        ("c.jsonl", lines(DOCRED)),
        ("d.json", lines(DOCRED)),
    ):
        (document,) = read(write(tmp_path, name, content), labelled=True)
        assert document.id == "Lyon" and document.tokenized
        assert document.text == "Lyon is in France . It likes For - l'Évêque ."
        assert document.sentences == ((0, 19), (20, 45))
        mention = document.entities[2].mentions[0]
        assert (mention.text, document.text[mention.start : mention.end]) == ("For-l'Évêque", "For - l'Évêque")
        assert mention.sentence == 1 and document.entities[2].type == "ORG"
        assert triples(document) == [("Lyon", "country", "France")], "a repeated label is one fact"
        assert document.facts[0].evidence == (0,) and document.facts[0].pid == "P17"


def test_a_sentence_without_tokens_keeps_its_number(tmp_path):
    record = {**DOCRED, "sents": [["Lyon", "is", "in", "France", "."], [], DOCRED["sents"][1]], "labels": []}
    record["vertexSet"] = [[{"name": "It", "sent_id": 2, "pos": [0, 1]}]]
    (document,) = read(write(tmp_path, "a.json", [record]))
    assert document.sentences == ((0, 19), (20, 20), (20, 45))
    mention = document.entities[0].mentions[0]
    assert mention.sentence == document.sentence_at(mention.start) == 2


def test_docred_without_labels_is_for_prediction_only(tmp_path):
    path = write(tmp_path, "a.json", [spoilt("labels", value=...)])
    assert read(path)[0].facts == ()
    assert '"Lyon": `labels` is missing' in error(path, labelled=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (spoilt("vertexSet", 1, 0, "sent_id", value=2), "entity 1 mention 0: `sent_id` 2 is out of range"),
        (spoilt("vertexSet", 2, 0, "sent_id", value=-1), "entity 2 mention 0: `sent_id` -1 is out of range"),
        (spoilt("vertexSet", 1, 0, "pos", value=[3, 6]), "entity 1 mention 0: `pos` [3, 6) is out of range"),
        (spoilt("vertexSet", 0, 0, "pos", value=[1, 1]), "entity 0 mention 0: `pos` [1, 1) is out of range"),
        (spoilt("vertexSet", 0, 0, "pos", value=[0]), "`pos` must be [start, end)"),
        (spoilt("vertexSet", 0, 0, "pos", value="0"), "`pos` must be [start, end)"),
        (spoilt("vertexSet", 0, value=[]), "non-empty lists of mentions"),
        (spoilt("vertexSet", 0, 0, value="Lyon"), "entity 0 mention 0: expected a JSON object"),
        (spoilt("vertexSet", 0, 0, "name", value=""), "`name` must be a non-empty string"),
        (spoilt("labels", 0, "h", value=3), "label 0: `h` 3 is outside `vertexSet`, which has 3 entities"),
        (spoilt("labels", 1, "t", value=-1), "label 1: `t` -1 is outside `vertexSet`"),
        (spoilt("labels", 0, "t", value="1"), "label 0: `t` must be a whole number"),
        (spoilt("labels", 0, "r", value="P99999"), 'label 0: unknown property id "P99999"'),
        (spoilt("labels", 0, "r", value="capitol"), 'label 0: unknown relation "capitol"'),
        (spoilt("labels", 0, "evidence", value=[2]), "label 0: evidence 2 is out of range"),
        (spoilt("labels", 0, "evidence", value=1), "label 0: `evidence` must be a list"),
        (spoilt("labels", value={}), "`labels` must be a list"),
        (spoilt("sents", value=["a b"]), "`sents` must be a list of token lists"),
        (spoilt("sents", 0, 1, value=3), "sentence 0: item 1 must be a string"),
        (spoilt("sents", value=[]), "the document is empty"),
        (spoilt("title", value=...), "no `title`"),
        (spoilt("sents", value=...), "no `sents`"),
    ],
)
def test_acceptance_13_12_wrong_docred_names_document_entity_and_mention(tmp_path, record, message):
    found = error(write(tmp_path, "a.json", [{**DOCRED, "title": "first"}, record]))
    assert "a.json: document 2" in found and message in found
    assert '"Lyon"' in found or "title" not in record


def test_without_a_schema_relations_keep_their_names(tmp_path):
    record = spoilt("labels", 0, "r", value="P99999")
    (document,) = read(write(tmp_path, "a.json", [record]), schema=None)
    assert [fact.relation for fact in document.facts] == ["P99999", "country"]


HACRED = {
    "text": "李白生于碎叶，李太白是诗人。",
    "vertex_char": [[{"name": "李白", "pos": [0, 2]}, {"name": "李太白"}], [{"name": "碎叶", "pos": [9, 11]}]],
    "labels_char": [{"h": 0, "t": 1, "r": "出生地"}],
}
HACRED_SCHEMA = Schema.from_dict(["出生地"])


def test_hacred_names_are_found_in_the_text(tmp_path):
    (document,) = read(
        write(tmp_path, "dev.json", lines(HACRED, {**HACRED, "text": "碎叶 李白 李太白"})), HACRED_SCHEMA
    )[:1]
    assert triples(document) == [("李白", "出生地", "碎叶"), ("李太白", "出生地", "碎叶")]
    assert document.entities[1].mentions[0].start == 4 and document.id == "dev:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_char": [{"h": 0, "t": 2, "r": "出生地"}]}, "`t` 2 is outside"),
        ({"labels_char": [{"h": 0, "t": 1, "r": "父亲"}]}, 'unknown relation "父亲"'),
        ({"vertex_char": [[{"name": "杜甫"}], [{"name": "碎叶"}]]}, '"杜甫" does not occur in the text'),
    ],
)
def test_wrong_hacred(tmp_path, change, message):
    assert message in error(write(tmp_path, "a.jsonl", lines(HACRED | change)), HACRED_SCHEMA)


# --- PubTator and CDR -------------------------------------------------------------------------------------------------

PUBTATOR = """7|t|Ethanol and acetate.
7|a|Ethanol becomes acetate.
7\t0\t7\tEthanol\tChemMet\tA:1|B:1
7\t21\t28\tEthanol\tChemMet\tA:1|B:1
7\t37\t44\tacetate\tChemMet\tC:2
7\tReact\tA:1|B:1\tC:2
7\tReact\tC:2\tC:2
"""


def test_acceptance_13_11_pubtator(tmp_path):
    chr = Schema.load("chr")
    for text in (
        PUBTATOR + "\n" + PUBTATOR.replace("7|", "8|").replace("7\t", "8\t", 5),
        PUBTATOR.replace("\n", "\r\n"),
    ):
        document = read(write(tmp_path, "a.pubtator", PUBTATOR if "8|" in text else text), chr, labelled=True)[0]
        assert document.id == "7" and document.text == "Ethanol and acetate. Ethanol becomes acetate."
        assert triples(document) == [("Ethanol", "reacts to", "acetate")], "an entity does not react with itself"
        assert [m.sentence for m in document.entities[0].mentions] == [0, 1]
    second = PUBTATOR.replace("7|t", "8|t").replace("7|a", "8|a").replace("\n7\t", "\n8\t")
    assert [document.id for document in read(write(tmp_path, "b.txt", PUBTATOR + second), chr)] == ["7", "8"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7\t37\t44", "7\t38\t45", "line 5: the text at [38, 45) is 'cetate.' but the mention says 'acetate'"),
        ("7\t21\t28", "7\t21\t400", "line 4: the text at [21, 400) is"),
        ("7\t0\t7", "7\tzero\t7", "line 3: offsets 'zero' and '7' must be whole numbers"),
        ("A:1|B:1\tC:2", "A:1|B:1\tC:9", "line 6: no mention has the identifier 'C:9'"),
        ("React\tA", "Reacts\tA", 'line 6: unknown relation "Reacts"'),
        ("7\tReact\tC:2\tC:2", "7\tReact", "line 7: 2 columns"),
        ("7\tReact\tC:2\tC:2", "9\tReact\tC:2\tC:2", "line 7: it belongs to '9' but the document is 7"),
        ("7|t|Ethanol and acetate.\n7|a|Ethanol becomes acetate.\n", "", "line 1: expected `PMID|t|title` first"),
    ],
)
def test_wrong_pubtator_names_the_line(tmp_path, old, new, message):
    assert old in PUBTATOR
    path = write(tmp_path, "a.pubtator", PUBTATOR.replace(old, new))
    assert f"a.pubtator {message}" in error(path, Schema.load("chr"))


ASPIRIN = ("D1", "Aspirin|aspirin", "Chemical", "0:4", "1:5", "0:1")


def cdr_line():
    rash = ("1:CID:2", "L2R", "NON-CROSS", "0-1", "2-3", *ASPIRIN, "D2", "rash", "Disease", "2", "3", "0")
    pain = ("1:NR:2", "L2R", "CROSS", "0-1", "5-6", *ASPIRIN, "D3", "pain", "Disease", "5", "6", "1")
    return "\t".join(("42", "Aspirin caused rash .|aspirin pain .", *rash, *pain))


def test_acceptance_13_11_cdr(tmp_path):
    (document,) = read(write(tmp_path, "dev.data", cdr_line() + "\n"), Schema.load("cdr"), labelled=True)
    assert document.id == "42" and document.text == "Aspirin caused rash . aspirin pain ."
    assert triples(document) == [
        ("Aspirin", "chemical-induced disease", "rash"),
        ("aspirin", "chemical-induced disease", "rash"),
    ]
    assert [entity.type for entity in document.entities] == ["Chemical", "Disease", "Disease"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (cdr_line() + "\tx", "line 2: 35 columns after the text, not a multiple of 17"),
        ("\t".join(cdr_line().split("\t")[:-1]), "line 2: 33 columns after the text"),
        (cdr_line().replace("1:NR:2", "NR"), "line 2 pair 2: label 'NR' is not like"),
        (cdr_line().replace("\t5\t6\t1", "\t5\t9\t1"), "line 2 pair 2: tokens [5, 9) of D3 are out of range"),
        (cdr_line().replace("\t2\t3\t0", "\tx\t3\t0"), "line 2 pair 1: positions of D2 must be whole numbers"),
        (cdr_line().replace("0:4\t1:5", "0:4\t1"), "D1 has 2 starts but 1 ends"),
        (cdr_line().replace("1:CID:2", "1:XYZ:2"), 'unknown relation "XYZ"'),
    ],
)
def test_wrong_cdr_names_the_line(tmp_path, line, message):
    path = write(tmp_path, "dev.data", cdr_line() + "\n" + line + "\n")
    assert message in error(path, Schema.load("cdr"))


# --- sentence-level corpora -------------------------------------------------------------------------------------------

TOKENS = ["Ann", "Lee", "was", "born", "in", "Oslo", "."]


def relation(name, head=(0, 2), tail=(5, 6), token=TOKENS):
    return {"token": token, "h": {"pos": list(head)}, "t": {"pos": list(tail)}, "relation": name}


def test_fewrel_and_wiki_merge_one_text_and_add_inverses(tmp_path):
    content = lines(
        relation("P19"),
        relation("place of death"),
        relation("P22", token=["He", "met", "Bo", "and", "Cy", "in", "Oslo"], head=(2, 3), tail=(4, 5)),
        relation("P19", token=["It", "was", "born", "in", "Oslo", "a", "b"], head=(0, 1), tail=(4, 5)),
        relation("sport"),
        relation("P19", head=(5, 6)),
    )
    first, second = read(write(tmp_path, "fewrel_train.txt", content))
    assert first.id == "fewrel_train:1" and first.text == "Ann Lee was born in Oslo ."
    assert triples(first) == [("Ann Lee", "place of birth", "Oslo"), ("Ann Lee", "place of death", "Oslo")]
    assert triples(second) == [("Bo", "father", "Cy"), ("Cy", "child", "Bo")]


def test_nyt10_spells_relations_its_own_way(tmp_path):
    def record(name, text="Bo moved to Oslo .", head="Bo", tail="Oslo"):
        return {"text": text, "relation": name, "h": {"name": head, "id": "x"}, "t": {"name": tail}}

    path = write(
        tmp_path,
        "nyt10_train.txt",
        lines(
            record("/people/person/place_lived"),
            record("/people/person/nationality"),
            record("NA", text="Bo saw Oslo ."),
            record("/people/person/place_of_birth", head="Al"),
            record("/people/person/place_of_birth", text="She moved to Oslo .", head="She"),
        ),
    )
    (document,) = read(path)
    assert triples(document) == [("Bo", "residence", "Oslo"), ("Bo", "country of citizenship", "Oslo")]


@pytest.mark.parametrize("raw", [True, False])
def test_semeval_direction_says_which_end_is_the_head(tmp_path, raw):
    schema = Schema.from_dict(["Cause-Effect", "Component-Whole"])
    if raw:
        content = (
            '1\t"The <e1>fire</e1> came from <e2>fuel</e2>."\nCause-Effect(e2,e1)\nComment: none\n\n'
            '2\t"A <e1>wheel</e1> of a <e2>car</e2>."\nComponent-Whole(e1,e2)\nComment:\n\n'
            '3\t"A <e1>dog</e1> and a <e2>cat</e2>."\nOther\nComment:\n'
        )
    else:
        content = lines(
            relation("Cause-Effect(e2,e1)", (1, 2), (4, 5), ["The", "fire", "came", "from", "fuel", "."]),
            relation("Component-Whole(e1,e2)", (1, 2), (4, 5), ["A", "wheel", "of", "a", "car", "."]),
            relation("Other", (1, 2), (3, 4), ["A", "dog", "and", "cat", "."]),
        )
    documents = read(write(tmp_path, "TRAIN.TXT", content), schema)
    assert [triples(document) for document in documents] == [
        [("fuel", "Cause-Effect", "fire")],
        [("wheel", "Component-Whole", "car")],
    ]


def test_instructuie_folder_reads_train_and_dev(tmp_path):
    def record(sentence, *found):
        return {
            "sentence": sentence,
            "relations": [{"head": {"name": h}, "type": r, "tail": {"name": t}} for h, r, t in found],
        }

    write(
        tmp_path, "RE/a/train.json", [record("Bo is of Oslo .", ("Bo", "place lived", "Oslo"), ("Bo", "owns", "Oslo"))]
    )
    write(
        tmp_path,
        "RE/a/dev.json",
        [record("Al runs Acme .", ("Al", "company", "Acme")), record("x y", ("x", "NA", "y"))],
    )
    write(tmp_path, "RE/a/test.json", [record("Cy runs Beta .", ("Cy", "company", "Beta"))])
    write(tmp_path, "RE/a/labels.json", ["company", "place lived"])
    documents = read(tmp_path / "RE")
    assert [triples(d) for d in documents] == [[("Al", "employer", "Acme")], [("Bo", "residence", "Oslo")]]


def test_trex(tmp_path):
    def triple(head, pid, tail):
        uri = f"http://www.wikidata.org/prop/direct/{pid}"
        return {"subject": {"surfaceform": head}, "predicate": {"uri": uri}, "object": {"surfaceform": tail}}

    record = {
        "docid": "http://www.wikidata.org/entity/Q1",
        "uri": "x",
        "text": "Lyon lies in France.",
        "triples": [triple("Lyon", "P17", "France"), triple("Lyon", "P17", "Lyon"), triple("Nice", "P17", "France")],
    }
    pronoun = {**record, "text": "It lies in France.", "triples": [triple("It", "P17", "France")]}
    (document,) = read(write(tmp_path, "re-nlg_0.json", [record, pronoun]))
    assert triples(document) == [("Lyon", "country", "France")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (relation("P19", head=(6, 9)), "line 2: `h`: `pos` [6, 9] is out of range, there are 7 tokens"),
        (relation("P19", tail=(1, 1)), "line 2: `t`: `pos` [1, 1] is out of range"),
        ({"token": TOKENS, "h": {"pos": [0, 1]}, "relation": "P19"}, "line 2: `t`: expected a JSON object"),
        ({**relation("P19"), "token": "Ann Lee"}, "line 2: `token`: expected a list of strings"),
        ({"text": "x", "h": {}, "t": {"name": "x"}, "relation": "a"}, "line 2: `h`: no `name`"),
        ({"sentence": "x", "relations": [{"type": "a"}]}, "line 2: relation 0: `head`: expected a JSON object"),
    ],
)
def test_wrong_records_of_sentence_level_corpora(tmp_path, record, message):
    assert message in error(write(tmp_path, "a.jsonl", lines(relation("P19"), record)))


def test_a_corpus_without_any_relation_of_the_schema_says_so(tmp_path):
    path = write(tmp_path, "a.jsonl", lines(relation("sport"), relation("league of legends")))
    assert "no record has a relation of the schema" in error(path)
    assert [triples(d) for d in read(path, schema=None)] == [
        [("Ann Lee", "sport", "Oslo"), ("Ann Lee", "league of legends", "Oslo")]
    ]


# --- anything at all ------------------------------------------------------------------------------------------------

JUNK = [
    None,
    True,
    -1,
    1.5,
    "",
    " ",
    "x",
    "\ud800",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    [1, 2],
    {"text": "a"},
    "P17",
    "Lyon",
]
TREX = {
    "docid": "Q1",
    "uri": "x",
    "text": "Lyon lies in France.",
    "triples": [{"subject": {"surfaceform": "Lyon"}, "predicate": {"uri": "P17"}, "object": {"surfaceform": "France"}}],
}
ANNOTATION = annotate((["Marie Curie", "Curie"], "P19", {"text": "Warsaw", "aliases": ["Warsaw"]}))


def places(value, path=()):
    """Yield the path of every value inside `value`."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def mutated(record, generator):
    record = json.loads(json.dumps(record))
    *inner, last = generator.choice(list(places(record)))
    place = record
    for key in inner:
        place = place[key]
    if generator.random() < 0.25:
        del place[last]
    else:
        place[last] = generator.choice(JUNK)
    return record


def test_whatever_a_record_holds_the_outcome_is_a_sound_document_or_one_line(tmp_path):
    generator = random.Random(0)
    records = [DOCRED, HACRED, relation("P19"), ANNOTATION, TREX]
    good = bad = 0
    for _ in range(1_500):
        path = write(tmp_path, "a.json", json.dumps(mutated(generator.choice(records), generator)))
        try:
            documents = read(path, generator.choice([None, REDOCRED]), labelled=generator.random() < 0.3)
        except InputError as caught:
            assert "\n" not in str(caught)
            bad += 1
            continue
        good += 1
        for document in documents:
            json.dumps(repr(document), ensure_ascii=False).encode()
            for entity in document.entities:
                assert all(0 <= m.start < m.end <= len(document.text) for m in entity.mentions)
    assert good > 100 and bad > 100


# --- real files -------------------------------------------------------------------------------------------------------


def test_every_real_mention_stands_in_its_sentence():
    for document in read(real_data("redocred/dev_revised.json"), labelled=True):
        for entity in document.entities:
            for mention in entity.mentions:
                start, end = document.sentences[mention.sentence]
                assert start <= mention.start < mention.end <= end
