"""Random models and trained tokenizers of the two great families, small enough for a test."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

PASSAGE = (
    "Marie Curie was born in Warsaw , Poland , and married Pierre Curie in 1895 . She 's known for « radium » "
    'and the book " Radioactivity " ; Łódź and 東京都 honour O\'Brien , the "King\'s" friend .'
)
SCHEMA = SimpleNamespace(
    names=("spouse", "part of", "part of the series", "place of birth", "languages spoken, written or signed")
)
_SPECIAL = ["<unk>", "<s>", "</s>"]


@lru_cache
def tokenizer(kind: str = "bytes") -> PreTrainedTokenizerFast:
    """A BPE tokenizer trained on a few lines: `bytes` like Llama 3's and GPT-2's, `sentencepiece` like Mistral's."""
    # Two-line samples and answers make tokens that straddle quotes, commas and newlines.
    lines = [
        PASSAGE,
        "\n".join(SCHEMA.names),
        "['Marie Curie', 'spouse', 'Pierre Curie']\n['Warsaw', 'part of', 'Poland']",
    ]
    if kind == "bytes":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = []
    special = _SPECIAL + ([f"<0x{byte:02X}>" for byte in range(256)] if kind == "sentencepiece" else [])
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, limit_alphabet=300, show_progress=False
    )
    core.train_from_iterator([line.replace("東", "") for line in lines], trainer)
    if kind == "sentencepiece":
        core = _bytes_not_special(core)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _bytes_not_special(core: Tokenizer) -> Tokenizer:
    """Byte tokens are ordinary tokens of the model; training can only add them as special ones."""
    import json

    state = json.loads(core.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


def llama(seed: int = 0, vocabulary: int = 700, spread: float = 1.0, **config: object) -> LlamaForCausalLM:
    """A random two-layer Llama with grouped queries; `spread` scales the logits away from ties."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(**(sizes | config)))
    _spread(model, spread)
    return model.eval()


def mistral(seed: int = 0, **config: object) -> MistralForCausalLM:
    torch.manual_seed(seed)
    sizes = dict(vocab_size=700, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    return MistralForCausalLM(MistralConfig(**(sizes | {"num_key_value_heads": 2} | config))).eval()


def _spread(model: LlamaForCausalLM, factor: float) -> None:
    # transformers draws weights of std 0.02, with which every position answers the same token.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10 * factor)
