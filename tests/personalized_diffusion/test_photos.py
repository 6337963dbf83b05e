"""Photographs and their captions as cameras, browsers and people leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domains.personalized_diffusion.data import buckets, photos
from domains.personalized_diffusion.data.captions import Trigger, captions_of
from domains.personalized_diffusion.data.class_images import ClassImages
from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases
from suite.errors import InputError
from tests.personalized_diffusion.made import pictures

DOG = Trigger("sks", "dog")


def test_use_02_class_images_take_free_numbers_and_leave_the_users_own_alone(base: bases.Base, tmp_path: Path) -> None:
    mine = pictures(tmp_path, "00003.png", "00001.jpg")
    before = [path.read_bytes() for path in mine]
    made = ClassImages(5, str(tmp_path), "a robot", steps=1).photos(base, DOG, 32, seed=0)
    assert len(made) == 5
    assert [path.read_bytes() for path in mine] == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "00000.png",
        "00001.jpg",
        "00002.png",
        "00003.png",
        "00004.png",
    ]


def test_use_04_only_folders_below_the_given_one_have_repeats(tmp_path: Path, capsys: Any) -> None:
    dated = tmp_path / "20240115_holiday"
    pictures(dated, "0.png", "1.png")
    shots = PhotoData(photos=str(dated), noun="dog")._shots(str(dated))
    assert [(shot.repeats, shot.caption) for shot in shots] == [(1, "a photo of sks dog")] * 2
    with pytest.raises(InputError, match="20240115_holiday"):
        PhotoData(photos=str(tmp_path), noun="dog").setup()

    dog = tmp_path / "dog"
    pictures(dog, "0.png", "1.png")
    pictures(dog / "1_old", "x.png")
    pictures(dog / "video.mov", "x.png")
    data = PhotoData(photos=str(dog), noun="dog")
    assert [shot.photo.path.name for shot in data._shots(str(dog))] == ["0.png", "1.png"]
    assert "left out" in capsys.readouterr().err

    kohya = tmp_path / "kohya"
    pictures(kohya / "3_sks dog", "x.png")
    pictures(kohya / "more", "y.png")
    [shot] = PhotoData(photos=str(kohya), noun="dog")._shots(str(kohya))
    assert (shot.repeats, shot.caption) == (3, "sks dog")
    assert "more" in capsys.readouterr().err


def test_use_05_pictures_of_more_than_eight_bits_keep_their_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 256)[None].repeat(64, 0)
    made = {
        "deep.png": (ramp * 65535).astype(np.uint16),
        "whole.tif": (ramp * 65535).astype(np.int32),
        "float.tif": ramp.astype(np.float32),
        "float255.tif": (ramp * 255).astype(np.float32),
    }
    for name, values in made.items():
        Image.fromarray(values).save(tmp_path / name)
        image = photos.open_photo(tmp_path / name)
        assert image.mode == "RGB" and abs(np.asarray(image).mean() - 127) < 1, name
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match=r"nan\.tif"):
        photos.open_photo(tmp_path / "nan.tif")


def test_use_06_captions_are_read_as_windows_writes_them(tmp_path: Path) -> None:
    said = "a photo of a dog in a café"
    paths = pictures(tmp_path, *(f"{n}.png" for n in range(5)))
    encodings = ("utf-8-sig", "utf-16", "cp1252", "utf-8", "utf-16-le")
    for path, encoding in zip(paths, encodings, strict=True):
        path.with_suffix(".txt").write_bytes(said.encode(encoding))
    assert captions_of(paths, DOG) == ["a photo of a sks dog in a café"] * 5


@pytest.mark.parametrize("table", ["metadata.jsonl", "metadata.csv"])
def test_use_06_tables_of_captions_may_have_a_byte_order_mark(table: str, tmp_path: Path) -> None:
    [path] = pictures(tmp_path, "a.png")
    rows = {
        "metadata.jsonl": json.dumps({"file_name": "a.png", "text": "a dog, asleep"}),
        "metadata.csv": 'file_name,text\r\na.png,"a dog, asleep"\r\n',
    }
    (tmp_path / table).write_text(rows[table], encoding="utf-8-sig")
    assert captions_of([path], DOG) == ["a sks dog, asleep"]


def test_use_13_a_photo_that_is_not_enlarged_stays_within_the_pixel_limit() -> None:
    sizes = buckets.bucket_sizes(1024)
    for size in [(9000, 500), (500, 9000), (3000, 511)]:
        width, height = buckets.choose(size, sizes, upscale=False)
        assert width * height <= 1024**2 and width <= size[0] and height <= size[1]
    assert buckets.choose((50, 400), sizes, upscale=False) == (48, 384)


def test_use_13_not_enlarging_takes_buckets() -> None:
    with pytest.raises(InputError, match=r"data.upscale.*data.bucketing"):
        PhotoData(upscale=False)


def test_use_16_what_cameras_and_browsers_leave_is_read_or_told(tmp_path: Path, capsys: Any) -> None:
    pictures(tmp_path, "a.jfif", "b.avif", "c.gif", "d.jpg")
    (tmp_path / "._d.jpg").write_bytes(b"\0\5\x16\7 resource fork")
    (tmp_path / "e.dng").write_bytes(b"raw")
    found = photos.list_photos(tmp_path)
    assert [photo.path.name for photo in found] == ["a.jfif", "b.avif", "c.gif", "d.jpg"]
    assert "e.dng" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".heic", ".HEIF"])
def test_use_16_phones_pictures_are_read_with_the_extra(suffix: str, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    made = Image.new("RGB", (48, 32), (200, 40, 40))
    pillow_heif.from_pillow(made).save(tmp_path / "a.heic")
    (tmp_path / "a.heic").rename(tmp_path / f"b{suffix}")
    [photo] = photos.list_photos(tmp_path)
    assert photo.size == (48, 32)
    assert abs(np.asarray(photos.open_photo(photo.path), int) - (200, 40, 40)).max() < 12
