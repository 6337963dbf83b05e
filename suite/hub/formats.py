"""What a folder of weights is, told from its files."""

from __future__ import annotations

from pathlib import Path

PEFT = "peft"
BUNDLE = "bundle"
TRANSFORMERS = "transformers"
DIFFUSERS = "diffusers"
SAFETENSORS = "safetensors"
TORCH = "torch"
OFFICIAL = "official"
UNKNOWN = "unknown"

# The file that tells a format, most particular first: a bundle's parts are peft folders, a pipeline's parts models.
_MARKS = (
    ("suite.json", BUNDLE),
    ("adapter_config.json", PEFT),
    ("model_index.json", DIFFUSERS),
    ("config.json", TRANSFORMERS),
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def detect(path: Path) -> str:
    """The format of a folder or file: one of this module's names, never `official`."""
    if path.is_file():
        return SAFETENSORS if path.suffix == ".safetensors" else TORCH if path.suffix in PICKLES else UNKNOWN
    for mark, name in _MARKS:
        if (path / mark).is_file():
            return name
    suffixes = {child.suffix for child in path.iterdir()} if path.is_dir() else set()
    return SAFETENSORS if ".safetensors" in suffixes else TORCH if suffixes & set(PICKLES) else UNKNOWN
