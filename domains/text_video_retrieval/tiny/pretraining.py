"""Pre-training of the small CLIP: made stills with their captions, by the contrastive loss alone.

Half of each picture's patches are left out in most steps (FLIP, arXiv 2212.00794), which makes them twice as fast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPModel

from domains.text_video_retrieval.data import world
from domains.text_video_retrieval.model.similarity import contrastive_loss, similarity
from domains.text_video_retrieval.tiny import networks
from suite.clip.pictures import Preprocessing
from suite.clip.words import Words
from suite.training.kept import Progress
from suite.training.plain import Schedule, train

SCHEDULE = Schedule(steps=1400, batch=128, lr=1.5e-3, warmup=80, decay=0.05, betas=(0.9, 0.98))
STILLS = 24_000
"""Pictures."""
WHOLE = 0.15
"""Share of the steps, the last ones, that see whole pictures."""


class Pool:
    """Pictures (n, side, side, 3) and the ids of their captions (n, length), drawn once."""

    def __init__(self, stills: int, words: Words) -> None:
        made = [world.still(number) for number in range(stills)]
        self.pictures = torch.from_numpy(np.stack([picture for picture, _ in made]))
        self.tokens = words([caption for _, caption in made])
        self.lengths = (self.tokens.argmax(-1) + 1).tolist()
        self.look = Preprocessing(world.SIDE)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (count, 3, side, side), ids (count, length) and their mask: neighbours, which are much alike."""
        chosen = 2 * torch.randint(len(self.pictures) // 2, (count // 2,), generator=generator)
        chosen = torch.stack([chosen, chosen + 1], 1).flatten()
        ids = self.tokens[chosen]
        longest = max(self.lengths[number] for number in chosen.tolist())
        ends = ids.argmax(-1, keepdim=True)
        mask = (torch.arange(ids.shape[1]) <= ends).long()
        return self.look.normalize(self.pictures[chosen]), ids[:, :longest], mask[:, :longest]


def pretrain(pool: Pool, model: CLIPModel, schedule: Schedule = SCHEDULE, kept: Path | None = None) -> CLIPModel:
    """Train both towers; the model comes back in eval mode.

    Args:
        kept: file that says how far it is; stopped and called again, it goes on there.
    """
    rng = torch.Generator().manual_seed(schedule.seed)
    progress = Progress(kept, rng, f"{schedule}, {len(pool.pictures)} pictures")

    def loss() -> Tensor:
        pixels, ids, mask = pool.draw(schedule.batch, rng)
        patches = None if progress.step >= (1 - WHOLE) * schedule.steps else 0.5
        vectors = image_vectors(model, pixels, patches, rng)
        hidden = model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        texts = model.text_projection(hidden[torch.arange(len(ids)), ids.argmax(-1)])
        return contrastive_loss(model.logit_scale.exp() * similarity(texts, vectors)).mean()

    def after() -> None:
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))

    model.train()
    train("clip", model, loss, schedule, after, progress)
    progress.finish()
    return model.eval()


def image_vectors(model: CLIPModel, pixels: Tensor, share: float | None, rng: torch.Generator) -> Tensor:
    """Vectors (B, dim) of pictures of which a share of the patches is seen; None is all."""
    tower: nn.Module = model.vision_model
    x = tower.embeddings(pixels)  # (B, 1 + patches, D)
    if share is not None:
        patches = x.shape[1] - 1
        chosen = torch.rand(len(x), patches, generator=rng).argsort(1)[:, : round(share * patches)] + 1
        rows = torch.cat([torch.zeros(len(x), 1, dtype=torch.long), chosen], 1)
        x = x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(x)).last_hidden_state
    return model.visual_projection(tower.post_layernorm(hidden[:, 0]))


def retrieved(model: CLIPModel, words: Words, count: int = 400, first: int = 1_000_000) -> float:
    """Share of unseen stills whose own caption is nearest among those of `count` stills."""
    made = [world.still(first + number) for number in range(count)]
    ids = words([caption for _, caption in made])
    mask = (torch.arange(ids.shape[1]) <= ids.argmax(-1, keepdim=True)).long()
    pixels = Preprocessing(world.SIDE).normalize(torch.from_numpy(np.stack([picture for picture, _ in made])))
    with torch.no_grad():
        vectors = image_vectors(model, pixels, None, torch.Generator())
        hidden = model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        texts = model.text_projection(hidden[torch.arange(len(ids)), ids.argmax(-1)])
    return float((similarity(texts, vectors).argmax(0) == torch.arange(count)).float().mean())


def new(seed: int = 0) -> tuple[CLIPModel, Words]:
    """The untrained model and its tokenizer."""
    tokens = networks.tokenizer(world.vocabulary())
    return networks.clip(tokens, seed), Words(tokens, networks.LENGTH)
