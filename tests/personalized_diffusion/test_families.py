"""Each family of flows: what training asks of the denoiser is what its pipeline asks, and a step of training works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases, methods
from domains.personalized_diffusion.model.conditioning import side_by_side
from domains.personalized_diffusion.model.families import FAMILIES
from domains.personalized_diffusion.model.latents import moments_of, scaled_latents
from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.model.velocities import velocity
from domains.personalized_diffusion.official import exports, forms, header, weights_files
from domains.personalized_diffusion.official.changes import LowRank
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import adapters, training
from suite.cli.main import main
from suite.errors import InputError
from suite.training import TrainerConfig
from tests.personalized_diffusion import families, networks

FLOWS = [name for name, family in FAMILIES.items() if family.component == "transformer"]
TARGETS = {
    "sd3": r".*\.(to_[kqv]|to_out\.0|add_[kqv]_proj|to_add_out)",
    "flux": r".*\.(to_[kqv]|to_out\.0|add_[kqv]_proj|to_add_out)",
    "flux2": r".*\.attn\.(to_[kqv]|to_out\.0|to_qkv_mlp_proj)|single_.*\.attn\.to_out",
    "flux2_klein": r".*\.attn\.(to_[kqv]|to_out\.0|to_qkv_mlp_proj)|single_.*\.attn\.to_out",
    "qwen_image": r".*\.attn\.(to_[kqv]|to_out\.0|add_[kqv]_proj|to_add_out)",
    "z_image": r".*\.attention\.(to_[kqv]|to_out\.0)",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: families.save(name, root / name) for name in FLOWS}


def tokens_of(network: torch.nn.Module, call: Any) -> Tensor:
    """What the first call of a network was given as its picture."""
    seen: list[Any] = []

    def keep(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = named.get("hidden_states", args[0] if args else None)
        seen.append(torch.stack(list(given)) if isinstance(given, list) else given)

    handle = network.register_forward_pre_hook(keep, with_kwargs=True)
    call()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", FLOWS)
def test_what_training_asks_is_what_the_pipeline_asks(folders: dict[str, Path], family: str) -> None:
    """One step from noise to picture is the noise less the velocity: the sign, the time, the words and the places."""
    base = bases.load(folders[family], torch.float32, "cpu")
    torch.manual_seed(1)
    sample = torch.randn(scaled_latents(base, {"pixels": torch.zeros(1, 3, 64, 64)}).shape)
    with torch.no_grad():
        said = base.encode(["a robot in the snow"])

        def ask(latents: Tensor) -> Tensor:
            return velocity(family, base.unet, latents, torch.ones(1), said, 1.0)

        wanted = sample - ask(sample)
        noise, picture = (tokens_of(base.unet, lambda at=at: ask(at)) for at in (sample, wanted))
    start = sample if family.startswith(("sd3", "flux2", "z_")) else noise
    quiet: dict[str, Any] = {FAMILIES[family].guide: 0.0 if family == "z_image" else 1.0}
    reached: list[Tensor] = []

    def keep(pipe: Any, step: int, time: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
        reached.append(given["latents"])
        return given

    base.pipeline()(
        prompt="a robot in the snow",
        latents=start,
        height=64,
        width=64,
        num_inference_steps=1,
        callback_on_step_end=keep,
        **quiet,
    )
    [drawn] = reached
    torch.testing.assert_close(drawn, picture.reshape(drawn.shape), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FLOWS)
def test_scaled_latents_are_what_the_pipeline_decodes(folders: dict[str, Path], family: str) -> None:
    """The pipeline undoes the scaling before its VAE decodes: the same latents must come out."""
    base = bases.load(folders[family], torch.float32, "cpu")
    moments = moments_of(base.vae, torch.rand(1, 3, 64, 64) * 2 - 1)
    moments[:, moments.shape[1] // 2 :] = -100.0  # no noise: the mean
    latents = scaled_latents(base, {"moments": moments})
    mean = moments.chunk(2, dim=1)[0]
    given: list[Tensor] = []

    def decode(latents: Tensor, *_: Any, **__: Any) -> Any:
        given.append(latents)
        raise StopIteration

    base.vae.decode = decode
    with torch.no_grad():
        said = base.encode(["a robot"])
        noise = tokens_of(base.unet, lambda: velocity(family, base.unet, latents, torch.ones(1), said, 1.0))
    base.unet.forward = lambda *args, **named: still(args, named)
    start = latents if family.startswith(("sd3", "flux2", "z_")) else noise
    quiet: dict[str, Any] = {FAMILIES[family].guide: 0.0 if family == "z_image" else 1.0}
    with pytest.raises(StopIteration):
        base.pipeline()(prompt="a robot", latents=start, height=64, width=64, num_inference_steps=1, **quiet)
    found = given[0][:, :, 0] if given[0].ndim == 5 else given[0]
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=1e-4)


def still(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any]:
    """A network that predicts no movement."""
    given = args[0] if args else named["hidden_states"]
    return ([torch.zeros_like(one) for one in given] if isinstance(given, list) else torch.zeros_like(given),)


@pytest.mark.parametrize("family", FLOWS)
def test_a_step_of_training_and_pictures_with_what_it_made(
    folders: dict[str, Path], family: str, tmp_path: Path
) -> None:
    data = PhotoData(photos="sprites:robot:2", noun="robot", batch_size=2, resolution=64, captions="filename")
    section = {"preset": "diffusekrona", "factors": [2, 4], "targets": TARGETS[family]}
    recipe = DreamBoothRecipe(str(folders[family]), adapter=section, timesteps={"sampling": "logit_normal"})
    settings = TrainerConfig(max_epochs=-1, max_steps=2, lr=1e-2, accelerator="cpu")
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    assert 0 < run.metrics["train/loss"] < 10
    stated = adapters.read_manifest(run.adapter)["domain"]
    assert stated["family"] == family and stated["targets"] == TARGETS[family] and stated["projections"] is None
    personalizer = Personalizer.from_pretrained(str(run.adapter), str(folders[family]), "cpu")
    [result] = personalizer.predict("a sks robot", images=1, steps=1, size="64", before=True)
    frozen, ours = (picture.digest for picture in sorted(result.pictures, key=lambda p: p.strength or 0))
    assert frozen != ours


@pytest.mark.parametrize("family", ["qwen_image", "z_image"])
def test_prompts_of_several_lengths_are_answered_as_each_alone(folders: dict[str, Path], family: str) -> None:
    base = bases.load(folders[family], torch.float32, "cpu")
    prompts = ["a robot", "a robot in the snow, at night"]
    with torch.no_grad():
        each = [base.encode([prompt]) for prompt in prompts]
        both = side_by_side(each)
        assert both.mask is not None and both.mask.sum(1).tolist() == [one.embeds.shape[1] for one in each]
        sample = torch.randn(2, 4, 8, 8)
        levels = torch.tensor([0.3, 0.8])
        together = velocity(family, base.unet, sample, levels, both, 1.0)
        for row, said in enumerate(each):
            alone = velocity(family, base.unet, sample[row : row + 1], levels[row : row + 1], said, 1.0)
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)


def test_a_family_without_clip_has_no_text_encoder_to_adapt(folders: dict[str, Path]) -> None:
    base = bases.load(folders["z_image"], torch.float32, "cpu")
    with pytest.raises(InputError, match="Z-Image has none"):
        bases.adapted_parts(base, text_encoder=True)


@pytest.mark.parametrize("family", FLOWS)
def test_adapters_go_out_and_come_back_under_every_name(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    base = bases.load(folders[family], torch.float32, "cpu")
    adapters.attach(base.unet, {**methods.krona((2, 4)), "targets": TARGETS[family]})
    networks.fill(base.unet)
    folder = networks.save(base.unet, tmp_path / "a", family=family)
    wanted = networks.layer_deltas(base.unet)
    for names in ("kohya", "diffusers"):
        made = exports.export(folder, tmp_path / f"{names}.safetensors", "lora", names=names)
        found = weights_files.read(made.path).changes
        assert list(found) == ["transformer"] and found["transformer"].keys() == wanted.keys()
        for name, delta in wanted.items():
            networks.close(found["transformer"][name].delta(), delta)
        told = {"flux2_klein": "flux2", "sd3": "unknown", "qwen_image": "unknown"}.get(family, family)
        assert header.family_of(found, Stated()) == told  # those two are named alike, and told by their real widths
    assert "diffusers" in made.opens_in
    theirs = bases.load(folders[family], torch.float32, "cpu").unet
    theirs.load_lora_adapter(str(tmp_path), weight_name="diffusers.safetensors", prefix="transformer")
    adapters.merge(base.unet)
    for name in wanted:
        layer = theirs.get_submodule(name)
        changed = layer.get_base_layer().weight + layer.get_delta_weight(layer.active_adapters[0])
        networks.close(changed, base.unet.get_submodule(name).get_base_layer().weight)


@pytest.mark.parametrize(("width", "family"), [(1536, "sd3"), (2432, "sd3"), (3072, "qwen_image"), (32, "unknown")])
def test_families_that_are_named_alike_are_told_by_their_width(width: int, family: str) -> None:
    change = LowRank(torch.zeros(1, width), torch.zeros(width, 1))
    changes = {"transformer": {"transformer_blocks.0.attn.to_q": change}}
    assert header.family_of(changes, Stated()) == family
    # Loaders of other programs were compared for SD3 and Flux alone.
    assert ("ComfyUI" in forms.opens_in(changes, "lora", "kohya")) == (family != "qwen_image")


CONFIGS = {"sd3": "sd3", "flux": "flux", "flux2": "flux2_klein", "qwen_image": "qwen_image", "z_image": "z_image"}


@pytest.mark.parametrize(("name", "family"), CONFIGS.items())
def test_the_shipped_configuration_trains_its_family_at_toy_size(
    name: str, family: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all that it asks for: its targets, samples, memory; of other sizes are only the network and the pictures."""
    words = ["--config", f"configs/personalized_diffusion/{name}.yaml", "--base", str(folders[family])]
    words += ["--recipe.adapter.factors", "[2, 4]", "--data.photos", "sprites:robot:2", "--data.resolution", "64"]
    words += ["--recipe.samples", '{every: 1, prompts: ["a sks robot"], images: 1, steps: 1}']
    words += ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--run-dir", str(tmp_path / "run")]
    assert main(["personalized_diffusion", "train", *words]) == 0, capsys.readouterr().err
    drawn = sorted(path.stem for path in (tmp_path / "run" / "samples").iterdir())
    assert drawn == ["step_000000", "step_000001"]
    config = yaml.safe_load(Path(f"configs/personalized_diffusion/{name}.yaml").read_text())
    pattern = re.compile(config["recipe"]["adapter"]["targets"])
    network = bases.load(folders[family], torch.float32, "cpu").unet
    linear = {n for n, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    attention = {n for n in linear if re.search(r"\.(attn2?|attention)\.", n) and "norm" not in n}
    assert attention == {n for n in linear if pattern.fullmatch(n)}
