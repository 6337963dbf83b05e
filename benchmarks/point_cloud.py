"""What PointGST costs beside full fine-tuning and beside its formulas written down straight, at Point-MAE's real size.

    python -m benchmarks.point_cloud [--save]

22 million parameters, 4 clouds of 1,024 points, one thread, float32. Steps are forward, backward and AdamW on what
trains. Times are the process's own CPU seconds, which other load on the machine lengthens least; every candidate runs
once a round, and ratios are medians over rounds of the ratio within a round. The formulas group points as the field's
plain-torch code does, by the usual loop of farthest-point sampling; against loops that take every distance anew any
figure could be had.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import point_cloud_formulas as formulas
from benchmarks._measured import Target, compared, keep, kept_bytes, ratio_of, rounds, verdict
from domains.point_cloud.model import attachments, bases, forward, geometry
from suite import adapters

BATCH, POINTS, CLASSES, LOCAL = 4, 1024, 40, 32
TARGETS = [Target("PointGST step", "full step", 0.60), Target("PointGST forward", "backbone forward", 1.15)]
COMPARED = [("formulas step", "PointGST step"), ("usual grouping", "grouping")]
"""Ratios that are shown without a target: beside the field's usual code nothing is claimed."""
ACTIVATIONS = 0.40


def network(method: str) -> nn.Module:
    """Point-MAE with a method on it, patch encoder's statistics kept unless it trains."""
    torch.manual_seed(0)
    net = attachments.attach(bases.build({"class": "point_mae", "cls_dim": CLASSES}), method).train()
    if method != "full":
        net.encoder.eval()
    return net


def step_of(net: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> Callable[[], None]:
    """One training step."""
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=5e-4, weight_decay=0.05)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(logits(), labels).backward()
        optimizer.step()

    return step


def candidates(points: Tensor, labels: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    full, ours, straight, evaluated = (network(m) for m in ("full", "pointgst", "pointgst", "pointgst"))
    evaluated.eval()
    config = full.config

    def evaluate(adapted: bool) -> None:
        with torch.no_grad():
            if adapted:
                forward.predict_logits(evaluated, points)
            else:
                evaluated(points)

    def bare() -> None:
        with adapters.disabled(evaluated):
            evaluate(adapted=False)

    return {
        "full step": step_of(full, lambda: forward.predict_logits(full, points), labels),
        "PointGST step": step_of(ours, lambda: forward.predict_logits(ours, points), labels),
        "formulas step": step_of(straight, lambda: formulas.logits(straight, points, LOCAL), labels),
        "backbone forward": bare,
        "PointGST forward": lambda: evaluate(adapted=True),
        "grouping": lambda: geometry.group(points, config.num_group, config.group_size),
        "usual grouping": lambda: formulas.group(points, config.num_group, config.group_size),
    }


def check_same(points: Tensor) -> None:
    """The straight version computes what ours does, on adapters that are not at their start."""
    net = network("pointgst").eval()
    for name, parameter in net.named_parameters():
        if "pcsa" in name:
            nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        ours, straight = forward.predict_logits(net, points), formulas.logits(net, points, LOCAL)
    torch.testing.assert_close(straight, ours, rtol=1e-3, atol=1e-3)


def activation_bytes(net: nn.Module, points: Tensor) -> int:
    """Bytes that one training forward keeps for its backward, parameters not among them."""
    return kept_bytes(net, lambda: forward.predict_logits(net, points).sum())


def measure(repeats: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every candidate in every round after one to warm up; bytes of activations."""
    generator = torch.Generator().manual_seed(1)
    points = geometry.unit_sphere(torch.randn(BATCH, POINTS, 3, generator=generator))
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    check_same(points)
    kept = {name: activation_bytes(network(name), points) for name in ("full", "pointgst")}
    return rounds(candidates(points, labels), repeats), kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="rounds (default 10)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/point_cloud.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds, kept = measure(options.repeats)
    for name, values in seconds.items():
        print(f"{name:18s} {1e3 * statistics.median(values):8.1f} ms")
    ratios = compared(seconds, TARGETS)
    share = kept["pointgst"] / kept["full"]
    print(f"activations: full {kept['full'] / 2**20:.0f} MiB, PointGST {kept['pointgst'] / 2**20:.0f} MiB")
    ratios.append(verdict("PointGST / full activations", share, ACTIVATIONS))
    for above, below in COMPARED:
        ratios.append({"ratio": f"{above} / {below}", "value": ratio_of(seconds, above, below)})
        print(f"{above} / {below}: {ratios[-1]['value']:.3f}")
    if options.save:
        keep("point_cloud", options.repeats, seconds, activation_bytes=kept, ratios=ratios)


if __name__ == "__main__":
    main()
