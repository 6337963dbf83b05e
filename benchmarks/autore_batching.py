"""What batching saves, which every library has, and what computing shared prefixes once adds: each by itself.

    python -m benchmarks.autore_batching [--save] [--repeats N] [--calls N] [--data dev_revised.json]

The calls of one document of Re-DocRED dev (relations and heads of the gold labels; the made world's without the data)
go through a random Llama of 100 million parameters, in fp32 on one thread, in four ways:

- `one by one`: our sequential back end, which is transformers' `generate` for each prompt;
- `transformers, batches`: its `generate` on batches of 16, padded on the left, in the order of the calls;
- `ours, batches`: our batched back end;
- `ours, batches and prefixes`: the default.

Every answer has the same number of tokens, without constraints, so that all ways do the same work. Every repeat runs
all four, interleaved; the ratios are medians over the repeats. Answers must be identical.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks._measured import keep
from benchmarks.autore_prediction import DATA, calls_of, read, small_tokenizer
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from suite.generation.engine import Backend, Engine, Request

PROTOCOL = "suite-v1/D_R_H_F_desc"
BATCH = 16
WAYS: dict[str, Backend | None] = {
    "one by one": "sequential",
    "transformers, batches": None,
    "ours, batches": "batched",
    "ours, batches and prefixes": "prefix",
}
SIZES = {
    "mid": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "small": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4},
}
"""`small` is the model of `autore_prediction`, whose answers cost little beside the calling of layers."""


def model_of(size: str, vocabulary: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=4096, tie_word_embeddings=True, **SIZES[size])
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        # transformers draws weights so small that every prompt gets the same answer.
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


def padded_batches(model: LlamaForCausalLM, prompts: Sequence[Sequence[int]], tokens: int) -> list[tuple[int, ...]]:
    """The answers by transformers' `generate` on batches padded on the left."""
    answers = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        out: Tensor = model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens, eos_token_id=None, pad_token_id=0
        )
        answers += [tuple(row[width:].tolist()) for row in out]
    return answers


def ways(
    model: LlamaForCausalLM, steps: Sequence[Sequence[Sequence[int]]], tokens: int
) -> dict[str, Callable[[], list[tuple[int, ...]]]]:
    """Each way as a function that answers the prompts, which go out step by step."""

    def by(backend: Backend | None) -> list[tuple[int, ...]]:
        answers: list[tuple[int, ...]] = []
        for prompts in steps:
            if backend is None:
                answers += padded_batches(model, prompts, tokens)
            else:
                engine = Engine(model, stops=[], backend=backend, batch_size=BATCH, max_new_tokens=tokens)
                answers += [answer.tokens for answer in engine.generate([Request(prompt) for prompt in prompts])]
        return answers

    return {name: lambda backend=backend: by(backend) for name, backend in WAYS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="Re-DocRED dev")
    parser.add_argument("--size", choices=SIZES, default="mid", help="of the model")
    parser.add_argument("--calls", type=int, default=24, help="most calls of a step")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/autore_batching_SIZE.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    documents, schema, source = read(given.data, 1)
    tokenizer = small_tokenizer([document.text for document in documents])
    spoken, template = protocol(PROTOCOL), chat_template("suite")
    steps = [
        [template.encode_prompt(tokenizer, spoken, call) for call in calls[: given.calls]]
        for calls in calls_of(documents, PROTOCOL, schema)
    ]
    model = model_of(given.size, len(tokenizer))
    parameters, prompts = sum(p.numel() for p in model.parameters()), sum(map(len, steps))
    print(f"{prompts} calls on a document of {source}, {given.tokens} tokens each, {parameters / 1e6:.0f} M parameters")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    answers: dict[str, list[tuple[int, ...]]] = {}
    for _ in range(given.repeats):
        for name, run in ways(model, steps, given.tokens).items():
            started = time.process_time()
            answers[name] = run()
            seconds[name].append(time.process_time() - started)
    slowest = seconds["one by one"]
    ratios = {
        name: statistics.median(slow / fast for slow, fast in zip(slowest, own, strict=True))
        for name, own in seconds.items()
    }
    identical = all(found == answers["one by one"] for found in answers.values())
    for name, own in seconds.items():
        print(f"{name:28} {statistics.median(own):7.2f} s  {ratios[name]:5.2f} x")
    print(f"identical: {identical}")
    if given.save:
        prompt_tokens = sum(len(prompt) for step in steps for prompt in step)
        about = {"source": source, "calls": prompts, "prompt_tokens": prompt_tokens, "answer_tokens": given.tokens}
        figures = {"ratios": ratios, "identical": identical, "parameters": parameters, **about}
        keep(f"autore_batching_{given.size}", given.repeats, seconds, **figures)
    assert identical, "the ways give different answers"


if __name__ == "__main__":
    main()
