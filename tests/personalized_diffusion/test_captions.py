"""What is said of each photo: sidecars, tables, folder names, the trigger, variation."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from domains.personalized_diffusion.data.captions import Trigger, Variation, captions_of, kohya_folder
from suite.errors import InputError

DOG = Trigger("sks", "dog")


def files(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def test_prompts_of_a_trigger() -> None:
    assert DOG.prompt == "a photo of sks dog"
    assert DOG.class_prompt == "a photo of dog"
    assert Trigger("sksdog6", "", "a photo of {token}").prompt == "a photo of sksdog6"


@pytest.mark.parametrize("given", [("", "dog"), ("sks", "dog", "a photo of a dog")])
def test_a_trigger_that_calls_nothing_is_refused(given: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Trigger(*given)


def test_class_images_need_a_noun() -> None:
    with pytest.raises(InputError, match="give data"):
        _ = Trigger("sks").class_prompt


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog on a sofa", "a sks dog on a sofa"),
        ("a sks dog on a sofa", "a sks dog on a sofa"),
        ("sofa, brown, fur", "sks dog, sofa, brown, fur"),
        ("hotdogs", "sks dog, hotdogs"),
        ("", "sks dog"),
    ],
)
def test_the_token_is_put_in_where_it_is_missing(caption: str, expected: str) -> None:
    assert DOG.insert(caption) == expected


def test_captions_lie_beside_the_photos_or_in_a_table(tmp_path: Path) -> None:
    paths = files(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_text("a dog\nasleep\n")
    rows = [{"file_name": "b.jpg", "text": "a sks dog in snow"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert captions_of(paths, DOG) == ["a sks dog asleep", "a sks dog in snow", "a photo of sks dog"]
    assert captions_of(paths, DOG, "trigger") == ["a photo of sks dog"] * 3
    with pytest.raises(InputError, match=r"c\.jpg has no caption"):
        captions_of(paths, DOG, "files")


def test_a_damaged_table_names_its_line(tmp_path: Path) -> None:
    paths = files(tmp_path, "a.jpg")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "text": "x"}\n[1]\n')
    with pytest.raises(InputError, match="line 2"):
        captions_of(paths, DOG)


def test_kohya_folders_say_repeats_and_caption(tmp_path: Path) -> None:
    folder = tmp_path / "10_sks dog"
    assert kohya_folder(folder) == (10, "sks dog")
    assert kohya_folder(tmp_path / "photos") is None
    assert captions_of(files(folder, "a.jpg"), DOG) == ["sks dog"]


def test_file_names_as_captions(tmp_path: Path) -> None:
    assert captions_of(files(tmp_path, "dog_in_snow-2.jpg"), DOG, "filename") == ["sks dog in snow"]


def test_variation_drops_and_shuffles_but_keeps_the_first_parts() -> None:
    rng = random.Random(0)
    said = [Variation(shuffle=True, keep_first=2).vary("sks dog, sofa, a, b, c, d", rng) for _ in range(20)]
    assert all(line.startswith("sks dog, sofa, ") for line in said)
    assert len(set(said)) > 5
    assert {tuple(sorted(line.split(", "))) for line in said} == {("a", "b", "c", "d", "sks dog", "sofa")}
    dropped = [Variation(dropout=0.3).vary("x", rng) for _ in range(500)].count("")
    assert 100 < dropped < 200
    assert Variation().vary("a, b", rng) == "a, b"


def test_tags_are_dropped_but_for_the_first() -> None:
    rng = random.Random(0)
    said = [Variation(tag_dropout=0.5, keep_first=1).vary("sks dog, a, b, c", rng) for _ in range(400)]
    assert all(line.startswith("sks dog") for line in said)
    assert 140 < sum("b" in line.split(", ") for line in said) < 260
    assert {tuple(line.split(", ")[1:]) for line in said} >= {(), ("a",), ("a", "b", "c")}
    with pytest.raises(InputError, match="tag_dropout"):
        Variation(tag_dropout=1.0)
