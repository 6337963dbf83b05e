"""Pre-training of the small vision tower: who is to be seen, and how fine the texture of each patch is.

A contrastive tower of this size drops texture, which captions do not tell. Here every patch's token answers for the
picture under it, as in MaskFeat (Wei et al. 2022, arXiv 2112.09133), with the energies of small filters in place of
oriented gradients, and some patches are left out. No forgery is in the data: only real made people, every third picture
blurred, noisy or coarse as a whole.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake.data import world
from domains.deepfake.data.alignment import align
from suite.clip.pictures import Preprocessing
from suite.media import portraits
from suite.training.plain import Schedule, train

SCHEDULE = Schedule(steps=900, batch=48, lr=1.5e-3, warmup=60, decay=0.02, betas=(0.9, 0.98))
PEOPLE, FIRST = 2_200, 20_000
"""How many people, and the number of the first; no split of the made world has them."""
TREATMENTS = ("none", "blurred", "noisy", "coarse")
ATTRIBUTES = ("skin", "hair", "style", "eyes", "room", "glasses", "beard")
PATCH, SEEN, WHOLE = 8, 36, 0.2
"""Side of a patch, patches seen in most steps, and the share of the steps, the last ones, that see all."""


def faces(people: int = PEOPLE) -> NDArray[np.uint8]:
    """Aligned faces (people, side, side, 3), filmed by the made world's camera, a frame a person."""
    clips = (world.clip(FIRST + number, frames=1) for number in range(people))
    return np.stack([align(c.frames[0], c.landmarks[0], size=world.CROP, scale=world.SCALE).pixels for c in clips])


def treated(picture: NDArray[np.uint8], number: int) -> tuple[NDArray[np.uint8], int]:
    """A picture, every third time blurred, noisy or coarse, and which of `TREATMENTS` it had."""
    rng = np.random.default_rng(number)
    kind = max(0, int(rng.integers(9)) - 5)
    image, side = Image.fromarray(picture), len(picture)
    if TREATMENTS[kind] == "blurred":
        return np.asarray(image.filter(ImageFilter.GaussianBlur(side / 64 * rng.uniform(1, 2)))), kind
    if TREATMENTS[kind] == "noisy":
        noisy = picture + rng.normal(0, rng.uniform(12, 30), picture.shape)
        return noisy.clip(0, 255).astype(np.uint8), kind
    if TREATMENTS[kind] == "coarse":
        small = image.resize((side // 4, side // 4), Image.Resampling.BOX)
        return np.asarray(small.resize((side, side), Image.Resampling.NEAREST)), kind
    return picture, kind


def texture(pixels: Tensor) -> Tensor:
    """Normalised pictures (batch, 3, side, side) to (batch, patches, 10): mean colour, log energy of small filters."""
    grey = pixels.mean(1, keepdim=True)
    colour = pixels - grey
    across = functional.pad(grey[..., 1:] - grey[..., :-1], (0, 1))
    down = functional.pad(grey[..., 1:, :] - grey[..., :-1, :], (0, 0, 0, 1))
    fine, coarse = functional.avg_pool2d(grey, 3, 1, 1), functional.avg_pool2d(grey, 5, 1, 2)
    chroma = (colour - functional.avg_pool2d(colour, 3, 1, 1)).square().mean(1, keepdim=True).sqrt()
    bends = [across.roll(1, -1) - across, down.roll(1, -2) - down]
    filtered = torch.cat([across, down, grey - fine, fine - coarse, chroma, *bends], 1)  # (batch, 7, side, side)
    energy = torch.log(functional.avg_pool2d(filtered.square(), PATCH) + 1e-4)
    return torch.cat([functional.avg_pool2d(pixels, PATCH), energy], 1).flatten(2).transpose(1, 2)


class Pool:
    """Pictures, what their patches look like, and what is known of the person, drawn once."""

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        seen = [treated(picture, number) for number, picture in enumerate(pictures)]
        self.pixels = Preprocessing(world.CROP).normalize(torch.from_numpy(np.stack([picture for picture, _ in seen])))
        targets = texture(self.pixels)
        self.targets = (targets - targets.mean((0, 1))) / targets.std((0, 1))  # (n, patches, 10)
        people = [portraits.person(FIRST + number) for number in range(len(pictures))]
        known = [[str(getattr(who, name)) for who in people] for name in ATTRIBUTES]
        columns = [[sorted(set(values)).index(value) for value in values] for values in known]
        self.classes = torch.tensor([*columns, [kind for _, kind in seen]]).T  # (n, attributes + 1)


class Answers(nn.Module):
    """The tower with the heads that pre-training asks, which are thrown away."""

    def __init__(self, tower: CLIPVisionModel, pool: Pool) -> None:
        super().__init__()
        width, targets = tower.config.hidden_size, pool.targets.shape[2]
        self.tower = tower
        self.patch, self.picture = nn.Linear(width, targets), nn.Linear(width, 2 * targets)
        self.classes = nn.ModuleList(nn.Linear(width, int(column.max()) + 1) for column in pool.classes.T)

    def loss(self, pixels: Tensor, targets: Tensor, classes: Tensor, shown: Tensor) -> Tensor:
        """Of pictures of which the patches `shown` (batch, seen) are seen."""
        x = self.tower.pre_layrnorm(self.tower.embeddings(pixels))  # (batch, 1 + patches, width)
        rows = torch.cat([torch.zeros(len(x), 1, dtype=torch.long), shown + 1], 1)
        x = x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))
        tokens = self.tower.post_layernorm(self.tower.encoder(inputs_embeds=x).last_hidden_state)
        own = targets.gather(1, shown[..., None].expand(-1, -1, targets.shape[2]))
        patches = functional.mse_loss(self.patch(tokens[:, 1:]), own)
        whole = torch.cat([targets.mean(1), targets.std(1)], 1)
        picture = functional.mse_loss(self.picture(tokens[:, 0]), whole)
        *who, treatment = (
            functional.cross_entropy(head(tokens[:, 0]), classes[:, number]) for number, head in enumerate(self.classes)
        )
        return 2 * patches + 2 * picture + 0.4 * torch.stack(who).sum() + treatment


def new(seed: int = 0) -> CLIPVisionModel:
    """The untrained tower: pictures of 64 pixels in patches of 8 through four layers."""
    torch.manual_seed(seed)
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=96,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=3,
            image_size=world.CROP,
            patch_size=PATCH,
            projection_dim=96,
        )
    )


def pretrain(pool: Pool, tower: CLIPVisionModel, schedule: Schedule = SCHEDULE) -> CLIPVisionModel:
    """Train the tower, which comes back in eval mode."""
    rng = torch.Generator().manual_seed(schedule.seed)
    model, side, step = Answers(tower, pool), world.CROP // PATCH, 0
    mirrored = torch.arange(side**2).view(side, side).flip(1).flatten()

    def loss() -> Tensor:
        chosen = torch.randint(len(pool.pixels), (schedule.batch,), generator=rng)
        pixels, targets = pool.pixels[chosen], pool.targets[chosen]
        if step % 2:
            pixels, targets = pixels.flip(-1), targets[:, mirrored]
        count = side**2 if step >= (1 - WHOLE) * schedule.steps else min(SEEN, side**2)
        shown = torch.rand(len(chosen), side**2, generator=rng).argsort(1)[:, :count]
        return model.loss(pixels, targets, pool.classes[chosen], shown)

    def after() -> None:
        nonlocal step
        step += 1

    model.train()
    train("tower", model, loss, schedule, after)
    return tower.eval()
