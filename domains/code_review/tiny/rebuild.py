"""The embedded default of code review: three adapters on the code model that both domains of code share.

    python -m domains.code_review.tiny

Each is trained by its shipped configuration (`tiny.yaml`, `tiny_comment.yaml`, `tiny_refinement.yaml`) on made
repositories whose kinds of functions and faults the base's pretraining never saw.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from domains.code_review.model.manifest import Manifest
from domains.code_review.model.wording import TASKS, Task
from domains.code_review.predict.reviewers import CodeReviewer
from domains.code_review.tiny import measure
from suite import hub, training
from suite.files import atomic_folder, write_text
from suite.hub import paths
from suite.training import embedded
from suite.training.drivers.stages import gather

DOMAIN = "code_review"
CONFIGS: dict[Task, str] = {
    "necessity": "tiny.yaml",
    "comment": "tiny_comment.yaml",
    "refinement": "tiny_refinement.yaml",
}


def train(task: Task, run_dir: Path, base: str = "tiny", seed: int = 42) -> Path:
    """Train one task's adapter and return its folder."""
    config = training.load_config(paths.assets() / "configs" / DOMAIN / CONFIGS[task])
    config = dataclasses.replace(config, base=base, seed=seed)
    shutil.rmtree(run_dir, ignore_errors=True)
    return training.run(config, run_dir=run_dir).adapter


def bundle(parts: dict[Task, Path], folder: Path, base: str = "tiny") -> Path:
    """Put the adapters into one folder, with the threshold that is best on validation repositories."""
    gather({task: parts[task] for task in TASKS}, folder, Manifest().to_dict())
    reviewer = CodeReviewer.from_pretrained(str(folder.absolute()), base=base, device="cpu")
    found = measure.necessity(reviewer, "validation", 300)
    told = Manifest(threshold=round(found["best_threshold"], 3)).to_dict()
    manifest = json.loads((folder / "suite.json").read_text(encoding="utf-8")) | {"domain": told}
    write_text(folder / "suite.json", json.dumps(manifest, indent=2) + "\n")
    return folder


def rebuild(tasks: Sequence[Task] = TASKS, run_dir: Path = Path("runs/tiny/code_review"), seed: int = 42) -> None:
    """Rebuild the embedded adapters in place, and their entry in the catalogue.

    Args:
        tasks: which to train; the others are taken from where they stand.
        run_dir: where the training runs are kept.
        seed: of the training.
    """
    home = embedded.home(DOMAIN) / "adapter"
    parts: dict[Task, Path] = {
        task: train(task, run_dir / task, seed=seed) if task in tasks else home / task for task in TASKS
    }
    kept = bundle(parts, run_dir / "bundle")
    reviewer = CodeReviewer.from_pretrained(str(kept.absolute()), base="tiny", device="cpu")
    figures = measure.table(reviewer, TASKS)
    with atomic_folder(home, own=True) as folder:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        write_text(folder / "README.md", card(figures))
    value = round(figures["necessity"]["auroc"], 3)
    metric = hub.Metric("necessity AUROC", value, "hunks of held-out made repositories")
    embedded.record(home, DOMAIN, method="lora", base="tiny", metric=metric)


def card(figures: dict[str, measure.Figures]) -> str:
    """The README of the adapters."""
    needed, frozen = figures["necessity"], figures["necessity, frozen base"]
    said, mended = figures["comment"], figures["suggestion"]
    text = f"""\
Three LoRA adapters, `necessity`, `comment` and `refinement`, on the tiny code model (`checkpoints/tiny/code/base`).
Each folder is a plain peft adapter; `suite.json` says what prediction needs (prompts, threshold). They review changes
of small Python functions of a made world, of kinds that the base's pretraining never showed. They know nothing of real
code, and are meant for tests and demonstrations.

- Data: changes of made repositories (`world:train`); the repositories below share no name of a function with them.
- Training: `configs/code_review/tiny*.yaml`, 1 CPU core, no GPU.
- Reached on test repositories: necessity AUROC {needed["auroc"]:.3f} over {needed["hunks"]:.0f} hunks (frozen base
  {frozen["auroc"]:.3f}); F1 {needed["f1"]:.3f} at the threshold that validation chose. Of {said["comments"]:.0f}
  comments on faults {said["right_kind"]:.0%} name the right kind, {said["word_for_word"]:.0%} are the reviewer's word
  for word. Of {mended["changes"]:.0f} faulty changes {mended["applies"]:.0%} got a suggestion that applies,
  {mended["passes"]:.0%} one that makes the repository's tests pass.
- Rebuild: `python -m domains.code_review.tiny`
"""
    head = {"language": "en", "library_name": "peft", "base_model": "code/tiny"}
    return embedded.card("The tiny adapters of code review", text, head)
