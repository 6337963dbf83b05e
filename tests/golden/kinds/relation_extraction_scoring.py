"""Relation extraction: parsing, scoring and the encoding of prompts, against the official code."""

from __future__ import annotations

from domains.relation_extraction.encoding import chat_template
from domains.relation_extraction.fuzzy import repair, similarity
from domains.relation_extraction.parsing import parse_facts, parse_heads, parse_relations
from domains.relation_extraction.schema import Schema
from tests.golden.registry import Case, kind


class ToyTokenizer:
    """The tokenizer of `chat_encoding.json`: one token a character."""

    bos_token_id, eos_token_id, unk_token_id = 1001, 1002, None
    special = {
        "[gMASK]": 1003,
        "sop": 1004,
        "<|system|>": 1005,
        "<|user|>": 1006,
        "<|assistant|>": 1007,
        "<|observation|>": 1008,
    }

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self.special.get(token)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) % 1000 for character in text]


@kind("relation_extraction/chat_encoding")
def chat_encoding(case: Case) -> None:
    golden, tokenizer = case.json(), ToyTokenizer()
    for name, tokens in golden["stop_words"].items():
        ids = [tokenizer.eos_token_id, *map(tokenizer.convert_tokens_to_ids, tokens)]
        assert chat_template(name).stop_ids(tokenizer) == ids
    for sample in golden["cases"]:
        template = chat_template(sample["template"])
        question = (sample["query"],)
        if "encoded_pieces" in sample:
            pieces = [*template.frame(question), *template.answering, sample["response"]]
            named = [
                piece if isinstance(piece, str) else {"token": piece.name}
                for piece in pieces
                if isinstance(piece, str) or piece.name != "bos"
            ]
            assert named == sample["encoded_pieces"]
        prompt = template.encode(tokenizer, template.frame(question))
        assert prompt == sample.get("inference_prompt_ids", prompt)
        encoded = template.cut(tokenizer, prompt, sample["response"], sample["cutoff"])
        assert encoded.input_ids == sample["input_ids"]
        assert encoded.labels == sample["labels"]
        assert encoded.truncated == (sample["cutoff"] < 2048)


@kind("relation_extraction/parsing")
def parsing(case: Case) -> None:
    golden = case.json()
    schema, passages = _schema(golden["inventory"]), golden["passages"]
    for sample in golden["relations"]:
        assert set(parse_relations(sample["generation"], schema, "strict").items) == set(sample["expected_set"]), sample
    for sample in golden["heads"]:
        parsed = parse_heads("\n".join(sample["raw_entities"]), passages[sample["passage"]], "strict")
        assert set(parsed.items) == set(sample["expected_set"]), sample
    for sample in golden["facts"]:
        passage = passages[sample["passage"]]
        parsed = parse_facts(sample["generation"], passage, schema, "strict", subject=sample["subject"])
        # Where the official code ran an expression that is not a literal, the case says what a literal parser gives.
        expected = sample["expected_set_literal_only" if sample["eval_only_lines"] else "expected_set"]
        assert set(parsed.items) == set(map(tuple, expected)), sample
    for sample in golden["fuzzy"]:
        assert repair(sample["entity"], passages[sample["passage"]]) == sample["expected"], sample
    for sample in golden["ratio"]:
        assert similarity(sample["a"], sample["b"]) == sample["expected"], sample


def _schema(inventory: list[str]) -> Schema:
    schema = Schema.load("redocred")
    assert set(schema.names) == set(inventory)
    return schema
