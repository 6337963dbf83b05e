from pathlib import Path

import pytest

from domains.point_cloud.official import config as official_config
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


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n", "npoints: 3\n", "\0"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(InputError, match=r"x\.yaml: no "):
        official_config.translate(tmp_path / "x.yaml", "tiny")
