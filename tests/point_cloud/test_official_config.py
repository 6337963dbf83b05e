import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from domains.point_cloud.data import world
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.official import config as official_config
from domains.point_cloud.official.base import base
from suite import training
from suite.errors import InputError
from suite.hub import paths

RELEASED = """
optimizer: {{ type: AdamW, part: {part}, kwargs: {{ lr: {lr}, weight_decay: 0.05 }} }}
scheduler: {{ type: CosLR, kwargs: {{ epochs: {epochs}, initial_epochs: 10 }} }}
dataset: {{ train: {{ _base_: cfgs/dataset_configs/{data}.yaml, others: {{ subset: train }} }},
            val: {{ _base_: cfgs/dataset_configs/{data}.yaml, others: {{ subset: test }} }} }}
model: {{ NAME: {network}, trans_dim: {width}, depth: {depth}, drop_path_rate: 0.1, cls_dim: {classes},
          num_heads: {heads}, group_size: 32, num_group: {groups}, encoder_dims: {width}, {more} }}
npoints: {points}
total_bs: {batch}
step_per_update: 1
max_epoch: {epochs}
grad_norm_clip: 10
"""
SCAN = {"lr": 0.0005, "epochs": 300, "data": "ScanObjectNN_hardest", "width": 384, "depth": 12, "classes": 15}
SCAN |= {"heads": 6, "groups": 128, "points": 2048, "batch": 32}
GPT = {"lr": 0.0001, "epochs": 50, "data": "ModelNet40", "width": 1024, "depth": 24, "classes": 40, "heads": 16}
GPT |= {"groups": 64, "points": 1024, "batch": 128, "part": "adapt"}
PGST, PEFT = "rank: 36, local: 32", "adapter_config: { adapter_dim: 16, adapter_drop_path_rate: 0.1 }"
FILES = {
    "mae/scan.yaml": {**SCAN, "part": "adapt", "network": "PointTransformer_PGST", "more": PGST},
    "recon/scan.yaml": {**SCAN, "part": "adapt", "network": "PointTransformer_PGST", "more": PGST},
    "peft/scan.yaml": {**SCAN, "part": "all_but", "network": "PointTransformer_best", "more": PEFT},
    "pointgpt/modelnet.yaml": {**GPT, "network": "GPT_Transformer_PGST", "more": PGST},
}


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A tree as in the released repositories."""
    sets = tmp_path / "cfgs" / "dataset_configs"
    sets.mkdir(parents=True)
    (sets / "ScanObjectNN_hardest.yaml").write_text("NAME: ScanObjectNN_hardest\nROOT: ./data/ScanObjectNN\n")
    (sets / "ModelNet40.yaml").write_text("NAME: ModelNet\nDATA_PATH: ./data/modelnet40_normal_resampled\n")
    for name, fields in FILES.items():
        (tmp_path / "cfgs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cfgs" / name).write_text(RELEASED.format(**fields))
    return tmp_path / "cfgs"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("mae/scan.yaml", "pointgst_scanobjectnn"),
        ("recon/scan.yaml", "pointgst_scanobjectnn_recon"),
        ("peft/scan.yaml", "point_peft_scanobjectnn"),
        ("pointgpt/modelnet.yaml", "pointgst_pointgpt_l"),
    ],
)
def test_a_released_file_becomes_the_configuration_that_ships(released: Path, name: str, ours: str) -> None:
    shipped = training.load_config(paths.assets() / "configs" / "point_cloud" / f"{ours}.yaml")
    out = released / "mine.yaml"
    official_config.config(released / name, out=out, base=shipped.base)
    found = training.load_config(out)
    assert found.trainer == shipped.trainer
    assert dict(found.architecture) == dict(shipped.architecture)
    assert dict(found.data) == dict(shipped.data)
    known = {**shipped.recipe, "adapter": {k: v for k, v in shipped.recipe["adapter"].items() if k != "prompts"}}
    assert dict(found.recipe) == {name: value for name, value in known.items() if name != "prior"}


def test_the_part_that_trains_decides_the_method(released: Path) -> None:
    file = released / "mae" / "probe.yaml"
    fields = {**SCAN, "part": "only_new", "network": "PointTransformer", "more": ""}
    file.write_text(RELEASED.format(**fields))
    assert official_config.translate(file, "tiny")["recipe"]["adapter"]["preset"] == "linear"
    file.write_text(RELEASED.format(**{**fields, "part": "all"}))
    assert official_config.translate(file, "tiny", data="elsewhere")["data"]["train"] == "elsewhere:train"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": "PointMLP"}, "'PointMLP' has no counterpart"),
        ({"data": "Waymo"}, "data set 'waymo' has no counterpart"),
        ({"data": "ScanObjectNN_objectonly"}, "name the set's folder with --data"),
    ],
)
def test_what_has_no_counterpart_is_named(released: Path, change: dict, reason: str) -> None:
    file = released / "mae" / "other.yaml"
    file.write_text(RELEASED.format(**{**FILES["mae/scan.yaml"], **change}))
    with pytest.raises(InputError, match=reason):
        official_config.config(file, out=released / "no.yaml", base="tiny")
    assert not (released / "no.yaml").exists()


@pytest.mark.parametrize("text", ["a: [1,\n", "[" * 5000])
def test_files_that_are_no_yaml_are_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match="no readable YAML file"):
        official_config.config(tmp_path / "x.yaml", out=tmp_path / "no.yaml", base="tiny")


DAPT = {**SCAN, "part": "dapt", "network": "PointTransformer_DAPT", "more": "rank: 72, drop_adapter_rate: 0.2"}
SCALES = """
optimizer: {{ type: AdamW, kwargs: {{ lr: 0.0005, weight_decay: 0.05 }} }}
scheduler: {{ type: CosLR, kwargs: {{ epochs: 300, initial_epochs: 10 }} }}
dataset: {{ train: {{ _base_: ./cfgs/dataset_configs/{data}.yaml, others: {{ subset: train }} }} }}
model: {{ NAME: {network}, {more} }}
npoints: 2048
total_bs: 32
step_per_update: 1
max_epoch: 300
grad_norm_clip: 10
"""
PEFT_SCALES = """group_sizes: [32, 16, 16], num_groups: [512, 256, 64], cls_dim: 15, smooth: 0.,
  adapter_config: { adapter_dim: [16, 16, 16] }, transformer_config: { trans_dim: [384, 192],
  encoder_dims: [96, 192, 384], masking_radius: [0.32, 0.64, 1.28], depths: [5, 5, 5], drop_path_rate: 0.1,
  num_heads: 6 }"""
M2AE = """group_sizes: [16, 8, 8], num_groups: [512, 256, 64], smooth: 0.3, encoder_depths: [5, 5, 5],
  encoder_dims: [96, 192, 384], local_radius: [0.32, 0.64, 1.28], drop_path_rate: 0.1, num_heads: 6"""


def test_use_14_dapts_files_keep_the_width_of_its_adapters(released: Path) -> None:
    (released / "dapt.yaml").write_text(RELEASED.format(**DAPT))
    found = official_config.translate(released / "dapt.yaml", "tiny")
    assert found["recipe"]["adapter"] == {"preset": "dapt", "rank": 72, "dropout": 0.2}
    assert attachments.count_trained("dapt", found["architecture"], rank=72, dropout=0.2).trainable > 0


def test_use_14_a_few_shot_file_starts_with_a_fold(released: Path) -> None:
    (released / "dataset_configs" / "ModelNet40FewShot.yaml").write_text(
        "NAME: ModelNetFewShot\nDATA_PATH: data/ModelNetFewshot\n"
    )
    fields = {**SCAN, "data": "ModelNet40FewShot", "part": "all", "network": "PointTransformer", "more": ""}
    (released / "fewshot.yaml").write_text(RELEASED.format(**fields))
    answer = official_config.config(released / "fewshot.yaml", out=released / "mine.yaml", base="tiny")
    assert "suite point_cloud fewshot data/ModelNetFewshot/5way_10shot --config" in answer["message"]
    found = training.load_config(released / "mine.yaml")
    assert found.data["train"] == "data/ModelNetFewshot/5way_10shot/0.pkl:train" and found.data["val"] is None
    assert found.trainer.monitor is None


def test_use_14_point_m2aes_files_become_the_configuration_that_ships(released: Path) -> None:
    shipped = training.load_config(paths.assets() / "configs" / "point_cloud" / "point_peft_m2ae_scanobjectnn.yaml")
    fields = {"data": "ScanObjectNN_hardest", "network": "PointTransformer_best", "more": PEFT_SCALES}
    (released / "scan.yaml").write_text(SCALES.format(**fields))
    official_config.config(released / "scan.yaml", out=released / "mine.yaml", base=shipped.base)
    found = training.load_config(released / "mine.yaml")
    assert found.trainer == shipped.trainer and dict(found.data) == dict(shipped.data)
    assert dict(found.architecture) == dict(shipped.architecture)
    assert found.recipe["adapter"] == {"preset": "point_peft", "adapter_dim": 16}


@pytest.mark.parametrize(("split", "variant"), [("PB", "hardest"), ("OBJ-BG", "objbg"), ("OBJ", "objonly")])
def test_use_14_point_m2ae_itself_names_its_variant_by_split(released: Path, split: str, variant: str) -> None:
    text = f"NAME: ScanObjectNN \nROOT: data/ScanObjectNN/main_split\nSPLIT: {split}\n"
    (released / "dataset_configs" / "Scan.yaml").write_text(text)
    fields = {"data": "Scan", "network": "Point_M2AE_ScanObjectNN", "more": M2AE}
    (released / "m2ae.yaml").write_text(SCALES.format(**fields))
    found = official_config.translate(released / "m2ae.yaml", "tiny")
    assert found["data"]["variant"] == variant and found["architecture"]["cls_dim"] == 15
    assert found["recipe"]["adapter"] == {"preset": "full"} and found["architecture"]["encoder_depths"] == [5, 5, 5]
    # 0.3 shared by the 14 others is what PyTorch, which shares it among all 15, calls 0.3 * 15 / 14.
    assert found["recipe"]["label_smoothing"] == pytest.approx(0.3 * 15 / 14)


def test_use_14_clouds_without_background_are_a_variant_of_their_own(released: Path) -> None:
    (released / "dataset_configs" / "ScanObjectNN_objectonly.yaml").write_text(
        "NAME: ScanObjectNN\nROOT: data/ScanObjectNN/main_split_nobg\n"
    )
    (released / "only.yaml").write_text(
        RELEASED.format(**{**FILES["mae/scan.yaml"], "data": "ScanObjectNN_objectonly"})
    )
    assert official_config.translate(released / "only.yaml", "tiny")["data"]["variant"] == "objonly"


PRETRAIN = """
optimizer: {{ type: AdamW, kwargs: {{ lr: 0.001, weight_decay: 0.05 }} }}
scheduler: {{ type: CosLR, kwargs: {{ epochs: 3, initial_epochs: 1 }} }}
model: {{ NAME: {network}, group_size: 8, num_group: 8, loss: cdl2, transformer_config: {{ mask_ratio: 0.75,
  mask_type: rand, trans_dim: 24, encoder_dims: 24, depth: 2, drop_path_rate: 0.1, num_heads: 2, decoder_depth: 1,
  decoder_num_heads: 2 }} }}
npoints: 64
total_bs: 4
max_epoch: 3
"""


def test_use_14_a_pre_training_file_makes_a_base(tmp_path: Path) -> None:
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN.format(network="Point_MAE"))
    with pytest.raises(InputError, match=r"suite point_cloud base CLOUDS --config pretrain\.yaml"):
        official_config.translate(tmp_path / "pretrain.yaml", "tiny")
    shape, schedule = official_config.pretraining(tmp_path / "pretrain.yaml", clouds=11)
    assert shape["num_group"] == 8 and (schedule["steps"], schedule["warmup"], schedule["batch"]) == (6, 2, 4)
    for number in range(5):
        np.save(tmp_path / f"{number}.npy", world.make("assembly", number, 100).points)
    answer = base([tmp_path], out=tmp_path / "base", config=tmp_path / "pretrain.yaml")
    assert answer["exit_code"] == 0
    known = bases.read_architecture(tmp_path / "base")
    assert (known["depth"], known["num_group"], known["trans_dim"]) == (2, 8, 24)
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN.format(network="Point_M2AE"))
    with pytest.raises(InputError, match="'Point_M2AE'; pre-training here is Point-MAE's"):
        base([tmp_path], out=tmp_path / "other", config=tmp_path / "pretrain.yaml")


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n", "npoints: 3\n", "\0"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(InputError, match=r"x\.yaml: no "):
        official_config.translate(tmp_path / "x.yaml", "tiny")


def test_help_of_every_verb_is_light() -> None:
    code = (
        "import sys; from suite.domain import load; from domains.point_cloud import DOMAIN\n"
        "for target in DOMAIN.verbs.values(): load(target)\n"
        "heavy = {'torch', 'peft', 'lightning', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
