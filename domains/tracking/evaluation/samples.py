"""The verb `samples`: what a training would see of data, counted and drawn, before any of it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from domains.tracking.data.samples import CropSettings, Sample


def samples(
    data: tuple[str, ...] = ("world:train",),
    *,
    format: str = "auto",
    count: int = 4,
    template_size: int = 196,
    search_size: int = 378,
    augment: bool = True,
    seed: int = 0,
    out: Path = Path("out/samples"),
) -> dict[str, Any]:
    """Count the sequences, objects and frames of data, and draw some training samples of them.

    A row of the picture is one sample: three templates, darker where their masks say background, and two search crops
    with the box and the cells that count as the object.

    Args:
        data: one or several of `world:SPLIT[:COUNT]`, or `PATH[:SPLIT]`.
        format: of the paths: auto, got10k, trackingnet, uav, nfs, otb, lasot, tnl2k, coco, vot, own or corners.
        count: samples that are drawn.
        template_size: side of the templates, pixels.
        search_size: side of the search crops, pixels.
        augment: flips, colours and blurs, as in training.
        seed: of what is drawn.
        out: folder for samples.png.

    Raises:
        InputError: the data cannot be read, or give no sample.
    """
    import torch

    from domains.tracking.data.samples import CropSettings, TrackingSamples
    from domains.tracking.data.sources import open_set
    from suite.media import sheets
    from suite.tables import aligned

    sets = [open_set(source, format=format, split="train") for source in data]
    counts = []
    for source, found in zip(data, sets, strict=True):
        tracks = [track for sequence in found.sequences for track in sequence.tracks.values()]
        frames = sum(len(sequence.frames) for sequence in found.sequences)
        boxes = sum(int(track.present.sum()) for track in tracks)
        counts.append(
            {"data": source, "sequences": len(found), "objects": len(tracks), "frames": frames, "boxes": boxes}
        )
    settings = CropSettings(template_size=template_size, search_size=search_size)
    torch.manual_seed(seed)
    drawn = TrackingSamples(sets, settings, max(1, count), augment=augment, seed=seed)
    rows = [_row(drawn[number], settings) for number in range(max(1, count))]
    columns = ("template", "template", "template", "search", "search")
    path = sheets.save_png(sheets.grid(rows, columns=columns, side=180), Path(out) / "samples.png")
    head = list(counts[0])
    table = aligned([head, *([str(row[name]) for name in head] for row in counts)])
    notices = [notice for found in sets for notice in found.notices]
    lines = [table, *(f"note: {notice}" for notice in notices), str(path)]
    return {"sets": counts, "notices": notices, "pictures": [str(path)], "message": "\n".join(lines)}


def _row(sample: Sample, settings: CropSettings) -> list[Image.Image]:
    import numpy as np
    from PIL import Image, ImageDraw

    from domains.tracking.data.crops import MEAN, STD

    shown = []
    for name, grid in (("templates", "masks"), ("searches", "positives")):
        for place, crop in enumerate(sample[name]):
            pixels = (crop.permute(1, 2, 0).numpy() * STD + MEAN) * 255  # (side, side, 3)
            inside = np.kron(sample[grid][place].numpy(), np.ones((settings.stride, settings.stride)))[..., None] > 0
            if name == "templates":
                pixels = np.where(inside, pixels, 0.55 * pixels)
            else:
                pixels = np.where(inside, 0.75 * pixels + 0.25 * np.array([255, 120, 0]), pixels)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            if name == "searches":
                box = (sample["boxes"][place] * settings.search_size).tolist()
                ImageDraw.Draw(image).rectangle(box, outline=(255, 90, 0), width=max(2, settings.search_size // 120))
            shown.append(image)
    return shown
