"""`suite point_cloud base`: a base folder, from a released pre-training file or by pre-training on one's own clouds."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RELEASED = (".pth", ".pt", ".bin", ".safetensors")
PICTURE = "reconstruction.png"
"""In a base from one's own clouds: what it makes of four of them with most of their patches hidden."""


def base(
    source: list[Path],
    *,
    out: Path,
    steps: int = 20000,
    batch: int = 32,
    points: int = 1024,
    width: int = 384,
    depth: int = 12,
    heads: int = 6,
    groups: int = 64,
    group_size: int = 32,
    seed: int = 0,
    config: Path | None = None,
) -> dict[str, Any]:
    """Make a base: of a released pre-training file, or by masked reconstruction of unlabelled clouds and meshes.

    Args:
        source: one released file (Point-MAE, ACT, ReCon, PointGPT), or files and folders of clouds.
        out: the base folder to write.
        steps: of pre-training.
        batch: clouds a step.
        points: drawn from a cloud at each step.
        width: of the tokens, a multiple of heads.
        depth: blocks.
        heads: of attention.
        groups: patches of a cloud.
        group_size: points of a patch.
        seed: of pre-training.
        config: a released configuration of pre-training (Point-MAE's pretrain.yaml), which says all of the above but
            the seed.
    """
    from domains.point_cloud import official
    from domains.point_cloud.official import config as translated
    from suite import hub
    from suite.errors import InputError
    from suite.files import BASE, check_replaceable
    from suite.hub import weights

    started = time.perf_counter()
    refused: list[str] = []
    check_replaceable(out, BASE)
    if len(source) == 1 and source[0].suffix in RELEASED:
        if not source[0].is_file():
            raise InputError(f"{source[0]} is no file; give a released pre-training file")
        if config is not None:
            raise InputError(f"--config says how to pre-train, and {source[0]} is pre-trained already; leave it out")
        official.convert_base(source[0], out)
    elif source:
        if config is not None:
            points = translated.pretraining(config, 1)[1]["points"]
        else:
            numbers = {"steps": steps, "batch": batch, "points": points, "width": width, "depth": depth}
            _check_numbers({**numbers, "heads": heads, "groups": groups, "group_size": group_size})
        shape = {"trans_dim": width, "encoder_dims": width, "depth": depth, "num_heads": heads}
        shape |= {"num_group": groups, "group_size": group_size}
        schedule = {"steps": steps, "batch": batch, "seed": seed}
        refused = _pretrained(source, out, shape, config, points=points, **schedule)
    else:
        raise InputError("no source: give a released pre-training file, or files and folders of clouds")
    hub.resolve(str(out.resolve()), "point_cloud", kind="base")
    size = sum(math.prod(shape) for shape in weights.shapes(out / "model.safetensors").values())
    where = shlex.quote(str(out if out.is_absolute() else f"./{out}"))
    lines = [*refused, f"base  {out} ({size:,} parameters)"]
    if (out / PICTURE).is_file():
        lines.append(f"look  {out / PICTURE}")
    lines += [f"next  suite point_cloud train --config configs/point_cloud/tiny.yaml --base {where}"]
    return {
        "base": out,
        "parameters": size,
        "refused": refused,
        "seconds": time.perf_counter() - started,
        "message": "\n".join(lines),
        "exit_code": 2 if refused else 0,
    }


def _check_numbers(numbers: Mapping[str, int]) -> None:
    """Refuse what no network can have, before any cloud is read."""
    from suite.errors import InputError

    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    if numbers["width"] % numbers["heads"]:
        raise InputError(f"width {numbers['width']} is no multiple of heads {numbers['heads']}; change one of them")
    least = max(numbers["groups"], numbers["group_size"])
    if numbers["points"] < least:
        raise InputError(f"points is {numbers['points']}; {least} are needed for as many groups or for one group")


def _pretrained(
    source: list[Path], out: Path, shape: dict[str, Any], config: Path | None, *, points: int, **schedule: Any
) -> list[str]:
    """Pre-train on the clouds of `source`; return one line for each file that could not be used."""
    import numpy as np
    import torch

    from domains.point_cloud.data import inputs, sampling
    from domains.point_cloud.model.bases import save_base
    from domains.point_cloud.model.layers import BackboneConfig
    from domains.point_cloud.model.pretraining import Schedule, pretrain
    from domains.point_cloud.official import config as translated
    from domains.point_cloud.output import reconstruction
    from suite.errors import InputError
    from suite.files import BASE, atomic_folder
    from suite.media.sheets import save_png

    clouds, refused = [], []
    pool = sampling.pool_size(points)
    for opened in inputs.open_all(source, samples=2 * pool, seed=0, strict=False, up="y"):
        try:
            if opened.error is not None or opened.cloud is None:
                raise InputError(opened.error or "not read")
            cloud = sampling.unit_sphere(sampling.check_size(opened.cloud.points, points, upsample=True))
            kept = sampling.thin(cloud, pool, seed=0)
            # A pool is a tensor: clouds with fewer points than others repeat some of theirs.
            clouds.append(np.resize(cloud[kept], (pool, 3)).astype(np.float32))
        except InputError as error:
            refused.append(f"{opened.source}: {error}")
    if not clouds:
        raise InputError(f"no cloud to pre-train on; {refused[0] if refused else 'the folders are empty'}")
    stacked = torch.from_numpy(np.stack(clouds))
    if config is not None:
        shape, released = translated.pretraining(config, len(clouds))
        schedule = {**released, "seed": schedule["seed"]}
    net = pretrain(stacked, BackboneConfig(**shape), Schedule(**{"points": points, **schedule}))
    card = (
        "---\nlibrary_name: pytorch\n---\n\n# A Point-MAE base\n\n"
        f"Pre-trained by masked reconstruction on {len(clouds)} clouds for {schedule['steps']} steps with "
        f"`suite point_cloud base`.\n\n![Clouds, what the model was shown, and what it made of that]({PICTURE})\n"
    )
    with atomic_folder(out, BASE) as folder:
        save_base(net, folder, card)
        save_png(reconstruction.picture(net, stacked[:4, :points]), folder / PICTURE)
    return refused
