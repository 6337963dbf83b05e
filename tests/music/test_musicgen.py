"""Adapters on MusicGen's language model: causal, cached, absent at the start; generation by rows and windows."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from domains.music.inference.recorded import RecordedSteps, recordable
from domains.music.inference.sampling import Sampling, choose
from domains.music.inference.session import Windows, generate
from domains.music.inference.steps import CachedSteps
from domains.music.model import attachments, bases, codec, delays
from domains.music.model.musicgen import MusicGenLM
from domains.music.tiny import networks
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.hub import paths
from suite.training.config import load_config
from suite.training.experiment import recipe_of
from tests.adapters.cases import randomise
from tests.golden.registry import run_official

STEPS, TEXT = 24, 5
PLACEMENTS = ("decoder_out", "per_layer")


def language_model(**changes: Any) -> MusicGenLM:
    config = bases.decoder_config(
        "small",
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        ffn_dim=64,
        vocab_size=40,
        pad_token_id=40,
        bos_token_id=40,
        dropout=0.0,
        **changes,
    )
    torch.manual_seed(0)
    model = MusicGenLM(config, 16).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def adapted(preset: str, placement: Any, moved: bool = True, **changes: Any) -> Any:
    section = {"preset": preset, "placement": placement, "bottleneck_size": 8}
    model = attachments.attach_section(
        language_model(**changes), AdapterSection.of(section, attachments.PRESETS)
    ).eval()
    if moved:
        randomise(model, scale=0.2)
    return model


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    codes = torch.randint(0, 40, (batch, 4, STEPS), generator=generator)
    mask = torch.ones(batch, TEXT)
    mask[-1, 3:] = 0
    return codes, torch.randn(batch, TEXT, 16, generator=generator) * mask[..., None], mask


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("preset", attachments.SEQUENCE)
@torch.no_grad()
def test_tokens_after_a_step_change_nothing_before(preset: str, placement: str) -> None:
    model, (codes, states, mask) = adapted(preset, placement), inputs()
    sequence = delays.delayed(codes, model.special, model.delays)
    other = sequence.clone()
    other[..., 13:] = other[..., 13:].flip(-1)
    before, after = model(sequence, states, mask), model(other, states, mask)
    torch.testing.assert_close(after[:, :, :13], before[:, :, :13], atol=1e-5, rtol=0)
    assert not torch.allclose(after[:, :, 13:], before[:, :, 13:], atol=1e-2)


@pytest.mark.parametrize("placement", [*PLACEMENTS, ["encoder", *PLACEMENTS]], ids=str)
@pytest.mark.parametrize("preset", attachments.SEQUENCE)
@torch.no_grad()
def test_cached_steps_give_what_the_whole_sequence_gives(preset: str, placement: Any) -> None:
    model, (codes, states, mask) = adapted(preset, placement), inputs()
    sequence = delays.delayed(codes, model.special, model.delays)
    with adapters.context(model, valid=mask.bool()):
        whole = model(sequence, states, mask)
    null = model(sequence, torch.zeros_like(states), torch.zeros_like(mask))
    for guidance in (1.0, 3.0):
        steps = CachedSteps(model, states, mask, guidance)
        expected = whole if guidance == 1 else null + guidance * (whole - null)
        for first, end in ((0, 5), *((step, step + 1) for step in range(5, STEPS))):
            torch.testing.assert_close(steps(sequence[..., first:end]), expected[:, :, end - 1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("preset", ["linear", "conv"])
@torch.no_grad()
def test_steps_in_fixed_memory_are_the_cached_ones(preset: str) -> None:
    """What a GPU records and replays; here it runs as it is."""
    model, (codes, states, mask) = adapted(preset, [*PLACEMENTS]), inputs()
    assert recordable(model) and not recordable(adapted("transformer", "per_layer"))
    sequence = delays.delayed(codes, model.special, model.delays)
    for guidance in (1.0, 3.0):
        cached = CachedSteps(model, states, mask, guidance)
        fixed = RecordedSteps(model, states, mask, guidance, STEPS + 5)
        addresses: set[tuple[int, ...]] = set()
        for first, end in ((0, 5), *((step, step + 1) for step in range(5, STEPS))):
            expected = cached(sequence[..., first:end])
            torch.testing.assert_close(fixed(sequence[..., first:end]), expected, atol=1e-4, rtol=1e-5)
            states_ = [tensor for state in fixed.stream.states.values() for tensor in state.values()]
            if first:
                addresses.add(tuple(tensor.data_ptr() for tensor in states_))
        assert len(addresses) == 1, "what is remembered moved, so that a recording would read old values"


@pytest.mark.parametrize("placement", [*PLACEMENTS, "encoder"])
@pytest.mark.parametrize("preset", attachments.SEQUENCE)
@torch.no_grad()
def test_a_fresh_adapter_changes_nothing_at_all(preset: str, placement: str) -> None:
    codes, states, mask = inputs()
    bare = language_model()
    sequence = delays.delayed(codes, bare.special, bare.delays)
    assert torch.equal(adapted(preset, placement, moved=False)(sequence, states, mask), bare(sequence, states, mask))


@torch.no_grad()
def test_padding_of_a_prompt_does_not_reach_an_adapter_of_the_text() -> None:
    """Its batch mates' length changes nothing of a piece; the convolutions and means of the text know the padding."""
    for preset in attachments.SEQUENCE:
        model, (codes, states, mask) = adapted(preset, "encoder"), inputs()
        sequence = delays.delayed(codes, model.special, model.delays)
        with adapters.context(model, valid=mask.bool()):
            together = model(sequence, states, mask)
        with adapters.context(model, valid=mask[1:, :3].bool()):
            alone = model(sequence[1:], states[1:, :3], mask[1:, :3])
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


def test_the_loss_is_audiocraft_s_on_delayed_labels() -> None:
    run_official("music/musicgen_lm_small")


@torch.no_grad()
def test_a_piece_does_not_depend_on_its_batch_mates() -> None:
    model, (_, states, mask) = adapted("conv", "per_layer"), inputs()
    how = Sampling(top_k=20)
    both = generate(model, states, mask, 12, how, seeds=[5, 9])
    alone = generate(model, states[1:, :3], mask[1:, :3], 12, how, seeds=[9])
    assert torch.equal(both[1:], alone)
    assert not torch.equal(generate(model, states[1:], mask[1:], 12, how, seeds=[10]), alone)


@torch.no_grad()
def test_a_long_piece_goes_on_from_the_end_of_the_window_before() -> None:
    model, (_, states, mask) = language_model(), inputs()
    how, windows = Sampling(temperature=0), Windows(10, 6)
    piece = generate(model, states, mask, 27, how, windows=windows)
    assert piece.shape == (2, 4, 27)
    first = generate(model, states, mask, 10, how)
    second = generate(model, states, mask, 10, how, prompt=first[..., 6:])
    last = generate(model, states, mask, 9, how, prompt=piece[..., 18:22])
    assert torch.equal(piece[..., :10], first)
    assert torch.equal(piece[..., 6:16], second)
    assert torch.equal(piece[..., 18:27], last)


@torch.no_grad()
def test_a_prompt_stays_as_it_is_and_must_be_shorter_than_the_piece() -> None:
    model, (codes, states, mask) = language_model(), inputs()
    piece = generate(model, states, mask, 20, Sampling(), prompt=codes[..., :7])
    assert torch.equal(piece[..., :7], codes[..., :7])
    assert piece.max() < model.special
    with pytest.raises(InputError, match=r"prompt is longer than the audio to generate \(20 frames of 20\)"):
        generate(model, states, mask, 20, Sampling(), prompt=codes[..., :20])


@torch.no_grad()
def test_a_stereo_model_has_two_codebooks_a_step() -> None:
    model = language_model(num_codebooks=8, audio_channels=2)
    assert model.delays == (0, 0, 1, 1, 2, 2, 3, 3)
    _, states, mask = inputs()
    codes = generate(model, states, mask, 9, Sampling())
    assert codes.shape == (2, 8, 9)
    audio = networks.untrained().audio_encoder.eval()
    wave = torch.randn(1, 2, 3 * 320)
    stereo, left = codec.encode(audio, wave), codec.encode(audio, wave[:, :1])
    assert torch.equal(stereo[:, ::2], left)
    assert codec.decode(audio, stereo, 900, channels=2).shape == (1, 2, 900)
    torch.testing.assert_close(codec.decode(audio, stereo, channels=2)[:, :1], codec.decode(audio, left))


@torch.no_grad()
def test_a_long_piece_is_decoded_part_by_part_to_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = networks.untrained().audio_encoder.eval()
    for layer in audio.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed, std=0.3)
    codes = torch.randint(0, networks.CODES, (1, networks.CODEBOOKS, 330))
    whole = audio.decoder(audio.quantizer.decode(codes.transpose(0, 1)))
    monkeypatch.setattr(codec, "CHUNK", 100)
    widest = 0

    def seen(_module: Any, args: tuple[Tensor], _output: Tensor) -> None:
        nonlocal widest
        widest = max(widest, args[0].shape[-1])

    audio.decoder.layers[-1].register_forward_hook(seen)
    torch.testing.assert_close(codec.decode(audio, codes), whole, atol=1e-6, rtol=0)
    assert widest <= (100 + 2 * codec.REACH) * 320


def test_sampling_keeps_to_top_k_and_top_p() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0]).log_softmax(0).expand(2000, 1, 4)
    uniform = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    assert set(choose(logits, uniform, Sampling(top_k=2)).flatten().tolist()) == {0, 1}
    assert set(choose(logits, uniform, Sampling(top_k=0, top_p=0.5)).flatten().tolist()) == {0}
    every = choose(logits, uniform, Sampling(top_k=0)).flatten()
    shares = torch.bincount(every, minlength=4) / len(every)
    torch.testing.assert_close(shares, logits[0, 0].exp(), atol=0.03, rtol=0)
    assert set(choose(logits, uniform, Sampling(temperature=0)).flatten().tolist()) == {0}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"preset": "conv", "placement": "middle"},
            "placement is 'middle'; choose from encoder, decoder_out",
        ),
        ({"preset": "conv", "placement": []}, "placement names none"),
        ({"preset": "linear", "target_params": "many"}, "target_params is 'many'; write a number, as 40M"),
        ({"preset": "transformer", "target_params": 100}, "has 244 at least; give more"),
        ({"preset": "lora", "placement": "per_layer"}, "placement is no setting of lora"),
        (
            {"preset": "conv", "r": 16, "targets": "x"},
            "recipe.adapter.r is no setting of conv; say the whole section anew",
        ),
    ],
)
def test_what_is_wrong_with_the_adapter_section_is_one_line(section: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        attachments.attach_section(language_model(), AdapterSection.of(section, attachments.PRESETS))
    assert re.search(said, str(raised.value)), raised.value
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", bases.SIZES)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("preset", attachments.SEQUENCE)
def test_presets_are_within_one_percent_of_their_target(preset: str, placement: str, size: str) -> None:
    width, layers = bases.SIZES[size]["hidden_size"], bases.SIZES[size]["num_hidden_layers"]
    places = layers if placement == "per_layer" else 1
    spec = {"method": attachments.SEQUENCE[preset]}
    for million in (2, 8, 20, 40, 70):
        widths = attachments.plan(spec, width, places, million * 1_000_000)
        total = sum(one.places * attachments.parameters(spec, width, one.bottleneck) for one in widths)
        assert sum(one.places for one in widths) == places
        assert abs(total / (million * 1_000_000) - 1) < 0.01


def test_the_planner_gives_the_published_example() -> None:
    """Medium, linear, on every layer: a bottleneck of 271 in each, 40,047,312 parameters."""
    [width] = attachments.plan({"method": "linear_adapter"}, 1536, 48, 40_000_000)
    assert width == attachments.Width(48, 271)
    assert 48 * attachments.parameters({"method": "linear_adapter"}, 1536, 271) == 40_047_312
    assert attachments.parameters({"method": "linear_adapter"}, 1536, 651) == 2_002_059


@pytest.mark.parametrize(
    ("size", "total"), [("small", 420_371_456), ("medium", 1_838_737_920), ("large", 3_256_956_928)]
)
def test_language_models_have_the_published_number_of_parameters(size: str, total: int) -> None:
    with torch.device("meta"):
        model = bases.shape("", {"size": size})
    assert adapters.count(model).total == total


@pytest.mark.parametrize(
    ("config", "trainable", "base"),
    [
        ("waveform", 2_080_032, 1_838_737_920),
        ("mustango", 1_502_841, None),
        ("musicgen_small", None, 420_371_456),
        ("musicgen_large", None, 3_256_956_928),
    ],
)
def test_count_gives_the_published_numbers(config: str, trainable: int | None, base: int | None) -> None:
    loaded = load_config(paths.assets() / "configs" / "music" / f"{config}.yaml")
    recipe = recipe_of(loaded)
    with torch.device("meta"):
        recipe.configure_model()
    counted = adapters.count(recipe.model)
    assert trainable is None or counted.trainable == trainable
    assert base is None or recipe.costs() == {"base": f"{base:,} parameters"}
    assert trainable is not None or abs(counted.trainable / 40_000_000 - 1) < 0.01
