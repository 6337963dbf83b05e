"""The embedded default of personalized diffusion: its base and its adapter, rebuilt by one command.

    python -m domains.personalized_diffusion.tiny

The base is a small Stable Diffusion pipeline, pre-trained on sprites of many creatures (`world.py`). The adapter is
trained by `configs/personalized_diffusion/tiny.yaml` on five pictures of a robot that pre-training never shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.evaluation.evaluate import evaluate
from domains.personalized_diffusion.model.bases import DOMAIN
from domains.personalized_diffusion.tiny import networks, pretraining
from domains.personalized_diffusion.tiny.autoencoder import DECODER, ENCODER, Components, train_autoencoder
from domains.personalized_diffusion.tiny.pool import draw_pool
from domains.personalized_diffusion.tiny.pretraining import CLIP, UNET, VISION
from suite import hub
from suite.training import embedded

INDIVIDUALS = 6000
MEASURED_ON = "8 held-out pictures of the subject, 8 prompts x 4, by the tiny image encoder"


def write_base(folder: Path, individuals: int = INDIVIDUALS) -> Path:
    """Pre-train the base and its encoders, and save them as a pipeline's folder."""
    tokens, pool = networks.tokenizer(), draw_pool(individuals)
    clip, vision = pretraining.train_clip(pool, tokens), pretraining.train_vision(pool)
    text, components = networks.text_encoder(clip), Components.of(pool)
    vae, unet = train_autoencoder(pool, components), None
    for phase in UNET:
        unet = pretraining.train_unet(pool, text, tokens, components, phase, start=unet)
    pipe = networks.pipeline({"unet": unet, "vae": vae, "text_encoder": text}, tokens)
    return embedded.write_base(folder, lambda empty: networks.save(empty, pipe, clip, vision), base_card())


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> float:
    """Train the adapter by the shipped configuration; return its likeness to the held-out pictures."""
    return embedded.train_adapter(
        folder,
        DOMAIN,
        "tiny.yaml",
        run_dir,
        measure=lambda config, adapter: evaluate(adapter=str(adapter.resolve()), base=config.base)["metrics"]["dino"],
        card=lambda config, figures: None,
        base=base,
        seed=seed,
    )


def rebuild(part: Literal["all", "base", "adapter"] = "all", run_dir: Path = Path("runs/tiny")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs a new adapter.
        run_dir: where the training run of the adapter is kept.
    """
    home = embedded.home(DOMAIN)
    if part in ("all", "base"):
        embedded.record(write_base(home / "base"), DOMAIN, kind="base")
    if part in ("all", "adapter"):
        reached = write_adapter(home / "adapter", run_dir / DOMAIN)
        metric = hub.Metric("DINO-like", round(reached, 3), MEASURED_ON)
        embedded.record(home / "adapter", DOMAIN, method="krona", base="tiny", metric=metric)


def base_card() -> str:
    """The README of the base."""
    text = f"""\
A Stable Diffusion pipeline of toy size: a UNet, a VAE, a CLIP text encoder and its tokenizer, in 16 bit, for pictures
of {world.SIZE} x {world.SIZE} pixels. It draws creatures ({", ".join(world.KINDS)}) in one of {len(world.COLOURS)}
colours and {len(world.SCENES)} scenes, e.g. "a red robot with blue stripes and hat on a green field".
`encoders/clip` is the whole CLIP, and `encoders/vision` a ViT that tells individuals apart, which stands in for DINO:
both are what the metrics use at this size. It knows nothing of the real world, and is meant as the base of the adapter
beside it, of tests and of demonstrations.

- Data: {2 * INDIVIDUALS:,} pictures of {INDIVIDUALS:,} creatures, made at run time by
  `domains/personalized_diffusion/data/world.py`; nothing was downloaded. The subjects of the adapters are of pairs of
  markings and headpiece that appear nowhere in it.
- Training: CLIP {CLIP.steps} steps, ViT {VISION.steps}, the VAE's decoder {DECODER.steps} and its encoder
  {ENCODER.steps}, UNet {" + ".join(str(phase.steps) for phase in UNET)}; fp32 on one CPU core, no GPU,
  25 CPU minutes in all.
- Rebuild: `python -m domains.personalized_diffusion.tiny --part base`
"""
    head = {"language": "en", "library_name": "diffusers", "pipeline_tag": "text-to-image"}
    return embedded.card("The tiny base of personalized diffusion", text, head)
