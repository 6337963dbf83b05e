import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from domains.point_cloud.data import world
from domains.point_cloud.data.datasets import fewshot_split, unpickling
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.sources import FORMATS, open_set
from suite.errors import InputError


def cloud(seed, points=40):
    return world.make("chair", seed, points).points.astype(np.float32)


def modelnet(root, count=6):
    names = ("airplane", "night_stand")
    (root / "modelnet40_shape_names.txt").write_text("\n".join(names) + "\n")
    for split in ("train", "test"):
        listed = []
        for name in names:
            for number in range(1, count + 1):
                listed.append(f"{name}_{number + (100 if split == 'test' else 0):04d}")
                (root / name).mkdir(exist_ok=True)
                table = np.concatenate([cloud(number), np.zeros((40, 3))], 1)
                np.savetxt(root / name / f"{listed[-1]}.txt", table, delimiter=",", fmt="%.6f")
        (root / f"modelnet40_{split}.txt").write_text("\n".join(listed))
    return root


def test_modelnet_text_files_have_the_class_of_their_name(tmp_path):
    root = modelnet(tmp_path)
    test = open_set(f"{root}:test")
    assert test.classes == ("airplane", "night_stand") and np.bincount(test.labels).tolist() == [6, 6]
    assert test.normalise and np.allclose(test.load(0)[0], cloud(1), atol=1e-5)
    train, val = open_set(f"{root}:train"), open_set(f"{root}:val")
    assert (len(train), len(val), len(open_set(f"{root}:trainval"))) == (10, 2, 12)
    assert not set(train.names) & set(val.names)


def test_modelnet_cache_is_read_without_running_what_it_names(tmp_path):
    (tmp_path / "modelnet40_shape_names.txt").write_text("airplane\nbed\n")
    points = [np.concatenate([cloud(i), cloud(i)], 1) for i in range(4)]
    stored = [points, [np.array([i % 2], dtype=np.int32) for i in range(4)]]
    file = tmp_path / "modelnet40_test_8192pts_fps.dat"
    file.write_bytes(pickle.dumps(stored))
    test = open_set(f"{tmp_path}:test")
    assert test.labels.tolist() == [0, 1, 0, 1] and np.array_equal(test.load(3)[0], points[3][:, :3])
    arrays = np.load(unpickling.to_npz(file, tmp_path / "cache.npz"))
    assert arrays["points"].shape == (4, 40, 6) and arrays["label"].tolist() == [0, 1, 0, 1]


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("what", [Evil(), [np.array([Evil()], dtype=object)], {"train": io.BytesIO(b"")}])
def test_pickles_that_name_anything_else_are_refused_unrun(tmp_path, what, capsys):
    file = tmp_path / "0.pkl"
    file.write_bytes(pickle.dumps(what))
    with pytest.raises(InputError, match=r"0.pkl: the pickle names \w+\.\w+, and only arrays"):
        unpickling.read(file)
    assert capsys.readouterr().out == ""


def test_damaged_pickles_are_refused(tmp_path):
    file = tmp_path / "0.pkl"
    file.write_bytes(b"no pickle")
    with pytest.raises(InputError, match="damaged or no pickle"):
        unpickling.read(file)


def test_modelnet_hdf5_and_meshes(tmp_path):
    for number in range(2):
        with h5py.File(tmp_path / f"ply_data_test{number}.h5", "w") as stored:
            stored["data"] = np.stack([cloud(i) for i in range(3)])
            stored["label"] = np.array([[0], [1], [number]])
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\n")
    test = open_set(f"{tmp_path}:test")
    assert test.labels.tolist() == [0, 1, 0, 0, 1, 1] and test.classes == ("airplane", "bathtub")
    meshes = tmp_path / "off"
    for name in ("bed", "sofa"):
        (meshes / name / "test").mkdir(parents=True)
        (meshes / name / "train").mkdir()
        for split in ("train", "test"):
            (meshes / name / split / f"{name}_1.off").write_text("OFF\n3 1 0\n0 0 0\n2 0 0\n0 1 0\n3 0 1 2\n")
    found = open_set(f"{meshes}:test", Options(samples=50))
    assert found.classes == ("bed", "sofa") and found.load(0)[0].shape == (50, 3)


@pytest.mark.parametrize(
    ("variant", "path", "count"),
    [
        ("hardest", "main_split/test_objectdataset_augmentedrot_scale75.h5", 5),
        ("objbg", "main_split/test_objectdataset.h5", 3),
        ("objonly", "main_split_nobg/test_objectdataset.h5", 4),
    ],
)
def test_each_variant_of_scanobjectnn_is_its_own_file(tmp_path, variant, path, count):
    for name, size in (
        ("main_split/test_objectdataset_augmentedrot_scale75.h5", 5),
        ("main_split/test_objectdataset.h5", 3),
        ("main_split_nobg/test_objectdataset.h5", 4),
    ):
        (tmp_path / "h5_files" / name).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(tmp_path / "h5_files" / name, "w") as stored:
            stored["data"] = np.stack([cloud(i) * 3 for i in range(size)])
            stored["label"] = np.arange(size) + 1
    found = open_set(f"{tmp_path}:test", Options(variant=variant))
    assert len(found) == count and found.classes[found.labels[0]] == "bin" and not found.normalise
    with pytest.raises(InputError, match="training_objectdataset"):
        open_set(f"{tmp_path}:train", Options(variant=variant))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"data": np.zeros((2, 5, 3))}, "no array label"),
        ({"points": np.zeros((2, 5, 3)), "label": [0, 1]}, r"no array data \(found: label, points\)"),
        ({"data": np.zeros((2, 5, 3)), "label": [0]}, "2 clouds and 1 labels"),
        ({"data": np.zeros((2, 5)), "label": [0, 1]}, "data must be clouds x points x 3, found 2 x 5"),
        ({"data": np.zeros((2, 5, 3)), "label": [0, -1]}, "label -1 is outside"),
    ],
)
def test_wrong_hdf5_sets_are_refused(tmp_path, arrays, reason):
    with h5py.File(tmp_path / "set.h5", "w") as stored:
        for name, values in arrays.items():
            stored[name] = values
    with pytest.raises(InputError, match=reason):
        open_set(f"{tmp_path / 'set.h5'}:test")


def test_few_shot_folds_in_both_spellings(tmp_path):
    fold = {
        "train": [(np.concatenate([cloud(i), cloud(i)], 1), i % 2, 30 + i % 2) for i in range(4)],
        "test": [(np.concatenate([cloud(i), cloud(i)], 1), i % 2, 30 + i % 2) for i in range(6)],
    }
    file = tmp_path / "5way_10shot" / "3.pkl"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(fold))
    documented = tmp_path / "5way10shot" / "3.pkl"
    assert len(open_set(f"{documented}:train")) == 4 and len(open_set(f"{file}:test")) == 6
    assert open_set(f"{file}:test").classes == ("class 30", "class 31")
    with pytest.raises(InputError, match="no validation split"):
        open_set(f"{file}:val")


def test_folds_are_built_from_any_set():
    train, test = (
        open_set(f"shapes:{split}:{count}", Options(npoints=32)) for split, count in (("train", 40), ("test", 160))
    )
    first, queries = fewshot_split.build(train, test, way=3, shot=5, fold=0)
    assert np.bincount(first.labels).tolist() == [5] * 3 and np.bincount(queries.labels).tolist() == [20] * 3
    assert first.classes == queries.classes != fewshot_split.build(train, test, way=3, shot=5, fold=1)[0].classes
    with pytest.raises(InputError, match="9 are needed"):
        fewshot_split.build(train, test, way=9, shot=5, fold=0)
    assert fewshot_split.summary([0.9, 0.8]) == pytest.approx((0.85, 0.0707), abs=1e-4)


def shapenetpart(root):
    (root / "synsetoffset2category.txt").write_text("Mug\t03797390\nTable\t04379243\n")
    (root / "train_test_split").mkdir()
    for split, ids in (("train", ("a", "b")), ("val", ("c",)), ("test", ("d",))):
        entries = [f"shape_data/{synset}/{one}" for synset in ("03797390", "04379243") for one in ids]
        (root / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(entries))
        for synset, part in (("03797390", 36), ("04379243", 48)):
            (root / synset).mkdir(exist_ok=True)
            for one in ids:
                table = np.concatenate([cloud(1), np.zeros((40, 3)), np.full((40, 1), part)], 1)
                np.savetxt(root / synset / f"{one}.txt", table, fmt="%.6f")
    return root


def test_shapenetpart_keeps_the_benchmarks_part_ids(tmp_path):
    root = shapenetpart(tmp_path)
    train = open_set(f"{root}:trainval")
    assert len(train) == 6 and len(train.classes) == 16 and sum(map(len, train.parts.values())) == 50
    mug = next(i for i, label in enumerate(train.labels) if train.classes[label] == "Mug")
    assert set(train.load(mug)[1]) == {36}
    tables = open_set(f"{root}:test", Options(categories=("Table",)))
    assert len(tables) == 1 and set(tables.load(0)[1]) == {1}
    (root / "train_test_split" / "shuffled_val_file_list.json").unlink()
    with pytest.raises(InputError, match=r"shuffled_val_file_list.json: missing"):
        open_set(f"{root}:val")


def test_s3dis_rooms_are_cut_into_blocks_of_area_five_and_the_others(tmp_path):
    rng = np.random.default_rng(0)
    for area in (1, 5):
        room = np.concatenate(
            [rng.uniform(0, 2, (4000, 3)), rng.uniform(0, 255, (4000, 3)), rng.integers(0, 13, (4000, 1))], 1
        )
        np.save(tmp_path / f"Area_{area}_office_1.npy", room)
    test = open_set(f"{tmp_path}:test")
    assert len(test) == 4 and all("Area_5" in name for name in test.names) and len(test.parts["scene"]) == 13
    points, labels = test.load(0)
    assert np.ptp(points[:, 1]) > 1.5 and np.ptp(points[:, 0]) < 1.01 and labels.max() <= 12


def test_s3dis_text_rooms_take_the_class_of_their_file(tmp_path):
    notes = tmp_path / "Area_5" / "office_1" / "Annotations"
    notes.mkdir(parents=True)
    rows = np.random.default_rng(0).uniform(0, 0.9, (300, 6))
    np.savetxt(notes / "chair_1.txt", rows)
    np.savetxt(notes / "stairs_1.txt", rows)
    labels = open_set(f"{tmp_path}:test").load(0)[1]
    assert set(labels) == {8, 12}


def test_own_parts_are_counted_or_named(tmp_path):
    for name, parts in (("mug", 2), ("lamp", 3)):
        (tmp_path / name).mkdir()
        for number in range(4):
            labels = np.arange(40) % parts
            np.save(tmp_path / name / f"{number}.npy", np.concatenate([cloud(number), labels[:, None]], 1))
    options = Options(parts=True)
    whole = open_set(f"{tmp_path}:trainval", options)
    assert dict(whole.parts) == {"lamp": ("part 0", "part 1", "part 2"), "mug": ("part 0", "part 1")}
    mug = next(i for i, label in enumerate(whole.labels) if whole.classes[label] == "mug")
    assert set(whole.load(mug)[1]) == {3, 4}
    (tmp_path / "parts.json").write_text('{"mug": ["body", "handle"], "lamp": ["shade", "pole"]}')
    with pytest.raises(InputError, match="part 2, and lamp has 2 parts"):
        open_set(f"{tmp_path}:trainval", options)


def test_own_points_may_have_no_part(tmp_path):
    (tmp_path / "mug").mkdir()
    for number in range(4):
        np.savez(tmp_path / "mug" / f"{number}.npz", points=cloud(number), label=np.arange(40) % 3 - 1)
    whole = open_set(f"{tmp_path}:trainval", Options(parts=True))
    assert dict(whole.parts) == {"mug": ("part 0", "part 1")} and set(whole.load(0)[1]) == {-1, 0, 1}
    assert set(whole.only(["mug"]).load(0)[1]) == {-1, 0, 1}
    np.savez(tmp_path / "mug" / "0.npz", points=cloud(0), label=np.full(40, -1))
    with pytest.raises(InputError, match="every point is labelled -1"):
        for split in ("trainval", "test"):
            open_set(f"{tmp_path}:{split}", Options(parts=True))


def test_archives_are_unpacked_and_never_leave_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    text = io.BytesIO()
    np.savetxt(text, cloud(0))
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"mine/chair/{number}.xyz", text.getvalue())
    assert len(open_set(f"{tmp_path / 'good.zip'}:trainval")) == 3
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../chair/0.xyz", text.getvalue())
    with pytest.raises(InputError, match="outside its folder"):
        open_set(f"{tmp_path / 'evil.zip'}:train")


def test_formats_are_asked_for_by_name_and_unknown_ones_refused(tmp_path):
    (tmp_path / "note.md").write_text("nothing")
    with pytest.raises(InputError, match="not a known data set"):
        open_set(str(tmp_path))
    with pytest.raises(InputError, match="unknown data format 'kitti'"):
        open_set(str(tmp_path), format="kitti")
    assert "scanobjectnn" in FORMATS
