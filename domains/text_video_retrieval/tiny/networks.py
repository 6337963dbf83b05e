"""The small CLIP of the embedded default, and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from domains.text_video_retrieval.data import world
from suite.clip.pictures import MEAN, STD

LENGTH = 32
"""Tokens of a sentence, start and end counted."""
PATCH = 8
DIM = 128
"""Of the common space."""


def tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte pairs, whose merges make each of the words one token; every other text falls into letters."""
    pieces = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        # Given here, letters at a word's end have the same numbers in every process.
        special_tokens=ends,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    pieces.train_from_iterator(words, trainer)
    learnt = json.loads(pieces.to_str())["model"]
    first = [*letters, *ends]
    # The end is the largest id: that is how the text tower finds it.
    tokens = [*first, *(token for token in learnt["vocab"] if token not in set(first))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in learnt["merges"]], model_max_length=LENGTH)


def clip(tokens: CLIPTokenizer, seed: int = 0) -> CLIPModel:
    """A new CLIP: pictures of 64 pixels in patches of 8, six layers; sentences in three."""
    text = {
        "vocab_size": len(tokens),
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.eos_token_id,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "image_size": world.SIDE,
        "patch_size": PATCH,
    }
    torch.manual_seed(seed)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))


def save(folder: Path, model: CLIPModel, tokens: CLIPTokenizer) -> None:
    """Write the base as `from_pretrained` reads it, with what it does to pictures and sentences."""
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    side = model.config.vision_config.image_size
    crop = {"height": side, "width": side}
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop, image_mean=MEAN, image_std=STD).save_pretrained(
        folder
    )
