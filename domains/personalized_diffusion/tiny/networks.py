"""The networks of the tiny base, before any training: real classes of diffusers and transformers at toy size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from domains.personalized_diffusion.data import world

LENGTH = 20
"""Tokens of a prompt, begin and end marks included."""
WIDTH = 96
"""Of the text states."""
PATCH = 8
REDUCTION = 8
"""Pixels of a picture's side to one latent's."""
LATENT_CHANNELS = 24
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer(words: Sequence[str] | None = None) -> CLIPTokenizer:
    """CLIP's tokenizer whose merges make each of the words one token; every other text falls into letters."""
    model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        # Given here, letters at a word's end have fixed numbers, and so has everything merged from them; the trainer
        # would number them as it meets them, in an order that differs from process to process.
        special_tokens=[f"{letter}</w>" for letter in letters],
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    model.train_from_iterator(world.vocabulary() if words is None else words, trainer)
    learnt = json.loads(model.to_str())["model"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    known = set(tokens)
    tokens += [token for token in learnt["vocab"] if token not in known]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[tuple(pair) for pair in learnt["merges"]],
        model_max_length=LENGTH,
    )


def clip(tokens: CLIPTokenizer, layers: int = 2) -> CLIPModel:
    """A CLIP of the made world's pictures; its text tower is the text encoder of the pipeline."""
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_hidden_layers": layers, "hidden_act": "gelu"}
    text = {
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "projection_dim": 64,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
        **heads,
    }
    vision = {
        "hidden_size": 96,
        "intermediate_size": 192,
        "projection_dim": 64,
        "image_size": world.SIZE,
        "patch_size": PATCH,
        **heads,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def vision(layers: int = 3) -> ViTModel:
    """The image encoder that stands in for DINO: a ViT whose class token tells individuals apart."""
    return ViTModel(
        ViTConfig(
            hidden_size=96,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=world.SIZE,
            patch_size=PATCH,
        ),
        add_pooling_layer=False,
    )


def autoencoder() -> AutoencoderKL:
    """64 x 64 pixels to 8 x 8 latents of 24 channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 56),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=world.SIZE,
    )


def unet() -> UNet2DConditionModel:
    """A UNet of two levels, with attention on both."""
    return UNet2DConditionModel(
        sample_size=world.SIZE // REDUCTION,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 80),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """A cosine schedule that ends in pure noise (Nichol and Dhariwal, arXiv 2102.09672), sampled by DPM-Solver++.

    The network predicts the velocity (Salimans and Ho, arXiv 2202.00512), which tells something at that end too.
    """
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", steps_offset=1
    )


def pipeline(parts: dict[str, nn.Module], tokens: CLIPTokenizer) -> StableDiffusionPipeline:
    """The pipeline of `unet`, `vae` and `text_encoder`."""
    return StableDiffusionPipeline(
        **parts,
        tokenizer=tokens,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def text_encoder(of: CLIPModel) -> CLIPTextModel:
    """A CLIP's text tower as a text encoder of its own."""
    made = CLIPTextModel(of.config.text_config)
    made.load_state_dict(of.text_model.state_dict())
    return made


def save_encoders(folder: Path, clip_model: CLIPModel, vision_model: ViTModel, tokens: CLIPTokenizer) -> None:
    """Put the encoders of the metrics beside a pipeline: `encoders/clip`, `encoders/vision`."""
    size = {"height": world.SIZE, "width": world.SIZE}
    clip_model.save_pretrained(folder / "encoders" / "clip")
    tokens.save_pretrained(folder / "encoders" / "clip")
    CLIPImageProcessor(size=size, crop_size=size, **HALF).save_pretrained(folder / "encoders" / "clip")
    vision_model.save_pretrained(folder / "encoders" / "vision")
    ViTImageProcessor(size=size, **HALF).save_pretrained(folder / "encoders" / "vision")


def save(
    folder: Path, pipe: StableDiffusionPipeline, clip_model: CLIPModel, vision_model: ViTModel, half: bool = True
) -> Path:
    """Write a whole base: the pipeline's folder and the encoders of the metrics, in 16 bit by default."""
    dtype = torch.float16 if half else torch.float32
    pipe.to(dtype=dtype).save_pretrained(folder)
    save_encoders(folder, clip_model.to(dtype), vision_model.to(dtype), pipe.tokenizer)
    return folder


def save_random(folder: Path, seed: int = 0) -> Path:
    """A base of this size whose weights are random."""
    torch.manual_seed(seed)
    tokens = tokenizer()
    clip_model = clip(tokens)
    parts = {"unet": unet(), "vae": autoencoder(), "text_encoder": text_encoder(clip_model)}
    return save(folder, pipeline(parts, tokens), clip_model, vision())
