"""Masks weigh the loss by place, follow their photo through every cut, and photos train at several resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.data.samples import Rendering
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.model.losses import denoising_loss
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import training
from suite.errors import InputError
from suite.training import TrainerConfig


def cutout(path: Path, size: tuple[int, int] = (96, 64), subject: tuple[int, int, int, int] = (0, 0, 48, 64)) -> Path:
    """A photo whose subject is red and opaque, on transparent grey."""
    pixels = np.full((size[1], size[0], 4), (128, 128, 128, 0), np.uint8)
    left, top, right, bottom = subject
    pixels[top:bottom, left:right] = (255, 0, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def folders(root: Path) -> tuple[Path, Path]:
    """Photos without transparency and, elsewhere, their masks, one as a phone turned it."""
    for name in ("a", "b"):
        image = Image.open(cutout(root / "cut" / f"{name}.png"))
        (root / "photos").mkdir(exist_ok=True)
        (root / "masks").mkdir(exist_ok=True)
        image.convert("RGB").save(root / "photos" / f"{name}.jpg")
        image.getchannel("A").resize((48, 32)).save(root / "masks" / f"{name}.png")
    return root / "photos", root / "masks"


def samples(base: bases.Base, **settings: Any) -> list[dict[str, Any]]:
    data = PhotoData(noun="robot", **settings)
    data.bind(base, 0)
    data.setup()
    batches = list(data.train_dataloader())
    return batches


@pytest.fixture(scope="module")
def base(random_base: Path) -> bases.Base:
    return bases.load(random_base, torch.float32, "cpu")


@pytest.mark.parametrize("cache_latents", [True, False])
@pytest.mark.parametrize("source", ["alpha", "folder"])
def test_masks_follow_their_photo(source: str, cache_latents: bool, base: bases.Base, tmp_path: Path) -> None:
    photos, masks = folders(tmp_path)
    given = {"photos": str(tmp_path / "cut"), "masks": "alpha"} if source == "alpha" else {}
    given = given or {"photos": str(photos), "masks": str(masks)}
    [first, _] = samples(base, resolution=64, cache_latents=cache_latents, **given)
    mask = first["mask"]
    # The square in the middle of 96 x 64: its left half less 16 pixels is subject.
    assert mask.shape == (1, 1, 8, 8) and mask.mean() == pytest.approx(1)
    torch.testing.assert_close(mask[0, 0, :, :3], torch.full((8, 3), 2.0), atol=0.1, rtol=0)
    assert mask[0, 0, :, 5:].max() < 0.05
    [soft, _] = samples(base, resolution=64, cache_latents=cache_latents, unmasked_weight=0.5, **given)
    assert soft["mask"][0, 0, 0, 7] / soft["mask"][0, 0, 0, 0] == pytest.approx(0.5, abs=0.02)


def test_masks_are_cut_and_mirrored_with_their_photo(tmp_path: Path) -> None:
    """Where the picture is red, the mask is white, whatever the cut."""
    from domains.personalized_diffusion.data.masks import Masks
    from domains.personalized_diffusion.data.photos import list_photos

    cutout(tmp_path / "a.png", (160, 96), (64, 16, 112, 80))
    [photo] = list_photos(tmp_path)
    rendering = Rendering(64, "white", "random", True, Masks("alpha"), None)
    torch.manual_seed(0)
    for flip in (False, True) * 3:
        made = rendering.of(photo, (64, 64), flip, masked=True)
        red = (made["pixels"][0] - made["pixels"][1]).clamp(0) / 2  # (64, 64); white is not red
        cells = torch.nn.functional.avg_pool2d(red[None], 8)
        torch.testing.assert_close(made["mask"], cells / cells.mean(), atol=0.05, rtol=0)


def test_an_error_outside_of_the_mask_costs_nothing() -> None:
    target, predicted = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    predicted[:, :, :, 4:] = 3.0
    left = torch.zeros(2, 1, 8, 8)
    left[..., :4] = 2.0
    assert denoising_loss(predicted, target, mask=left).tolist() == [0, 0]
    assert denoising_loss(predicted, target, mask=left.flip(-1)).tolist() == [9, 9]
    assert denoising_loss(predicted, target, torch.tensor([1.0, 0.5])).tolist() == [4.5, 2.25]
    coarse = torch.full((2, 4, 4, 4), 3.0)  # a denoiser's latents may be coarser than the mask
    assert denoising_loss(coarse, 0 * coarse, mask=left).tolist() == [9, 9]


def test_training_with_masks_and_class_images(base: bases.Base, random_base: Path, tmp_path: Path) -> None:
    photos, masks = folders(tmp_path)
    data = PhotoData(str(photos), noun="robot", masks=str(masks), class_images=1, class_steps=1, batch_size=2)
    recipe = DreamBoothRecipe(str(random_base), adapter={"preset": "lora", "rank": 2})
    run = training.fit(recipe, data, TrainerConfig(max_steps=1, accelerator="cpu"), folder=tmp_path / "run")
    assert run.metrics["train/loss"] > 0
    [batch] = list(data.train_dataloader())
    assert batch["prior"] and batch["mask"].shape[0] == 4
    assert torch.equal(batch["mask"][2:], torch.ones_like(batch["mask"][2:]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda masks: (masks / "b.png").unlink(), r"no mask for b\.jpg"),
        (lambda masks: Image.new("L", (50, 50), 255).save(masks / "b.png"), "the same shape"),
        (lambda masks: Image.new("L", (48, 32)).save(masks / "b.png"), "black all over"),
        (lambda masks: (masks / "b.png").write_bytes(b"x"), "b.png"),
    ],
)
def test_masks_that_do_not_fit_are_told(change: Any, words: str, tmp_path: Path) -> None:
    photos, masks = folders(tmp_path)
    change(masks)
    with pytest.raises(InputError, match=words):
        PhotoData(str(photos), masks=str(masks)).setup()


def test_a_folder_of_masks_that_is_not_there_is_told(tmp_path: Path) -> None:
    for given, words in (
        ({"masks": str(tmp_path / "no")}, "no such folder"),
        ({"masks": "alpha", "unmasked_weight": 2}, "0 to 1"),
    ):
        with pytest.raises(InputError, match=words):
            PhotoData(**given)


def test_photos_train_at_several_resolutions(base: bases.Base, tmp_path: Path) -> None:
    photos, _ = folders(tmp_path)
    made = samples(base, photos=str(photos), resolution=[32, 64], batch_size=2)
    assert sorted(batch["moments"].shape[-1] for batch in made) == sorted({b["moments"].shape[-1] for b in made})
    sizes = {batch["moments"].shape[-1] for batch in made}
    assert len(sizes) == 2 and max(sizes) == 2 * min(sizes)
    data = PhotoData(str(photos), noun="robot", resolution=[32, 64])
    data.setup()
    assert data.side == 64 and data.record()["images"] == 2
    assert data.record()["buckets"] == [[32, 32, 2], [64, 64, 2]]
    with pytest.raises(InputError, match=r"data\.resolution"):
        PhotoData(resolution=[0])
