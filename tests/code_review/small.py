"""A small base that has learnt nothing, and adapters on it: what the models say is noise, and must do no harm."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from domains.code_review.model.manifest import Manifest
from domains.code_review.model.wording import LLAMA_REVIEWER, TASKS, Task, Template
from suite import adapters
from suite.code import repositories, tiny
from suite.training.drivers.stages import gather


@cache
def tokenizer():
    """The code models' kind, trained on little."""
    return tiny.tokenizer(_texts())


def base(folder: Path, width: int = 32, seed: int = 0) -> Path:
    """Write a random Llama of two layers with the code models' kind of tokenizer."""
    words = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def adapter(folder: Path, base: Path, task: Task, template: Template = LLAMA_REVIEWER, **settings: object) -> Path:
    """Write a LoRA that changes what the base says, and nothing more."""
    model = LlamaForCausalLM.from_pretrained(base)
    torch.manual_seed(sum(map(ord, task)))
    given = {"targets": ["q_proj", "v_proj"], "r": 2, "init_lora_weights": False} | settings
    model = adapters.attach(model, "lora", **given)
    adapters.save(model, folder, base="tiny", extra=Manifest(task, template).to_dict())
    return folder


@cache
def home() -> Path:
    """A base in `base/`, and an adapter for each task below `adapter/`; made once a process."""
    folder = Path(mkdtemp(prefix="code_review_small_"))
    made = base(folder / "base")
    parts = {task: adapter(folder / "parts" / task, made, task) for task in TASKS}
    gather(parts, folder / "adapter", Manifest().to_dict())
    return folder


def words(*more: str) -> list[str]:
    """Options of `predict` that take the small base and its adapters, and review every hunk."""
    place = home()
    options = ["--adapter", str(place / "adapter"), "--base", str(place / "base"), "--threshold", "0"]
    return [*options, "--max-new-tokens", "12", *more]


def records(path: Path, rows: list[dict]) -> Path:
    """Write a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def _texts() -> list[str]:
    texts = [LLAMA_REVIEWER.prompt(*LLAMA_REVIEWER.asked(task, hunk="", code="", comment="")) for task in TASKS] * 20
    for repository in islice(repositories.repositories(7), 20):
        texts += repository.files.values()
    return texts
