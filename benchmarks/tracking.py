"""TMoE and a tracking step of SPMTrack-B's shape beside a literal transcription of the formulas; memory of a session.

    python -m benchmarks.tracking [--save] [--only branch step memory]

Random weights, one thread, float32. A branch is what TMoE adds to y = W x, at 1,318 tokens, rank 64, four experts: the
literal one computes the experts one after another and sums them. A step is one search with three templates at 378 and
196 pixels: the literal one has query, key and value apart and embeds every template in every step, as the authors' code
does. Times are processor seconds in interleaved rounds.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks._measured import Target, compared, keep, rounds, verdict
from domains.tracking.inference.loaded import prepared
from domains.tracking.inference.session import SessionSettings, TrackingSession
from domains.tracking.model import attachments
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack, Step
from suite import adapters
from suite.adapters.methods.additive.tmoe import Experts
from suite.adapters.section import AdapterSection

TOKENS, RANK, EXPERTS = 1318, 64, 4
SHAPES = {(768, 768): 2.0, (768, 3072): 1.6, (3072, 768): 1.0}
"""Inputs and outputs of a layer, and how many times faster ours is to be."""
STEP = 1.3
BYTES, FRAMES = 115e6, 1000


class Sized(TorchDispatchMode):
    """Counts the tensors of a size that operations make."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers, self.found = numbers, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.numel() >= self.numbers and not any(made is each for each in args):
            self.found += made.untyped_storage().data_ptr() not in {
                each.untyped_storage().data_ptr() for each in args if isinstance(each, Tensor)
            }
        return made


def literal_branch(x: Tensor, compress: Tensor, router: Tensor, ups: list[Tensor]) -> Tensor:
    """The experts one after another, for tokens (batch, n, in), at a scale of 1."""
    gates = functional.linear(x, router).softmax(-1)
    down = functional.linear(x, compress)
    return sum((gates[..., [i]] * functional.linear(down, up) * 1.0 for i, up in enumerate(ups)), torch.zeros(()))


def parts_of(experts: Experts, part: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """A branch's tensors as the authors hold them."""
    ups = [each.contiguous() for each in experts.up[part].unbind(1)]
    return experts.compress[part, 0], experts.router[part], ups


@torch.no_grad()
def branches(repeats: int) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """What TMoE adds, by both ways, at each shape."""
    seconds, ratios = {}, []
    for (size, out), bound in SHAPES.items():
        torch.manual_seed(0)
        model = adapters.attach(nn.Sequential(nn.Linear(size, out)), "tmoe", targets=["0"], r=RANK, num_experts=EXPERTS)
        [(_, layer)] = adapters.layers(model.eval(), "tmoe")
        layer.keep(True)
        x = torch.randn(1, TOKENS, size)
        y = layer.get_base_layer()(x)
        literal = parts_of(layer.experts("default"))
        torch.testing.assert_close(layer(x), y + literal_branch(x, *literal), atol=1e-4, rtol=0)
        product = layer._product(x[0], "default")
        rows = y[0].clone()
        names = (f"literal {size} -> {out}", f"suite {size} -> {out}")
        steps: dict[str, Callable[[], Any]] = {
            names[0]: lambda x=x, y=y, literal=literal: y + literal_branch(x, *literal),  # type: ignore[misc]
            names[1]: lambda x=x, rows=rows, product=product: product.add_to(rows, x[0], 1.0),  # type: ignore[misc]
        }
        seconds.update(rounds(steps, repeats))
        ratios += compared(seconds, [Target(*names, bound, at_most=False)])
        with Sized(TOKENS * out) as made:
            product.add_to(rows, x[0], 1.0)
        ratios.append(verdict(f"output-sized tensors made {size} -> {out}", made.found, 0))
    return seconds, ratios


class LiteralStep:
    """A step as the authors' modules compute it, with a tracker's own weights.

    Args:
        model: with TMoE on it.
    """

    def __init__(self, model: SpmTrack) -> None:
        self.model = model
        self.layers: dict[str, list[tuple[Tensor, Tensor, tuple[Tensor, Tensor, list[Tensor]]]]] = {}
        for place, layer in adapters.layers(model, "tmoe"):
            base, experts = layer.get_base_layer(), layer.experts(next(iter(layer.settings)))
            count = len(experts.up)
            pairs = zip(base.weight.chunk(count), base.bias.chunk(count), strict=True)
            self.layers[place] = [(*pair, parts_of(experts, part)) for part, pair in enumerate(pairs)]

    def linear(self, place: str, x: Tensor) -> list[Tensor]:
        return [
            functional.linear(x, weight, bias) + literal_branch(x, *branch)
            for weight, bias, branch in self.layers[place]
        ]

    def __call__(self, crops: list[Tensor], masks: list[Tensor], x: Tensor, state: Tensor) -> Step:
        model = self.model
        templates = [model.embed_template(*pair) for pair in zip(crops, masks, strict=True)]
        searched = model.embed_search(x)
        tokens = torch.cat([state + model.track_query + model.query_embed, *templates, searched], 1)
        for number, block in enumerate(model.blocks):
            tokens = self.block(tokens, block, f"blocks.{number}")
        tokens = model.norm(tokens)
        features, left = tokens[:, -searched.shape[1] :], tokens[:, :1]
        scores, boxes = model.head((features @ left.mT) * features)
        return Step(scores, boxes, left)

    def block(self, x: Tensor, block: Any, place: str) -> Tensor:
        heads, width = block.attn.num_heads, x.shape[-1] // block.attn.num_heads
        q, k, v = (
            each.unflatten(-1, (heads, width)).transpose(1, 2)
            for each in self.linear(f"{place}.attn.qkv", block.norm1(x))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + block.ls1(self.linear(f"{place}.attn.proj", mixed)[0])
        inner = functional.gelu(self.linear(f"{place}.mlp.fc1", block.norm2(x))[0])
        return x + block.ls2(self.linear(f"{place}.mlp.fc2", inner)[0])


@torch.no_grad()
def steps(repeats: int) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """One search of SPMTrack-B's shape; of ours, one of the three templates is new, as it is at most while tracking."""
    torch.manual_seed(0)
    model: Any = SpmTrack(Sizes(), TrackerSettings())
    model = attachments.attach_section(model, AdapterSection.of({"preset": "spmtrack"}, attachments.PRESETS))
    literal = LiteralStep(model.eval())
    model = prepared(model)
    settings = model.settings
    crops = [torch.randn(1, 3, settings.template_size, settings.template_size) for _ in range(3)]
    masks = [torch.randint(0, 2, (1, settings.template_grid, settings.template_grid)) for _ in range(3)]
    x, state = torch.randn(1, 3, settings.search_size, settings.search_size), torch.randn(1, 1, 768)
    known = [model.embed_template(*pair) for pair in zip(crops[:2], masks[:2], strict=True)]

    def ours() -> Step:
        return model.search(torch.cat([*known, model.embed_template(crops[2], masks[2])], 1), x, state)

    plain = literal(crops, masks, x, state)
    torch.testing.assert_close(ours().scores, plain.scores, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(ours().boxes, plain.boxes, atol=1e-3, rtol=0)
    seconds = rounds({"literal step": lambda: literal(crops, masks, x, state), "suite step": ours}, repeats)
    return seconds, compared(seconds, [Target("literal step", "suite step", STEP, at_most=False)])


def memory(frames: int = 3 * FRAMES) -> list[dict[str, Any]]:
    """What a session keeps of one object at the published sizes of crops: bytes by count, and of the process."""
    torch.manual_seed(0)
    model: Any = SpmTrack(Sizes(depth=1, width=32, heads=1), TrackerSettings())
    model = prepared(attachments.attach_section(model, AdapterSection.of({"preset": "head"}, attachments.PRESETS)))
    rng = np.random.default_rng(0)
    shots = [rng.integers(0, 255, (240, 320, 3), np.uint8) for _ in range(4)]
    session = TrackingSession(model, settings=SessionSettings(views=False))
    session.add("object", shots[0], (120.0, 90.0, 60.0, 50.0))
    kept, process = [0], [_resident()]
    for number in range(1, frames + 1):
        session.track(shots[number % 4])
        if number % FRAMES == 0:
            kept.append(session.objects["object"].memory.nbytes)
            process.append(_resident())
            print(f"{number} frames: {kept[-1] / 1e6:.1f} MB kept, {process[-1] / 1e6:.0f} MB resident", flush=True)
    return [
        verdict("MB kept after the first 1,000 frames", kept[1] / 1e6, BYTES / 1e6),
        verdict("MB kept at most", max(kept) / 1e6, 1.005 * BYTES / 1e6),
        verdict("MB that the process grew from 2,000 frames on", (process[-1] - process[-2]) / 1e6, 0.1 * BYTES / 1e6),
    ]


def _resident() -> int:
    """Bytes that this process has in memory; its most so far where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as told:
            return int(told.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/tracking.json")
    parser.add_argument("--only", nargs="+", choices=("branch", "step", "memory"), default=("branch", "step", "memory"))
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {}
    ratios: list[dict[str, Any]] = []
    for name, run in (("branch", branches), ("step", steps)):
        if name in given.only:
            found, verdicts = run(given.repeats)
            seconds, ratios = seconds | found, ratios + verdicts
    if "memory" in given.only:
        ratios += memory()
    if given.save:
        keep("tracking", given.repeats, seconds, ratios=ratios)


if __name__ == "__main__":
    main()
