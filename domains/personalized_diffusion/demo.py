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
    words = f"{personalizer.trigger.token} {personalizer.trigger.noun}"
    prompts = [f"a {words} {scene}" for scene in SCENES]
    results = list(
        personalizer.predict(prompts, images=IMAGES, strength=(STRENGTH, *STEPS[1:-1]), before=True, out=out)
    )
    files, rows = [], {}
    for result in results:
        for name, strength in (("base", None), ("adapter", STRENGTH)):
            drawn = [picture.image for picture in result.pictures if picture.strength == strength]
            rows[f"{name}: {result.prompt}"] = drawn
    files.append(
        save_png(
            pictures.real_and_generated([folders.opened(one) for one in photographs[:IMAGES]], rows),
            out / "subject.png",
        )
    )
    by_strength = {
        strength: [p.image for p in results[0].pictures if (p.strength or 0.0) == strength] for strength in STEPS
    }
    sheet = pictures.interpolation(by_strength, title="strength of the adapter", side=160)
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
        "text": "\n".join(lines),
        "pictures": files,
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
