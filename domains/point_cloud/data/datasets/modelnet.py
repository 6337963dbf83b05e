"""ModelNet40 (and 10): resampled text files with their cache, HDF5 files, and the meshes themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from domains.point_cloud.data import clouds
from domains.point_cloud.data.datasets import stacks, unpickling
from domains.point_cloud.data.datasets.cloud_set import CloudSet, Loaded, Options, hold_out
from suite.errors import InputError

MODELNET40 = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table",
    "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)  # fmt: skip
"""The classes in the order of their labels, which released checkpoints do not say."""

EXPECTED = {"train": 9843, "test": 2468}
"""Clouds of ModelNet40's splits."""


def is_resampled(path: Path) -> bool:
    """`modelnet40_normal_resampled`: lists of names beside one folder a class."""
    return path.is_dir() and _prefix(path) is not None


def is_hdf5(path: Path) -> bool:
    """`modelnet40_ply_hdf5_2048`: files `ply_data_<split><number>.h5`."""
    return path.is_dir() and any(path.glob("ply_data_*.h5"))


def is_meshes(path: Path) -> bool:
    """The original archive: `<class>/train/*.off` and `<class>/test/*.off`."""
    return path.is_dir() and any(path.glob("*/train/*.off"))


def read_resampled(path: Path, split: str, options: Options) -> CloudSet:
    """Text files of 10,000 points with normals, or the pickled cache where they are not there.

    Raises:
        InputError: a list or a file is missing, or a listed cloud is of no listed class.
    """
    prefix = _prefix(path)
    assert prefix is not None
    classes = (path / f"{prefix}_shape_names.txt").read_text(encoding="utf-8").split()
    cached = [file for part in _official(split) for file in path.glob(f"{prefix}_{part}_*pts_fps.dat")]
    listed = [path / f"{prefix}_{part}.txt" for part in _official(split)]
    if cached and not all((path / name).is_dir() for name in classes):
        pairs = [unpickling.cache(file) for file in cached]
        points = [cloud for own, _ in pairs for cloud in own]
        labels = np.concatenate([own for _, own in pairs])
        whole = stacks.stacked(points, labels, classes, path.name, normalise=True, protocol="the official cache")
        return _held(whole, split, options)
    missing = [file.name for file in listed if not file.is_file()]
    if missing:
        raise InputError(f"{path}: the list {missing[0]} is missing")
    entries = [entry for file in listed for entry in file.read_text(encoding="utf-8").split()]
    names = [re.sub(r"_\d+$", "", entry) for entry in entries]
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise InputError(f"{path}: listed clouds of unknown classes {', '.join(unknown[:3])}")
    files = [path / name / f"{entry}.txt" for name, entry in zip(names, entries, strict=True)]
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)

    def load(number: int) -> Loaded:
        return _text(files[number], ","), None

    whole = CloudSet(tuple(classes), labels, [str(file) for file in files], load, protocol="the official lists")
    return _held(whole, split, options)


def read_hdf5(path: Path, split: str, options: Options) -> CloudSet:
    """HDF5 files of 2,048 points.

    Raises:
        InputError: a file is damaged, or the split has none.
    """
    files = [file for part in _official(split) for file in sorted(path.glob(f"ply_data_{part}*.h5"))]
    if not files:
        raise InputError(f"{path}: no file ply_data_{_official(split)[0]}*.h5")
    pairs = [stacks.read_h5(file) for file in files]
    points, labels = (np.concatenate(column) for column in zip(*pairs, strict=True))
    listed = path / "shape_names.txt"
    names = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    classes = names or [f"class {number}" for number in range(int(labels.max()) + 1)]
    whole = stacks.stacked(points, labels, classes, path.name, normalise=True, protocol="the official HDF5 files")
    return _held(whole, split, options)


def read_meshes(path: Path, split: str, options: Options) -> CloudSet:
    """OFF meshes, sampled by area with the seed of the options.

    Raises:
        InputError: the split has no mesh.
    """
    classes = sorted(folder.name for folder in path.iterdir() if (folder / "train").is_dir())
    listed = [
        (file, label)
        for label, name in enumerate(classes)
        for part in _official(split)
        for file in sorted((path / name / part).glob("*.off"))
    ]
    if not listed:
        raise InputError(f"{path}: no meshes <class>/{_official(split)[0]}/*.off")

    def load(number: int) -> Loaded:
        file = listed[number][0]
        return clouds.read(file, samples=options.samples, seed=options.seed, up="z").points.astype(np.float32), None

    names = [str(file) for file, _ in listed]
    labels = np.array([label for _, label in listed], dtype=np.int64)
    whole = CloudSet(tuple(classes), labels, names, load, protocol="the original meshes, which are z-up, turned")
    return _held(whole, split, options)


def _official(split: str) -> tuple[str, ...]:
    return ("test",) if split == "test" else ("train",)


def _held(whole: CloudSet, split: str, options: Options) -> CloudSet:
    """The part of the official training split that `train` or `val` is."""
    if split in ("train", "val"):
        whole = hold_out(whole, options.val_share, options.seed)[split == "val"]
    return whole.only(options.categories)


def _prefix(path: Path) -> str | None:
    found = sorted(path.glob("modelnet*_shape_names.txt"))
    return found[-1].name.removesuffix("_shape_names.txt") if found else None


def _text(file: Path, separator: str | None) -> np.ndarray:
    try:
        return np.loadtxt(file, delimiter=separator, dtype=np.float32, usecols=(0, 1, 2), ndmin=2)
    except OSError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{file}: not the expected columns of numbers ({str(error).splitlines()[0]})") from error
