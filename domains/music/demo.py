"""The demo of music: recordings of two made genres, prepared, heard by trackers of pitch and strokes, and compared."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

PIECES, SECONDS = 12, 8.0
OLD = "march"


def demo(out: Path = Path("out/demo/music")) -> dict[str, Any]:
    """Write recordings of the made world, prepare them for training, hear their notes and strokes, and draw them.

    Args:
        out: folder for the recordings, the clips with their report, and the picture.
    """
    from domains.music.data import world
    from domains.music.data.prepare import prepare
    from domains.music.evaluation.embeddings import Spectral
    from domains.music.evaluation.scoring import made_means, of_waves, score
    from suite.files import write_text
    from suite.media import audio, plots, spectrograms

    started = time.perf_counter()
    genres = (world.HELD_OUT, OLD)
    pieces = {genre: [world.piece("test", number, genre) for number in range(PIECES)] for genre in genres}
    for piece in pieces[world.HELD_OUT]:
        path = out / "recordings" / f"{piece.caption.replace(' ', '_')}_{piece.seed}.flac"
        audio.write(path, piece.sound(SECONDS), world.RATE, tags={"title": piece.caption})
        write_text(path.with_suffix(".txt"), piece.caption + "\n")
    prepared = prepare(out / "recordings", out=out / "prepared", seconds=SECONDS / 2, rate=world.RATE)
    rows = []
    for genre in genres:
        heard = of_waves((str(p.seed), p.caption, p.sound(SECONDS), world.RATE) for p in pieces[genre])
        means, _ = made_means(heard)
        others = of_waves(
            (str(number), piece.caption, piece.sound(SECONDS), world.RATE)
            for number, piece in enumerate(world.piece("train", number, world.HELD_OUT) for number in range(PIECES))
        )
        distance = score(others, heard, [Spectral()]).metrics["frechet_spectral"]
        rows.append(
            {
                "genre": genre,
                "notes in its scale": f"{means['in_scale']:.0%}",
                "time in its cycle": f"{means['in_cycle']:.0%}",
                "distance to other ragas": round(distance, 1),
            }
        )
    shown = [spectrograms.Shown(found[0].sound(SECONDS), world.RATE, found[0].caption) for found in pieces.values()]
    picture = plots.save(spectrograms.draw(shown, waveform=False), out / "genres.png")
    raga, march = rows
    return {
        "title": "A genre to learn, and how it is heard",
        "summary": f"{prepared['clips']} clips of {PIECES} made ragas, prepared for training. On the sound alone, "
        f"trackers hear {raga['notes in its scale']} of their notes on the raga's scale and "
        f"{raga['time in its cycle']} of the time in its cycle of five beats. The Frechet distance to other ragas is "
        f"{raga['distance to other ragas']} for ragas and {march['distance to other ragas']} for marches, on an "
        "embedding of ours.",
        "text": "\n".join(", ".join(f"{name}: {value}" for name, value in row.items()) for row in rows),
        "tables": {"What is heard": rows},
        "pictures": [picture],
        "captions": ["A raga of the made world, whose notes bend, and a march"],
        "seconds": time.perf_counter() - started,
    }
