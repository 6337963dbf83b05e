"""MusicGen and EnCodec against audiocraft: patterns, logits, losses, greedy tokens, codes; names of full size."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import EncodecModel, MusicgenDecoderConfig

from domains.music.inference.sampling import Sampling
from domains.music.inference.session import generate
from domains.music.model import codec, delays
from domains.music.model.musicgen import MusicGenLM, TextPadding, losses
from domains.music.official import audiocraft
from tests.golden.registry import Case, kind

LOGITS = dict(atol=1e-4, rtol=0.0)
TOLERANCE = dict(atol=1e-5, rtol=0.0)


@kind("music/delay_pattern")
def delay_pattern(case: Case) -> None:
    cases = case.json()["cases"]
    assert len(cases) == 6
    for one in cases:
        codes, special = torch.tensor(one["codes"])[None], one["special_token"]
        pattern, frames = one["delays"], one["T"]
        full = delays.delayed(codes, special, pattern, full=True)
        assert full[0].tolist() == one["sequence_full"]
        assert delays.delayed(codes, special, pattern)[0].tolist() == one["sequence_valid"]
        assert delays.pattern_mask(frames, pattern).int().tolist() == one["mask_full"]
        assert delays.pattern_mask(frames, pattern, full=False).int().tolist() == one["mask_valid"]
        assert delays.undelayed(full, pattern, frames)[0].tolist() == one["reverted_from_full"]
        assert delays.loss_mask(frames, pattern).int().tolist() == one["loss_mask"]
        # Which step predicts which frame: number the steps and see where they arrive.
        steps = torch.arange(1, frames + 2).expand(1, len(pattern), -1)
        found = delays.by_frame(steps, pattern)[0]
        wanted = [[0 if step is None else step + 1 for step in row] for row in one["logits_step_for_target"]]
        assert found.tolist() == wanted


def small_lm(case: Case, text_padding: TextPadding = "masked") -> MusicGenLM:
    sizes = case.config
    config = MusicgenDecoderConfig(
        vocab_size=sizes["card"],
        hidden_size=sizes["dim"],
        num_attention_heads=sizes["num_heads"],
        num_hidden_layers=sizes["num_layers"],
        ffn_dim=sizes["hidden_scale"] * sizes["dim"],
        num_codebooks=sizes["n_q"],
        pad_token_id=sizes["special_token"],
        bos_token_id=sizes["special_token"],
        dropout=0.0,
    )
    model = MusicGenLM(config, text_padding=text_padding).eval()
    tensors = case.tensors()
    weights = {key.removeprefix("weights/"): v for key, v in tensors.items() if key.startswith("weights/")}
    ours = audiocraft.language_model(weights)
    assert not model.load_state_dict(ours, strict=False).unexpected_keys
    assert set(ours) == set(model.state_dict())
    back = audiocraft.audiocraft_language_model(ours)
    assert set(back) == set(weights)
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    return model


@kind("music/musicgen_lm_small")
def musicgen_lm_small(case: Case) -> None:
    tensors = case.tensors()
    masked, original = small_lm(case), small_lm(case, "audiocraft")
    codes = tensors["input/codes"]
    valid = delays.delayed(codes, masked.special, masked.delays)
    assert torch.equal(valid, tensors["output/pattern_sequence_valid"])
    assert torch.equal(
        delays.delayed(codes, masked.special, masked.delays, full=True), tensors["output/pattern_sequence_full"]
    )
    states, padded, mask = (tensors[f"input/cond_{name}"] for name in ("unpadded", "padded", "mask_padded"))
    every = torch.ones(states.shape[:2])
    with torch.no_grad():
        plain = masked(valid, states, every)
        for model, given, where, name in (
            (masked, states, every, "unpadded"),
            (original, padded, mask, "padded_audiocraft"),
            (masked, padded, mask, "padded_transformers_masked"),
            (masked, torch.zeros_like(states), torch.zeros_like(every), "null"),
            (original, torch.zeros_like(states), torch.zeros_like(every), "null"),
        ):
            torch.testing.assert_close(model(valid, given, where), tensors[f"output/logits_{name}"], **LOGITS)
        loss_of(plain, codes, masked, tensors, "loss")
        wanted, known = delays.targets(codes, masked.special, masked.delays)
        padded_loss = losses(original(valid[..., :-1], padded, mask), wanted, known)[0].mean()
        torch.testing.assert_close(padded_loss, tensors["output/loss_padded"], **TOLERANCE)
    generation(case, masked, original, tensors)


def loss_of(logits: Tensor, codes: Tensor, model: MusicGenLM, tensors: dict[str, Tensor], name: str) -> None:
    pattern = model.delays
    mask = delays.loss_mask(codes.shape[-1], pattern).expand(len(codes), -1, -1)
    assert torch.equal(mask, tensors["output/pred_mask"].bool())
    torch.testing.assert_close(delays.by_frame(logits, pattern), tensors["output/pred_logits"], **LOGITS)
    wanted, known = delays.targets(codes, model.special, pattern)
    per_codebook, per_sample = losses(logits[:, :, :-1], wanted, known)
    torch.testing.assert_close(per_codebook, tensors["output/loss_per_codebook"], **TOLERANCE)
    torch.testing.assert_close(per_codebook.mean(), tensors[f"output/{name}"], **TOLERANCE)
    torch.testing.assert_close(per_sample.mean(), tensors[f"output/{name}"], **TOLERANCE)
    # Labels that are not delayed give another number, and nothing else would tell.
    undelayed = losses(logits[:, :, :-1], codes, torch.ones_like(known))[0].mean()
    assert abs(float(undelayed - tensors[f"output/{name}"])) > 1e-4


def generation(case: Case, masked: MusicGenLM, original: MusicGenLM, tensors: dict[str, Tensor]) -> None:
    """Greedy tokens, batched as audiocraft pads them, and the same one by one."""
    settings, codes = case.config["generation"], tensors["input/codes"]
    first = tensors["input/cond_unpadded"]
    states, mask = torch.zeros_like(first), torch.zeros(first.shape[:2])
    for row, length in enumerate((first.shape[1], 3)):
        states[row, :length], mask[row, :length] = first[row, :length], 1
    greedy = Sampling(guidance=settings["cfg_coef"], temperature=0)
    frames = codes.shape[-1]
    assert torch.equal(generate(original, states, mask, frames, greedy), tensors["output/generate_cfg3"])
    assert torch.equal(tensors["output/generate_cfg3"], tensors["output/generate_cfg3_two_step"])
    prompted = generate(original, states, mask, frames, greedy, prompt=codes[..., : settings["prompt_len"]])
    assert torch.equal(prompted, tensors["output/generate_cfg3_prompted"])
    plain = generate(masked, states[:1], mask[:1], frames, Sampling(guidance=1, temperature=0))
    assert torch.equal(plain, tensors["output/generate_cfg1_first_only"])


@kind("music/encodec_small")
def encodec_small(case: Case) -> None:
    tensors, sizes = case.tensors(), case.config
    config = codec.config_of(
        rate=sizes["sample_rate"],
        ratios=sizes["ratios"],
        codebooks=sizes["n_q"],
        codebook_size=sizes["bins"],
        num_filters=sizes["n_filters"],
        hidden_size=sizes["dimension"],
        num_lstm_layers=sizes["lstm"],
        kernel_size=sizes["kernel_size"],
        last_kernel_size=sizes["last_kernel_size"],
        residual_kernel_size=sizes["residual_kernel_size"],
        dilation_growth_rate=sizes["dilation_base"],
        compress=sizes["compress"],
    )
    model = EncodecModel(config).eval()
    weights = {key.removeprefix("weights/"): v for key, v in tensors.items() if key.startswith("weights/")}
    model.load_state_dict(audiocraft.codec(weights))
    back = audiocraft.audiocraft_codec(model.state_dict(), audiocraft.upsampling(model))
    assert {key for key in back if key not in weights} == {
        f"quantizer.vq.layers.{i}._codebook.{name}" for i in range(sizes["n_q"]) for name in audiocraft.CODEC_BUFFERS
    }
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    wave = tensors["input/wav"]
    with torch.no_grad():
        torch.testing.assert_close(codec.latent(model, wave), tensors["output/latent"], **TOLERANCE)
    codes = codec.encode(model, wave)
    assert torch.equal(codes, tensors["output/codes"])
    torch.testing.assert_close(codec.decode(model, codes, wave.shape[-1]), tensors["output/decoded"], **LOGITS)
