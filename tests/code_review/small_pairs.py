"""A small T5 that has learnt nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import T5Config, T5ForConditionalGeneration

from domains.code_review import CodeReviewerT5
from tests.code_review import small


def config(tokens: int) -> T5Config:
    return T5Config(
        vocab_size=tokens,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        decoder_start_token_id=2,
    )


@cache
def home() -> Path:
    """Of a T5 without a head in `t5/`, and one with CodeReviewer's in `codereviewer/`; made once a process."""
    folder = Path(mkdtemp(prefix="code_review_pairs_"))
    words = small.tokenizer()
    torch.manual_seed(0)
    for name, kind in (("t5", T5ForConditionalGeneration), ("codereviewer", CodeReviewerT5)):
        kind(config(len(words))).save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    return folder
