"""CLIP: bases, OpenAI's names, pictures, words and exports."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, CLIPConfig, CLIPModel, CLIPVisionConfig

from suite.clip import bases, exporting, names, pictures, words
from suite.errors import InputError
from suite.hub import pretrained
from tests.clip.small import SIZES, OpenAILayout, small_clip
from tests.real_data import real_data

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.tensor([[58, 3, 4, 59, 0, 0, 0, 0, 0, 0, 0, 0], [58, 9, 8, 7, 6, 59, 0, 0, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("clip") / "base"
    with pretrained.own_words():
        small_clip().save_pretrained(target)
    return target


def refusal(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_tower_answers_as_in_the_whole_model(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = bases.load_base(str(folder), "any", "CLIPModel")
    vision = bases.load_base(str(folder), "any", "CLIPVisionModelWithProjection")
    text = bases.load_base(str(folder), "any", "CLIPTextModelWithProjection")
    assert not any(parameter.requires_grad for parameter in whole.parameters()) and not whole.training
    expected = whole(pixel_values=PIXELS, input_ids=TOKENS)
    assert torch.equal(
        torch.nn.functional.normalize(vision(pixel_values=PIXELS).image_embeds, dim=-1), expected.image_embeds
    )
    assert torch.equal(torch.nn.functional.normalize(text(input_ids=TOKENS).text_embeds, dim=-1), expected.text_embeds)
    bare = bases.load_folder(folder, "CLIPVisionModel")
    assert torch.equal(bare(pixel_values=PIXELS).pooler_output, vision.vision_model(PIXELS).pooler_output)
    assert "".join(capfd.readouterr()) == ""


def test_a_base_of_one_tower_has_no_other(folder: Path, tmp_path: Path) -> None:
    with pretrained.own_words():
        bases.load_folder(folder, "CLIPVisionModel").save_pretrained(tmp_path / "vision")
    assert bases.load_folder(tmp_path / "vision", "CLIPVisionModel")
    assert "clip_vision_model has no CLIPModel" in refusal(lambda: bases.load_folder(tmp_path / "vision", "CLIPModel"))
    # It has no projection either: transformers would start one at random.
    assert "lacks visual_projection.weight" in refusal(
        lambda: bases.load_folder(tmp_path / "vision", "CLIPVisionModelWithProjection")
    )


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no model folder" in refusal(lambda: bases.load_folder(tmp_path / "empty", "CLIPModel"))
    BertConfig().save_pretrained(tmp_path / "bert")
    assert "holds a bert, not a clip" in refusal(lambda: bases.load_folder(tmp_path / "bert", "CLIPModel"))
    CLIPConfig(**SIZES).save_pretrained(tmp_path / "bare")
    assert "no weights of a CLIPModel" in refusal(lambda: bases.load_folder(tmp_path / "bare", "CLIPModel"))


def test_skeletons_have_the_published_sizes(folder: Path) -> None:
    block = {"class": "transformers:CLIPVisionModelWithProjection", "config": CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        projection_dim=768,
    ).to_dict()}  # fmt: skip
    with torch.device("meta"):
        large = pretrained.build(block)
        small = bases.skeleton(str(folder), "any", "CLIPVisionModelWithProjection")
    assert sum(parameter.numel() for parameter in large.parameters()) == 303_966_208  # ViT-L/14 of OpenAI
    assert small.visual_projection.weight.shape == (24, 128)
    assert small.visual_projection.weight.device.type == "meta"


def test_openais_weights_answer_the_same_under_transformers_names() -> None:
    torch.manual_seed(0)
    official = OpenAILayout().eval()
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.normal_(std=0.1)
    state = official.state_dict()
    model = CLIPModel(CLIPConfig(**names.architecture(state))).eval()
    model.load_state_dict(names.to_huggingface({**state, "input_resolution": torch.tensor(32)}))
    images, texts = exporting.ImageTower(model)(PIXELS), exporting.TextTower(model)(TOKENS)
    torch.testing.assert_close(images, official.encode_image(PIXELS), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts, official.encode_text(TOKENS), rtol=1e-4, atol=1e-5)


def test_names_go_both_ways_and_parts_of_a_model_too() -> None:
    state = small_clip().state_dict()
    back = names.to_huggingface(names.to_openai(state))
    assert {name: tensor.shape for name, tensor in back.items()} == {name: t.shape for name, t in state.items()}
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    norms = {name: tensor for name, tensor in state.items() if "norm" in name or "layrnorm" in name}
    assert names.to_huggingface(names.to_openai(norms)).keys() == norms.keys()


def test_the_architecture_is_read_off_the_shapes() -> None:
    found = names.architecture(names.to_openai(small_clip().state_dict()))
    assert found == SIZES
    assert "visual.conv1.weight is missing" in refusal(lambda: names.architecture({"visual.layer1": torch.zeros(1)}))


def test_foreign_names_and_halves_of_a_layer_are_refused() -> None:
    assert "'fc.weight'" in refusal(lambda: names.to_huggingface({"fc.weight": torch.zeros(1)}))
    assert "'fc.weight'" in refusal(lambda: names.to_openai({"fc.weight": torch.zeros(1)}))
    layer = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    assert "k_proj, v_proj is missing" in refusal(lambda: names.to_openai({layer: torch.zeros(2, 2)}))


@pytest.mark.parametrize(
    ("size", "cut"), [((70, 47), "torchvision"), ((47, 70), "transformers"), ((32, 32), "torchvision")]
)
def test_pictures_are_scaled_by_pillow_and_cut_in_the_middle(size: tuple[int, int], cut: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    width, height = (int(32 * side / min(size)) for side in size)
    scaled = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    rest = (width - 32, height - 32)
    left, top = (side // 2 for side in rest) if cut == "transformers" else (round(side / 2) for side in rest)
    middle = scaled[top : top + 32, left : left + 32].transpose(2, 0, 1) / 255
    expected = (middle - np.array(pictures.MEAN)[:, None, None]) / np.array(pictures.STD)[:, None, None]
    prepare = pictures.Preprocessing(32, cut=cut)
    np.testing.assert_allclose(prepare(image).numpy(), expected, atol=1e-6)
    assert torch.equal(prepare.batch([image, noise]), torch.stack([prepare(image)] * 2))


def test_pictures_agree_with_the_library_that_openai_used() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    official = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(pictures.MEAN, pictures.STD),
        ]
    )
    generator = np.random.default_rng(1)
    for size in ((33, 90), (90, 35), (41, 41), (20, 31)):
        image = Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
        torch.testing.assert_close(pictures.Preprocessing(32)(image), official(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_pictures_of_any_mode(mode: str) -> None:
    assert pictures.Preprocessing(16)(Image.new(mode, (20, 24))).shape == (3, 16, 16)


def test_a_line_is_no_picture() -> None:
    assert "has no middle" in refusal(lambda: pictures.Preprocessing(224)(Image.new("RGB", (1, 5000))))


def test_a_base_says_how_its_pictures_are_prepared(folder: Path, tmp_path: Path) -> None:
    assert pictures.of_base(folder) == pictures.Preprocessing(32)
    CLIPConfig(**SIZES).save_pretrained(tmp_path)
    stated = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    assert pictures.of_base(tmp_path).mean == (0.5, 0.5, 0.5)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"resample": 2}))
    assert "resample 2" in refusal(lambda: pictures.of_base(tmp_path))


MERGES = ["l o", "lo w</w>", "e r</w>", "w e", "n e", "ne we", "a t</w>"]


@pytest.fixture
def small_words(tmp_path: Path) -> words.Words:
    file = tmp_path / "merges.txt.gz"
    file.write_bytes(gzip.compress("\n".join(["#version: 0.2", *MERGES, ""]).encode()))
    return words.from_merges(file, length=8)


def test_words_are_split_by_the_merges(small_words: words.Words) -> None:
    base = 512  # 256 bytes, and 256 that end a word
    assert small_words.tokens("LOW") == [base + 1]
    assert small_words.tokens("low lower") == [base + 1, base, ord("w") - ord("!"), base + 2]
    start, end = base + len(MERGES), base + len(MERGES) + 1
    assert small_words(["low", ""]).tolist() == [[start, base + 1, end, 0, 0, 0, 0, 0], [start, end, 0, 0, 0, 0, 0, 0]]
    assert small_words("low", padding="end")[0, 3:].tolist() == [end] * 5


def test_a_long_text_is_cut_and_ends(small_words: words.Words) -> None:
    tokens = small_words("low " * 20)
    assert tokens.shape == (1, 8) and tokens[0, -1] == 512 + len(MERGES) + 1
    assert small_words.cut("low " * 7) and not small_words.cut("low " * 6)
    with pytest.raises(ValueError, match="length 2"):
        small_words("low", length=2)


@pytest.mark.parametrize(
    ("written", "meant"), [("low &amp;amp; low", "low & low"), ("  low\n\tlow ", "low low"), ("é", "e\u0301")]
)
def test_marks_of_pages_blanks_and_composed_letters_do_not_matter(
    small_words: words.Words, written: str, meant: str
) -> None:
    assert small_words.tokens(written) == small_words.tokens(meant)


def test_what_is_no_list_of_merges_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "merges.txt"
    assert "cannot be read" in refusal(lambda: words.from_merges(file))
    file.write_text("no merges\nin this one\n")
    assert "two tokens a line" in refusal(lambda: words.from_merges(file))
    file.write_bytes(b"\x1f\x8b broken")
    assert "cannot be read" in refusal(lambda: words.from_merges(file))
    assert "no tokenizer" in refusal(lambda: words.of_base(tmp_path))


def test_a_tokenizer_saved_with_a_base_is_the_same(small_words: words.Words, tmp_path: Path) -> None:
    small_words.tokenizer.save_pretrained(tmp_path)
    text = ["low, lower &amp; newest at 3", "日本 🙂"]
    assert torch.equal(words.of_base(tmp_path, 8)(text), small_words(text))


def test_clips_own_vocabulary_has_49408_tokens() -> None:
    folder = real_data("text")
    whole = words.from_merges(next(folder.rglob("*bpe*vocab_16e6.txt*")))
    assert len(whole.tokenizer) == 49408
    assert whole("a photo of a cat")[0, :7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_exported_towers_answer_as_the_model_does(tmp_path: Path, format: Any) -> None:
    if format == "onnx":
        for module in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(module, reason="exports to ONNX need the extra onnx")
    model = small_clip()
    for tower, example in ((exporting.ImageTower(model), PIXELS), (exporting.TextTower(model), TOKENS)):
        path = tmp_path / f"{type(tower).__name__}{exporting.SUFFIXES[format]}"
        assert exporting.export(tower, example, path, format) <= 1e-5
        assert path.stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_answers_otherwise_is_not_kept(tmp_path: Path) -> None:
    class Counting(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * len(inputs.tolist())  # a number of the example's, for the tracer

    with pytest.raises(RuntimeError, match="differs from the model"):
        exporting.export(Counting(), PIXELS, tmp_path / "wrong.pt", "torchscript")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_packages_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    call = lambda: exporting.export(torch.nn.Identity(), PIXELS, tmp_path / "x.onnx", "onnx")  # noqa: E731
    assert "pip install 'peft-suite[onnx]'" in refusal(call)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import suite.clip, suite.media.video, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_normalising_leaves_the_pictures_as_they_are_and_gives_channels_first() -> None:
    pixels = 255 * torch.rand(2, 5, 7, 3)
    before = pixels.clone()
    found = pictures.Preprocessing(5).normalize(pixels)
    assert torch.equal(pixels, before) and found.is_contiguous()
    mean, std = (torch.tensor(value)[:, None, None] for value in (pictures.MEAN, pictures.STD))
    assert torch.equal(found, before.movedim(-1, -3).div(255).sub(mean).div(std))
    assert torch.equal(pictures.Preprocessing(1).normalize(before[:1, :1, :1]), found[:1, :, :1, :1])
    assert torch.equal(pixels, before)
