"""What a LoRA training step costs beside peft's own forward and the bare linear layer, in time and in what it keeps.

    python -m benchmarks.lora [--save]

One thread, float32, 1280 x 1280, 2 x 1024 tokens: forward, backward to the input and to what trains, in processor
time. Every candidate runs once per round, every other round in reverse, so that other load on the machine hits all
alike; ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from benchmarks._measured import keep, step_of
from suite import adapters

WIDTH = 1280
TOKENS = (2, 1024)
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


def kept_bytes(layer: nn.Module, x: torch.Tensor) -> int:
    """Bytes of the tensors that a forward keeps for its backward, the layer's own and those shared counted once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(kept.values())


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds of every candidate in every round, after one round to warm up."""
    torch.manual_seed(1)
    x = torch.randn(*TOKENS, WIDTH, requires_grad=True)
    gradient = torch.randn(*TOKENS, WIDTH)
    steps = {name: step_of(layer, x, gradient) for name, layer in candidates().items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name in reversed(steps) if number % 2 else steps:
            start = time.process_time()
            steps[name]()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/lora.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(options.repeats)
    x = torch.randn(*TOKENS, WIDTH)
    kept = {name: kept_bytes(layer, x) for name, layer in candidates().items()}
    for name, values in seconds.items():
        print(f"{name:12s} {1e3 * statistics.median(values):8.1f} ms   keeps {kept[name] / 2**20:6.2f} MiB")
    ratios = []
    for rank in RANKS:
        ours, theirs = f"suite r={rank}", f"peft r={rank}"
        ratio = statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))
        met = ratio <= BOUND
        print(f"{ours} / {theirs}: {ratio:.3f} (target <= {BOUND}) {'met' if met else 'MISSED'}")
        ratios.append({"ratio": f"{ours} / {theirs}", "value": ratio, "target": f"<= {BOUND}", "met": met})
    if options.save:
        keep("lora", options.repeats, seconds, kept_bytes=kept, ratios=ratios)


if __name__ == "__main__":
    main()
