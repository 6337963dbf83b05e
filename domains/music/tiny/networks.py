"""The tiny networks, of the classes that MusicGen has: EnCodec, T5, and a decoder over codebooks."""

from __future__ import annotations

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
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

RATIOS = [8, 5, 4, 2]
"""320 samples a frame: 25 frames a second, of which every beat of the world is a whole number."""
CODEBOOKS, CODES = 4, 512
TEXT_WIDTH, WIDTH, LAYERS, HEADS = 64, 128, 4, 4


def codec_config() -> EncodecConfig:
    """The codec: 8 kHz, a sixth of the width of MusicGen's."""
    return codec.config_of(
        rate=world.RATE,
        ratios=RATIOS,
        codebooks=CODEBOOKS,
        codebook_size=CODES,
        num_filters=10,
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
    """The whole model with weights drawn at random."""
    return MusicgenForConditionalGeneration(config())
