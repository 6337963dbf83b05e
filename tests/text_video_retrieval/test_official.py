"""The authors' files: 353 tensors at real size, 51 of them trained, there and back."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from domains.text_video_retrieval import official
from domains.text_video_retrieval.model import bases
from domains.text_video_retrieval.model.schedule import Schedule
from suite import adapters
from suite.errors import InputError
from tests.text_video_retrieval import models
from tests.text_video_retrieval.test_tempme import real

SETTINGS = {"merge_layer": "2-3", "merge_frame_num": "2-2", "merge_token_proportion": "30-10", "tome_r": 2}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    # OpenAI's heads are 64 wide: one of a width of 64.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "TOWER", {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1})
        return models.adapted()


@pytest.fixture(scope="module")
def released(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "best.pth"
    torch.save(official.full_state(model), path)
    return path


def test_names_at_real_size_are_the_published_ones() -> None:
    model = real(32, "vit-b-32")
    trained = official.trained_tensors(model)
    assert len(trained) == 51
    attention = [
        f"{tower}transformer.resblocks.{i}.attn.TVPt_LoRA_{ab}"
        for tower in ("visual.", "")
        for i in range(12)
        for ab in "ab"
    ]
    positions = [f"visual.transformer.resblocks.{i}.TVPt_Video_Positional_embedding" for i in (8, 9, 10)]
    assert sorted(trained) == sorted(attention + positions)
    shapes = {name: tuple(tensor.shape) for name, tensor in trained.items()}
    assert shapes["visual.transformer.resblocks.0.attn.TVPt_LoRA_a"] == (8, 768)
    assert shapes["transformer.resblocks.0.attn.TVPt_LoRA_b"] == (1536, 8)
    assert [shapes[name] for name in positions] == [(1, 12, 1, 768), (1, 6, 1, 768), (1, 3, 1, 768)]
    with torch.device("meta"):
        state = official.full_state(model)
    assert len(state) == 353
    assert all(name.startswith("clip.") for name in state)
    assert tuple(state["clip.visual.transformer.resblocks.3.attn.in_proj_weight"].shape) == (2304, 768)


def test_a_released_file_becomes_an_adapter_and_comes_back(model: nn.Module, released: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    official.convert(released, tmp_path / "adapter", **SETTINGS)
    tensors = [tensor for file in (tmp_path / "adapter").rglob("*.safetensors") for tensor in load_file(file).values()]
    assert len(tensors) == 5 * 2 + 2 * 2 + 2  # A and B of seven attentions, two positions
    domain = adapters.read_manifest(tmp_path / "adapter")["domain"]
    assert (domain["frames"], domain["selected_on"]) == (4, "test")
    assert Schedule.of(domain["schedule"]) == models.MERGING
    clip = official.CLIPModel(official.config_of(official.plain(torch.load(released, weights_only=True), "")))
    state = {k: v for k, v in official.plain(torch.load(released, weights_only=True), "").items() if "TVPt" not in k}
    clip.load_state_dict(official.names.to_huggingface(state), strict=False)
    clip.save_pretrained(tmp_path / "base")
    again = adapters.load(bases.load_folder(tmp_path / "base", models.MERGING, 4), tmp_path / "adapter")
    frames = torch.randn(1, 4, 3, 24, 24)
    torch.testing.assert_close(again.encode_video(frames), model.encode_video(frames))
    (tmp_path / "back").mkdir()
    official.export(tmp_path / "adapter", tmp_path / "back", base=tmp_path / "base")
    before, after = (torch.load(path, weights_only=True) for path in (released, tmp_path / "back" / "best.pth"))
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_untied_it_is_a_lora_of_plain_peft_for_each_of_query_key_and_value(
    model: nn.Module, released: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    official.convert(released, tmp_path / "adapter", untied=True, **SETTINGS)
    state = official.plain(torch.load(released, weights_only=True), "")
    frozen = {name: value for name, value in state.items() if "TVPt" not in name}
    clip = official.CLIPModel(official.config_of(frozen))
    clip.load_state_dict(official.names.to_huggingface(frozen), strict=False)
    clip.save_pretrained(tmp_path / "base")
    again = adapters.load(bases.load_folder(tmp_path / "base", models.MERGING, 4), tmp_path / "adapter")
    frames = torch.randn(1, 4, 3, 24, 24)
    torch.testing.assert_close(again.encode_video(frames), model.encode_video(frames), atol=1e-5, rtol=1e-5)
    ids = torch.tensor([[models.WORDS - 2, 3, models.WORDS - 1]])
    mask = torch.ones_like(ids)
    torch.testing.assert_close(again.encode_text(ids, mask), model.encode_text(ids, mask), atol=1e-5, rtol=1e-5)
    plain = peft.PeftModel.from_pretrained(clip, tmp_path / "adapter" / "lora")
    assert sum(".lora_A." in name for name, _ in plain.named_parameters()) == 3 * 7


def test_files_that_are_none_or_do_not_fit_are_refused(released: Path, tmp_path: Path) -> None:
    torch.save({"clip.visual.proj": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no TVPt_LoRA"):
        official.convert(tmp_path / "other.pth", tmp_path)
    with pytest.raises(InputError, match=r"does not fit the schedule: .*Positional_embedding"):
        official.convert(released, tmp_path, **{**SETTINGS, "merge_layer": "2-4"})
