"""What a review costs: decisions beside generated words, the frame's keys and values, three adapters in one batch.

    python -m benchmarks.code_review [--save] [--repeats 5]

Random weights, one thread. A decision whether a hunk needs a review is one forward; the paper's way writes eight tokens
and reads the first word. Both get the published prompt about the same hunks, one hunk at a time as a reviewer waits for
it, on a Llama that is as deep as LLaMA-7B and narrow, so that what a step costs is the depth. The prompt's frame is
forwarded before, as it is for every review but the first; both without that are beside it. The three adapters answer
four hunks each, as long as comments may be, in one batch and in three, in bfloat16 as a base is served, on a Llama of
half LLaMA-7B's width and few layers, where decoding waits for weights; and one prompt each in fp32, where it need not.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks._measured import Target, compared, keep, rounds, verdict
from domains.code_review.data.world import examples
from domains.code_review.model.encoding import code_prompt, hunk_prompt, prompt_ids, shared, text_of
from domains.code_review.model.wording import LLAMA_REVIEWER, TASKS, Task
from suite import adapters
from suite.code import tiny
from suite.generation.engine import Completion, Engine, Frame, Request

HUNKS, WORDS = 4, 8
COMMENT = 128
"""Tokens of the longest comment, as published."""
LORA: dict[str, Any] = {"targets": ["q_proj", "v_proj"], "r": 16, "lora_alpha": 16, "init_lora_weights": False}


def llama(words: Any, width: int, layers: int, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A random Llama with an adapter for each task, on the current device."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(4, width // 128),
        max_position_embeddings=2048,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # seven billion parameters are never there in fp32
    try:
        model: Any = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    for task in TASKS:
        model = adapters.attach(model, "lora", name=task, **LORA)
    return model.to(dtype).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/code_review.json")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    words = review_tokenizer()
    prompts = prompts_of(words, "necessity")
    deep, wide = llama(words, 64, 32), llama(words, 2048, 4)
    adapters.activate(deep, "necessity")
    _check_equal(wide, words)
    served = copy.deepcopy(wide).to(torch.bfloat16)
    seconds = rounds(_decisions(deep, prompts) | _adapters(wide, served, words), given.repeats)
    ratios = compared(
        seconds,
        [
            Target("eight words", "one forward", 5.0, at_most=False),
            Target("eight words, frame each", "one forward, frame each", 5.0, at_most=False),
            Target("decisions, frame each", "decisions, frame once", 1.2, at_most=False),
            Target("three batches of four, bf16", "one batch of twelve, bf16", 2.0, at_most=False),
            Target("three prompts, fp32", "one batch of three, fp32", 2.0, at_most=False),
        ],
    )
    logits = [_engine(deep, backend, HUNKS).next_logits(prompts) for backend in ("prefix", "batched")]
    framed = Engine(deep, (), frame=_frame(deep, prompts)).next_logits(prompts)
    logits[0] = torch.maximum((logits[0] - logits[1]).abs(), (framed - logits[1]).abs())
    ratios.append(verdict("difference of logits with the frame shared", float(logits[0].max()), 1e-4))
    started = time.perf_counter()
    for task in TASKS:
        adapters.activate(deep, task)
    ratios.append(verdict("seconds of a switch", (time.perf_counter() - started) / len(TASKS), 0.1))
    if given.save:
        keep("code_review", given.repeats, seconds, ratios=ratios)


def _decisions(model: Any, prompts: list[list[int]]) -> dict[str, Callable[[], Any]]:
    """Decisions one at a time, the frame kept from earlier ones or not, and many together."""
    frame = _frame(model, prompts)
    return {
        "eight words": lambda: [_engine(model, frame=frame).generate([Request(one)]) for one in prompts],
        "one forward": lambda: [_engine(model, frame=frame).next_logits([one]) for one in prompts],
        "eight words, frame each": lambda: [_engine(model).generate([Request(one)]) for one in prompts],
        "one forward, frame each": lambda: [_engine(model).next_logits([one]) for one in prompts],
        "decisions, frame once": lambda: _engine(model, batch_size=HUNKS).next_logits(prompts * 4),
        "decisions, frame each": lambda: _engine(model, "batched", HUNKS).next_logits(prompts * 4),
    }


def _adapters(wide: Any, served: Any, words: Any) -> dict[str, Callable[[], Any]]:
    """What a review of some hunks by all tasks asks, and one prompt by each."""
    one = {task: prompts_of(words, task)[:1] for task in TASKS}
    some = {task: prompts_of(words, task) for task in TASKS}
    return {
        "three batches of four, bf16": lambda: apart(served, some, COMMENT),
        "one batch of twelve, bf16": lambda: together(served, some, COMMENT),
        "three prompts, fp32": lambda: apart(wide, one, 32),
        "one batch of three, fp32": lambda: together(wide, one, 32),
    }


def _check_equal(model: Any, words: Any) -> None:
    """Refuse to measure answers that differ, in the precision in which they must not."""
    some = {task: prompts_of(words, task) for task in TASKS}
    assert [one.tokens for one in together(model, some, 16)] == [one.tokens for one in apart(model, some, 16)]


def prompts_of(words: Any, task: Task) -> list[list[int]]:
    """What a task is asked about the same hunks; of a refinement their new lines, with a comment."""
    hunks = [case.hunk for case in islice(examples("test", "necessity"), HUNKS) if case.hunk is not None]
    if task != "refinement":
        return [prompt_ids(words, hunk_prompt(LLAMA_REVIEWER, task, text_of(hunk))) for hunk in hunks]
    codes = ["\n".join(line.text for line in hunk.side("RIGHT")) for hunk in hunks]
    return [prompt_ids(words, code_prompt(LLAMA_REVIEWER, task, code, "Is this right?")) for code in codes]


def apart(model: Any, prompts: Mapping[Task, list[list[int]]], most: int) -> list[Completion]:
    """Answers of each task's adapter in a batch of its own."""
    found = []
    for task, own in prompts.items():
        adapters.activate(model, task)
        found += Engine(model, (), batch_size=len(own), max_new_tokens=most).generate([Request(one) for one in own])
    return found


def together(model: Any, prompts: Mapping[Task, list[list[int]]], most: int) -> list[Completion]:
    """The same in one batch, each row with the adapter of its task."""
    requests = [Request(one, adapter=task) for task, own in prompts.items() for one in own]
    return Engine(model, (), batch_size=len(requests), max_new_tokens=most).generate(requests)


def _frame(model: Any, prompts: list[list[int]]) -> Frame:
    begun = prompts[0]
    for other in prompts[1:]:
        begun = begun[: shared(begun, other)]
    return Engine(model, ()).frame(begun)


def _engine(model: Any, backend: Any = "prefix", batch_size: int = 1, frame: Frame | None = None) -> Engine:
    # Without a token that ends an answer: as many are written as were asked for.
    return Engine(model, (), backend=backend, batch_size=batch_size, max_new_tokens=WORDS, frame=frame)


def review_tokenizer() -> Any:
    """A tokenizer trained on such prompts."""
    return tiny.tokenizer(_texts())


def _texts() -> list[str]:
    asked = LLAMA_REVIEWER.prompt(*LLAMA_REVIEWER.asked("necessity", hunk=""))
    return [asked] * 20 + [text_of(case.hunk) for case in islice(examples("train", "necessity"), 200) if case.hunk]


if __name__ == "__main__":
    main()
