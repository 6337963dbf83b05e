"""Documents and samples as the official code derives them; PubTator and CDR parses."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.readers.cdr import parse_cdr
from domains.relation_extraction.data.readers.docred import docred_document
from domains.relation_extraction.data.readers.pubtator import parse_pubtator, pubtator_blocks, pubtator_document
from domains.relation_extraction.data.refinement import alias_groups, alias_triples, refine
from domains.relation_extraction.data.samples import Sample, build_samples
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Schema
from tests.golden.registry import Case, kind


@kind("relation_extraction/samples")
def samples(case: Case) -> None:
    data = case.json()
    schema = Schema.load("redocred")
    assert set(data["inventory"]) == set(schema.names)
    stubs = [{**relation, "description": f"[description of {relation['name']}]"} for relation in relations(schema)]
    stubbed = Schema.from_dict({"relations": stubs})
    for record, expected in zip(data["docs"], data["expected"], strict=True):
        raw = docred_document(record, expected["title"], schema)
        document = refine(raw)
        assert (document is None) == expected["dropped"]
        if document is None:
            assert not list(build_samples([raw], protocol("autore-official/D_F"), stubbed))
            continue
        check_facts(document, expected)
        for name, wanted in expected["samples"].items():
            built = list(official_samples(raw, stubbed, name))
            assert len(built) == expected["counts"][name]
            assert Counter(map(fingerprint, built)) == Counter(map(golden_fingerprint, wanted)), name


def relations(schema: Schema) -> list[dict[str, object]]:
    return schema.to_dict()["relations"]


def check_facts(document: Document, expected: dict) -> None:
    assert document.text == expected["passage"]
    groups = alias_groups(document)
    assert sorted({group.relation for group in groups}) == expected["relations_sorted"]
    ours = [sorted(map(list, group.triples)) for group in groups]
    assert ours == [sorted(group) for group in expected["groups_in_label_order"]]
    flat = sorted(map(list, alias_triples(groups, deduplicate=False)))
    assert flat == expected["fact_list_multiset_sorted"]


def official_samples(document: Document, schema: Schema, name: str) -> list[Sample]:
    """Build what the golden calls `D_R_F` or `three/subject/train`."""
    layout, _, rest = name.partition("/")
    if layout != "three":
        chosen = protocol(f"autore-official/{name}")
        return list(build_samples([document], chosen, schema, layout="single", official_duplicates=True))
    adapter, _, split = rest.partition("/")
    chosen = protocol("autore-official/D_R_H_F_desc")
    built = build_samples([document], chosen, schema, layout="three", split=split, official_duplicates=True)
    return [sample for sample in built if sample.adapter == adapter]


def fingerprint(sample: Sample) -> tuple[str, tuple[str, ...]]:
    instruction = sample.instruction
    if sample.call.relations:
        # The official code does not fix the order of the list, so the golden pins only what precedes its sentence part.
        instruction, _, listed = instruction.rpartition("according to")
        assert listed == f' the relation list : "{list(sample.call.relations)}"n.'
    return sha256(instruction.encode()).hexdigest(), tuple(sorted(sample.answer.split("\n")))


def golden_fingerprint(sample: dict) -> tuple[str, tuple[str, ...]]:
    digest = sample.get("instruction_sha256") or sample["instruction_prefix_sha256"]
    return digest, tuple(sample["output_lines_sorted"])


@kind("relation_extraction/bio_loaders")
def bio_loaders(case: Case) -> None:
    data = case.json()
    for entry in data["chr"]:
        check_pubtator(entry["raw"], entry["expected"])
    check_cdr(data["cdr_synthetic_line"], data["cdr_expected"])


def check_pubtator(raw: str, expected: dict) -> None:
    (block,) = pubtator_blocks(enumerate(raw.splitlines(), 1))
    record = parse_pubtator(block, "golden")
    assert (record.pmid, record.text) == (expected["pmid"], expected["text"])
    mentions = [
        (mention.start, mention.end, mention.text, entity.type, tuple(entity.id.split("|")))
        for entity in record.entities
        for mention in entity.mentions
    ]
    wanted = [(m["start"], m["end"], m["text"], m["type"], tuple(m["ids"])) for m in expected["mentions"]]
    assert len(mentions) == expected["n_mentions"] and sorted(mentions) == sorted(wanted)
    names = {entity.id: sorted({mention.text for mention in entity.mentions}) for entity in record.entities}
    assert names == {key: sorted(value) for key, value in expected["entities"].items()}
    lines = [(r["relation"], r["head_ids"], r["tail_ids"]) for r in expected["relations"]]
    assert [(r.relation, r.head, r.tail) for r in record.relations] == lines
    document = pubtator_document(block, "golden", Schema.load("chr"))
    used = [[document.entities[fact.head].id, document.entities[fact.tail].id] for fact in document.facts]
    assert sorted(used) == sorted(expected["relations_used"])


def check_cdr(line: str, expected: dict) -> None:
    record = parse_cdr(line, "golden", Schema.load("cdr"))
    assert record.pmid == expected["pmid"]
    assert [list(sentence) for sentence in record.sentences] == expected["sentences"]
    text = record.document.text
    entities = [
        {
            "id": entity.id,
            "type": entity.type,
            "mentions": [
                {
                    "name": mention.text,
                    "start": text[: mention.start].count(" "),
                    "end": text[: mention.end].count(" ") + 1,
                    "sent": mention.sentence,
                }
                for mention in entity.mentions
            ],
        }
        for entity in record.document.entities
    ]
    assert entities == expected["entities"]
    assert [list(pair) for pair in record.positives] == expected["positives"]
    assert [list(pair) for pair in record.negatives] == expected["negatives"]
    facts = [(f.relation, record.document.entities[f.head].id) for f in record.document.facts]
    assert facts == [("chemical-induced disease", head) for head, _ in expected["positives"]]
