"""The authors' files: both layouts there and back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from peft import LNTuningConfig, get_peft_model
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPVisionModel, DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

from domains.deepfake.inference import heatmaps
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.model import bases, dino, perception
from domains.deepfake.model.bases import shape
from domains.deepfake.official import convert, export
from domains.deepfake.official.keys import is_norm, released, state_of
from suite import hub
from suite.errors import InputError
from suite.hub import weights
from tests.deepfake.small import write_adapter, write_base

TARGETS = ["pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm", "layernorm"]


class Encoder(nn.Module):
    """The released code's encoder: the tower as an attribute, wrapped by peft as a whole."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.vision_model = tower


class Detector(nn.Module):
    """The released detector written out from its description: names of the checkpoint, and what it computes."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        encoder = Encoder(CLIPVisionModel.from_pretrained(base))
        self.feature_extractor = get_peft_model(encoder, LNTuningConfig(target_modules=TARGETS))
        self.model = nn.Module()
        self.model.linear = nn.Linear(48, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        feature = self.feature_extractor.base_model.model.vision_model(pixels).pooler_output
        return self.model.linear(functional.normalize(feature, dim=1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, Tensor]:
    """A file as the authors save it, pictures, and the released model's logits."""
    torch.manual_seed(0)
    model = Detector(base).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_tuning" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    file = tmp_path_factory.mktemp("released") / "model.ckpt"
    hyper = {"backbone": "openai/clip-vit-large-patch14", "head": "LinearNorm", "run_name": "x"}
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyper, "epoch": 3}, file)
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        return file, pixels, model(pixels)


def logits(adapter: Path, base: Path, pixels: Tensor) -> Tensor:
    return FaceScorer.from_pretrained(str(adapter), base=str(base), device="cpu").logits(pixels)


def converted(source: Path, out: Path, **options: object) -> Path:
    return hub.convert(str(source), out, "domains.deepfake.official:convert", domain="deepfake", **options)


def test_a_checkpoint_goes_through_adapter_and_merge_to_a_hub_folder_with_equal_logits(
    checkpoint: tuple[Path, Tensor, Tensor], base: Path, tmp_path: Path
) -> None:
    file, pixels, expected = checkpoint
    adapter = converted(file, tmp_path / "adapter", base=base, heads=4)
    assert torch.equal(logits(adapter, base, pixels), expected)
    gend = hub.export(str(adapter), tmp_path / "gend", "domains.deepfake.official:export", base=base)
    assert json.loads((gend / "config.json").read_text()) == {
        "architectures": ["GenD"],
        "backbone": "openai/clip-vit-large-patch14",
        "head": "LinearNorm",
        "model_type": "GenD",
    }
    state = weights.read(gend / "model.safetensors")
    whole = CLIPModel.from_pretrained(base)
    assert torch.equal(state["feature_extractor.visual_projection.weight"], whole.visual_projection.weight)
    tower = CLIPVisionModel.from_pretrained(base)
    prefix = "feature_extractor.vision_model."
    tower.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    with torch.no_grad():
        feature = functional.normalize(tower(pixels).pooler_output, dim=1)
        again = functional.linear(feature, state["model.linear.weight"], state["model.linear.bias"])
    assert torch.equal(again, expected)
    back = converted(gend, tmp_path / "back", base=base, heads=4)
    assert torch.equal(logits(back, base, pixels), expected)
    hub.export(str(back), tmp_path / "p1", "domains.deepfake.official:export", base=base, layout="p1")
    original, returned = (weights.contents(p)["state_dict"] for p in (file, tmp_path / "p1" / "model.ckpt"))
    assert set(original) == set(returned)
    assert all(torch.equal(original[name], returned[name]) for name in original)


def test_without_a_base_the_tower_of_the_file_becomes_one(
    checkpoint: tuple[Path, Tensor, Tensor], tmp_path: Path
) -> None:
    file, pixels, expected = checkpoint
    adapter = converted(file, tmp_path / "adapter", heads=4)
    assert torch.equal(logits(adapter, adapter / "base", pixels), expected)
    manifest = json.loads((adapter / "suite.json").read_text())
    assert manifest["base"]["reference"] == "hf:openai/clip-vit-large-patch14"
    assert manifest["domain"]["alignment"] == "deepfakebench"
    assert "faceforensics" in manifest["domain"]["trained_on"].lower()


def test_a_tower_that_was_trained_too_gives_no_small_adapter(
    checkpoint: tuple[Path, Tensor, Tensor], base: Path, tmp_path: Path
) -> None:
    contents = weights.contents(checkpoint[0])
    name = "feature_extractor.base_model.model.vision_model.encoder.layers.1.mlp.fc1.weight"
    contents["state_dict"][name] = contents["state_dict"][name] + 0.01
    file = tmp_path / "model.ckpt"
    torch.save(contents, file)
    with pytest.raises(
        InputError, match=r"1 frozen tensors are not those of .*, encoder\.layers\.1\.mlp\.fc1\.weight by 0\.01"
    ):
        converted(file, tmp_path / "out", base=base)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("model.linear.bias"), "the head lacks bias"),
        (lambda s: s.update({"classifier.weight": torch.zeros(1)}), "1 unknown keys: classifier"),
        (
            lambda s: s.pop("feature_extractor.base_model.model.vision_model.embeddings.class_embedding"),
            "1 tensors of the base are missing",
        ),
    ],
)
def test_missing_and_unknown_tensors_are_errors(
    change: object, said: str, checkpoint: tuple[Path, Tensor, Tensor], base: Path, tmp_path: Path
) -> None:
    contents = weights.contents(checkpoint[0])
    change(contents["state_dict"])  # type: ignore[operator]
    file = tmp_path / "model.ckpt"
    torch.save(contents, file)
    with pytest.raises(InputError, match=said):
        convert(file, tmp_path, base=base)


def test_other_towers_programs_and_pickles_are_refused(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    weights.write({"feature_extractor.backbone.encoder.layer.0.norm1.weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="neither CLIP's, a Perception Encoder nor DINOv3"):
        convert(file, tmp_path, base=base)
    program = tmp_path / "model.torchscript"
    program.write_bytes(b"PK")
    with pytest.raises(InputError, match="a program, which is not run"):
        convert(program, tmp_path, base=base)
    pickled = tmp_path / "model.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": Path("x")}, pickled)
    with pytest.raises(InputError, match="ask its authors for safetensors"):
        convert(pickled, tmp_path, base=base)


def test_gend_on_perception_encoder_goes_through_adapter_and_back_with_equal_logits(tmp_path: Path) -> None:
    """A small tower of timm's under the names of GenD's `PerceptionEncoder`: `feature_extractor.backbone.X`."""
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "attn_pool_num_heads": 2, "img_size": 56}
    torch.manual_seed(0)
    eva = timm.create_model("vit_pe_core_large_patch14_336", dynamic_img_size=True, num_classes=0, **sizes).eval()
    base = perception.write_folder(tmp_path / "base", eva_name := "vit_pe_core_large_patch14_336", eva.state_dict())
    about = {"architecture": eva_name, "num_classes": 0, "model_args": sizes}
    (base / "config.json").write_text(json.dumps(about))
    with torch.no_grad():
        for name, parameter in eva.named_parameters():
            if "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    head = nn.Linear(32, 2)
    state = {f"feature_extractor.backbone.{name}": value for name, value in eva.state_dict().items()}
    state |= {f"model.linear.{name}": value for name, value in head.state_dict().items()}
    released = tmp_path / "released"
    released.mkdir()
    weights.write(state, released / "model.safetensors")
    config = {"architectures": ["GenD"], "backbone": eva_name, "head": "LinearNorm", "model_type": "GenD"}
    (released / "config.json").write_text(json.dumps(config))
    adapter = converted(released, tmp_path / "adapter", base=base)
    pixels = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        wanted = head(nn.functional.normalize(eva(pixels), dim=1))
    torch.testing.assert_close(logits(adapter, base, pixels), wanted, atol=1e-6, rtol=1e-5)
    manifest = json.loads((adapter / "suite.json").read_text())
    assert manifest["base"]["reference"] == "hf:timm/vit_pe_core_large_patch14_336.fb"
    back = tmp_path / "back"
    back.mkdir()
    export(adapter, back, base=base)
    assert json.loads((back / "config.json").read_text())["backbone"] == eva_name
    found = weights.read(back / "model.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0)
    with pytest.raises(InputError, match="p1 layout is of CLIP's towers"):
        export(adapter, back, base=base, layout="p1")
    with pytest.raises(InputError, match="heatmaps are of CLIP's tower"):
        heatmaps.heatmap(bases.of_folder(base, "LinearNorm"), pixels, "patches")
    assert bases.preprocessing(base).mean == (0.5, 0.5, 0.5)
    whole = weights.read(base / "model.safetensors")
    weights.write({**whole, "head.weight": torch.zeros(3, 32), "head.bias": torch.zeros(3)}, base / "model.safetensors")
    assert bases.of_folder(base, "LinearNorm").vision_model.backbone.norm.weight.equal(whole["norm.weight"])
    weights.write({name: value for name, value in whole.items() if name != "norm.weight"}, base / "model.safetensors")
    with pytest.raises(InputError, match=r"not the weights of vit_pe_core_large_patch14_336 .*norm\.weight"):
        bases.of_folder(base, "LinearNorm")


def test_gend_on_dinov3_goes_through_adapter_and_back_with_equal_logits(tmp_path: Path) -> None:
    """A small tower under the names that transformers 4.56 gave it, with which GenD was trained."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    torch.manual_seed(0)
    tower = DINOv3ViTModel(DINOv3ViTConfig(**sizes, num_register_tokens=2)).eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.2)
    head = nn.Linear(64, 2)
    before = {name.replace("model.layer.", "layer."): value for name, value in tower.state_dict().items()}
    assert "layer.0.attention.o_proj.weight" in before and "embeddings.register_tokens" in before
    state = {f"feature_extractor.backbone.{name}": value for name, value in before.items()}
    state |= {f"model.linear.{name}": value for name, value in head.state_dict().items()}
    released = tmp_path / "released"
    released.mkdir()
    weights.write(state, released / "model.safetensors")
    backbone = "facebook/dinov3-vitl16-pretrain-lvd1689m"
    (released / "config.json").write_text(
        json.dumps({"backbone": backbone, "head": "LinearNorm", "model_type": "GenD"})
    )
    adapter = converted(released, tmp_path / "adapter")
    pixels = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        feature = tower(pixels).last_hidden_state[:, 0]
        wanted = head(nn.functional.normalize(feature, dim=1))
    torch.testing.assert_close(logits(adapter, adapter / "base", pixels), wanted, atol=1e-6, rtol=1e-5)
    back = tmp_path / "back"
    back.mkdir()
    export(adapter, back)
    assert json.loads((back / "config.json").read_text())["backbone"] == backbone
    found = weights.read(back / "model.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0)


def test_maps_of_a_dinov3_are_of_its_patches_and_not_of_its_registers() -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    tower = dino.Dino(DINOv3ViTModel(DINOv3ViTConfig(**sizes, num_register_tokens=3, image_size=64)))
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.2)
    model = bases.with_head(tower, "LinearNorm")
    pixels = torch.randn(2, 3, 64, 64)
    before = model(pixels)
    tokens = tower.backbone(pixels).last_hidden_state[:, 4:]  # (2, 16, 64), each normed already
    unit = functional.normalize(tokens, dim=-1)
    weight, bias = model.head.weight, model.head.bias
    expected = (unit @ (weight[1] - weight[0]) + bias[1] - bias[0]).view(2, 4, 4)
    torch.testing.assert_close(model.patch_logits(pixels), expected)
    flow = heatmaps.rollout(model, pixels)
    assert flow.shape == (2, 4, 4) and float(flow.min()) == 0 and float(flow.max()) == 1
    assert heatmaps.heatmap(model, pixels, "rollout").shape == (2, 64, 64)
    assert torch.equal(model(pixels), before)


def test_dinov3_sees_pictures_as_its_own_processor_gives_them() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    wanted = DINOv3ViTImageProcessor()(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(dino.PREPROCESSING(picture), wanted, atol=1e-5, rtol=1e-5)


def test_the_names_at_full_size() -> None:
    architecture = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        model = shape("none", "LinearNorm", {**architecture, "patch_size": 14})
    tower = {n: t for n, t in model.vision_model.state_dict().items() if not n.endswith("position_ids")}
    norms = {name: tensor for name, tensor in tower.items() if is_norm(name)}
    head = {"weight": model.head.weight, "bias": model.head.bias}
    first, second = (state_of(tower, norms, head, layout) for layout in ("p1", "gend"))
    assert sum(tensor.numel() for tensor in first.values()) == 303_284_226
    assert len(first) == len(tower) + 100 + 2
    projection = 768 * 1024
    assert sum(tensor.numel() for tensor in second.values()) + projection == 303_968_258
    name = "feature_extractor.base_model.model.vision_model.encoder.layers.23.layer_norm2"
    assert {f"{name}.base_layer.bias", f"{name}.ln_tuning_layers.default.weight", "model.linear.bias"} <= set(first)
    assert "feature_extractor.vision_model.pre_layrnorm.weight" in second
    again = released(first, "x")
    assert set(again.tower) == set(tower) and set(again.before) == set(norms) and len(norms) == 100


def test_our_folder_of_norms_is_pefts_own(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    names = list(weights.read(adapter / "ln_tuning" / "adapter_model.safetensors"))
    assert len(names) == 2 * (2 + 2 * 3)
    assert "base_model.model.vision_model.pre_layrnorm.ln_tuning_layers.weight" in names
    config = json.loads((adapter / "ln_tuning" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LN_TUNING"
