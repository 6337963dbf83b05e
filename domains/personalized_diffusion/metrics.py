"""DreamBooth's metrics: means of pairwise cosines between embeddings (Ruiz et al., arXiv 2208.12242, section 4.1).

Everything is a mean over pairs of cosines, never a cosine of means, and CLIP's logit scale is not applied. Embeddings
are (images, width) arrays of one encoder; numbers of different encoders do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from suite.errors import InputError


def _unit(embeddings: ArrayLike) -> NDArray[np.float64]:
    values = np.atleast_2d(np.asarray(embeddings, dtype=np.float64))
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    if not (np.isfinite(values).all() and (norms > 0).all()):
        raise InputError("an embedding is zero or not finite; check the encoder and its images")
    return values / norms


def image_similarity(generated: ArrayLike, real: ArrayLike) -> float:
    """CLIP-I or DINO: mean cosine over all pairs of a generated (G, D) and a real (R, D) image."""
    return float((_unit(generated) @ _unit(real).T).mean())


def text_similarity(images: ArrayLike, prompts: ArrayLike) -> float:
    """CLIP-T: mean cosine between each image (G, D) and its own prompt (G, D) or the one prompt (D) of all."""
    images, prompts = _unit(images), _unit(prompts)
    if len(prompts) not in (1, len(images)):
        raise InputError(f"{len(images)} images and {len(prompts)} prompts; give each image its prompt, or one for all")
    return float((images * prompts).sum(-1).mean())


def diversity(generated: ArrayLike) -> float:
    """DIV: mean cosine over pairs of different images (G, D) of one subject and prompt; lower is more diverse.

    Raises:
        InputError: there are fewer than two images.
    """
    unit = _unit(generated)
    if len(unit) < 2:
        raise InputError("diversity needs at least two images of one prompt")
    rows, columns = np.triu_indices(len(unit), 1)
    return float((unit @ unit.T)[rows, columns].mean())


@dataclass(frozen=True)
class SubjectScores:
    """Scores of one subject: the means over its prompts, each prompt counting once.

    Attributes:
        clip_i, dino, clip_t: means over prompts. div: mean over prompts of at least two images; None without one.
        prompts: the same four by prompt.
        images: how many were scored.
    """

    clip_i: float
    dino: float
    clip_t: float
    div: float | None
    prompts: tuple[Mapping[str, float | None], ...]
    images: int


def subject_scores(
    clip_real: ArrayLike,
    clip_generated: Sequence[ArrayLike],
    clip_text: Sequence[ArrayLike],
    dino_real: ArrayLike,
    dino_generated: Sequence[ArrayLike],
) -> SubjectScores:
    """Score one subject: real photos (R, D), and for each prompt its images (G, D) and the prompt's embedding (D)."""
    rows = []
    for images, text, dino in zip(clip_generated, clip_text, dino_generated, strict=True):
        rows.append(
            {
                "clip_i": image_similarity(images, clip_real),
                "dino": image_similarity(dino, dino_real),
                "clip_t": text_similarity(images, text),
                "div": diversity(dino) if len(np.atleast_2d(np.asarray(dino))) > 1 else None,
            }
        )
    if not rows:
        raise InputError("a subject without generated images cannot be scored")
    spread = [row["div"] for row in rows if row["div"] is not None]
    means = {name: float(np.mean([row[name] for row in rows])) for name in ("clip_i", "dino", "clip_t")}
    count = sum(len(np.atleast_2d(np.asarray(images))) for images in clip_generated)
    return SubjectScores(**means, div=float(np.mean(spread)) if spread else None, prompts=tuple(rows), images=count)


def overall(subjects: Mapping[str, SubjectScores]) -> dict[str, float]:
    """Means over subjects, each counting once however many photos it has."""
    if not subjects:
        raise InputError("no subject was scored")
    names = ("clip_i", "dino", "clip_t")
    return {name: float(np.mean([getattr(scores, name) for scores in subjects.values()])) for name in names}
