"""What the contract test must know of deepfake detection."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import yaml
from PIL import Image

from domains.deepfake.data import world
from suite import training
from tests.deepfake.small import experiment, write_adapter, write_base, write_pictures
from tests.domains.contract import Subject


@cache
def _home() -> Path:
    """A folder with a CLIP of random weights, a configuration on it, and an adapter that learned nothing."""
    home = Path(tempfile.mkdtemp(prefix="deepfake-contract-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    pictures = write_pictures(home / "pictures")
    data = {"train": f"{pictures}:train", "val": f"{pictures}:val", "augment": "flip", "batch_size": 4}
    base = write_base(home / "base")
    # Norms of a random tower need large steps; what they can do is seen by a head without normalisation.
    recipe = {"head": "linear", "adapter": {"preset": "clip-ln"}}
    config = experiment(base, data=data, recipe=recipe, trainer={"max_epochs": 6, "lr": 5e-2})
    (home / "smoke.yaml").write_text(yaml.safe_dump(config.record()), encoding="utf-8")
    write_adapter(base, home / "adapter")
    return home


def good(folder: Path) -> Path:
    path = folder / "face.png"
    Image.fromarray(world.clip(9_000_001, "splice", frames=1, size=160).frames[0]).save(path)
    return path


def bad(folder: Path) -> Path:
    path = folder / "cut.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return path


def score(adapter: str | None) -> float:
    """AUROC of held-out pictures, of which half have a pattern added."""
    config = training.load_config(_home() / "smoke.yaml")
    return training.evaluate(config, None if adapter is None else Path(adapter))["val/auroc_frame"]


_BASE = ("--base", str(_home() / "base"))

SUBJECT = Subject(
    domain="deepfake",
    good=good,
    bad=bad,
    score=score,
    margin=0.25,
    config=_home() / "smoke.yaml",
    options=_BASE,
    evaluate=("faces:test:2", "--adapter", str(_home() / "adapter"), *_BASE),
    shipped=None,
)
