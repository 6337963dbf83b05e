"""The verb `explain`: where the score of a face comes from, by two ways, on its crop and on the whole picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domains.deepfake.types import DetectorName
from suite.errors import InputError


def explain(
    source: Path,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    detector: DetectorName = "auto",
    detector_file: Path | None = None,
    faces: int = 4,
    device: str = "auto",
    out: Path = Path("out/explain"),
) -> dict[str, Any]:
    """Draw heatmaps of the faces of a picture, or of the most suspicious frame of a video.

    Both maps explain the model; neither is a mask of what was forged.

    Args:
        source: a picture or a video.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        detector: who finds faces, as `predict` takes it.
        detector_file: the detector's model file.
        faces: at most so many, the largest.
        device: auto, cpu, cuda or cuda:N.
        out: folder for each face's crop, its maps, and the picture with the map laid over it.

    Raises:
        InputError: it cannot be read, or shows no face.
    """
    from domains.deepfake.data import detection
    from domains.deepfake.inference.frames import look
    from domains.deepfake.inference.heatmaps import CAPTIONS
    from domains.deepfake.inference.loaded import FaceScorer
    from domains.deepfake.output import pictures
    from suite.media import sheets

    if faces < 1:
        raise InputError(f"faces is {faces}; give at least 1")
    if not Path(source).is_file():
        what = "is a folder; give one picture or video" if Path(source).is_dir() else "no such file; check the path"
        raise InputError(f"{source}: {what}")
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    scorer = FaceScorer.from_pretrained(adapter, base=base, device=device)
    detect = detection.detector(detector, detector_file)
    found = [seen for seen in look(source, detect, scorer.stated, frames=16, faces=faces) if seen.cut]
    if not found:
        raise InputError(f"{source}: no face found by {detect.id}; there is nothing to explain")
    scored = [(scorer.predict_crops([one.crop.pixels for one in seen.cut]), seen) for seen in found]
    scores, seen = max(scored, key=lambda pair: float(pair[0].max()))
    folder, files, records = Path(out), [], []
    folder.mkdir(parents=True, exist_ok=True)
    for number, (one, score) in enumerate(zip(seen.cut, scores, strict=True)):
        stem = f"{Path(source).stem}.face{number}"
        files.append(sheets.save_png(one.crop.pixels, folder / f"{stem}.crop.png"))
        for kind in CAPTIONS:
            heat = scorer.heat(one.crop.pixels, kind)
            files.append(sheets.save_png(pictures.heat_card(one.crop.pixels, heat), folder / f"{stem}.{kind}.png"))
            over = pictures.on_frame(seen.pixels, heat, one.crop.matrix, len(one.crop.pixels))
            files.append(sheets.save_png(over, folder / f"{stem}.{kind}.frame.png"))
        records.append({"face": number, "p_fake": float(score), "box": list(one.face.box), "time_s": one.time})
    lines = [f"face {record['face']}: score {record['p_fake']:.3f}" for record in records]
    lines += [f"{kind}: {text}" for kind, text in CAPTIONS.items()]
    names = [str(file) for file in files]
    told = {"source": str(source), "detector": detect.id, "faces": records, "files": names}
    return {"message": "\n".join([*lines, *names]), **told}
