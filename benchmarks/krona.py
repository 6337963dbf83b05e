"""What a KronA training step costs beside the bare linear layer, peft's LoRA and peft's LoKr.

    python -m benchmarks.krona [--save]

One thread, float32, 1280 x 1280, 2 x 1024 tokens: forward, backward to the input and to what trains, in processor
time. Every candidate runs once per round, every other round in reverse, so that other load on the machine hits all
alike; ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import nn

from benchmarks._measured import WIDTH, Target, compared, keep, rounds_of_steps
from suite import adapters

FACTORS = ((4, 64), (16, 64), (64, 8))
TARGETS = [Target(f"krona {a1},{a2}", "linear", 1.35) for a1, a2 in FACTORS] + [
    Target("krona 4,64", "lora r=4", 1.15),
    Target("lokr f=4", "krona 4,64", 1.8, at_most=False),
]


def candidates() -> dict[str, nn.Module]:
    """The layers to compare, by name."""

    def linear() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False)).requires_grad_(False)

    layers = {"linear": linear()}
    for a1, a2 in FACTORS:
        layers[f"krona {a1},{a2}"] = adapters.attach(linear(), "krona", targets=["0"], a1=a1, a2=a2)
    layers["lora r=4"] = adapters.attach(linear(), "lora", targets=["0"], r=4)
    # A rank this high keeps the second factor whole.
    layers["lokr f=4"] = adapters.attach(linear(), "lokr", targets=["0"], r=WIDTH, decompose_factor=4)
    return layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/krona.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = rounds_of_steps(candidates(), options.repeats)
    for name, values in seconds.items():
        print(f"{name:12s} {1e3 * statistics.median(values):8.1f} ms")
    ratios = compared(seconds, TARGETS)
    if options.save:
        keep("krona", options.repeats, seconds, ratios=ratios)


if __name__ == "__main__":
    main()
