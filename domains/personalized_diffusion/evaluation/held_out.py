"""What trained adapters draw beside held-out photos of the embedded default's subject, for `suite compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError

if TYPE_CHECKING:
    from suite.training import ExperimentConfig

IMAGES = 2
"""Of each of the eight scenes."""
FIGURES = ("dino", "clip_i", "clip_t", "div")
"""What ranks methods first: whether it is this subject."""


def scorer(config: ExperimentConfig) -> Callable[[Path], Mapping[str, float]]:
    """Fidelity to the subject (`dino`, `clip_i`), to the prompt (`clip_t`) and diversity of what an adapter draws.

    Raises:
        InputError: the subject is none of the made world's, of which alone there are photos that training never saw.
    """
    from domains.personalized_diffusion.data import world
    from domains.personalized_diffusion.evaluation import encoders, pictures, scoring

    if config.base != "tiny" or config.data.get("noun") not in world.SUBJECTS:
        raise InputError(
            "there are no held-out photos of this subject; `suite personalized_diffusion compare --real DIR --prompts "
            "FILE` trains methods and scores their pictures beside yours"
        )

    @cache
    def eyes(carrier: str) -> tuple[Any, Any]:
        return encoders.load("auto", "auto", carrier=carrier)

    def score(adapter: Path) -> Mapping[str, float]:
        choice = pictures.Choice(str(adapter.absolute()), config.base)
        asked = pictures.of_adapter(choice, None, None, settings={"images": IMAGES})
        reached = scoring.score(asked.drawn, asked.real, *eyes(asked.base)).overall
        return {name: reached[name] for name in FIGURES if name in reached}

    return score
