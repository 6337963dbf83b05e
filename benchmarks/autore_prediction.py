"""What batching and prefix reuse save when documents are read with many calls (Relation-Head-Facts).

    python -m benchmarks.autore_prediction [--save] [--repeats N] [--data dev_revised.json]

Tokens: prompt tokens that go through the model with shared prefixes, against all prompt tokens, over the documents of
Re-DocRED dev with the relations and heads of the gold labels; a token is a word or a punctuation mark. Without the
data the documents of the made world are counted instead.

Time: the same calls through a small random Llama on one thread in fp32, one by one, in batches of 16, and in such
batches with shared prefixes. Every repeat runs all three; ratios are medians over repeats, of processor time. The
triples must be identical. `benchmarks.autore_batching` compares with transformers' own batches, and a larger model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.refinement import refine
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.inference.constraints import constraint_for
from domains.relation_extraction.inference.engine import ModelEngine
from domains.relation_extraction.inference.extraction import PipelineOptions
from domains.relation_extraction.inference.pipeline import MockEngine, extract
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Schema
from suite.generation.engine import Backend
from suite.generation.prefix import forwarded_tokens, share_prefixes
from suite.generation.tokenizer import byte_level_bpe

RESULTS = Path(__file__).parent / "results"
DATA = (
    Path(os.environ.get("SUITE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "redocred" / "dev_revised.json"
)
GROUP = 16
"""Documents whose calls of a step go to the engine together."""
TOKEN_TARGETS = {"autore-official/D_R_H_F_desc": 1.9, "suite-v1/D_R_H_F_desc": 5.0}
TIME_TARGET = 5.0
BACKENDS: tuple[Backend, ...] = ("sequential", "batched", "prefix")
CONTEXT = 4096
"""Most tokens of a prompt and its answer."""
_WORD = re.compile(r"\w+|[^\w\s]")
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What GPT-2's tokenizer merges within: a word or a number with the space before it, punctuation, spaces."""


class Words:
    """A tokenizer whose tokens are words and punctuation marks."""

    bos_token_id, eos_token_id, unk_token_id = 0, 1, None

    def __init__(self) -> None:
        self.ids: dict[str, int] = defaultdict(lambda: len(self.ids) + 2)

    def encode(self, text: str, **_: Any) -> list[int]:
        return [self.ids[word] for word in _WORD.findall(text)]

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def gold_plan(document: Document) -> dict[str, list[str]]:
    """The relations of a document, each with all names of its heads."""
    plan: dict[str, dict[str, None]] = {}
    for fact in document.facts:
        plan.setdefault(fact.relation, {}).update(dict.fromkeys(document.entities[fact.head].names))
    return {relation: list(heads) for relation, heads in plan.items()}


def calls_of(documents: Sequence[Document], identifier: str, schema: Schema) -> Iterator[list[Call]]:
    """The calls of each step for a group of documents, relations and heads as in the gold labels."""
    plans = {document.text: gold_plan(document) for document in documents}

    def answer(call: Call) -> str:
        asked.append(call)
        plan = plans[call.passage]
        return "\n".join(plan if call.step == "relation" else plan[call.relation or ""]) if call.step != "fact" else ""

    asked: list[Call] = []
    options = PipelineOptions(group=len(documents), mode="strict", max_heads=10_000, inverses=False)
    list(extract(documents, MockEngine(answer), protocol(identifier), schema, options))
    for step in ("relation", "subject", "fact"):
        yield [call for call in asked if call.step == step]


def count_tokens(documents: Sequence[Document], schema: Schema) -> dict[str, dict[str, float]]:
    """Prompt tokens with and without prefix reuse, by protocol."""
    rows = {}
    for identifier, least in TOKEN_TARGETS.items():
        words, template, spoken = Words(), chat_template("suite"), protocol(identifier)
        calls = whole = forwarded = 0
        for start in range(0, len(documents), GROUP):
            for step in calls_of(documents[start : start + GROUP], identifier, schema):
                prompts = [template.encode_prompt(words, spoken, call) for call in step]
                calls += len(prompts)
                whole += sum(map(len, prompts))
                forwarded += forwarded_tokens(prompts, share_prefixes(prompts))
        rows[identifier] = {
            "calls_per_document": calls / len(documents),
            "prompt_tokens_per_document": whole / len(documents),
            "forwarded_per_document": forwarded / len(documents),
            "ratio": whole / forwarded,
            "target": least,
        }
    return rows


def small_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on the texts."""
    return byte_level_bpe(texts, _PIECES, 4096, {"bos_token": "<s>", "eos_token": "</s>"}, context=CONTEXT)


def small_model(texts: Sequence[str]) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A random Llama and a tokenizer trained on the texts."""
    tokenizer = small_tokenizer(texts)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
    )
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        # transformers draws weights so small that every prompt gets the same answer.
        parameter.data.mul_(8 if parameter.dim() > 1 else 1)
    return model, tokenizer


def measure_time(documents: Sequence[Document], schema: Schema, repeats: int) -> dict[str, Any]:
    """Seconds of both ways, interleaved, and whether they found the same."""
    model, tokenizer = small_model([document.text for document in documents])
    spoken = protocol("suite-v1/D_R_H_F_desc")
    options = PipelineOptions(plan=gold_plan, group=GROUP)
    # Without short spans and with an empty answer a random model would find nothing to compare.
    constraint = partial(constraint_for, schema=schema, max_words=3)
    seconds: dict[str, list[float]] = defaultdict(list)
    triples: dict[str, list[Any]] = {}
    for _ in range(repeats):
        for backend in BACKENDS:
            engine = ModelEngine(
                model, tokenizer, chat_template("suite"), spoken, backend=backend, batch_size=16, max_new_tokens=40
            )
            started = time.process_time()
            found = list(extract(documents, engine, spoken, schema, options, constraint))
            seconds[backend].append(time.process_time() - started)
            triples[backend] = [triple.key for extraction in found for triple in extraction.triples]
    ratios = {
        backend: statistics.median(slow / fast for slow, fast in zip(seconds["sequential"], own, strict=True))
        for backend, own in seconds.items()
    }
    return {
        "documents": len(documents),
        "triples": len(triples["prefix"]),
        "identical": all(found == triples["sequential"] for found in triples.values()),
        **{f"seconds_{backend}": statistics.median(own) for backend, own in seconds.items()},
        "ratio_batched": ratios["batched"],
        "ratio": ratios["prefix"],
        "target": TIME_TARGET,
    }


def read(data: Path, count: int | None = None) -> tuple[list[Document], Schema, str]:
    """The labelled documents, their schema and where they come from."""
    if data.is_file():
        schema, source = Schema.load("redocred"), str(data)
    else:
        schema, source = Schema.load("tiny"), "tiny:test"
    refined = (refine(document) for document in labelled_documents(source, schema))
    return list(islice((document for document in refined if document), count)), schema, Path(source).name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="Re-DocRED dev")
    parser.add_argument("--documents", type=int, default=1, help="documents of the time measurement")
    parser.add_argument("--repeats", type=int, default=20, help="of the time measurement")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/autore_prediction.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    documents, schema, source = read(given.data)
    print(f"{len(documents)} documents of {source}")
    tokens = count_tokens(documents, schema)
    for name, row in tokens.items():
        print(
            f"{name}: {row['calls_per_document']:.2f} calls a document, {row['prompt_tokens_per_document']:.0f} prompt "
            f"tokens, {row['forwarded_per_document']:.0f} forwarded: {row['ratio']:.2f} x fewer (>= {row['target']})"
        )
    timed = measure_time(documents[: given.documents], schema, given.repeats)
    print(
        f"prediction: {timed['seconds_sequential']:.2f} s one by one, {timed['seconds_batched']:.2f} s in batches of "
        f"16 ({timed['ratio_batched']:.2f} x faster), {timed['seconds_prefix']:.2f} s with shared prefixes too: "
        f"{timed['ratio']:.2f} x faster (>= {timed['target']}), "
        f"{timed['triples']} triples, identical: {timed['identical']}"
    )
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        record = {"source": source, "machine": platform.machine(), "torch": torch.__version__, "threads": 1}
        text = json.dumps(record | {"tokens": tokens, "time": timed}, indent=2)
        (RESULTS / "autore_prediction.json").write_text(text + "\n", encoding="utf-8")
    assert timed["identical"], "batched prediction differs from the sequential reference"


if __name__ == "__main__":
    main()
