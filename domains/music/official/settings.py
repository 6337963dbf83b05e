"""The `xp.cfg` of files that audiocraft's own program is to load: all that its loaders read, as MusicGen was trained.

audiocraft 1.3.0 builds a model from this text alone (`models/builders.py`); what it does not find there it stops at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import EncodecConfig, MusicgenConfig

from domains.music.model import delays

T5: Mapping[int, str] = {512: "t5-small", 768: "t5-base", 1024: "t5-large"}
"""The text encoders that audiocraft knows, by the width of their states."""


def language(config: MusicgenConfig, segment_seconds: float) -> dict[str, Any]:
    """Of the language model, with its text encoder, guidance and delays."""
    decoder = config.decoder
    stereo = decoder.audio_channels == 2
    return {
        "lm_model": "transformer_lm",
        "transformer_lm": {
            "dim": decoder.hidden_size,
            "num_heads": decoder.num_attention_heads,
            "num_layers": decoder.num_hidden_layers,
            "hidden_scale": decoder.ffn_dim // decoder.hidden_size,
            "n_q": decoder.num_codebooks,
            "card": decoder.vocab_size,
            "dropout": 0.0,
            "emb_lr": None,
            "activation": "gelu",
            "norm": "layer_norm",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "causal": True,
            "custom": False,
            "memory_efficient": True,
            "attention_as_float32": False,
            "layer_scale": None,
            "positional_embedding": "sin",
            "two_step_cfg": False,
        },
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {
                "delays": delays.delays_of(decoder.num_codebooks, decoder.audio_channels),
                "flatten_first": 0,
                "empty_initial": 0,
            },
        },
        "conditioners": {
            "args": {},
            "description": {
                "model": "t5",
                "t5": {
                    "name": T5.get(config.text_encoder.hidden_size, "t5-base"),
                    "finetune": False,
                    "word_dropout": 0.3,
                    "normalize_text": False,
                },
            },
        },
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "prepend": [],
            "cross": ["description"],
            "input_interpolate": [],
        },
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "attribute_dropout": {},
        "interleave_stereo_codebooks": {"use": stereo, "per_timestep": False},
        "dataset": {"segment_duration": segment_seconds},
        "channels": decoder.audio_channels,
        "sample_rate": config.audio_encoder.sampling_rate,
        "dtype": "float32",
        "device": "cpu",
    }


def compression(audio: EncodecConfig) -> dict[str, Any]:
    """Of the codec, which is one of a single channel for stereo models, too."""
    return {
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": audio.sampling_rate,
            "channels": 1,
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "channels": 1,
            "dimension": audio.hidden_size,
            "causal": False,
            "n_filters": audio.num_filters,
            "n_residual_layers": audio.num_residual_layers,
            "ratios": list(audio.upsampling_ratios),
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": "weight_norm",
            "norm_params": {},
            "kernel_size": audio.kernel_size,
            "residual_kernel_size": audio.residual_kernel_size,
            "last_kernel_size": audio.last_kernel_size,
            "dilation_base": audio.dilation_growth_rate,
            "pad_mode": "constant",
            "true_skip": True,
            "compress": audio.compress,
            "lstm": audio.num_lstm_layers,
            "disable_norm_outer_blocks": 0,
            "encoder": {},
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
        },
        "rvq": {"n_q": audio.num_quantizers, "bins": audio.codebook_size, "q_dropout": False},
        "sample_rate": audio.sampling_rate,
        "channels": 1,
        "device": "cpu",
    }
