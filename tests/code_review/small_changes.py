"""Small bases of commits that have learnt nothing, and adapters on them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import PLBartConfig, PLBartForConditionalGeneration, RobertaConfig, RobertaModel

from domains.code_review.model.change_bases import load_describer, load_encoder, with_head
from domains.code_review.model.change_manifest import ChangeManifest
from suite import adapters
from tests.code_review import small, small_pairs


def roberta(tokens: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=tokens,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )


def plbart(tokens: int) -> PLBartConfig:
    return PLBartConfig(
        vocab_size=tokens,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        forced_eos_token_id=1,
    )


@cache
def home() -> Path:
    """A RoBERTa in `roberta/`, a PLBart in `plbart/`, a T5 in `t5/`; made once a process."""
    folder = Path(mkdtemp(prefix="code_review_changes_"))
    words = small.tokenizer()
    torch.manual_seed(0)
    RobertaModel(roberta(len(words))).save_pretrained(folder / "roberta")
    PLBartForConditionalGeneration(plbart(len(words))).save_pretrained(folder / "plbart")
    for name in ("roberta", "plbart"):
        words.save_pretrained(folder / name)
    (folder / "t5").symlink_to(small_pairs.home() / "t5")
    return folder


@cache
def adapter(task: str) -> Path:
    """An adapter that changes what its base says, and nothing more: a head, or a LoRA."""
    place, folder = home(), home() / "adapters" / task
    torch.manual_seed(1)
    if task == "defects":
        encoder, _ = load_encoder(str(place / "roberta"))
        model = adapters.attach(with_head(encoder, "single"), train=["classifier"])
    else:
        model, _ = load_describer(str(place / "plbart"))
        model = adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=2, init_lora_weights=False)
    adapters.save(model, folder, extra=ChangeManifest(task, max_length=128).to_dict())  # type: ignore[arg-type]
    return folder
