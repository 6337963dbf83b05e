"""All claims about a GPU, in one table.

    python -m benchmarks.gpu [--save [FILE]] [--only bf16 unet] [--seconds 480]
    python -m benchmarks.gpu --smoke          # the same code on tiny shapes, on any machine

Nothing is downloaded: weights are random, the domains use their embedded bases. Claims are measured in the order of the
list, each only if the time it takes is left; what is left out is named. docs/training.md says what must be installed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu import domains, faces, layers, musicgen, reviews, tempme, tracking, training, unet
from benchmarks.gpu.claim import Claim, Figure, Setting, clear_memory, device_peak
from benchmarks.gpu.report import print_table, write

RESULTS = Path(__file__).parents[1] / "results" / "gpu.json"
SECONDS = 480.0
CLAIMS = (
    Claim("bf16", "LoRA on 7B beside peft + transformers Trainer", 80, training.bf16, ("accelerate",)),
    Claim("unet", "a training step of SDXL's UNet, KronA beside LoRA", 60, unet.measure, ("diffusers",)),
    Claim("layers", "one layer, KronA's product chosen by cost", 15, layers.measure),
    Claim("nf4", "the pair on a base in four bits", 90, training.nf4, ("accelerate", "bitsandbytes")),
    Claim("domains", "every domain trains, goes on and predicts", 75, domains.measure, ("diffusers", "rapidfuzz")),
    Claim("tempme", "a training step of TempMe, tokens merged beside not", 40, tempme.measure),
    Claim("faces", "deepfake's faces a second beside a plain CLIP loop", 25, faces.measure),
    Claim("tracking", "SPMTrack's frames a second, eight objects in one batch", 60, tracking.measure),
    Claim("musicgen", "MusicGen-medium with adapters beside transformers' generate", 60, musicgen.measure),
    Claim("reviews", "a decision beside eight words, three adapters in one batch", 60, reviews.measure),
    Claim("parts", "the share of each part of the trainer", 95, training.parts),
    Claim("deterministic", "what deterministic kernels cost", 30, training.determinism),
    Claim("unsloth", "beside Unsloth", 90, training.against_unsloth, ("accelerate", "unsloth")),
)
"""Seconds are of an H100, compilation included."""


def main(words: Sequence[str] | None = None) -> int:
    start = time.perf_counter()
    options = arguments(words)
    if not options.smoke and not torch.cuda.is_available():
        print("this benchmark needs a GPU and torch finds none; --smoke runs it tiny on the CPU", file=sys.stderr)
        return 2
    if options.smoke and options.save:
        print("--smoke measures nothing worth keeping; leave out --save", file=sys.stderr)
        return 2
    peak = options.peak_tflops or (None if options.smoke else device_peak(torch.cuda.get_device_name()))
    setting = Setting(options.smoke, peak)
    figures: dict[Claim, list[Figure]] = {}
    left_out: dict[Claim, str] = {}
    failed = False
    for claim in (claim for claim in CLAIMS if not options.only or claim.name in options.only):
        left = options.seconds - (time.perf_counter() - start)
        if missing := claim.missing():
            left_out[claim] = f"{', '.join(missing)} is not installed"
        elif left < claim.seconds and not options.smoke:
            left_out[claim] = f"takes {claim.seconds:.0f} s and {max(0.0, left):.0f} s were left"
        else:
            failed |= not _measure(claim, setting, figures.setdefault(claim, []), left_out)
    print_table(figures, left_out)
    if options.save:
        write(options.save, figures, left_out, time.perf_counter() - start)
    return int(failed)


def _measure(claim: Claim, setting: Setting, found: list[Figure], left_out: dict[Claim, str]) -> bool:
    """Fill `found`; an error ends this claim and not the others. Returns whether there was none."""
    print(f"== {claim.name}: {claim.title}", file=sys.stderr, flush=True)
    begun = time.perf_counter()
    try:
        for figure in claim.measure(setting):
            found.append(figure)
            print(f"   {figure.name}: {figure.value:.4g} {figure.unit} {figure.note}", file=sys.stderr, flush=True)
    except Exception as error:
        traceback.print_exc()
        left_out[claim] = f"failed: {type(error).__name__}: {error}"
        return False
    finally:
        print(f"   {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        clear_memory()
    return True


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    names = [claim.name for claim in CLAIMS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="CLAIM", help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for all (default {SECONDS:.0f})")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of a GPU that the table does not know")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes on the CPU: shows that it runs, no figure")
    parser.add_argument("--save", nargs="?", type=Path, const=RESULTS, metavar="FILE", help=f"keep it ({RESULTS.name})")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
