"""Code review on a Llama of LLaMA-7B's shape: a decision beside eight words, three adapters in one batch beside three.

Random weights in bfloat16, LoRA of rank 16 on queries and values for each task, the published prompts about the same
hunks. Equality of the two ways is asserted elsewhere, in fp32; here they are only timed. Figures are medians.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.code_review import COMMENT, HUNKS, apart, llama, prompts_of, review_tokenizer, together
from benchmarks.gpu.claim import Figure, Setting
from benchmarks.gpu.faces import medians
from domains.code_review.model.wording import TASKS
from suite import adapters
from suite.generation.engine import Engine, Request

WORDS = 8


def measure(setting: Setting) -> Iterator[Figure]:
    """Necessity at one hunk and at four, then four hunks by three tasks."""
    words = review_tokenizer()
    width, layers, most = (64, 2, 4) if setting.smoke else (4096, 32, COMMENT)
    with setting.device:
        model = llama(words, width, layers, torch.bfloat16)
    rounds = (0, 1) if setting.smoke else (1, 5)
    prompts = prompts_of(words, "necessity")
    adapters.activate(model, "necessity")
    for count in (1, HUNKS):
        asked = prompts[:count]
        engine = Engine(model, (), batch_size=count, max_new_tokens=WORDS)
        steps = {
            "one forward": lambda engine=engine, asked=asked: engine.next_logits(asked),
            "eight words": lambda engine=engine, asked=asked: engine.generate([Request(one) for one in asked]),
        }
        seconds = medians(steps, *rounds)
        ratio = seconds["eight words"] / seconds["one forward"]
        yield Figure(f"necessity of {count}, eight words / one forward", ratio, "x", 5.0)
    some = {task: prompts_of(words, task) for task in TASKS}
    both = {"three batches": lambda: apart(model, some, most), "one batch": lambda: together(model, some, most)}
    seconds = medians(both, *rounds)
    yield Figure("one batch of twelve", seconds["one batch"], "s")
    ratio = seconds["three batches"] / seconds["one batch"]
    yield Figure("four hunks by three adapters, three batches / one", ratio, "x", 2.0)
