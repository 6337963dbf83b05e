"""What the contract test must know of music."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from suite import hub, training
from suite.files import write_text
from suite.hub import paths
from tests.domains.contract import Case, Subject
from tests.music.made import tone
from tests.music.models import small_mustango

HOME = Path(tempfile.mkdtemp(prefix="music-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

SMOKE = (
    # Without validation: of blocks compiled for a GPU run, each form that is made costs seconds.
    *("--data.train", "world:train:4:raga", "--data.val", "null", "--trainer.monitor", "null"),
    *("--data.seconds", "0.4", "--data.batch_size", "2", "--trainer.max_epochs", "3"),
    # A few of the shipped configuration's forty places: what is tried here is the same for each.
    *("--recipe.adapter.targets", r"decoder\.model\.decoder\.layers\.\d+\.(fc1|self_attn\.q_proj)"),
)


HELD_OUT = ("--data.val", "world:test:4:raga", "--data.seconds", "4")


def good(folder: Path) -> Path:
    return write_text(folder / "prompts.txt", "a slow raga in bibhas for flute\n")


def bad(folder: Path) -> Path:
    return write_text(folder / "nothing.txt", "# no prompt\n")


def score(adapter: str | None) -> float:
    """Loss on held-out clips, less being better."""
    config = training.load_config(paths.assets() / "configs" / "music" / "tiny.yaml", [*SMOKE, *HELD_OUT])
    folder = None if adapter is None else hub.resolve(adapter, "music")
    return -training.evaluate(config, folder)["val/loss"]


tone(HOME / "pieces" / "test0.wav")


@dataclass(frozen=True)
class MusicSubject(Subject):
    """Mustango has no embedded base: a small one is written where it is needed."""

    def cases(self, adapter: str) -> list[Case]:
        base = small_mustango(HOME / "mustango")
        smoke = ("--base", str(base), "--data.train", "world:train:2:raga", "--data.val", "null")
        small = ("--data.seconds", "0.6", "--data.batch_size", "1", "--data.cache", "null")
        plain = ("--trainer.warmup", "0", "--trainer.monitor", "null")
        mustango = Case("music/mustango.yaml", (*smoke, *small, *plain), adapter, self.options, blocks=False)
        return [*super().cases(adapter), mustango]


SUBJECT = MusicSubject(
    domain="music",
    good=good,
    bad=bad,
    score=score,
    margin=0.5,
    smoke=SMOKE,
    options=("--seconds", "0.3", "--no-pictures"),
    evaluate=("world:test:1", "--generated", str(HOME / "pieces")),
)
