"""What a LoRA training step costs beside peft's own forward and the bare linear layer, in time and in what it keeps.

    python -m benchmarks.lora [--save]

One thread, float32, 1280 x 1280, 2 x 1024 tokens: forward, backward to the input and to what trains, in processor
time. Every candidate runs once per round, every other round in reverse, so that other load on the machine hits all
alike; ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from benchmarks._measured import TOKENS, WIDTH, Target, compared, keep, kept_bytes, rounds_of_steps
from suite import adapters

RANKS = (4, 16)
BOUND = 0.95


def linear() -> nn.Module:
    """The bare layer, frozen."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH)).requires_grad_(False)


def candidates() -> dict[str, nn.Module]:
    """The layers to compare, by name."""
    layers = {"linear": linear()}
    for rank in RANKS:
        config = LoraConfig(r=rank, target_modules=["0"])
        layers[f"peft r={rank}"] = inject_adapter_in_model(config, linear())
        layers[f"suite r={rank}"] = adapters.attach(linear(), "lora", targets=["0"], r=rank)
    return layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/lora.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = rounds_of_steps(candidates(), options.repeats)
    x = torch.randn(*TOKENS, WIDTH)
    kept = {name: kept_bytes(layer, partial(layer, x)) for name, layer in candidates().items()}
    for name, values in seconds.items():
        print(f"{name:12s} {1e3 * statistics.median(values):8.1f} ms   keeps {kept[name] / 2**20:6.2f} MiB")
    ratios = compared(seconds, [Target(f"suite r={rank}", f"peft r={rank}", BOUND) for rank in RANKS])
    if options.save:
        keep("lora", options.repeats, seconds, kept_bytes=kept, ratios=ratios)


if __name__ == "__main__":
    main()
