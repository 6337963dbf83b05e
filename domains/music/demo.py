"""The demo of music: a genre that the base has never heard, played by the shipped adapter, heard by trackers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def demo(out: Path = Path("out/demo/music")) -> dict[str, Any]:
    """Compose a raga at each tempo on each instrument, with the adapter and with the frozen base, and hear them.

    Args:
        out: folder for the pieces, their page and the picture.
    """
    from domains.music.data import world
    from domains.music.evaluation.scoring import made_means, of_waves
    from domains.music.predict import MusicGenerator
    from suite.media import plots, spectrograms

    started = time.perf_counter()
    # One caption each: the same prompt and seed give the same piece.
    held_out = {piece.caption: piece for piece in (world.piece("test", n, world.HELD_OUT) for n in range(100))}
    asked = [held_out[caption] for caption in sorted(held_out)]
    generator = MusicGenerator.from_pretrained("tiny")
    results = list(
        generator.predict(
            [piece.caption for piece in asked],
            seconds=world.SECONDS,
            before=True,
            pictures=False,
            batch_size=len(asked),
            out=out,
        )
    )
    waves = {
        "frozen base": [take.wave for result in results for take in result.takes if take.frozen],
        "adapter": [take.wave for result in results for take in result.takes if not take.frozen],
        "recordings": [piece.sound() for piece in asked],
    }
    rows, typical = [], 0
    for name, own in waves.items():
        means, pieces = made_means(
            of_waves((str(n), p.caption, w, world.RATE) for n, (p, w) in enumerate(zip(asked, own, strict=True)))
        )
        if name == "adapter":
            off = [abs(piece["in_cycle"] - means["in_cycle"]) for piece in pieces]
            typical = off.index(min(off))
        rows.append(
            {
                "": name,
                "notes in the scale": f"{means['in_scale']:.0%}",
                "time in its cycle": f"{means['in_cycle']:.0%}",
            }
        )
    shown = [
        spectrograms.Shown(own[typical], world.RATE, f"{name}: {asked[typical].caption}") for name, own in waves.items()
    ]
    picture = plots.save(spectrograms.draw(shown), out / "genre.png")
    before, after, _ = rows
    summary = (
        f"Of {len(asked)} ragas that nobody played before, trackers hear {after['notes in the scale']} of "
        f"the notes on the raga's scale and {after['time in its cycle']} of the time in its cycle of five beats; of "
        f"the frozen base's, which knows other genres alone, {before['notes in the scale']} and "
        f"{before['time in its cycle']}."
    )
    return {
        "title": "A genre, learned from recordings",
        "summary": summary,
        "text": "\n".join([*(result.prompt for result in results), summary, f"next     open {out / 'listen.html'}"]),
        "tables": {"What is heard": rows},
        "pictures": [picture],
        "captions": ["A typical prompt by the frozen base and, with the same seed, by the adapter; and a recording"],
        "seconds": time.perf_counter() - started,
    }
