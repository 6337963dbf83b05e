"""What a KronA training step costs beside the bare linear layer, peft's LoRA and peft's LoKr.

    python -m benchmarks.krona [--save]

One thread, float32, 1280 x 1280, 2 x 1024 tokens: forward, backward to the input and to what trains. Every candidate
runs once per round, so that other load on the machine hits all alike; ratios are medians over rounds of the ratio
within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from benchmarks._measured import keep, step_of
from suite import adapters

WIDTH = 1280
TOKENS = (2, 1024)
FACTORS = ((4, 64), (16, 64), (64, 8))
# (numerator, denominator, bound, whether the ratio must stay below it)
TARGETS = [(f"krona {a1},{a2}", "linear", 1.35, True) for a1, a2 in FACTORS] + [
    ("krona 4,64", "lora r=4", 1.15, True),
    ("lokr f=4", "krona 4,64", 1.8, False),
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


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds of every candidate in every round, after one round to warm up."""
    torch.manual_seed(1)
    x = torch.randn(*TOKENS, WIDTH, requires_grad=True)
    gradient = torch.randn(*TOKENS, WIDTH)
    steps = {name: step_of(layer, x, gradient) for name, layer in candidates().items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/krona.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(options.repeats)
    for name, values in seconds.items():
        print(f"{name:12s} {1e3 * statistics.median(values):8.1f} ms")
    ratios = []
    for above, below, bound, upper in TARGETS:
        ratio = statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
        met = ratio <= bound if upper else ratio >= bound
        sign = "<=" if upper else ">="
        print(f"{above} / {below}: {ratio:.3f} (target {sign} {bound}) {'met' if met else 'MISSED'}")
        ratios.append({"ratio": f"{above} / {below}", "value": ratio, "target": f"{sign} {bound}", "met": met})
    if options.save:
        keep("krona", options.repeats, seconds, ratios=ratios)


if __name__ == "__main__":
    main()
