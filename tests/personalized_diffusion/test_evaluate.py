"""The verb `evaluate` on folders and tables, with stub encoders that know the embedding of each picture."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from domains.personalized_diffusion.data.dreambooth import Protocol
from domains.personalized_diffusion.evaluation import encoders, folders, scoring
from domains.personalized_diffusion.evaluation.evaluate import evaluate
from domains.personalized_diffusion.evaluation.pictures import read_list
from suite.errors import InputError
from tests.golden.registry import golden_folder
from tests.personalized_diffusion.made import write_adapter

SIDE = 9


class Stub:
    """An encoder that looks a picture's first pixel up in a table: the pixel is the picture's number."""

    def __init__(self, id, embeddings, texts=None):
        self.id, self.embeddings, self.words = id, np.asarray(embeddings), texts or {}

    def images(self, pictures):
        pixels = [picture.getpixel((0, 0)) for picture in pictures]
        return self.embeddings[[red + 256 * green for red, green, _ in pixels]]

    def texts(self, texts):
        return np.stack([self.words[text] for text in texts])

    def overlong(self, texts):
        return [text for text in texts if len(text) > 77]


def paint(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (number % 256, number // 256, 0)).save(path)
    return path


@pytest.fixture(scope="module")
def golden():
    path = golden_folder() / "personalized_diffusion" / "metrics.json"
    if not path.is_file():
        pytest.skip(f"golden case absent: {path.name}")
    return json.loads(path.read_text())


PROMPTS = ("a dog in the snow", "a dog on the beach", "a red dog")


@pytest.fixture
def world(tmp_path, golden, monkeypatch):
    """Pictures and photos on disk, numbered, and the stubs that embed them as the golden case says."""
    given = golden["input"]
    real, generated = tmp_path / "real", tmp_path / "generated"
    clip, dino = [], []
    for number in range(len(given["clip_real"])):
        paint(real / "dog" / f"{number:02d}.png", len(clip))
        clip.append(given["clip_real"][number])
        dino.append(given["dino_real"][number])
    for index, (clip_group, dino_group) in enumerate(zip(given["clip_gen"], given["dino_gen"], strict=True)):
        for number, (seen, looked) in enumerate(zip(clip_group, dino_group, strict=True)):
            paint(generated / "dog" / str(index) / f"{number}.png", len(clip))
            clip.append(seen)
            dino.append(looked)
        # What predict writes beside its pictures is none of them.
        paint(generated / "dog" / str(index) / "grid.png", 0)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    stubs = (
        Stub("stub-clip", clip, dict(zip(PROMPTS, given["clip_text"], strict=True))),
        Stub("stub-dino", dino),
    )
    monkeypatch.setattr(encoders, "load", lambda *_, **__: stubs)
    return {"generated": generated, "real": real, "prompts": prompts, "images": len(given["clip_gen"][0])}


def test_acceptance_12_8_two_folders_give_the_golden_numbers(world, golden, tmp_path):
    record = evaluate(**world, out=tmp_path / "out")
    wanted = golden["output"]
    for name in ("clip_i", "dino", "clip_t"):
        assert record["metrics"][name] == pytest.approx(wanted[name], abs=1e-12)
        found = [row[name] for row in record["prompts"]]
        assert found == pytest.approx(wanted[f"{name}_per_prompt"], abs=1e-12)
    assert record["metrics"]["div"] == pytest.approx(wanted["div_mean_pairwise_dino_same_prompt"], abs=1e-12)
    assert record["encoders"] == {"clip": "stub-clip", "dino": "stub-dino"}
    assert record["images"] == 3 * world["images"] and record["subjects"][0]["real"] == 5
    out = tmp_path / "out"
    assert json.loads((out / "metrics.json").read_text())["metrics"] == record["metrics"]
    [row] = csv.DictReader((out / "subjects.csv").open())
    assert float(row["dino"]) == pytest.approx(wanted["dino"])
    rows = list(csv.DictReader((out / "prompts.csv").open()))
    assert [row["prompt"] for row in rows] == list(PROMPTS) and int(rows[0]["index"]) == 0
    assert (out / "sheet_dog.png").is_file() and "CLIP-T" in (out / "report.html").read_text()
    assert str(out / "sheet_dog.png") in record["files"]


def test_a_table_gives_the_same_numbers(world, golden, tmp_path):
    table = tmp_path / "generated" / "images.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("subject", "image", "prompt"))
        for index, prompt in enumerate(PROMPTS):
            for number in range(world["images"]):
                writer.writerow(("dog", f"dog/{index}/{number}.png", prompt.replace("a ", "a sks ")))
    record = evaluate(table, real=world["real"], images=world["images"], token="sks")
    assert record["metrics"]["clip_t"] == pytest.approx(golden["output"]["clip_t"], abs=1e-12)
    assert record["metrics"]["dino"] == pytest.approx(golden["output"]["dino"], abs=1e-12)
    assert record["protocol"]["token in the prompts of CLIP-T"] == "removed"
    folder = evaluate(table.parent, real=world["real"] / "dog", images=world["images"], token="sks")
    assert folder["metrics"] == record["metrics"]
    assert record["notices"] == folder["notices"] and not any("--token" in line for line in record["notices"])
    with table.open("a") as stream:
        stream.write("dog,dog/absent.png,a dog\n")
    assert evaluate(**world)["metrics"] == record["metrics"]


def test_acceptance_12_8_swapping_real_and_generated_changes_neither_clip_i_nor_dino(world):
    drawn = folders.read_generated(world["generated"], PROMPTS, images=world["images"])
    real = folders.read_real(world["real"], ["dog"])["dog"]
    clip, dino = encoders.load()
    for one in drawn:
        there = scoring.score([one], {"dog": real}, clip, dino).overall
        swapped = folders.Drawn("dog", 0, one.prompt, tuple(real))
        back = scoring.score([swapped], {"dog": list(one.images)}, clip, dino).overall
        assert there["clip_i"] == pytest.approx(back["clip_i"], abs=1e-12)
        assert there["dino"] == pytest.approx(back["dino"], abs=1e-12)


def test_subjects_count_once_however_many_photos_they_have(world, tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(64, 8))
    clip, dino = Stub("clip", table, {"a dog": rng.normal(size=8), "a vase": rng.normal(size=8)}), Stub("dino", table)
    drawn = [
        folders.Drawn("dog", 0, "a dog", tuple(paint(tmp_path / f"d{n}.png", n) for n in range(2))),
        folders.Drawn("vase", 0, "a vase", tuple(paint(tmp_path / f"v{n}.png", 10 + n) for n in range(2))),
    ]
    real = {
        "dog": [paint(tmp_path / f"rd{n}.png", 20 + n) for n in range(9)],
        "vase": [paint(tmp_path / f"rv{n}.png", 40 + n) for n in range(2)],
    }
    report = scoring.score(drawn, real, clip, dino, prior={"dog": real["dog"][:3]})
    alone = [scoring.score([one], {one.subject: real[one.subject]}, clip, dino).overall["dino"] for one in drawn]
    assert report.overall["dino"] == pytest.approx(sum(alone) / 2)
    assert report.spread["dino"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5)
    assert report.overall["pres"] == report.pres["dog"] and set(report.pres) == {"dog"}


def test_missing_pictures_are_counted_not_averaged_over(world):
    for name in ("0/1.png", "2/0.png"):
        (world["generated"] / "dog" / name).unlink()
    with pytest.raises(InputError, match=r"2 of 12 pictures are missing: dog/0/1.png, dog/2/\d.png"):
        evaluate(**world)
    with pytest.raises(InputError, match="2 of 12 pictures are missing"):
        evaluate(**{**world, "images": 0})


def test_a_missing_prompt_is_missing_pictures(world):
    world["prompts"].write_text("\n".join([*PROMPTS, "a purple dog"]))
    with pytest.raises(InputError, match=r"4 of 16 pictures are missing: dog/3/0.png, dog/3/1.png"):
        evaluate(**world)
    world["prompts"].write_text(PROMPTS[0])
    with pytest.raises(InputError, match="1 prompts, but also folders 1, 2"):
        evaluate(**world)


def test_a_table_that_names_absent_pictures_or_too_few_is_refused(world):
    table = world["generated"] / "images.csv"
    table.write_text("image,prompt,subject\ndog/0/0.png,a dog,dog\ndog/9/9.png,a dog,dog\n")
    with pytest.raises(InputError, match=r"1 of 2 pictures are missing: dog/9/9.png"):
        evaluate(table, real=world["real"])
    table.write_text("image,prompt,subject\ndog/0/0.png,a dog in the snow,dog\n")
    with pytest.raises(InputError, match=r"3 pictures are missing: 1 prompts have fewer than 4"):
        evaluate(table, real=world["real"])
    assert evaluate(table, real=world["real"], images=0)["metrics"].keys() == {"clip_i", "clip_t", "dino"}
    table.write_text("image,words\n")
    with pytest.raises(InputError, match="lacks columns prompt, subject"):
        evaluate(table, real=world["real"])
    table.write_text("image,prompt,subject\ndog/0/0.png,,dog\n")
    with pytest.raises(InputError, match="line 2"):
        evaluate(table, real=world["real"])


def test_what_is_not_there_is_told_in_one_line(world, tmp_path):
    for wrong, complaint in (
        ({"generated": tmp_path / "absent"}, "no such folder or table"),
        ({"generated": tmp_path}, "no pictures <subject>/<prompt index>"),
        ({"real": tmp_path / "absent"}, "no such folder of real photos"),
        ({"real": None}, "--real is missing"),
        ({"real": tmp_path}, "no photos"),
        ({"prompts": None}, "--prompts"),
        ({"prompts": tmp_path / "absent.txt"}, "no such file"),
        ({"adapter": "tiny"}, "not both"),
        ({"keep_token": True}, "--keep-token needs --token"),
    ):
        with pytest.raises(InputError) as raised:
            evaluate(**{**world, **wrong})
        assert complaint in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frozen": True, "steps": 3}, "leave out --steps --frozen"),
        ({"strength": 0.5}, "leave out --strength"),
        ({"generated": None, "adapter": "absent", "steps": 0}, "0 steps"),
        ({"generated": None, "adapter": "absent", "strength": float("nan")}, "strength must be"),
        ({"generated": None, "adapter": "absent", "token": "sks"}, "--token is for"),
    ],
)
def test_what_would_have_no_effect_or_cannot_be_is_refused_before_anything_is_loaded(world, given, message):
    with pytest.raises(InputError, match=message):
        evaluate(**{**world, **given})


def test_a_broken_photo_is_named(world):
    path = world["real"] / "dog" / "02.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"02\.png: damaged"):
        evaluate(**world)


def test_a_few_of_the_protocols_subjects_are_said_to_be_few(world):
    protocol = Protocol({"dog": "dog", "vase": "vase"}, ("a {0} {1} there",), tuple(f"{p}" for p in PROMPTS))
    drawn = folders.read_generated(world["generated"], protocol, images=world["images"])
    assert [one.prompt for one in drawn] == list(PROMPTS)
    kept = Protocol({"dog": "dog"}, ("x",), ("a {0} {1} there", "a {0} {1}", "{1}"))
    found = folders.read_generated(world["generated"], kept, images=4, token="sks", keep_token=True)
    assert [one.prompt for one in found] == ["a sks dog there", "a sks dog", "dog"]
    bare = folders.read_generated(world["generated"], kept, images=4, token="sks")
    assert [one.prompt for one in bare] == ["a dog there", "a dog", "dog"]


def test_reports_say_when_numbers_compare_with_none_published():
    assert encoders.notices("openai/clip-vit-base-patch32", "facebook/dino-vits16") == []
    assert "is not DINO" in encoders.notices("openai/clip-vit-base-patch32", "facebook/dinov2-small")[0]
    assert "not ViT-B/32" in encoders.notices("openai/clip-vit-large-patch14", "facebook/dino-vits16")[0]


def test_prompts_beyond_what_clip_reads_are_told(world):
    clip, dino = encoders.load()
    long = "a dog " * 20
    clip.words[long] = clip.words[PROMPTS[0]]
    drawn = [folders.Drawn("dog", 0, long, (world["generated"] / "dog/0/0.png",))]
    report = scoring.score(drawn, folders.read_real(world["real"], ["dog"]), clip, dino)
    assert "longer than CLIP reads" in report.notices[0]


def test_the_tiny_encoders_see_pictures_and_texts(random_base):
    clip, vision = encoders.load(carrier=str(random_base))
    pictures = [Image.new("RGB", size, colour) for size, colour in (((64, 64), "red"), ((200, 90), "blue"))]
    assert clip.images(pictures).shape == clip.texts(["a red robot", "a blue cat"]).shape == (2, 64)
    assert vision.images(pictures).shape == (2, 96)
    assert vision.images(pictures[:1]) == pytest.approx(vision.images(pictures)[:1], abs=1e-5)
    assert clip.overlong(["a cat", "a cat " * 30]) == ["a cat " * 30]
    with pytest.raises(InputError, match="no CLIP"):
        encoders.Clip.from_pretrained(str(random_base / "vae"))


def test_an_adapter_is_drawn_and_scored_against_its_held_out_photos(random_base, tmp_path, capfd):
    adapter = write_adapter(random_base, tmp_path / "adapter")
    given = {"adapter": str(adapter), "base": str(random_base), "images": 1, "steps": 1, "clip": str(random_base)}
    scored = evaluate(**given, out=tmp_path / "out")
    assert scored["images"] == 8 and scored["subjects"][0]["real"] == 8 and scored["subjects"][0]["subject"] == "robot"
    assert scored["prompts"][0]["prompt"] == "a robot on a green field"
    assert scored["protocol"]["adapter"] == str(adapter) and scored["encoders"]["dino"] == "random"
    assert (tmp_path / "out" / "sheet_robot.png").is_file()
    assert "Loading weights" not in capfd.readouterr().err  # bars are for terminals
    bare = evaluate(**given, frozen=True)
    assert bare["metrics"]["dino"] != scored["metrics"]["dino"]
    assert bare["protocol"]["adapter"] == "none (frozen base)"


def test_both_kinds_of_picture_are_cut_alike():
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    crop = encoders.Crop(10, (0.0,) * 3, (1.0,) * 3)
    assert crop(wide).min() == 1.0 and crop(wide).shape == (3, 10, 10)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lists_of_prompts_are_read_as_any_editor_saves_them(encoding, tmp_path):
    (tmp_path / "prompts.txt").write_text("a sks robot in a café\na sks robot\n", encoding=encoding)
    assert read_list(tmp_path / "prompts.txt") == ["a sks robot in a café", "a sks robot"]
