"""The command: prompts, settings left empty, sheets, bases that an adapter was not made on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.personalized_diffusion.made import DOMAIN, pictures, refused


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


def test_use_03_a_long_prompt_is_no_file_name(command: Any, adapter: Path, random_base: Path) -> None:
    prompt = "a photo of sks robot sitting on a bench, " + ", ".join(["golden hour"] * 30)
    words = ("--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1)
    code, out, err = command("predict", prompt, *words)
    assert code == 0 and "1 done" in out, err
    refused(command("predict", "x" * 300 + ".txt", *words), "no such file")


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


def test_use_19_photos_on_the_toy_are_warned_of(command: Any, random_base: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", "0.png", "1.png", size=(640, 480))
    file = config(tmp_path, random_base, tmp_path / "photos")
    _, _, err = command("train", "--config", file, "--run-dir", tmp_path / "run")
    assert "cannot learn photographs" in err


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
