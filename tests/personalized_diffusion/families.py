"""Random pipelines of every family at toy size, as the folders that diffusers saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from domains.personalized_diffusion.tiny import networks as small

NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def text_config(tokens: Any, width: int, projection: int = 16) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=small.LENGTH,
        projection_dim=projection,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def vae(channels: int = 4, **fields: Any) -> AutoencoderKL:
    """8 pixels a latent, as in the real ones."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **fields,
    )


def unet(cross: int, **fields: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=cross,
        attention_head_dim=2,
        norm_num_groups=8,
        **fields,
    )


def sd(prediction: str = "epsilon") -> StableDiffusionPipeline:
    tokens = small.tokenizer()
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(text_config(tokens, 32)),
        tokenizer=tokens,
        unet=unet(32),
        scheduler=DDIMScheduler(**NOISE, clip_sample=False, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> StableDiffusionXLPipeline:
    tokens = small.tokenizer()
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(text_config(tokens, 16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokens, 16)),
        tokenizer=tokens,
        tokenizer_2=tokens,
        unet=unet(
            32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            use_linear_projection=True,
        ),
        scheduler=DDIMScheduler(**NOISE, clip_sample=False),
    )


def sd3() -> StableDiffusion3Pipeline:
    tokens = small.tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=32,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06),
        text_encoder=CLIPTextModelWithProjection(text_config(tokens, 16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokens, 16)),
        text_encoder_3=None,
        tokenizer=tokens,
        tokenizer_2=tokens,
        tokenizer_3=None,
    )


def flux() -> FluxPipeline:
    tokens = small.tokenizer()
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "robot": 4}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    t5 = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(shift_factor=0.1),
        text_encoder=CLIPTextModel(text_config(tokens, 16)),
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=8, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)),
        tokenizer=tokens,
        tokenizer_2=t5,
    )


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a token, with a chat template: what the families of language models are given words by."""
    words = Tokenizer(
        models.BPE({char: n for n, char in enumerate(["<pad>", *pre_tokenizers.ByteLevel.alphabet()])}, [])
    )
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", chat_template=template)


LANGUAGE: dict[str, Any] = {
    "vocab_size": 257,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


def qwen3(layers: int) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(Qwen3Config(**LANGUAGE, num_hidden_layers=layers))


def flux2_transformer(width: int, guidance: bool) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * width,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )


def flux2_vae() -> AutoencoderKLFlux2:
    made = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64
    )
    made.bn.running_mean.copy_(torch.linspace(-1, 1, 16))
    made.bn.running_var.copy_(torch.linspace(0.5, 2, 16))
    return made


def flux2() -> Flux2Pipeline:
    """Its text encoder is a language model of its own; any with its thirty layers will do here."""
    return Flux2Pipeline(
        transformer=flux2_transformer(8, True),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=qwen3(30),
        tokenizer=chat_tokenizer(),
    )


def flux2_klein() -> Flux2KleinPipeline:
    return Flux2KleinPipeline(
        transformer=flux2_transformer(8, False),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=qwen3(27),
        tokenizer=chat_tokenizer(),
    )


def qwen_image() -> QwenImagePipeline:
    text = {**LANGUAGE, "num_hidden_layers": 1, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0]}}
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 8}
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        axes_dims_rope=(4, 6, 6),
    )
    sizes: dict[str, Any] = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    numbers = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 2.0, 0.5, 1.0]}
    return QwenImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(**sizes, **numbers),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=chat_tokenizer(),
    )


def z_image() -> ZImagePipeline:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=8,
        axes_dims=[4, 6, 6],
        axes_lens=[64, 32, 32],
    )
    return ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.1),
        text_encoder=qwen3(2),
        tokenizer=chat_tokenizer(),
    )


FAMILIES = {
    "sd": sd,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "flux2": flux2,
    "flux2_klein": flux2_klein,
    "qwen_image": qwen_image,
    "z_image": z_image,
}


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random pipeline of a family."""
    torch.manual_seed(seed)
    FAMILIES[family]().save_pretrained(folder)
    return folder
