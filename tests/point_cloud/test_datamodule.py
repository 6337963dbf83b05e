import numpy as np
import pytest
import torch

from domains.point_cloud.data import world
from domains.point_cloud.data.augment import AUGMENTATIONS
from domains.point_cloud.data.datamodule import PointCloudData
from domains.point_cloud.data.datasets.cloud_set import Options, hold_out
from domains.point_cloud.data.sources import open_set
from suite.errors import InputError


def data(**settings):
    given = {"train": "shapes:train:16", "val": "shapes:val:8", "npoints": 128, "batch_size": 8} | settings
    module = PointCloudData(**given)
    module.setup("fit")
    return module


def test_made_shapes_become_batches_whose_validation_never_changes():
    module = data()
    batch = next(iter(module.train_dataloader()))
    assert batch["points"].shape == (8, 128, 3) and batch["label"].dtype == torch.int64
    first, again = (next(iter(module.val_dataloader()))["points"] for _ in range(2))
    assert torch.equal(first, again) and torch.allclose(first.norm(dim=-1).amax(1), torch.ones(len(first)))
    assert module.classes == list(world.CATEGORIES) and module.selected_on == "val"


def test_splits_of_the_made_world_share_no_shape():
    options = Options(npoints=64)
    clouds = {
        s: {one.load(i)[0].tobytes() for i in range(len(one))}
        for s in ("train", "val", "test")
        for one in [open_set(f"shapes:{s}:16", options)]
    }
    assert not clouds["train"] & clouds["val"] and not clouds["train"] & clouds["test"]


def test_part_labels_count_through_the_categories():
    module = data(task="segmentation", categories=["mug", "lamp"], augment="part")
    assert module.parts == {"mug": ["body", "handle"], "lamp": ["shade", "pole", "base"]}
    batch = next(iter(module.train_dataloader()))
    for parts, category in zip(batch["parts"], batch["category"], strict=True):
        assert set(parts.tolist()) <= ({0, 1} if category == 0 else {2, 3, 4})


def test_fewer_categories_of_a_set_renumber_its_labels_and_parts(tmp_path):
    whole = open_set("shapes:train:16", Options(npoints=64))
    part = whole.only(["mug", "chair"])
    assert part.classes == ("mug", "chair") and set(part.labels) == {0, 1}
    chair = next(i for i in range(len(part)) if part.labels[i] == 1)
    assert set(part.load(chair)[1]) <= {2, 3, 4}
    with pytest.raises(InputError, match="unknown class 'sofa'"):
        whole.only(["sofa"])


def test_held_out_shares_are_stratified_and_seeded():
    whole = open_set("shapes:train:80", Options(npoints=32))
    train, val = hold_out(whole, 0.2, seed=1)
    assert np.bincount(val.labels).tolist() == [2] * 8 and len(train) == 64
    assert list(val.names) == list(hold_out(whole, 0.2, seed=1)[1].names) != list(hold_out(whole, 0.2, seed=2)[1].names)
    assert not set(train.names) & set(val.names)


def write_folder(root, splits=("",), count=10):
    for split in splits:
        for name in ("mug", "table"):
            for number in range(count):
                path = root / split / name / f"{number}.xyz"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savetxt(path, world.make(name, number, 64).points)
    return root


def test_an_own_folder_is_split_by_class(tmp_path):
    root = write_folder(tmp_path / "mine")
    sizes = {split: len(open_set(f"{root}:{split}")) for split in ("train", "val", "test", "trainval")}
    assert sizes == {"train": 14, "val": 2, "test": 4, "trainval": 16}
    names = [set(open_set(f"{root}:{split}").names) for split in ("train", "val", "test")]
    assert not (names[0] & names[1] | names[0] & names[2] | names[1] & names[2])
    module = data(train=str(root), val=f"{root}:test", npoints=64)
    assert module.classes == ["mug", "table"] and module.selected_on == "test"


def test_split_folders_and_tables_are_taken_as_they_are(tmp_path):
    root = write_folder(tmp_path / "mine", ("train", "test"), count=5)
    assert len(open_set(f"{root}:test")) == 10 and len(open_set(f"{root}:train")) == 8
    table = root / "train" / "clouds.csv"
    table.write_text("path,label,split\nmug/0.xyz,cup,train\nmug/1.xyz,cup,test\ntable/1.xyz,desk,train\n")
    assert open_set(f"{table}:trainval").classes == ("cup", "desk") and len(open_set(f"{table}:test")) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\nnone.xyz,mug\n", "line 2: no such file none.xyz"),
        ("path,colour\n0.xyz,mug\n", "columns path and label are needed"),
        ("path,label\n0.xyz,\n", "line 2: no label"),
        ("path,label\n", "the table has no row"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, reason):
    (tmp_path / "0.xyz").write_text("1 2 3\n")
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        open_set(str(tmp_path / "table.csv"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"train": "./nowhere"}, "no such file or folder"),
        ({"train": "shapes:tran"}, "no split 'tran'"),
        ({"train": "shapes:train:none"}, "write shapes:SPLIT or shapes:SPLIT:COUNT"),
        ({"categories": ["sofa"]}, "unknown category 'sofa'"),
        ({"train": "assemblies:train:4"}, "training has the classes assembly"),
        ({"task": "segmentation", "train": "assemblies:train:4", "val": None}, "needs a set with part labels"),
    ],
)
def test_wrong_settings_are_refused_before_training(settings, reason):
    with pytest.raises(InputError, match=reason):
        data(**settings)


def test_a_cloud_with_too_few_points_is_named(tmp_path):
    root = write_folder(tmp_path / "mine", count=2)
    module = data(train=f"{root}:train", val=None, npoints=65)
    with pytest.raises(InputError, match=r"(mug|table)/\d.xyz: the cloud has 64 points, 65 needed"):
        next(iter(module.train_dataloader()))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_move_clouds_as_stated(name):
    points = torch.randn(64, 50, 3)
    moved = AUGMENTATIONS[name](points, torch.Generator().manual_seed(0))
    extent = (moved.amax(1) - moved.amin(1)) / (points.amax(1) - points.amin(1))
    if name == "none":
        assert torch.equal(moved, points)
    if name == "scale_translate":
        assert extent.min() > 0.66 and extent.max() < 1.51 and extent.std() > 0.1
    if name == "part":
        assert torch.allclose(extent[:, 0], extent[:, 2], atol=1e-4) and 0.79 < extent.min() < extent.max() < 1.26
    if name == "rotate":
        assert torch.allclose(moved.norm(dim=-1), points.norm(dim=-1), atol=1e-5)
        assert torch.equal(moved[..., 1], points[..., 1]) and not torch.allclose(moved, points)
    if name == "scale_rotate":
        ratio = moved[..., 1] / points[..., 1]
        assert ratio.min() > 0.89 and ratio.max() < 1.11 and ratio.std(1).max() < 1e-4


def test_clouds_of_no_point_are_refused():
    with pytest.raises(InputError, match=r"data\.npoints is 0; give at least 1"):
        PointCloudData(npoints=0)
