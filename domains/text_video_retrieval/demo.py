"""The demo of text-to-video retrieval: made films are indexed and searched for what happens in them, and when."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

FILMS, EACH, SIDE = 4, 3, 224
QUERIES, SHOWN = 4, 6


def demo(out: Path = Path("out/demo/text_video_retrieval")) -> dict[str, Any]:
    """Index made films of several scenes, and find the second of a scene by a sentence.

    Args:
        out: folder for the films, the index, the result pages and the pictures.
    """
    import numpy as np

    from domains.text_video_retrieval.data import world
    from domains.text_video_retrieval.inference.finding import find
    from domains.text_video_retrieval.inference.indexing import found, open_or_create, update
    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.output import page
    from domains.text_video_retrieval.output.strips import clock, strip
    from suite.media import sheets
    from suite.media.video import frames_at
    from suite.media.video_writing import video_writer

    started = time.perf_counter()
    films, scenes = out / "films", []
    for number in range(FILMS):
        name = f"film{number + 1}.mp4"
        with video_writer(films / name, world.FPS) as writer:
            for place in range(EACH):
                clip = world.clip("test", 5000 + EACH * number + place, events=2)
                scenes.append((name, place * len(clip.pictures(8)) / world.FPS, clip.caption))
                for picture in clip.pictures(SIDE):
                    writer.write(picture)
    encoder = Encoder.from_pretrained("tiny")
    shutil.rmtree(out / "index", ignore_errors=True)  # an earlier demo's may be by another adapter
    store = open_or_create(out / "index", encoder, [films])
    images, rows, right = [], [], 0
    try:
        update(store, encoder, found([films]), [films])
        for number in range(QUERIES):
            film, second, caption = scenes[number * (len(scenes) // QUERIES) + number % 2]
            vector = encoder.texts([caption])[0][0]
            [hit, *_] = hits = find(store, vector, top=3)
            page.write(out / f"search{number + 1}", caption, hits)
            is_right = hit.path == film and hit.start <= second + 0.5 < hit.end
            right += is_right
            times = [hit.start + (place + 0.5) / SHOWN * (hit.end - hit.start) for place in range(SHOWN)]
            shown = [frame.pixels for frame in frames_at(hit.file, times)]
            title = f"“{caption}”: {hit.path} at {clock(hit.start)} ({hit.score:.2f})"
            images.append(np.asarray(strip(shown, times, title)))
            rows.append(
                {
                    "sentence": caption,
                    "film": hit.path,
                    "second": hit.start,
                    "cosine": round(hit.score, 3),
                    "right": is_right,
                }
            )
    finally:
        store.close()
    picture = sheets.save_png(sheets.sheet(images, columns=1), out / "found.png")
    segments = len(scenes)
    return {
        "title": "Scenes found by what happens in them",
        "text": "\n".join(f"{row['film']} at {row['second']:.0f} s: {row['sentence']}" for row in rows),
        "summary": f"{right} of {QUERIES} sentences found their scene among {segments} in {FILMS} made films, none of "
        "which was seen in training; the sentences say what happens, and in which order.",
        "tables": {"Searches": rows},
        "pictures": [picture],
        "captions": ["For each sentence the scene that was found first"],
        "seconds": time.perf_counter() - started,
        "right": right,
        "queries": QUERIES,
    }
