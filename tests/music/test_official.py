"""audiocraft's files and the published adapters, both ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from transformers import MusicgenForConditionalGeneration, T5Config, T5EncoderModel

from domains.music.inference.sampling import Sampling
from domains.music.inference.session import generate
from domains.music.model import bases, codec
from domains.music.official.whole import CODEC, LANGUAGE, convert
from domains.music.tiny import networks
from suite.errors import InputError
from tests.golden.registry import Case, discover, golden_folder


def golden(kind: str) -> Case:
    found = [case for _, case in discover(golden_folder()) if case.kind == f"music/{kind}"]
    if not found:
        pytest.skip(f"no golden case music/{kind} (set GOLDEN_DIR)")
    return found[0]


def weights_of(case: Case) -> dict[str, Tensor]:
    return {key.removeprefix("weights/"): v for key, v in case.tensors().items() if key.startswith("weights/")}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as audiocraft's releases are, made of the golden cases."""
    folder = tmp_path_factory.mktemp("released")
    language, compression = golden("musicgen_lm_small"), golden("encodec_small")
    sizes = language.config
    own = {name: sizes[name] for name in ("n_q", "card", "dim", "num_heads", "num_layers", "hidden_scale")}
    said = {"transformer_lm": own, "channels": 1, "dataset": {"path": "${oc.env:HOME}"}}
    state = {"best_state": weights_of(language), "xp.cfg": yaml.safe_dump(said), "version": "1.3.0", "exported": True}
    torch.save(state, folder / LANGUAGE)
    said = {"sample_rate": compression.config["sample_rate"]}
    torch.save({"best_state": weights_of(compression), "xp.cfg": yaml.safe_dump(said)}, folder / CODEC)
    return folder


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5, as wide as the golden decoder, so that there is no projection between."""
    folder = tmp_path_factory.mktemp("t5")
    config = T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0)
    T5EncoderModel(config).save_pretrained(folder)
    networks.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def converted(released: Path, text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "base"
    convert(released, out=out, text_encoder=str(text_encoder))
    return out


def test_audiocraft_s_files_generate_its_golden_tokens_through_transformers(converted: Path) -> None:
    case = golden("musicgen_lm_small")
    tensors = case.tensors()
    first = tensors["input/cond_unpadded"]
    states, mask = torch.zeros_like(first), torch.zeros(first.shape[:2])
    for row, length in enumerate((first.shape[1], 3)):
        states[row, :length], mask[row, :length] = first[row, :length], 1
    whole = bases.load(converted)
    assert isinstance(whole, MusicgenForConditionalGeneration)
    model = bases.language_model(whole, "audiocraft")
    how = Sampling(guidance=case.config["generation"]["cfg_coef"], temperature=0)
    tokens = generate(model, states, mask, tensors["input/codes"].shape[-1], how)
    assert torch.equal(tokens, tensors["output/generate_cfg3"])

    wave = golden("encodec_small").tensors()
    codes = codec.encode(whole.audio_encoder, wave["input/wav"])
    assert torch.equal(codes, wave["output/codes"])


def test_the_way_back_gives_the_same_tensors(converted: Path, released: Path, tmp_path: Path) -> None:
    convert(converted, out=tmp_path / "back", to="audiocraft")
    for name in (LANGUAGE, CODEC):
        before, after = (torch.load(folder / name, weights_only=True) for folder in (released, tmp_path / "back"))
        for key, tensor in before["best_state"].items():
            assert torch.equal(after["best_state"][key], tensor), key
        yaml.safe_load(after["xp.cfg"])


def test_a_fine_tuning_run_s_checkpoint_is_read(released: Path, text_encoder: Path, tmp_path: Path) -> None:
    state = torch.load(released / LANGUAGE, weights_only=True)
    torch.save({"best_state": {"model": state["best_state"]}, "xp.cfg": state["xp.cfg"]}, tmp_path / "checkpoint.th")
    (tmp_path / CODEC).write_bytes((released / CODEC).read_bytes())
    convert(tmp_path, out=tmp_path / "base", text_encoder=str(text_encoder))
    assert json.loads((tmp_path / "base" / "config.json").read_text())["model_type"] == "musicgen"


def test_no_audiocraft_torchaudio_xformers_or_spacy_is_imported(converted: Path) -> None:
    assert not {"audiocraft", "torchaudio", "xformers", "spacy"} & set(sys.modules)


def _broken(released: Path, folder: Path, how: str) -> Path:
    state: dict[str, Any] = torch.load(released / LANGUAGE, weights_only=True)
    if how == "empty folder":
        return folder
    if how == "melody":
        state["best_state"]["condition_provider.conditioners.self_wav.output_proj.weight"] = torch.zeros(2)
    if how == "a tensor missing":
        del state["best_state"]["out_norm.weight"]
    if how == "code in the settings":
        state["xp.cfg"] = "a: !!python/object/apply:os.system ['true']"
    torch.save(state, folder / LANGUAGE)
    if how == "codec only named":
        torch.save({"pretrained": "facebook/encodec_32khz"}, folder / CODEC)
    else:
        (folder / CODEC).write_bytes((released / CODEC).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("empty folder", "has neither state_dict.bin nor checkpoint.th"),
        ("melody", "melody model, which is not supported"),
        ("a tensor missing", "layer_norm.weight"),
        ("code in the settings", "no plain YAML"),
        ("codec only named", "only names facebook/encodec_32khz; give the codec's weights with --codec"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    how: str, said: str, released: Path, text_encoder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(InputError, match=said) as raised:
        convert(_broken(released, source, how), out=tmp_path / "out", text_encoder=str(text_encoder))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
