"""What users ran into, by number: each of these gave a wrong result, lost something, or ended in a traceback."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from domains.personalized_diffusion.data import buckets, photos, world
from domains.personalized_diffusion.data.captions import Trigger, captions_of
from domains.personalized_diffusion.data.class_images import ClassImages
from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.official import exports, forms, imports, weights_files
from domains.personalized_diffusion.official.changes import LowRank
from domains.personalized_diffusion.output.samples import Samples, draw_samples
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import adapters, training
from suite.cli.main import main
from suite.errors import InputError
from suite.hub import references, repository, weights
from suite.media import sheets
from suite.training import TrainerConfig
from tests.personalized_diffusion import families, networks
from tests.personalized_diffusion.made import write_adapter

DOMAIN = "personalized_diffusion"
DOG = Trigger("sks", "dog")
ONE = torch.ones(2048, 1)
SMALL = {"preset": "diffusekrona", "factors": [4, 8]}


@pytest.fixture(scope="module")
def base(random_base: Path) -> bases.Base:
    return bases.load(random_base, torch.float32, "cpu")


@pytest.fixture(scope="module")
def adapter(random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(random_base, tmp_path_factory.mktemp("use") / "krona")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: Any) -> tuple[int, str, str]:
        code = main([DOMAIN, *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        return code, said.out, said.err

    return call


def pictures(folder: Path, *names: str, size: tuple[int, int] = (40, 40)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (40 * number, 100, 100)).save(folder / name)
    return [folder / name for name in names]


def refused(said: tuple[int, str, str], *words: str) -> None:
    code, out, err = said
    assert code == 2, (out, err)
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert all(word in line for word in words), line


def config(folder: Path, base: Path, photos: Path, **sections: dict[str, Any]) -> Path:
    """A configuration that trains one step."""
    made = {
        "domain": DOMAIN,
        "base": str(base),
        "recipe": {"adapter": {"preset": "diffusekrona", "factors": [4, 8]}, **sections.get("recipe", {})},
        "data": {"photos": str(photos), "token": "sks", "noun": "robot", **sections.get("data", {})},
        "trainer": {"max_steps": 1, "accelerator": "cpu", **sections.get("trainer", {})},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


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


def test_use_03_a_long_prompt_is_no_file_name(command: Any, adapter: Path, random_base: Path) -> None:
    prompt = "a photo of sks robot sitting on a bench, " + ", ".join(["golden hour"] * 30)
    words = ("--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1)
    code, out, err = command("predict", prompt, *words)
    assert code == 0 and "1 done" in out, err
    refused(command("predict", "x" * 300 + ".txt", *words), "no such file")


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


def test_use_09_samples_are_drawn_at_every_step_that_ends_an_epoch(random_base: Path, tmp_path: Path) -> None:
    samples = {"every": 1, "prompts": ["a sks robot"], "images": 1, "steps": 1}
    data = PhotoData(photos="sprites:robot:3", noun="robot")
    recipe = DreamBoothRecipe(str(random_base), adapter=SMALL, samples=samples)
    settings = TrainerConfig(max_epochs=-1, max_steps=4, accumulate_grad_batches=2, accelerator="cpu")
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    drawn = sorted(path.stem for path in (run.folder / "samples").iterdir())
    assert drawn == [f"step_{step:06}" for step in range(5)]


def test_use_09_samples_that_are_nan_are_told(random_base: Path, tmp_path: Path, capsys: Any) -> None:
    broken = bases.load(random_base, torch.float32, "cpu")
    broken.unet.conv_out.weight.data.fill_(float("nan"))
    asked = Samples(prompts=["a robot"], images=1, steps=1)
    with pytest.raises(InputError, match="NaN"):
        draw_samples(broken, asked, 32, tmp_path / "x.png", "step 0")
    assert not (tmp_path / "x.png").exists()


def test_use_09_samples_are_what_predict_draws(tmp_path: Path) -> None:
    sdxl = bases.load(families.save("sdxl", tmp_path / "base"), torch.float32, "cpu")
    asked = Samples(prompts=["a robot"], images=2, steps=2, guidance=5.0, seed=3)
    path = draw_samples(sdxl, asked, 64, tmp_path / "x.png", "step 0")
    images = Personalizer(sdxl)("a robot", images=2, steps=2, guidance=5.0, seed=3, size="64")
    same = sheets.grid([images], names=["a robot"], title="step 0", side=128)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(same))


@pytest.mark.parametrize("section", [SMALL, {"preset": "lora", "rank": 2, "use_dora": True}], ids=["krona", "dora"])
def test_use_09_the_last_samples_are_what_the_saved_adapter_draws(
    section: dict[str, Any], random_base: Path, tmp_path: Path
) -> None:
    samples = {"every": 2, "prompts": ["a sks robot"], "images": 2, "steps": 2, "guidance": 3.0, "seed": 5}
    recipe = DreamBoothRecipe(str(random_base), adapter=section, samples=samples)
    settings = TrainerConfig(max_epochs=-1, max_steps=2, lr=1e-2, accelerator="cpu", precision="32-true")
    run = training.fit(recipe, PhotoData("sprites:robot:2", noun="robot"), settings, folder=tmp_path / "run")
    personalizer = Personalizer.from_pretrained(str(run.adapter), str(random_base), "cpu")
    images = personalizer("a sks robot", images=2, steps=2, guidance=3.0, seed=5)
    same = sheets.grid([images], names=["a sks robot"], title="step 2", side=128)
    drawn = run.folder / "samples" / "step_000002.png"
    assert np.array_equal(np.asarray(Image.open(drawn)), np.asarray(same))
    start = np.asarray(Image.open(run.folder / "samples" / "step_000000.png"))
    assert not np.array_equal(start[40:], np.asarray(same)[40:])  # below the title


@pytest.mark.parametrize("words", [("--data.noun", ""), ("--data.token", ""), ("--data.photos", "")])
def test_use_10_settings_left_empty_are_no_tracebacks(
    words: Any, command: Any, random_base: Path, tmp_path: Path
) -> None:
    pictures(tmp_path / "photos", "0.png", "1.png")
    file = config(tmp_path, random_base, tmp_path / "photos")
    code, _, err = command("train", "--config", file, "--run-dir", tmp_path / "run", *words)
    assert code == (0 if words[0] == "--data.noun" else 2), err
    assert code == 0 or words[0].removeprefix("--") in err


def test_use_10_an_import_compares_with_a_base_on_this_machine(
    command: Any, adapter: Path, random_base: Path, tmp_path: Path
) -> None:
    assert command("export", adapter, tmp_path / "k.safetensors")[0] == 0
    code, _, err = command("import", tmp_path / "k.safetensors", tmp_path / "mine", "--base", random_base)
    assert code == 0, err
    assert str(random_base) not in (tmp_path / "mine" / "suite.json").read_text()


@pytest.mark.parametrize("to", ["kohya", "lora", "peft"])
def test_use_11_half_precision_is_not_exact_and_says_its_error(to: Any, tmp_path: Path) -> None:
    ours = networks.with_krona((8, 8))
    folder = networks.save(ours, tmp_path / "a")
    out = tmp_path / ("out" if to == "peft" else "x.safetensors")
    made = exports.export(folder, out, to, dtype="bfloat16")
    assert not made.exact and 1e-4 < made.error < 1e-2
    if to != "peft":
        found = weights_files.read(out).changes["unet"]
        wanted = networks.layer_deltas(ours)
        missing = sum(float((found[name].delta() - delta).square().sum()) for name, delta in wanted.items())
        total = sum(float(delta.square().sum()) for delta in wanted.values())
        assert made.error == pytest.approx((missing / total) ** 0.5, rel=0.05)
    assert exports.export(folder, tmp_path / "whole.safetensors").exact


def test_use_11_a_merged_pipeline_in_half_precision_says_its_error(
    random_base: Path, adapter: Path, tmp_path: Path
) -> None:
    whole = exports.export(adapter, tmp_path / "whole", "merged", base=random_base)
    half = exports.export(adapter, tmp_path / "half", "merged", base=random_base, dtype="bfloat16")
    assert whole.exact and whole.error == 0
    plain, merged, rounded = (
        bases.load(folder, torch.float32, "cpu").unet.state_dict() for folder in (random_base, whole.path, half.path)
    )
    changed = [name for name in plain if not torch.equal(plain[name], merged[name])]
    missing = sum(float((rounded[name] - merged[name]).square().sum()) for name in changed)
    total = sum(float((merged[name] - plain[name]).square().sum()) for name in changed)
    assert not half.exact and half.error == pytest.approx((missing / total) ** 0.5, rel=1e-3)


def test_use_15_one_word_is_a_prompt_and_a_mistyped_path_is_none(
    command: Any, adapter: Path, random_base: Path
) -> None:
    words = ("--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1)
    code, out, err = command("predict", "robot", *words)
    assert code == 0 and "1 done" in out, err
    for path in ("robot.txt", "./robot", "prompts/robot"):
        refused(command("predict", path, *words), "no such file")


def test_use_15_pictures_are_kept_and_the_sheet_shows_what_was_asked(
    command: Any, adapter: Path, random_base: Path, tmp_path: Path
) -> None:
    words = ("--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1)
    code, out, _ = command("predict", "a robot", *words, "--json")
    kept = Path(json.loads(out)["out"])
    assert code == 0 and list(kept.glob("*/0.png"))
    shutil.rmtree(kept)
    sizes = []
    for more in ((), ("--before", "--strength", "0.5,1")):
        assert command("predict", "a robot", *words, *more, "--out", tmp_path / str(len(more)))[0] == 0
        sizes.append(Image.open(tmp_path / str(len(more)) / "contact_sheet.png").size)
    assert sizes[1][1] > 2 * sizes[0][1]  # the base and two strengths, a row each


def test_use_17_files_are_said_to_open_where_they_do(tmp_path: Path) -> None:
    folder = networks.save(networks.with_krona((8, 8), layers=2), tmp_path / "a")
    lokr = exports.export(folder, tmp_path / "a.safetensors", "lokr", names="diffusers")
    assert lokr.opens_in == ("diffusers (unet.load_lora_adapter)",)  # its load_lora_weights takes LoRA alone
    changes = {"unet": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": LowRank(ONE.T[:, :768], ONE)}}
    assert forms.opens_in(changes, "lora", "sgm") == ("ComfyUI",)  # SD 1.x: others know these names of SDXL alone
    wide = {"unet": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": LowRank(ONE.T, ONE)}}
    assert "diffusers" in forms.opens_in(wide, "lora", "sgm")


def test_use_17_headers_tell_what_was_trained(random_base: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for folder, names in (("3_sks robot", ("a.png", "b.png")), ("2_sks robot at night", ("c.png",))):
        pictures(photos / folder, *names)
    (photos / "3_sks robot" / "a.txt").write_text("a sks robot, snow, blue sky")
    (photos / "3_sks robot" / "b.txt").write_text("a sks robot, snow")
    recipe = DreamBoothRecipe(str(random_base), adapter=SMALL, clip_skip=2)
    settings = TrainerConfig(max_steps=1, accumulate_grad_batches=2, accelerator="cpu", optimizer="sgd")
    data = PhotoData(str(photos), noun="robot", batch_size=2)
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    texts = weights.metadata(exports.export(run.adapter, tmp_path / "x.safetensors").path)
    tags = {
        "3_sks robot": {"a sks robot": 2, "snow": 2, "blue sky": 1},
        "2_sks robot at night": {"sks robot at night": 1},
    }
    assert json.loads(texts["ss_tag_frequency"]) == tags
    assert texts["ss_num_train_images"] == "8"  # as often as an epoch shows them
    assert texts["ss_total_batch_size"] == "4" and texts["ss_gradient_accumulation_steps"] == "2"
    assert texts["ss_optimizer"] == "sgd" and texts["ss_lr_scheduler"] == "linear" and texts["ss_clip_skip"] == "2"
    bucket = {"resolution": [world.SIZE, world.SIZE], "count": 3}
    assert json.loads(texts["ss_bucket_info"]) == {"buckets": {"0": bucket}}
    assert texts["modelspec.prediction_type"] == "v"
    content = (tmp_path / "x.safetensors").read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert texts["sshs_model_hash"] == digest and texts["modelspec.hash_sha256"] == f"0x{digest}"
    nothing = weights.metadata(
        exports.export(networks.save(networks.with_krona(), tmp_path / "n"), tmp_path / "n.safetensors").path
    )
    assert "ss_tag_frequency" not in nothing  # nobody knows what its captions were


def test_use_19_photos_on_the_toy_are_warned_of(command: Any, random_base: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", "0.png", "1.png", size=(640, 480))
    file = config(tmp_path, random_base, tmp_path / "photos")
    _, _, err = command("train", "--config", file, "--run-dir", tmp_path / "run")
    assert "cannot learn photographs" in err


FLUX = {"double_blocks_0_img_attn_qkv": (4, 32, 96), "single_blocks_1_linear1": (4, 32, 224)}


def low(down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(sum(down))
    return {
        "lora_down.weight": torch.randn(down, generator=generator),
        "lora_up.weight": torch.randn(up, generator=generator),
        "alpha": torch.tensor(2.0),
    }


def file_of(path: Path, modules: dict[str, dict[str, Any]]) -> Path:
    save_file({f"{name}.{part}": value for name, parts in modules.items() for part, value in parts.items()}, path)
    return path


@pytest.mark.parametrize("style", ["lora_unet_{}", "diffusion_model.{}"], ids=["kohya", "ComfyUI"])
def test_use_08_flux_under_its_authors_names_becomes_diffusers_modules(style: str, tmp_path: Path) -> None:
    parts = {name: low((rank, into), (out, rank)) for name, (rank, into, out) in FLUX.items()}
    names = {name: name.replace("s_0_", "s.0.").replace("s_1_", "s.1.").replace("n_q", "n.q") for name in parts}
    shown = {name: name if style.startswith("lora") else names[name] for name in parts}
    file = file_of(tmp_path / "flux.safetensors", {style.format(shown[name]): part for name, part in parts.items()})
    changes = weights_files.read(file).changes
    assert list(changes) == ["transformer"]
    both = {name: 0.5 * part["lora_up.weight"] @ part["lora_down.weight"] for name, part in parts.items()}
    double, single = both.values()
    wanted = {"single_transformer_blocks.1.proj_mlp": single[96:]}
    for number, letter in enumerate("qkv"):
        rows = slice(32 * number, 32 * number + 32)
        wanted[f"transformer_blocks.0.attn.to_{letter}"] = double[rows]
        wanted[f"single_transformer_blocks.1.attn.to_{letter}"] = single[rows]
    found = changes["transformer"]
    assert found.keys() == wanted.keys()
    for name, delta in wanted.items():
        networks.close(found[name].delta(), delta)


def test_use_08_locon_of_sdxls_own_block_names_is_for_diffusers_modules(command: Any, tmp_path: Path) -> None:
    modules = {
        "lora_unet_input_blocks_1_0_in_layers_2": ("down_blocks.0.resnets.0.conv1", (3, 3)),
        "lora_unet_input_blocks_3_0_op": ("down_blocks.0.downsamplers.0.conv", (3, 3)),
        "lora_unet_input_blocks_4_0_skip_connection": ("down_blocks.1.resnets.0.conv_shortcut", (1, 1)),
        "lora_unet_middle_block_2_out_layers_3": ("mid_block.resnets.1.conv2", (3, 3)),
        "lora_unet_output_blocks_2_2_conv": ("up_blocks.0.upsamplers.0.conv", (3, 3)),
        "lora_unet_output_blocks_3_0_emb_layers_1": ("up_blocks.1.resnets.0.time_emb_proj", ()),
        "lora_unet_out_2": ("conv_out", (3, 3)),
    }
    parts = {name: low((2, 8, *kernel), (8, 2, *(1 for _ in kernel))) for name, (_, kernel) in modules.items()}
    file = file_of(tmp_path / "locon.safetensors", parts)
    assert set(weights_files.read(file).changes["unet"]) == {name for name, _ in modules.values()}
    code, out, err = command("import", file, tmp_path / "mine")
    assert code == 0 and "exact" in out, err


def test_use_08_loha_stays_loha(tmp_path: Path) -> None:
    network = networks.unet()
    adapters.attach(network, "loha", targets=networks.targets(), r=2, alpha=3)
    networks.fill(network)
    wanted = networks.layer_deltas(network)
    made = exports.export(networks.save(network, tmp_path / "a", method="loha"), tmp_path / "x.safetensors")
    assert made.form == "loha" and made.exact and "ComfyUI" in made.opens_in
    (tmp_path / "b").mkdir()
    imports.convert(made.path, tmp_path / "b")
    assert adapters.read_manifest(tmp_path / "b")["domain"]["method"] == "loha"
    back = networks.layer_deltas(adapters.load(networks.unet(), tmp_path / "b"))
    assert back.keys() == wanted.keys()
    for name, delta in wanted.items():
        networks.close(back[name], delta)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"oft_blocks": torch.ones(2, 2, 2), "alpha": ONE[0]}, "OFT"),
        ({f"{half}.weight": ONE.clone() for half in ("a1", "a2", "b1", "b2")}, "GLoRA"),
        ({"weight": ONE, "on_input": torch.tensor(True)}, "IA3"),
    ],
)
def test_use_08_methods_that_cannot_be_read_are_named(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = file_of(tmp_path / "x.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": parts})
    with pytest.raises(InputError, match=words):
        weights_files.read(file)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", ("whole base", "--base")),
        ("control_model.input_blocks.0.0.weight", ("ControlNet",)),
        ("controlnet_cond_embedding.conv_in.weight", ("ControlNet",)),
        ("emb_params", ("textual inversion", "load_textual_inversion")),
        ("clip_g", ("textual inversion",)),
        ("image_proj.proj.weight", ("IP-Adapter",)),
        ("base_model.model.mid_block.attn.to_q.vera_lambda_b", ("VeRA",)),
    ],
)
def test_use_08_what_is_no_adapter_of_weights_is_named(
    key: str, words: tuple[str, ...], command: Any, tmp_path: Path
) -> None:
    save_file({key: ONE}, tmp_path / "x.safetensors")
    refused(command("import", tmp_path / "x.safetensors", tmp_path / "mine"), "x.safetensors", *words)


def test_use_08_words_beside_a_lora_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    file = file_of(tmp_path / "x.safetensors", {"lora_unet_mid_block_attentions_0_proj_in": low((2, 8), (8, 2))})
    save_file({**load_file(file), "bundle_emb.dog.string_to_param.*": ONE}, file)
    assert set(weights_files.read(file).changes["unet"]) == {"mid_block.attentions.0.proj_in"}
    assert "embeddings of words" in capsys.readouterr().err


def test_use_08_norms_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    name = "lora_unet_mid_block_attentions_0"
    norm = {"w_norm": torch.ones(8), "b_norm": torch.ones(8)}
    file = file_of(tmp_path / "x.safetensors", {f"{name}_norm": norm, f"{name}_proj_in": low((2, 8), (8, 2))})
    assert set(weights_files.read(file).changes["unet"]) == {"mid_block.attentions.0.proj_in"}
    assert "norm" in capsys.readouterr().err


def dora(folder: Path, random_base: Path) -> tuple[Path, dict[str, Any]]:
    """A trained-looking DoRA on the random base, and the weights that it computes with."""
    loaded = bases.load(random_base, torch.float32, "cpu")
    adapters.attach(loaded.unet, "lora", targets=networks.targets(), r=2, lora_alpha=4, use_dora=True)
    networks.fill(loaded.unet, 0.1)
    saved = networks.save(loaded.unet, folder, method="lora")
    adapters.merge(loaded.unet)
    return saved, {
        name: layer.get_base_layer().weight.detach().clone()
        for name, layer in loaded.unet.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def test_use_07_dora_merges_and_exports_and_comes_back(random_base: Path, tmp_path: Path) -> None:
    folder, wanted = dora(tmp_path / "a", random_base)
    exports.export(folder, tmp_path / "merged", "merged", base=random_base)
    merged = bases.load(tmp_path / "merged", torch.float32, "cpu").unet
    for name, weight in wanted.items():
        networks.close(merged.get_submodule(name).weight, weight)

    made = exports.export(folder, tmp_path / "x.safetensors")
    state = load_file(made.path)
    assert made.form == "lora" and sum(key.endswith(".dora_scale") for key in state) == len(wanted)
    plain = bases.load(random_base, torch.float32, "cpu").unet
    for name, weight in wanted.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        up, down = state[f"{key}.lora_up.weight"], state[f"{key}.lora_down.weight"]
        # As ComfyUI and LyCORIS compute it: https://arxiv.org/abs/2402.09353, equation 5.
        changed = plain.get_submodule(name).weight + state[f"{key}.alpha"] / len(down) * up @ down
        networks.close(state[f"{key}.dora_scale"] * changed / changed.norm(dim=1, keepdim=True), weight, 1e-4)

    (tmp_path / "b").mkdir()
    imports.convert(made.path, tmp_path / "b")
    back = bases.load(random_base, torch.float32, "cpu").unet
    adapters.merge(adapters.load(back, tmp_path / "b"))
    for name, weight in wanted.items():
        networks.close(back.get_submodule(name).get_base_layer().weight, weight, 1e-4)
    for to in ("diff", "lokr"):
        with pytest.raises(InputError, match="DoRA"):
            exports.export(folder, tmp_path / "y.safetensors", to)


def test_use_14_of_a_pipelines_repository_one_set_of_weights_is_wanted() -> None:
    unet = "unet/diffusion_pytorch_model"
    wanted = ["model_index.json", "unet/config.json", f"{unet}.safetensors", "scheduler/scheduler_config.json"]
    wanted += ["text_encoder/model-00001-of-00002.safetensors", "text_encoder/model.safetensors.index.json"]
    spare = ["sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors", f"{unet}.fp16.safetensors"]
    spare += [f"{unet}.non_ema.safetensors", "text_encoder/model.fp16-00001-of-00002.safetensors"]
    spare += ["text_encoder/model.safetensors.index.fp16.json"]
    reference = references.HubRepository("org/name")
    assert set(repository._wanted(reference, dict.fromkeys([*wanted, *spare]), False)) == set(wanted)
    plain = ["config.json", "model.safetensors", "model.fp16.safetensors"]  # no pipeline: nothing is left out
    assert set(repository._wanted(reference, dict.fromkeys(plain), False)) == set(plain)


def test_use_01_an_adapter_acts_on_a_fine_tune_of_its_base(
    command: Any, adapter: Path, random_base: Path, tmp_path: Path
) -> None:
    tuned = shutil.copytree(random_base, tmp_path / "tuned")
    weights = tuned / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: value * 1.01 for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    words = ("predict", "a sks robot", "--adapter", adapter, "--base", tuned, "--steps", 1, "--images", 1)
    with pytest.warns(UserWarning, match="other weights of the same shapes"):
        code, out, err = command(*words, "--out", tmp_path / "out")
    assert code == 0 and "1 done" in out, err
    refused(command(*words, "--strict-base"), "load that base")


def test_use_12_the_shipped_recipe_is_not_scolded(command: Any) -> None:
    code, _, err = command("count", "--config", "configs/personalized_diffusion/tiny.yaml")
    assert code == 0 and "make poor pictures" not in err


FORWARD, BUILT = "lycoris's bypass / forward", "kron, then matmul / forward"


def test_use_18_costs_on_the_page_are_what_the_benchmark_kept() -> None:
    root = Path(__file__).parents[2]
    kept = json.loads((root / "benchmarks" / "results" / "diffusekrona.json").read_text())
    page = (root / "docs" / "personalized_diffusion.md").read_text(encoding="utf-8")
    cost = page[page.index("## Cost") :]
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in cost.splitlines()
        if "|" in row
    }
    order = ("krona", "lora", "lycoris", "lokr", "materialised")  # as the table's columns
    seconds, ratios = kept["median_seconds"], {row["ratio"]: row["value"] for row in kept["ratios"]}
    measured = {
        "lora": 1 / ratios["krona / lora"],
        "lycoris": ratios["lycoris / krona"],
        "lokr": ratios["lokr / krona"],
        "materialised": seconds["materialised"] / seconds["krona"],
    }
    assert rows["trained parameters"] == [f"{kept['parameters'][name]:,}" for name in order]
    assert rows["peak memory of a step beside the weights, MiB"] == [
        f"{kept['peak_bytes'][n] / 2**20:.1f}" for n in order
    ]
    assert rows["time of a step beside KronA's"] == ["1", *(f"{measured[name]:.2f}" for name in order[1:])]
    told = (
        f"{ratios['krona / lora']:.2f} of LoRA's time",
        f"{ratios[FORWARD]:.2f} of ours",
        f"and {ratios[BUILT]:.0f} of ours",
    )
    assert all(words in " ".join(cost.split()) for words in told)
