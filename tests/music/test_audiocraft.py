"""Files that we write, in audiocraft's own program: where it can be imported, it plays what we play."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from domains.music.inference.sampling import Sampling
from domains.music.inference.session import generate
from domains.music.model import bases, codec
from domains.music.model.encoders import MusicGenEncoder, collate_words
from domains.music.official import program
from domains.music.official.whole import LANGUAGE, convert
from domains.music.tiny import networks
from suite.errors import InputError
from tests.music.models import small_base

WORDS = ["a slow raga in bibhas for flute", "a fast march"]


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("audiocraft") / "base", channels=request.param)


@pytest.fixture
def audiocraft() -> Any:
    try:
        program.builders()
    except InputError as error:
        pytest.skip(str(error))
    import audiocraft

    return audiocraft


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_its_own_program_plays_our_files_as_we_do(
    audiocraft: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiocraft.models import MusicGen
    from audiocraft.models.loaders import load_compression_model, load_lm_model
    from audiocraft.modules import conditioners

    told = convert(base, out=tmp_path / "theirs", to="audiocraft", check=True)
    assert told["difference"] < 1e-4
    whole = bases.load(base)
    # It would download the T5 that the file names.
    monkeypatch.setitem(conditioners.T5Conditioner.MODELS_DIMS, "t5-base", networks.TEXT_WIDTH)
    held = {"T5Tokenizer": networks.tokenizer(), "T5EncoderModel": whole.text_encoder}
    for name, thing in held.items():
        monkeypatch.setattr(conditioners, name, SimpleNamespace(from_pretrained=lambda _, thing=thing: thing))
    language, audio = load_lm_model(tmp_path / "theirs"), load_compression_model(tmp_path / "theirs")
    player = MusicGen("ours", audio, language, max_duration=30)
    player.set_generation_params(use_sampling=False, duration=1.0, cfg_coef=3.0)
    wave, tokens = player.generate(WORDS, return_tokens=True)

    encoder = MusicGenEncoder(whole, networks.tokenizer())
    states, mask = collate_words([encoder.words(words) for words in WORDS])
    model = bases.language_model(whole, "audiocraft")
    assert torch.equal(generate(model, states, mask, tokens.shape[-1], Sampling(3.0, 0.0)), tokens)
    ours = codec.decode(whole.audio_encoder, tokens, wave.shape[-1], wave.shape[1])
    assert torch.allclose(ours, wave, atol=1e-5)


def test_a_file_of_other_weights_is_found(audiocraft: Any, base: Path, tmp_path: Path) -> None:
    convert(base, out=tmp_path / "theirs", to="audiocraft")
    file = tmp_path / "theirs" / LANGUAGE
    content = torch.load(file, weights_only=True)
    content["best_state"]["out_norm.weight"][0] += 1
    torch.save(content, file)
    assert program.difference(file, base) > 1e-2
    del content["best_state"]["out_norm.weight"]
    torch.save(content, file)
    with pytest.raises(InputError, match="audiocraft does not take it"):
        program.difference(file, base)


def test_what_audiocraft_lacks_is_listed_and_nothing_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("xformers", "spacy"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(program, "IMPORTS", ("torch", "xformers", "spacy"))
    with pytest.raises(InputError, match="for xformers, spacy are not installed; its pins fit no new torch"):
        convert(base, out=tmp_path / "theirs", to="audiocraft", check=True)
    assert not (tmp_path / "theirs").exists()
