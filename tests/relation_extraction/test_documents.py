"""Documents: alignment both ways, sentences, refinement, alias groups, chunks and merging."""

from __future__ import annotations

import itertools
import random

import pytest

from domains.relation_extraction.data.align import Alignment, docred_tokens
from domains.relation_extraction.data.documents import (
    Document,
    Entity,
    Fact,
    Mention,
    occurrences,
    plain_document,
    pretokenize,
)
from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.data.refinement import alias_groups, alias_triples, refine
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.inference.chunks import chunk, merge_triples
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import Argument, Span, Triple
from domains.relation_extraction.types import Origin as Source
from suite.errors import InputError
from tests.real_data import real_data

TEXTS = [
    "Paris, the capital of France (1,000 km²), isn't Lyon's twin-city. It's 12-year-old U.S. Army land.",
    "  Zoë's café\r\n\r\nlies in İstanbul…  “Really?”  Yes — 2016–17.\tEnd",
    "हिन्दी भाषा। 東京は日本の首都です。 \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301te\u0301 (o\u0308)",
    "R&B [INST] </s> <|user|> {braces} %s \\n 'quoted' \"double\" d'Or O'Connor l'Évêque",
]


def spans(text, places):
    return [text[start:end] for start, end in places]


# --- tokens and alignment -----------------------------------------------------------------------------------------


def test_tokens_look_as_docred_writes_them():
    text = "Simon-Joseph's U.S. band isn't in For-l'Évêque, (2016–17) St. Louis; a 12-year, 56,000-acre R&B hit."
    tokens = "Simon - Joseph 's U.S. band is n't in For - l'Évêque , ( 2016–17 ) St. Louis ; a 12-year , 56,000-acre"
    assert " ".join(spans(text, docred_tokens(text))) == f"{tokens} R&B hit ."


def test_real_docred_passages_stay_as_they_are():
    same = total = 0
    for document in read_documents(real_data("redocred/dev_revised.json")):
        for start, end in document.sentences:
            sentence = document.text[start:end]
            same += " ".join(spans(sentence, docred_tokens(sentence))).split() == sentence.split()
            total += 1
    assert same / total > 0.95


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_cover_everything_but_white_space_and_never_split_a_grapheme(text):
    tokens = docred_tokens(text)
    assert "".join(spans(text, tokens)) == "".join(text.split())
    assert all(not token[0].isspace() and token[0] not in "\u0301\u0308\u200d\u093f" for token in spans(text, tokens))


@pytest.mark.parametrize("text", TEXTS)
def test_every_span_of_the_joined_text_is_found_in_the_raw_text_and_back(text):
    document = pretokenize(text)
    aligned = document.raw
    assert aligned is not None and aligned.raw == text and aligned.model == document.text
    words = document.text.split(" ")
    position = 0
    for word in words:
        span = document.to_source(position, position + len(word))
        assert text[span.start : span.end] == word
        assert aligned.to_model(span.start, span.end) == Span(position, position + len(word))
        position += len(word) + 1
    generator = random.Random(0)
    for _ in range(200):
        start, end = sorted(generator.sample(range(len(document.text) + 1), 2))
        if document.text[start:end].strip():
            span = document.to_source(start, end)
            assert "".join(text[span.start : span.end].split()) == "".join(document.text[start:end].split())


def test_spans_that_touch_white_space_shrink_to_what_they_hold():
    aligned = Alignment.join("a   b", docred_tokens("a   b"))
    assert aligned.model == "a b"
    assert aligned.to_raw(0, 2) == Span(0, 1) and aligned.to_raw(1, 3) == Span(4, 5)
    assert aligned.to_model(1, 5) == Span(2, 3) and aligned.to_model(0, 5) == Span(0, 3)


@pytest.mark.parametrize("span", [(1, 2), (0, 0), (-1, 2), (0, 4), (2, 1)])
def test_spans_that_mean_nothing_are_refused(span):
    with pytest.raises(ValueError, match="span"):
        Alignment.join("a   b", docred_tokens("a   b")).to_raw(*span)


def test_the_text_as_it_is():
    document = pretokenize(TEXTS[1], "none")
    assert document.text == TEXTS[1] and document.to_source(2, 5) == Span(2, 5)
    with pytest.raises(InputError, match="unknown way `spacy`"):
        pretokenize("a", "spacy")


def test_labels_move_with_the_text():
    text = "Ann-Lee, of Oslo's port, met Bo. Bo left Oslo."
    entities = tuple(
        Entity(name, None, tuple(Mention(*place, name) for place in occurrences(text, name)))
        for name in ("Ann-Lee", "Bo", "Oslo")
    )
    document = Document("d", text, tuple(split_sentences(text)), entities, (Fact(0, 2, "residence"),))
    moved = pretokenize(document)
    assert moved.text == "Ann - Lee , of Oslo 's port , met Bo . Bo left Oslo ."
    assert [entity.names for entity in moved.entities] == [("Ann - Lee",), ("Bo",), ("Oslo",)]
    for entity in moved.entities:
        assert all(moved.text[m.start : m.end] == m.text for m in entity.mentions)
    assert pretokenize(moved) is moved
    assert alias_groups(moved)[0].triples == (("Ann - Lee", "residence", "Oslo"),)


# --- sentences ----------------------------------------------------------------------------------------------------


def test_sentences_end_where_they_end():
    text = 'Dr. J. R. Smith of St. Ives left the U.S. Army in Jan. 1990. "Why?" he asked. See No. 5. No. 6 was … odd.'
    assert spans(text, split_sentences(text)) == [
        "Dr. J. R. Smith of St. Ives left the U.S. Army in Jan. 1990.",
        '"Why?" he asked.'[:6],
        "he asked.",
        "See No. 5.",
        "No. 6 was … odd.",
    ]


def test_blank_lines_and_full_width_stops_end_sentences():
    text = "A title\n\nOne line\nwrapped here. 東京は首都です。次の文。"
    assert spans(text, split_sentences(text)) == ["A title", "One line\nwrapped here.", "東京は首都です。", "次の文。"]


@pytest.mark.parametrize("text", TEXTS)
def test_sentences_hold_every_character_that_is_not_blank(text):
    places = split_sentences(text)
    assert "".join("".join(part.split()) for part in spans(text, places)) == "".join(text.split())
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(places))


def test_sentence_at():
    document = plain_document("One. Two.")
    assert [document.sentence_at(offset) for offset in (0, 3, 4, 5, 8)] == [0, 0, None, 1, 1]


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), (" \n\t", "is empty"), ("12 – 34 !", "no letters")])
def test_a_document_without_text_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        plain_document(text)
    with pytest.raises(InputError, match=message):
        pretokenize(text)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match="character 2 is half of a surrogate pair"):
        plain_document("ab\ud800")


# --- refinement and aliases ---------------------------------------------------------------------------------------


COUNTRY = Fact(0, 1, "country")


def labelled(facts=(COUNTRY,)):
    text = "For - l'Évêque is in Paris . The For stands in Paris ."
    entities = (
        Entity("0", "LOC", (Mention(33, 36, "For", 1), Mention(0, 14, "For-l'Évêque", 0))),
        Entity("1", "LOC", (Mention(21, 26, "Paris", 0), Mention(47, 52, "Paris", 1))),
        Entity("2", "LOC", (Mention(0, 3, "F.", 0),)),
    )
    return Document("t", text, ((0, 28), (29, 54)), entities, facts, tokenized=True)


def test_refine_repairs_only_names_that_are_nowhere_in_the_text():
    document = refine(labelled())
    assert document is not None
    assert document.entities[0].names == ("For - l'Évêque", "For")
    assert document.entities[2].names == ("F.",), "no fact speaks of it"
    assert refine(labelled(())) is None


def test_groups_hold_every_alias_pair_once():
    document = refine(labelled())
    assert document is not None
    (group,) = alias_groups(document)
    assert group.triples == (("For - l'Évêque", "country", "Paris"), ("For", "country", "Paris"))
    assert group.heads == ("For - l'Évêque", "For") and group.tails == ("Paris",)


def test_a_triple_of_two_groups_is_given_once_unless_the_official_duplicates_are_wanted():
    text = "A a B"
    first, second = Entity("0", None, (Mention(0, 1, "A"),)), Entity("1", None, (Mention(4, 5, "B"),))
    entities = (first, second, Entity("2", None, (Mention(0, 1, "A"), Mention(2, 3, "a"))))
    document = Document("d", text, ((0, 5),), entities, (Fact(0, 1, "r"), Fact(2, 1, "r")))
    groups = alias_groups(document)
    assert alias_triples(groups) == [("A", "r", "B"), ("a", "r", "B")]
    assert alias_triples(groups, deduplicate=False) == [("A", "r", "B"), ("A", "r", "B"), ("a", "r", "B")]


def test_real_documents_have_the_published_counts():
    schema = Schema.load("redocred")
    documents = list(read_documents(real_data("redocred/dev_revised.json"), schema=schema, labelled=True))
    wrong = sum(
        mention.text != document.text[mention.start : mention.end]
        for document in documents
        for entity in document.entities
        for mention in entity.mentions
    )
    assert (len(documents), wrong) == (500, 284)
    refined = [document for document in map(refine, documents) if document is not None]
    groups = [alias_groups(document) for document in refined]
    triples = [triple for one in groups for triple in alias_triples(one, deduplicate=False)]
    assert (len(refined), sum(map(len, groups)), len(triples)) == (499, 17_284, 24_739)
    assert len(triples) - sum(len(alias_triples(one)) for one in groups) == 121
    assert sum(len({group.relation for group in one}) for one in groups) == 4_995
    assert sum(len({(r, h) for group in one for h, r, _ in group.triples}) for one in groups) == 15_390
    for document, one in zip(refined, groups, strict=True):
        assert all(h in document.text and t in document.text for group in one for h, _, t in group.triples)


# --- chunks -------------------------------------------------------------------------------------------------------


def words(text):
    return len(text.split())


def test_a_document_within_the_budget_is_one_chunk():
    document = plain_document("One two. Three four.")
    (only,) = chunk(document, words, 4)
    assert only.document is document


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("limit", [3, 5, 9, 14])
def test_chunks_keep_the_limit_share_sentences_and_lose_nothing(limit, overlap):
    text = "  ".join(f"S{i} " + "w " * (i % 7) + f"end{i}." for i in range(40)) + " " + "long " * 30 + "x."
    document = pretokenize(text, "none")
    chunks = chunk(document, words, limit, overlap)
    assert all(words(piece.document.text) <= limit for piece in chunks)
    assert all(piece.document.text == text[piece.start : piece.end] for piece in chunks)
    covered = {offset for piece in chunks for offset in range(piece.start, piece.end)}
    assert all(text[offset].isspace() for offset in set(range(len(text))) - covered)
    starts = [piece.start for piece in chunks]
    ends = [piece.end for piece in chunks]
    assert starts == sorted(set(starts)) and ends == sorted(set(ends)), "each chunk brings something new"
    shared = sum(left.end > right.start for left, right in itertools.pairwise(chunks))
    assert (shared > 0) == (overlap > 0 and limit > 3)


def test_chunk_spans_are_spans_of_the_users_text():
    text = "Ann-Lee lives in Oslo.  Bo lives in Rome.  Cy lives in Bern."
    chunks = chunk(pretokenize(text), words, 13, 1)
    assert [piece.document.text for piece in chunks] == [
        "Ann - Lee lives in Oslo . Bo lives in Rome .",
        "Bo lives in Rome . Cy lives in Bern .",
    ]
    second = chunks[1].document
    span = second.to_source(second.text.index("Bern"), second.text.index("Bern") + 4)
    assert second.source_text == text and text[span.start : span.end] == "Bern"
    assert chunks[1].first_sentence == 1


def test_chunks_carry_the_labels_that_lie_in_them():
    document = refine(labelled((Fact(0, 1, "country", None, (0, 1)),)))
    assert document is not None
    first, second = chunk(document, words, 7, 0)
    assert alias_triples(alias_groups(first.document)) == [("For - l'Évêque", "country", "Paris")]
    assert alias_triples(alias_groups(second.document)) == [("For", "country", "Paris")]
    assert second.document.facts[0].evidence == (0,) and second.document.entities[0].mentions[0].sentence == 0


def test_a_word_over_the_limit_is_cut_and_no_room_at_all_is_an_error():
    document = plain_document("東京は日本の首都です" * 5)
    chunks = chunk(document, len, 7)
    assert "".join(piece.document.text for piece in chunks) == document.text
    with pytest.raises(InputError, match="no room for a single character"):
        chunk(document, len, 0)
    with pytest.raises(InputError, match="overlap of -1"):
        chunk(document, len, 7, -1)


def test_long_texts_are_cut_in_time_that_grows_with_their_length():
    def cost(text):
        spent.append(len(text))
        return len(text)

    spent: list[int] = []
    sentences = plain_document("A sentence of words. " * 5_000)
    endless = plain_document("word " * 20_000)
    for document in (sentences, endless):
        spent.clear()
        pieces = chunk(document, cost, 500)
        assert len(pieces) > 150 and sum(spent) < 30 * len(document.text)


def triple(head, tail, chunk=0, score=None, start=0):
    return Triple(
        "d",
        Argument(head, (Span(start, start + len(head)),)),
        "r",
        Argument(tail),
        score=score,
        source=Source("p", "q", "a", (chunk,)),
        evidence=(chunk,),
    )


def test_merging_chunks_joins_equal_triples_then_variants_of_case_and_spacing():
    merged = merge_triples(
        [
            triple("THE BBC", "London", 0, 0.5),
            triple("The BBC", "London", 1, 0.9),
            triple("The  BBC", "London", 2),
            triple("The BBC", "London", 3, 0.7, start=9),
            triple("BBC", "London", 3, 0.1),
        ]
    )
    assert [found.key for found in merged] == [("The BBC", "r", "London"), ("BBC", "r", "London")]
    assert merged[0].score == 0.9 and merged[0].evidence == (0, 1, 2, 3)
    assert merged[0].source is not None and merged[0].source.chunks == (0, 1, 2, 3)
    assert Span(9, 16) in merged[0].head.mentions and merged[0].head.mentions[0] == Span(0, 7)
