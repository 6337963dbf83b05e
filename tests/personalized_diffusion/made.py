"""Adapters with random factors on a random base, photographs, and configurations that train a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.model import methods
from suite import adapters

DOMAIN = "personalized_diffusion"
SMALL = {"preset": "diffusekrona", "factors": [4, 8]}


def write_adapter(
    base: Path, folder: Path, method: str = "krona", seed: int = 1, text_encoder: bool = False, **settings: Any
) -> Path:
    """An adapter whose change is large enough to be seen."""
    loaded = pipelines.load(base)
    network = pipelines.adapted_network(loaded, text_encoder)
    chosen = methods.krona((4, 8)) if method == "krona" else methods.lora(2)
    if text_encoder:
        chosen["targets"] = rf"{chosen['targets']}|.*(q_proj|v_proj)"
    network = adapters.attach(network, {**chosen, **settings})
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3 if method == "krona" else 0.2)
    section = {
        "family": "tiny",
        "base": "tiny",
        "trigger": {"token": "sks", "noun": "robot", "template": "a photo of {token} {noun}"},
        "text_encoder": text_encoder,
        "resolution": world.SIZE,
    }
    return adapters.save(network, folder, base="tiny", extra=section)


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
