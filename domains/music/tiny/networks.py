"""The tiny networks, of the classes that MusicGen has: EnCodec, T5, and a decoder over codebooks."""

from __future__ import annotations

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

from domains.music.data import world
from domains.music.model import codec

RATIOS = [2, 4, 5, 8]
"""320 samples a frame: 25 frames a second, of which every beat of the world is a whole number.

MusicGen's codec has its steps the other way round. With the widest one next to the wave most layers run at a low rate,
where a CPU is quick.
"""
CODEBOOKS, CODES = 2, 512
TEXT_WIDTH, WIDTH, LAYERS, HEADS = 64, 128, 4, 4
GUIDANCE, TEMPERATURE = 1.0, 0.3
"""Chosen on validation prompts: the cycles are kept best without guidance, and much cooler than MusicGen is sampled."""


def codec_config() -> EncodecConfig:
    """The codec: 8 kHz, a quarter of the width of MusicGen's."""
    return codec.config_of(
        rate=world.RATE,
        ratios=RATIOS,
        codebooks=CODEBOOKS,
        codebook_size=CODES,
        num_filters=16,
        hidden_size=32,
        num_lstm_layers=1,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Words of the world's captions, and T5's end of text."""
    words = ["<pad>", "</s>", "<unk>", *dict.fromkeys(world.vocabulary())]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=32
    )


def config() -> MusicgenConfig:
    """All three."""
    text = T5Config(
        vocab_size=len(tokenizer()),
        d_model=TEXT_WIDTH,
        d_kv=16,
        d_ff=128,
        num_layers=1,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=CODES,
        max_position_embeddings=512,
        num_hidden_layers=LAYERS,
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        ffn_dim=4 * WIDTH,
        num_codebooks=CODEBOOKS,
        pad_token_id=CODES,
        bos_token_id=CODES,
        dropout=0.0,
    )
    return MusicgenConfig(text_encoder=text, audio_encoder=codec_config(), decoder=decoder)


def untrained() -> MusicgenForConditionalGeneration:
    """The whole model with weights drawn at random.

    MusicGen's weights start at a deviation of 0.02, which suits its width: here tokens would be next to nothing beside
    their positions for most of a short training.
    """
    whole = MusicgenForConditionalGeneration(config())
    for module in whole.decoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=CODEBOOKS**-0.5)
    return whole
