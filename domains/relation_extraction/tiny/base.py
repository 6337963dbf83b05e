"""The embedded base before pretraining: its tokenizer, and a small `LlamaForCausalLM` that can copy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from domains.relation_extraction.data import world
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.tiny import pretraining
from suite.generation.tokenizer import byte_level_bpe
from suite.training.induction import write_induction

VOCABULARY = 2048
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
SEED = 0

# A blank is a token of its own before capitals and digits: a name is then the same tokens wherever it stands, at the
# start of a line, in quotes or inside a sentence, and copying it is copying tokens.
_WORDS = r"[A-Z][a-z]*|[0-9]{1,2}| ?[a-z]+| ?[^\sA-Za-z0-9]+|\s"


def tokenizer() -> Any:
    """Train the base's tokenizer: byte-level BPE, so that any text can be encoded and decoded unchanged.

    It learns from the made world's text and from `english.txt`, which keeps real English at about 2.3 characters a
    token.
    """
    return byte_level_bpe(_tokenizer_text(), _WORDS, VOCABULARY, SPECIAL, context=2048)


def _tokenizer_text(documents: int = 1500, repeats: int = 20) -> Iterator[str]:
    spoken, rng = find_protocol(pretraining.PROTOCOL), random.Random(0)
    for split, count in (("pretraining", documents), ("train", documents // 4)):
        yield from (document.text for document in world.documents(split, seed=7, count=count, facts=(2, 3, 3, 4, 5)))
    for passage in islice(pretraining.passages(3), documents // 5):
        for call, answer in pretraining.calls(passage, spoken, rng):
            yield spoken.pieces(call)[1] + answer
    yield from [Path(world.__file__).with_name("english.txt").read_text(encoding="utf-8")] * repeats


def untrained(vocabulary: int = VOCABULARY, seed: int = SEED) -> LlamaForCausalLM:
    """The base before pretraining: 1.9 million parameters, able to copy (see `suite/training/induction.py`)."""
    torch.manual_seed(seed)
    configuration = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    model = LlamaForCausalLM(configuration)
    write_induction(model, torch.Generator().manual_seed(seed))
    return model
