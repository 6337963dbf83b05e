"""The verb `calibrate`: from which score on a cloud is of a known class, measured on labelled clouds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def calibrate(
    data: str,
    *,
    adapter: str,
    base: str | None = None,
    share: float = 0.95,
    others: str | None = None,
    occluded: float = 0.3,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure when nothing that a classifier knows fits, and write the threshold into its folder.

    Args:
        data: clouds of its classes that did not train it: `PATH[:SPLIT]`, the validation split where none is named.
        adapter: folder of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        share: of these clouds that count as known.
        others: clouds of other classes, to see how many of them are told as unknown; nothing is fitted to them.
        occluded: largest share of a made shape's surface that is hidden.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: adapter or data cannot be read, or the share is out of range.
    """
    from domains.point_cloud.data.datasets.cloud_set import Options
    from domains.point_cloud.data.sources import open_set
    from domains.point_cloud.evaluation import scoring
    from domains.point_cloud.predict import PointCloudClassifier
    from suite.errors import InputError
    from suite.files import read_json, write_text

    if not 0 < share < 1:
        raise InputError(f"share is {share}; give the share of known clouds, between 0 and 1")
    manifest = Path(adapter) / "suite.json"
    if not manifest.is_file():
        raise InputError(f"{adapter}: no folder of an adapter, into which a threshold could be written")
    classifier = PointCloudClassifier.from_pretrained(adapter, base, device)
    options = Options(npoints=classifier.settings.npoints, occluded=occluded, inputs=classifier.settings.inputs)
    known = scoring.energies(classifier, open_set(data, options, split="val"))
    threshold = float(known.quantile(1 - share))
    record = {"known_from": threshold, "share": share, "clouds": len(known)}
    lines = [f"known from {threshold:.3f}: {share:.0%} of {len(known)} clouds of {data}"]
    if others is not None:
        strange = scoring.energies(classifier, open_set(others, options, split="val"))
        record["others_unknown"] = float((strange < threshold).float().mean())
        lines.append(f"unknown: {record['others_unknown']:.0%} of {len(strange)} clouds of {others}")
    stated = read_json(manifest)
    stated["domain"]["known_from"] = threshold
    write_text(manifest, json.dumps(stated, indent=2) + "\n")
    return {**record, "message": "\n".join(lines)}
