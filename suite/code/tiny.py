"""The small code model that both code domains share, before it learns: its tokenizer and an untrained Llama.

`suite.training.tiny_code` pretrains it; `checkpoints/tiny/code/base` is what it becomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import resources
from itertools import islice
from typing import Any

from suite.generation.tokenizer import byte_level_bpe

VOCABULARY = 2048
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
"""There is no token for the unknown: every byte has one of its own."""

CONTEXT = 1024

# A name must be the same tokens wherever it stands, so that copying it is copying tokens: keywords, operators and the
# start of a line take the blanks around them, in a file (`\n    `) as in a diff (`\n+    `).
_PIECES = (
    r"\n[+-]? *"
    r"|\b(?:assert|def|elif|for|from|if|import|in|is|not|raise|return|while) "
    r"| (?:and|as|else|for|if|import|in|is|not|or) "
    r"|[0-9]"
    r"|[ _]?[A-Za-z]+"
    r"| ?[^\sA-Za-z0-9]+ ?"
    r"|\s+"
)


def tokenizer(texts: Iterable[str] | None = None) -> Any:
    """Train the tokenizer, a byte-level BPE: any text can be encoded and decoded unchanged.

    Args:
        texts: what it learns from; the made world's code and the prompts of both domains where it is left out.
    """
    learnt = _texts() if texts is None else texts
    return byte_level_bpe(learnt, _PIECES, VOCABULARY, SPECIAL, CONTEXT, split_special_tokens=True)


def untrained(vocabulary: int = VOCABULARY, seed: int = 0) -> Any:
    """The model before it learns: 2.6 million parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def _texts(repositories: int = 300, repeats: int = 300) -> Iterator[str]:
    from suite.code import repositories as made

    yield from [resources.files("suite.code").joinpath("prose.txt").read_text(encoding="utf-8")] * repeats
    for share in ("seen", "held out"):
        for repository in islice(made.repositories(7, "train", share), repositories):
            yield from repository.files.values()
            for change in islice(repository.changes(), 2):
                yield change.diff
                yield change.comment
