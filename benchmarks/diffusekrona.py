"""A DreamBooth step's cost with KronA beside LoRA, LoKr of peft and of LyCORIS, and the materialised formula.

    python -m benchmarks.diffusekrona [--save] [--tokens 1024] [--repeats 20]

One thread, float32: self- and cross-attention of an SDXL block of width 1280 with their norms, 20 heads, 77 text
states of width 2048; 1,024 latent tokens are a picture of 1024 x 1024 pixels. A step is forward, backward to the input
(other blocks wait for it) and to what trains, and AdamW. Every candidate runs once in each round, every other round in
reverse, in processor time, so that other load on the machine hits all alike; ratios are medians over rounds of the
ratio within a round. Memory is the allocator's peak within one step, weights not counted. Then the forward of one
2048 -> 1280 projection on 77 states: beside LyCORIS's LoKr in the mode that never builds the product, and beside
building it first, which no program for training need do.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from importlib.util import find_spec

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks._measured import Target, compared, keep, ratio_of, rounds, verdict
from suite import adapters
from suite.adapters.methods.reparameterized.krona import kronecker_product

WIDTH, TEXT_WIDTH, HEADS, TEXT_TOKENS = 1280, 2048, 20, 77
FACTORS = (4, 64)
RANK = 4
LOKR_FACTOR = 16  # (16, 16) has as many parameters as (4, 64)
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
TARGETS = [Target("krona", "lora", 1.15), Target("lokr", "krona", 1.8, at_most=False)]
FORWARD_TARGET = 5.0


class Block(nn.Module):
    """The attention half of SDXL's transformer block."""

    def __init__(self, width: int = WIDTH, text_width: int = TEXT_WIDTH, heads: int = HEADS) -> None:
        super().__init__()
        head = width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn1 = Attention(width, heads=heads, dim_head=head)
        self.attn2 = Attention(width, cross_attention_dim=text_width, heads=heads, dim_head=head)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        return x + self.attn2(self.norm2(x), encoder_hidden_states=states)


class Materialised(nn.Module):
    """A projection whose weight is W + Delta, Delta built at every forward as the authors' layout has it."""

    def __init__(self, base: nn.Linear, a1: int, a2: int) -> None:
        super().__init__()
        self.base = base
        like = {"device": base.weight.device, "dtype": torch.float32}
        self.down = nn.Parameter(torch.randn(a2, a1, **like) / a1)
        self.up = nn.Parameter(torch.zeros(base.out_features // a1, base.in_features // a2, **like))

    def forward(self, x: Tensor) -> Tensor:
        delta = torch.einsum("pj,iq->pqij", self.up, self.down).reshape(self.base.weight.shape)
        return functional.linear(x, self.base.weight + delta.to(x.dtype), self.base.bias)


def adapted(network: nn.Module, method: str) -> nn.Module:
    """Put a candidate's method on every attention projection of a frozen network."""
    network.requires_grad_(False)
    a1, a2 = FACTORS
    if method == "materialised":
        for name, layer in list(network.named_modules()):
            if name.endswith(PROJECTIONS) and isinstance(layer, nn.Linear):
                network.set_submodule(name, Materialised(layer, a1, a2))
        return network
    if method == "lycoris":
        return with_lycoris(network)
    settings = {
        "krona": {"a1": a1, "a2": a2},
        "lora": {"r": RANK, "lora_alpha": RANK},
        # A rank this high keeps the second factor whole.
        "lokr": {"r": TEXT_WIDTH, "alpha": TEXT_WIDTH, "decompose_factor": LOKR_FACTOR},
    }[method]
    return adapters.attach(network, method, targets=list(PROJECTIONS), **settings)


CANDIDATES = ("krona", "lora", "lokr", *(("lycoris",) if find_spec("lycoris") else ()), "materialised")


def with_lycoris(network: nn.Module) -> nn.Module:
    """LyCORIS's own LoKr of the same size, in the mode that never builds its product."""
    from lycoris.modules.lokr import LokrModule

    made = nn.ModuleList()
    for name, layer in network.named_modules():
        if name.endswith(PROJECTIONS) and isinstance(layer, nn.Linear):
            sizes = {"lora_dim": TEXT_WIDTH, "factor": LOKR_FACTOR, "full_matrix": True}
            module = LokrModule(name.replace(".", "_"), layer, bypass_mode=True, **sizes)
            module.apply_to()
            made.append(module)
    network.lycoris = made
    return network


def step_of(network: nn.Module, run: Callable[[nn.Module], Tensor]) -> Callable[[], None]:
    """One training step: forward, backward, AdamW."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> None:
        run(network).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak_bytes(step: Callable[[], None]) -> int:
    """The most that the CPU allocator held during a step, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(tokens: int, repeats: int) -> tuple[dict[str, list[float]], dict[str, int], dict[str, int]]:
    """Seconds of every candidate in every round after one to warm up, its peak of memory, and its parameters."""
    torch.manual_seed(1)
    x = torch.randn(1, tokens, WIDTH, requires_grad=True)
    states = torch.randn(1, TEXT_TOKENS, TEXT_WIDTH)
    steps, numbers = {}, {}

    def run(network: nn.Module) -> Tensor:
        x.grad = None
        return network(x, states)

    for method in CANDIDATES:
        torch.manual_seed(0)
        network = adapted(Block(), method)
        numbers[method] = sum(p.numel() for p in network.parameters() if p.requires_grad)
        steps[method] = step_of(network, run)
    seconds = rounds(steps, repeats)
    memory = {}
    for method, step in steps.items():
        x.grad = None  # what is freed within a step would count against its peak
        memory[method] = peak_bytes(step)
    return seconds, memory, numbers


def forward_speed(repeats: int) -> tuple[dict[str, float], float]:
    """Times of other ways to compute a layer's change beside ours, and how far the same product is from ours.

    Returns:
        By name, the median of the ratios to ours; the largest difference.
    """
    torch.manual_seed(2)
    x = torch.randn(1, TEXT_TOKENS, TEXT_WIDTH)
    a, b = torch.randn(FACTORS), torch.randn(WIDTH // FACTORS[0], TEXT_WIDTH // FACTORS[1]) / TEXT_WIDTH**0.5
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: kronecker_product(x, a, b),
        "kron, then matmul": lambda: x @ torch.kron(a, b).T,
    }
    if "lycoris" in CANDIDATES:
        from lycoris.functional.lokr import bypass_forward_diff

        first = torch.randn(LOKR_FACTOR, LOKR_FACTOR)
        second = torch.randn(WIDTH // LOKR_FACTOR, TEXT_WIDTH // LOKR_FACTOR)
        ways["lycoris's bypass"] = lambda: bypass_forward_diff(x, None, first, None, None, second, None, None, None)
    results = {name: way() for name, way in ways.items()}
    seconds = rounds(ways, repeats)
    ratios = {name: ratio_of(seconds, name, "ours") for name in ways if name != "ours"}
    return ratios, float((results["ours"] - results["kron, then matmul"]).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--tokens", type=int, default=1024, help="latent tokens (default 1024)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/diffusekrona.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds, memory, numbers = measure(options.tokens, options.repeats)
    for name, values in seconds.items():
        print(
            f"{name:13s} {1e3 * statistics.median(values):9.1f} ms  peak {memory[name] / 2**20:7.1f} MiB  "
            f"{numbers[name]:8,} parameters"
        )
    ratios = compared(seconds, TARGETS)
    forward, difference = forward_speed(10 * options.repeats)
    ratios.append(verdict("kron, then matmul / forward", forward["kron, then matmul"], FORWARD_TARGET, at_most=False))
    if "lycoris" in seconds:
        beside = {
            "lycoris / krona": ratio_of(seconds, "lycoris", "krona"),
            "lycoris's bypass / forward": forward["lycoris's bypass"],
        }
        for name, value in beside.items():
            print(f"{name}: {value:.3f}")
            ratios.append({"ratio": name, "value": value})
    print(f"largest difference of the two forwards: {difference:.1e}")
    ratios.append(verdict("that difference", difference, 1e-5))
    if options.save:
        figures = {"peak_bytes": memory, "parameters": numbers, "ratios": ratios, "forward_difference": difference}
        keep("diffusekrona", options.repeats, seconds, tokens=options.tokens, **figures)


if __name__ == "__main__":
    main()
