"""Mustango: beats and chords, the weights of the loss, sampling, the recipe, published files both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from domains.music.data.datamodule import MusicData
from domains.music.inference.loaded import load
from domains.music.inference.mustango import sample
from domains.music.model import diffusion, mustango_base
from domains.music.model.mustango import Condition, MustangoUNet
from domains.music.model.mustango_conditions import MusicEmbedding, beat_tokens, chord_tokens
from domains.music.official import convert, export
from domains.music.recipe.mustango import MustangoRecipe
from domains.music.types import MusicQuery
from suite import adapters, training
from suite.errors import InputError
from suite.hub import weights
from suite.training import TrainerConfig
from tests.music.made import folder
from tests.music.models import CROSS, small_mustango


def small_unet() -> MustangoUNet:
    torch.manual_seed(0)
    return MustangoUNet(
        block_out_channels=(16, 24),
        attention=(True, False),
        attention_head_dim=(2, 3),
        cross_attention_dim=CROSS,
        norm_num_groups=8,
    ).eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_mustango(tmp_path_factory.mktemp("parts") / "mustango")


def test_chords_and_beats_have_the_tokens_of_the_released_tables() -> None:
    found = chord_tokens(["Gm", "Bb7", "F#maj7", "C/E", "N"], [0.5, 1.0, 2.0, 3.0, 4.0])
    assert found["root"][:6].tolist() == [12, 3, 11, 5, 1, 0]
    assert found["type"][:6].tolist() == [4, 9, 3, 2, 1, 0]
    assert found["inversion"][:6].tolist() == [3, 3, 3, 2, 1, 0]
    assert found["time"].tolist() == [0.5, 1.0, 2.0, 3.0, *[4.0] * 16]
    assert found["mask"].tolist() == [True] * 5 + [False] * 15
    none = chord_tokens([], [])
    assert (none["root"][0], none["mask"].sum()) == (1, 1)
    beats = beat_tokens([0.5, 1.0, 1.5], [1.0, 2.0, 3.0])
    assert beats["type"][:4].tolist() == [2, 3, 4, 0]
    assert beats["mask"].sum() == 3
    assert not beat_tokens([], [])["mask"].any()


def test_tokens_leave_the_caller_s_lists_alone() -> None:
    chords, times = ["G"], [1.0]
    chord_tokens(chords, times)
    assert (chords, times) == (["G"], [1.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: chord_tokens(["H"], [0.0]), "the chord 'H' has no token"),
        (lambda: chord_tokens(["Csus4"], [0.0]), "the chord 'Csus4' has no token"),
        (lambda: chord_tokens(["C"] * 21, [0.0] * 21), "20 at most"),
        (lambda: beat_tokens([0.0], [9.0]), "the beat 9 of a bar has no token"),
        (lambda: beat_tokens([0.0] * 51, [1.0] * 51), "50 at most"),
    ],
)
def test_what_has_no_token_is_named(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_the_music_embedding_is_its_formula() -> None:
    made = MusicEmbedding(6, 9919.0, biased=True)
    value = 3.0
    expected = [
        (torch.tensor(value) / 9919.0 ** (2 * (i // 2) / 6)).sin().item()
        if i % 2 == 0
        else (torch.tensor(value) / 9919.0 ** (2 * (i // 2) / 6)).cos().item()
        for i in range(6)
    ]
    bias = made.translation_bias
    assert bias is not None
    torch.testing.assert_close(made(torch.tensor([[3]]))[0, 0] - bias[0], torch.tensor(expected))


def test_loss_weights_in_both_forms() -> None:
    schedule, steps = diffusion.scheduler(), torch.tensor([5, 300, 990])
    ratio = diffusion.snr(schedule, steps)
    assert ratio[0] > 5 > ratio[1] > ratio[2]
    published, ours = (diffusion.weights(schedule, steps, form) for form in ("published", "v"))
    torch.testing.assert_close(published, ratio.clamp_max(5) / ratio)
    torch.testing.assert_close(ours, ratio.clamp_max(5) / (ratio + 1))
    assert diffusion.weights(schedule, steps, "none").tolist() == [1, 1, 1]
    assert published[2] == 1  # the noisiest sample counts most as published, least for a velocity
    assert ours[2] < 0.01


def conditions(batch: int, seed: int) -> list[Condition]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Condition(torch.randn(batch, length, CROSS, generator=generator), torch.ones(batch, length, dtype=torch.bool))
        for length in (4, 5, 3)
    ]


def test_sampling_guides_and_keeps_rows_apart() -> None:
    unet, schedule = small_unet(), diffusion.scheduler()
    full, empty = conditions(2, 1), conditions(2, 2)

    def made(rows: slice, **options: Any) -> Tensor:
        own = [[Condition(c.states[rows], c.mask[rows]) for c in part] for part in (full, empty)]
        return sample(unet, schedule, *own, (8, 8, 4), steps=3, **options)

    both = made(slice(0, 2), seeds=[3, 4])
    torch.testing.assert_close(both[1:], made(slice(1, 2), seeds=[4]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both, made(slice(0, 2), seeds=[3, 5]), atol=1e-2)
    plain = made(slice(0, 2), seeds=[3, 4], guidance=1.0)
    assert not torch.allclose(both, plain, atol=1e-3)

    # By hand: one step of three, the unconditional half first.
    torch.manual_seed(0)
    calls: list[Tensor] = []

    def spy(latents: Tensor, step: Tensor, text: Condition, *rest: Condition) -> Tensor:
        calls.append(text.states)
        return unet(latents, step, text, *rest)

    sample(spy, schedule, full, empty, (8, 8, 4), steps=1, seeds=[3, 4])
    assert torch.equal(calls[0], torch.cat([empty[0].states, full[0].states]))


def test_checkpointing_gives_the_same_gradients_with_beats_and_chords() -> None:
    """The released checkpointing path leaves both out."""
    grads = []
    for checkpointed in (False, True):
        unet = small_unet().train()
        unet.gradient_checkpointing = checkpointed
        unet(torch.ones(1, 8, 8, 4), torch.tensor([10]), *conditions(1, 1)).square().mean().backward()
        grads.append({name: p.grad for name, p in unet.named_parameters()})
    assert all(grads[0][name] is not None for name in grads[0])
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


@pytest.mark.parametrize("preset", ["published", "conv"])
def test_the_recipe_trains_on_latents_of_recordings(preset: str, base: Path, tmp_path: Path) -> None:
    recipe = MustangoRecipe(
        base=str(base), adapter={"preset": preset}, snr="published" if preset == "published" else "v"
    )
    data = MusicData(str(folder(tmp_path / "pieces", 3, 1.0)), None, seconds=1.0, batch_size=3)
    config = TrainerConfig(max_epochs=-1, max_steps=2, lr=1e-3, limit_val_batches=0)
    run = training.fit(recipe, data, config, folder=tmp_path / "run")
    loaded = adapters.load(mustango_base.load(base), run.adapter)
    assert adapters.count(loaded).total > 0
    names = [key for key in load_file(next(run.adapter.rglob("*.safetensors"))) if "unet" in key]
    assert names


def test_a_fresh_published_adapter_rescales_and_ours_does_not(base: Path) -> None:
    x, steps = torch.randn(1, 8, 8, 4), torch.tensor([100])
    batch = {"text": torch.randn(1, 3, CROSS), "text_mask": torch.ones(1, 3), **mustango_base.empty_music(1)}
    bare = mustango_base.load(base)
    outputs = {}
    for preset in ("published", "conv"):
        recipe = MustangoRecipe(base=str(base), adapter={"preset": preset})
        outputs[preset] = recipe.build().eval()(x, steps, batch)
    expected = bare(x, steps, batch)
    assert torch.equal(outputs["conv"], expected)
    assert not torch.allclose(outputs["published"], expected, atol=1e-2)


def _released(tmp_path: Path) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    widths = {"": 8, **{f"down_blocks.{n}.": 320 * 2**n for n in range(3)}, "mid_block.": 1280}
    widths |= {f"up_blocks.{3 - n}.": 320 * 2**n for n in range(3)}
    state: dict[str, Tensor] = {"unet.conv_in.bias": torch.zeros(320)}
    for place, width in widths.items():
        front, small = f"unet.{place}adapter.adapter.", width // 8
        shapes = {
            "bottleneck_blocks.0.adapter_proj_down.weight": (small, width, 1, 1),
            "bottleneck_blocks.0.adapter_proj_down.bias": (small,),
            "bottleneck_blocks.0.adapter_proj_up.weight": (width, small, 1, 1),
            "bottleneck_blocks.0.adapter_proj_up.bias": (width,),
            "norm.weight": (width,),
            "norm.bias": (width,),
        }
        state |= {front + name: torch.randn(size, generator=generator) for name, size in shapes.items()}
    return state


def test_published_adapters_of_the_unet_come_and_go_to_the_bit(tmp_path: Path) -> None:
    state = _released(tmp_path)
    save_file(state, tmp_path / "model_2.safetensors")
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    convert(tmp_path / "model_2.safetensors", tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "theirs")
    back = weights.read(tmp_path / "theirs" / "adapter.safetensors")
    wanted = {key: tensor for key, tensor in state.items() if ".adapter." in key}
    assert set(back) == set(wanted)
    assert sum(tensor.numel() for tensor in back.values()) == 1_502_841
    assert all(torch.equal(back[key], wanted[key]) for key in wanted)


def test_the_published_adapter_of_the_waveform_comes_and_goes_to_the_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"down.weight": (32, 32000), "down.bias": (32,), "up.weight": (32000, 32), "up.bias": (32000,)}
    own = {f"adapter_{name}": torch.randn(size, generator=generator) for name, size in shapes.items()}
    torch.save(
        {"musicgen_state_dict": {"a": torch.zeros(1)}, "adapter_state_dict": own, "optimizer_state_dict": {}},
        tmp_path / "model.pt",
    )
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    convert(tmp_path / "model.pt", tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "theirs")
    back = weights.read(tmp_path / "theirs" / "adapter.safetensors")
    assert sum(tensor.numel() for tensor in back.values()) == 2_080_032
    assert all(torch.equal(back[f"adapter_state_dict.{key}"], tensor) for key, tensor in own.items())


def test_a_file_without_published_adapters_is_refused(tmp_path: Path) -> None:
    save_file({"unet.conv_in.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"no key has \.adapter\. in it"):
        convert(tmp_path / "model.safetensors", tmp_path / "out")


def test_an_adapter_of_mustango_plays(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mustango_base, "SECONDS", 0.64)
    recipe = MustangoRecipe(base=str(base), adapter={"preset": "published"})
    recipe.model = recipe.build()
    recipe.save_adapter(tmp_path / "adapter")
    composer = load(str(tmp_path / "adapter"), str(base), "cpu")
    assert (composer.rate, composer.channels, composer.facts.family) == (16000, 1, "mustango")
    unset = MusicQuery().filled(composer.defaults)
    assert (unset.guidance, unset.steps, unset.top_k) == (3.0, 100, None)  # what is recorded is what is listened to
    query = MusicQuery(seconds=0.5, steps=2)
    both = composer.compose(["a slow march", "a waltz in minor for flute"], query, seeds=[1, 2])
    assert [wave.shape for wave in both] == [(1, 8000), (1, 8000)]
    [alone] = composer.compose(["a slow march"], query, seeds=[1])
    np.testing.assert_allclose(alone, both[0], atol=1e-4)
    [frozen] = composer.compose(["a slow march"], query, seeds=[1], frozen=True)
    assert not np.array_equal(frozen, alone)
    with pytest.raises(InputError, match=r"makes 0.64 at most"):
        composer.compose(["a"], MusicQuery(seconds=11), seeds=[1])
    with pytest.raises(InputError, match="goes on from no recording"):
        composer.compose(["a"], query, seeds=[1], before=both[0])
