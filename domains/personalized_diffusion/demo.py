"""The demo of personalized diffusion: a held-out subject of the made world, drawn by the shipped adapter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

IMAGES, STRENGTH = 4, 1.0
STEPS = (0.0, 0.5, STRENGTH)
SCENES = ("on the beach", "in a room")


def demo(out: Path = Path("out/demo/personalized_diffusion")) -> dict[str, Any]:
    """Draw a creature that the base has never seen, in scenes that its photos do not show, and score the likeness.

    Args:
        out: folder for the pictures.
    """
    from domains.personalized_diffusion.evaluation import encoders, folders, scoring
    from domains.personalized_diffusion.evaluation import pictures as candidates
    from domains.personalized_diffusion.output import pictures
    from domains.personalized_diffusion.predict import Personalizer
    from suite.media.sheets import save_png

    started = time.perf_counter()
    personalizer = Personalizer.from_pretrained("tiny")
    photographs, _ = candidates.held_out(personalizer, None, None)
    words = personalizer.trigger.phrase
    prompts = [f"a {words} {scene}" for scene in SCENES]
    results = list(
        personalizer.predict(prompts, images=IMAGES, strength=(STRENGTH, *STEPS[1:-1]), before=True, out=out)
    )
    files: list[Path] = []
    rows: dict[str, Any] = {}
    shown = [folders.opened(one) for one in photographs[:IMAGES]]
    for number, result in enumerate(results):
        by_name = {
            f"{name}: {result.prompt}": [one.image for one in result.pictures if one.strength == strength]
            for name, strength in (("base", None), ("adapter", STRENGTH))
        }
        name = "subject.png" if number == 0 else f"subject_{number + 1}.png"
        files.append(save_png(pictures.real_and_generated(shown, by_name), out / name))
        rows |= by_name
    side = results[0].pictures[0].image.width
    by_strength = {
        strength: [p.image for p in results[0].pictures if (p.strength or 0.0) == strength] for strength in STEPS
    }
    sheet = pictures.interpolation(by_strength, title="strength of the adapter", side=192)
    files.append(save_png(sheet, out / "strength.png"))
    clip, dino = encoders.load(carrier=personalizer.base.id, device="cpu")
    likeness = {name: _likeness(name, rows, photographs, clip, dino) for name in ("base", "adapter")}
    lines = [result.prompt for result in results]
    lines += [
        f"{name}: {scoring.NAMES['dino']}-like {found['dino']:.3f}, CLIP-T {found['clip_t']:.3f}"
        for name, found in likeness.items()
    ]
    lines.append(f"likeness to {len(photographs)} photos that training never saw; encoders of the made world")
    return {
        "title": "Your subject, drawn anew",
        "summary": f"Likeness to {len(photographs)} photos that training never saw (cosine, 1 at most): "
        f"{likeness['adapter']['dino']:.2f} with the adapter, {likeness['base']['dino']:.2f} without. "
        f"Agreement with the words: {likeness['adapter']['clip_t']:.2f} with, {likeness['base']['clip_t']:.2f} "
        f"without. The tiny base draws {side} x {side} pixels.",
        "text": "\n".join(lines),
        "tables": {
            "Likeness and agreement with the words, by encoders of the made world": [
                {
                    "drawn by": name,
                    "likeness to the photos": f"{found['dino']:.3f}",
                    "agreement with the words": f"{found['clip_t']:.3f}",
                }
                for name, found in likeness.items()
            ]
        },
        "pictures": files,
        "captions": [
            *(f"The subject's photos; then what the base and the adapter draw for “{prompt}”" for prompt in prompts),
            "The subject comes in as the adapter acts more",
        ],
        "seconds": time.perf_counter() - started,
        **{f"dino_{name}": found["dino"] for name, found in likeness.items()},
    }


def _likeness(name: str, rows: dict[str, Any], real: Any, clip: Any, dino: Any) -> dict[str, float]:
    from domains.personalized_diffusion.data.prompts import without_token
    from domains.personalized_diffusion.data.world import TOKEN
    from domains.personalized_diffusion.evaluation import folders, scoring

    own = {key.removeprefix(f"{name}: "): images for key, images in rows.items() if key.startswith(f"{name}: ")}
    drawn = [
        folders.Drawn("subject", index, without_token(prompt, TOKEN), tuple(images))
        for index, (prompt, images) in enumerate(own.items())
    ]
    return dict(scoring.score(drawn, {"subject": real}, clip, dino).overall)
