"""Small models with weights drawn at random, for tests that need no music to come out."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import MusicgenForConditionalGeneration

from domains.music.tiny import networks
from domains.music.tiny.rebuild import save
from suite.files import atomic_folder


def small_base(folder: Path, seed: int = 0, channels: int = 1) -> Path:
    """A base as `from_pretrained` reads it: the tiny networks, untrained, with codebooks that differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        whole = networks.untrained().eval()
        if channels == 2:
            config = networks.config()
            config.decoder.num_codebooks, config.decoder.audio_channels = 2 * networks.CODEBOOKS, 2
            whole = MusicgenForConditionalGeneration(config).eval()
        for layer in whole.audio_encoder.quantizer.layers:
            torch.nn.init.normal_(layer.codebook.embed, std=0.3)
            layer.codebook.inited.fill_(1)
        save(whole, folder)
    return folder


CROSS = 16


def small_mustango(folder: Path, seed: int = 0) -> Path:
    """A Mustango in parts, written where it is not yet."""
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig, T5Config, T5EncoderModel

    from domains.music.model import mustango_base
    from domains.music.model.mustango import MustangoUNet
    from domains.music.model.mustango_conditions import MusicConditions

    if (folder / mustango_base.CONDITIONS).is_file():
        return folder
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=8,
            block_out_channels=(4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
        )
        text = T5Config(vocab_size=40, d_model=CROSS, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0)
        hifigan = SpeechT5HifiGanConfig(
            model_in_dim=mustango_base.BANDS,
            sampling_rate=mustango_base.RATE,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[10, 8, 4, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
        unet = MustangoUNet(
            block_out_channels=(8, 16),
            attention=(False, True),
            attention_head_dim=(2, 2),
            layers_per_block=1,
            cross_attention_dim=CROSS,
            norm_num_groups=8,
        )
        made = mustango_base.Denoiser(unet, MusicConditions(CROSS))
        with atomic_folder(folder, own=True) as temporary:
            mustango_base.save(
                temporary,
                made,
                vae=vae,
                text_encoder=T5EncoderModel(text),
                tokenizer=networks.tokenizer(),
                vocoder=SpeechT5HifiGan(hifigan),
            )
    return folder
