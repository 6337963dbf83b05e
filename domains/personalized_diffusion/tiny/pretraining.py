"""Pre-training of the tiny base on the made world: CLIP, the image encoder of the metrics and the UNet.

Each stage is a function of the pool of pictures and a schedule; the UNet reads the trained CLIP's text states, as
Stable Diffusion's does, and the latents that the VAE is taught.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, ViTModel

from domains.personalized_diffusion.data import creatures, world
from domains.personalized_diffusion.data.world import Sprite
from domains.personalized_diffusion.model import losses
from domains.personalized_diffusion.tiny import networks
from domains.personalized_diffusion.tiny.autoencoder import DEVIATION, Components, silence
from domains.personalized_diffusion.tiny.pool import Pool
from suite.training.plain import Schedule, train

CLIP = Schedule(500, 128)
VISION = Schedule(500, 128)
UNET = (
    Schedule(2500, 32, lr=2e-3, warmup=100),
    Schedule(1500, 32, lr=1.2e-3, warmup=50, seed=1),
    Schedule(1500, 32, lr=1.2e-3, warmup=50, seed=2),
)


def train_clip(pool: Pool, tokens: CLIPTokenizer, schedule: Schedule = CLIP) -> CLIPModel:
    """A CLIP by contrast: a caption agrees with every picture of the batch that it is true of."""
    torch.manual_seed(schedule.seed)
    model = networks.clip(tokens).train()
    rng = random.Random(schedule.seed)

    def loss() -> Tensor:
        rows = torch.randint(len(pool.sprites), (schedule.batch,))
        shown = [pool.sprites[row] for row in rows.tolist()]
        captions = [sprite.caption(rng) for sprite in shown]
        claimed = _told([_claims(caption) for caption in captions])
        true = (claimed @ (1 - _told([_facts(sprite) for sprite in shown])).T == 0).float().T  # (pictures, captions)
        words = tokens(captions, padding="max_length", return_tensors="pt")
        logits = model(pixel_values=pool.batch(rows), **words).logits_per_image
        by_image = -(true / true.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text = -(true / true.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        return (by_image + by_text) / 2

    train("clip", model, loss, schedule)
    return model.eval()


FACTS = (
    *((name, value) for name in ("colour", "second") for value in world.COLOURS),
    *(("kind", kind) for kind in world.KINDS),
    *(("look", look) for look in (*creatures.MARKINGS, *creatures.HEADS)),
    *(("scene", scene) for scene in world.SCENES),
)
"""All that a caption may claim."""


def _told(facts: Sequence[set[tuple[str, str]]]) -> Tensor:
    """(N, F) of 0 and 1: which facts are in each set."""
    return torch.tensor([[float(fact in some) for fact in FACTS] for some in facts])


def _claims(caption: str) -> set[tuple[str, str]]:
    scene = next((scene for scene in world.SCENES if caption.endswith(scene)), "")
    front, _, looks = caption.removesuffix(scene).partition(" with ")
    said = {("scene", scene), *((name, word) for name in ("colour", "kind") for word in front.split())}
    return said.union((name, word) for name in ("second", "look") for word in looks.split())


def _facts(sprite: Sprite) -> set[tuple[str, str]]:
    of = sprite.individual
    looks = {("look", of.markings), ("look", of.head), ("second", of.second)}
    return looks | {("colour", of.colour), ("kind", of.kind), ("scene", sprite.scene)}


def train_vision(pool: Pool, schedule: Schedule = VISION, temperature: float = 0.1) -> ViTModel:
    """An image encoder by contrast: two pictures of one creature agree, whatever the scene, size, tilt and side."""
    torch.manual_seed(schedule.seed)
    model = networks.vision().train()

    def loss() -> Tensor:
        pairs = torch.randperm(len(pool.sprites) // 2)[: schedule.batch // 2]
        rows = torch.cat([2 * pairs, 2 * pairs + 1])
        states = functional.normalize(model(pool.batch(rows)).last_hidden_state[:, 0], dim=-1)
        logits = states @ states.T / temperature
        logits.fill_diagonal_(-torch.inf)
        half = len(pairs)
        partner = torch.cat([torch.arange(half, 2 * half), torch.arange(half)])
        return functional.cross_entropy(logits, partner)

    train("vision", model, loss, schedule)
    return model.eval()


def train_unet(
    pool: Pool,
    text: CLIPTextModel,
    tokens: CLIPTokenizer,
    components: Components,
    schedule: Schedule = UNET[0],
    start: UNet2DConditionModel | None = None,
    dropped: float = 0.1,
    each: Callable[[int, UNet2DConditionModel], None] | None = None,
) -> UNet2DConditionModel:
    """The UNet by velocity prediction with min-SNR weights; the moving average of its weights is what is kept.

    Args:
        pool: pictures and what they show.
        text: frozen text encoder.
        tokens: its tokenizer.
        components: what latents are.
        schedule: how long and how fast.
        start: a network to train on; a new one by default.
        dropped: share of captions that are left out, for guidance.
        each: called with the step and the averaged network every 200 steps.
    """
    torch.manual_seed(schedule.seed)
    model, rng = start or networks.unet(), random.Random(schedule.seed)
    if start is None:
        silence(model, ("conv2", "proj_out", "conv_out"))
    model.train().to(memory_format=torch.channels_last)
    means = _latents(components, pool)
    states = _Captions(text, tokens)
    noising = DDPMScheduler.from_config(networks.scheduler().config)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_averaging(0.999))
    step = 0

    def loss() -> Tensor:
        nonlocal step
        rows = torch.randint(len(means), (schedule.batch,))
        latents = means[rows] + DEVIATION * torch.randn_like(means[rows])
        shown = [pool.sprites[row] for row in rows.tolist()]
        captions = ["" if rng.random() < dropped else sprite.caption(rng) for sprite in shown]
        noise, times = torch.randn_like(latents), torch.randint(noising.config.num_train_timesteps, (len(rows),))
        predicted = model(noising.add_noise(latents, noise, times), times, states(captions)).sample
        target, weight = losses.target_of(noising, latents, noise, times), losses.snr_weight(noising, times, 5.0)
        return losses.denoising_loss(predicted, target, weight).mean()

    def after() -> None:
        nonlocal step
        step += 1
        average.update_parameters(model)
        if each is not None and step % 200 == 0:
            each(step, average.module)

    train("unet", model, loss, schedule, after)
    return average.module.to(memory_format=torch.contiguous_format).eval()


def _latents(components: Components, pool: Pool) -> Tensor:
    """(N, C, 8, 8) of every picture."""
    parts = torch.arange(len(pool.pixels)).split(500)
    return torch.cat([components(pool.batch(rows, flip=False)) for rows in parts])


class _Captions:
    """Text states of captions, each encoded once."""

    def __init__(self, text: CLIPTextModel, tokens: CLIPTokenizer) -> None:
        self.text, self.tokens = text, tokens
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> Tensor:
        fresh = sorted(set(captions) - set(self.known))
        if fresh:
            ids = self.tokens(fresh, padding="max_length", return_tensors="pt").input_ids
            self.known.update(zip(fresh, self.text(ids).last_hidden_state, strict=True))
        return torch.stack([self.known[caption] for caption in captions])


def _averaging(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # Warmed up, so that a short run does not average its start in.
        slow = min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - slow)

    return update
