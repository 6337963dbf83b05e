"""What a review costs: decisions beside generated words, the frame's keys and values, three adapters in one batch.

    python -m benchmarks.code_review [--save] [--repeats 5]

Random weights, one thread. A decision whether a hunk needs a review is one forward; the paper's way writes eight tokens
and reads the first word. Both get the published prompt about the same hunks, one hunk at a time as a reviewer waits for
it, on a Llama that is as deep as LLaMA-7B and narrow, so that what a step costs is the depth. Of one task's prompts the
frame is forwarded once; the same decisions without that are beside it. The three adapters answer one prompt
each in one batch, and in three, on a Llama of half LLaMA-7B's width and few layers, where decoding waits for weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks._measured import Target, compared, keep, rounds, verdict
from domains.code_review.data.world import examples
from domains.code_review.model.encoding import hunk_prompt, prompt_ids, text_of
from domains.code_review.model.wording import LLAMA_REVIEWER, TASKS
from suite import adapters
from suite.code import tiny
from suite.generation.engine import Engine, Request

HUNKS, WORDS = 4, 8
LORA: dict[str, Any] = {"targets": ["q_proj", "v_proj"], "r": 16, "lora_alpha": 16, "init_lora_weights": False}


def llama(words: Any, width: int, layers: int) -> torch.nn.Module:
    """A random Llama with an adapter for each task."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(4, width // 128),
        max_position_embeddings=2048,
    )
    model: Any = LlamaForCausalLM(config)
    for task in TASKS:
        model = adapters.attach(model, "lora", name=task, **LORA)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/code_review.json")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    words = tiny.tokenizer(_texts())
    hunks = [case.hunk for case in islice(examples("test", "necessity"), HUNKS) if case.hunk is not None]
    prompts = [prompt_ids(words, hunk_prompt(LLAMA_REVIEWER, "necessity", text_of(hunk), "python")) for hunk in hunks]
    deep, wide = llama(words, 64, 32), llama(words, 2048, 4)
    steps: dict[str, Callable[[], Any]] = {
        "eight words": lambda: [_engine(deep).generate([Request(one)]) for one in prompts],
        "one forward": lambda: [_engine(deep).next_logits([one]) for one in prompts],
        "decisions, frame once": lambda: _engine(deep, batch_size=HUNKS).next_logits(prompts * 4),
        "decisions, frame each": lambda: _engine(deep, "batched", HUNKS).next_logits(prompts * 4),
        "three batches": lambda: [_three(wide, prompts, task) for task in TASKS],
        "one batch": lambda: _mixed(wide, prompts),
    }
    adapters.activate(deep, "necessity")
    same = [answer for task in TASKS for answer in _three(wide, prompts, task)]
    assert [one.tokens for one in _mixed(wide, prompts)] == [one.tokens for one in same]
    seconds = rounds(steps, given.repeats)
    ratios = compared(
        seconds,
        [
            Target("eight words", "one forward", 5.0, at_most=False),
            Target("three batches", "one batch", 2.0, at_most=False),
            Target("decisions, frame each", "decisions, frame once", 1.2, at_most=False),
        ],
    )
    logits = [_engine(deep, backend, HUNKS).next_logits(prompts) for backend in ("prefix", "batched")]
    ratios.append(
        verdict("difference of logits with the frame shared", float((logits[0] - logits[1]).abs().max()), 1e-4)
    )
    started = time.perf_counter()
    for task in TASKS:
        adapters.activate(deep, task)
    ratios.append(verdict("seconds of a switch", (time.perf_counter() - started) / len(TASKS), 0.1))
    if given.save:
        keep("code_review", given.repeats, seconds, ratios=ratios)


def _engine(model: Any, backend: Any = "prefix", batch_size: int = 1) -> Engine:
    # Without a token that ends an answer: as many are written as were asked for.
    return Engine(model, (), backend=backend, batch_size=batch_size, max_new_tokens=WORDS)


def _three(model: Any, prompts: list[list[int]], task: str) -> Any:
    adapters.activate(model, task)
    engine = Engine(model, (), batch_size=1, max_new_tokens=32)
    return engine.generate([Request(prompts[0])])


def _mixed(model: Any, prompts: list[list[int]]) -> Any:
    engine = Engine(model, (), batch_size=3, max_new_tokens=32)
    return engine.generate([Request(prompts[0], adapter=task) for task in TASKS])


def _texts() -> list[str]:
    asked = LLAMA_REVIEWER.prompt(*LLAMA_REVIEWER.asked("necessity", hunk=""))
    return [asked] * 20 + [text_of(case.hunk) for case in islice(examples("train", "necessity"), 200) if case.hunk]


if __name__ == "__main__":
    main()
