"""What every method costs: parameters, the time and memory of a training step, and what is left after merging.

    python -m benchmarks.methods [--only METHOD ...] [--repeats N] [--save]

Three hosts, float32, one thread: two blocks of a Llama, two blocks of a ViT, and a small convolutional network. A step
is a forward and a backward to the input, as every layer of a frozen base must do. Candidates run once a round, every
other round in reverse, so that other load hits all alike; a ratio is the median over rounds of the ratio in a round.

    time      of a step, over the frozen base's
    memory    peak of a step with AdamW's two states of what trains, over the frozen base's peak
    merged    of a forward without gradients, over the bare base's, merged where that can be
    beside    of a step, over that of peft's own layers (`peft`) or of the computation that the authors' released code
              does (`released`, in `benchmarks.released`); empty where neither is at hand
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._measured import RESULTS, ratio_of, rounds
from benchmarks.released import RELEASED
from suite import adapters
from suite.errors import InputError

BOUND = 1.05
"""No method is to be slower than what it stands beside, within the noise of 5 %."""


@dataclass(frozen=True)
class Host:
    """A model to put methods on.

    Attributes:
        build: it, with random weights, frozen.
        inputs: what goes in, floating point, with a gradient.
        run: its output.
        targets: endings of the layers that methods of linear layers adapt, and by layer type those of others.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    run: Callable[[nn.Module, Tensor], Tensor]
    targets: dict[str, tuple[str, ...]]


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(hidden_size=512, intermediate_size=1408, num_hidden_layers=2, num_attention_heads=8)
    return LlamaForCausalLM(LlamaConfig(vocab_size=256, num_key_value_heads=8, **sizes))


def _vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=112, patch_size=8, embed_dim=384, depth=2, num_heads=6, num_classes=10)


class ConvNet(nn.Module):
    """Four convolutions with BatchNorm, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(64, 128, 3, 2, 1), nn.Conv2d(128, 128, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv2(torch.relu(self.conv1(x)))))
        x = torch.relu(self.bn2(self.conv4(torch.relu(self.conv3(x)))))
        return self.head(x.mean((2, 3)))


HOSTS = {
    "llama": Host(
        _llama,
        lambda: torch.randn(2, 128, 512),
        lambda model, x: model(inputs_embeds=x, use_cache=False).logits,
        {
            "Linear": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
            "RMSNorm": ("input_layernorm", "post_attention_layernorm"),
            "Attention": ("self_attn",),
            "TransformersAttention": ("self_attn",),
            "TransformerBlock": ("layers.0", "layers.1"),
        },
    ),
    "vit": Host(
        _vit,
        lambda: torch.randn(2, 3, 112, 112),
        lambda model, x: model(x),
        {
            "Linear": ("qkv", "attn.proj", "fc1", "fc2"),
            "LayerNorm": ("norm1", "norm2"),
            "Attention": ("attn",),
            "TransformerBlock": ("blocks.0", "blocks.1"),
            "PreNormBlock": ("blocks.0", "blocks.1"),
        },
    ),
    "conv": Host(
        ConvNet,
        lambda: torch.randn(4, 32, 32, 32),
        lambda model, x: model(x),
        {"Conv2d": ("conv1", "conv2", "conv3", "conv4"), "BatchNorm": ("bn1", "bn2")},
    ),
}
CAUSAL = {"task_type": "CAUSAL_LM"}
# Where a default does not fit hosts of this size, or methods are to train as much as each other.
SETTINGS: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 100},
    "adaption_prompt": {**CAUSAL, "adapter_len": 10, "adapter_layers": 2},
    "adaptformer": {"bottleneck_size": 16},
    "c3a": {"block_size": 64},
    "cartridge": {**CAUSAL, "num_virtual_tokens": 10},
    "compacter": {"reduction": 32, "n": 4},
    "dept": {**CAUSAL, "num_virtual_tokens": 10, "r": 8, "max_length": 128},
    "fourierft": {"n_frequency": 1000},
    "krona": {"a1": 16, "a2": 16},
    "light_peft": {"num_heads": 8},
    "llama_adapter": {"adapter_layers": 2},
    "lofit": {"std": 1e-3},
    "low_rank_adapter": {"reduction": 32},
    "p_tuning": {**CAUSAL, "num_virtual_tokens": 10, "encoder_hidden_size": 128},
    "parallel_adapter": {"bottleneck_size": 16},
    "pafi": {"budget": "1%"},
    "prefix_attention": {"tokens": 10},
    "prefix_tuning": {**CAUSAL, "num_virtual_tokens": 10},
    "prompt_tuning": {**CAUSAL, "num_virtual_tokens": 10},
    "series_adapter": {"bottleneck_size": 16},
    "vblora": {"num_vectors": 64, "vector_length": 64},
    "waveft": {"n_frequency": 1000},
}
# Need what no host here gives: other inputs, an optional package, trained adapters, a plan.
LEFT_OUT = {
    "adamss",
    "cpt",
    "multitask_prompt_tuning",
    "parameters",
    "poly",
    "shadow",
    "spt",
    "xlora",
    "trainable_tokens",
}


@dataclass(frozen=True)
class Row:
    """One method on one host; ratios over the frozen base's."""

    method: str
    host: str
    trainable: int
    time: float
    memory: float
    merged: float
    beside: float | None
    of: str

    @property
    def holds(self) -> bool:
        """Whether the method is as fast as what it stands beside, within noise."""
        return self.beside is None or self.beside <= BOUND


@cache
def _original(host: str) -> nn.Module:
    torch.manual_seed(0)
    return HOSTS[host].build().eval().requires_grad_(False)


def base(host: str) -> nn.Module:
    """A copy of a host."""
    return copy.deepcopy(_original(host))


def arguments(method: str, host: str) -> dict[str, Any] | None:
    """Keyword arguments of `attach`; None where the method fits nothing of the host."""
    info, settings = adapters.methods()[method], dict(SETTINGS.get(method, {}))
    if not info.in_place and info.kind == "prompt":
        return settings if host == "llama" else None
    if method in ("adaption_prompt", "llama_adapter"):
        return settings if host == "llama" else None
    own = {"telly": {"frozen": 1}, "visual_prompt": {}, "bitfit": {}, "difffit": {}, "attnscale": {}}
    if method in own:
        fits = (
            host == "vit"
            or (method == "telly" and host == "llama")
            or (method in ("bitfit", "difffit") and host == "conv")
        )
        return {**settings, **own[method]} if fits else None
    kinds = [kind for kind in info.layers if kind in HOSTS[host].targets]
    linear = [kind for kind in kinds if kind in ("Linear", "Conv2d")]
    targets = [name for kind in (linear or kinds[:1]) for name in HOSTS[host].targets[kind]]
    if method == "lofit":
        targets = {"llama": ["o_proj"], "vit": ["attn.proj"]}.get(host, [])
    return {**settings, "targets": targets} if targets else None


def attached(method: str, host: str) -> nn.Module | None:
    """The host with the method; None where it does not fit."""
    settings = arguments(method, host)
    if settings is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            model = adapters.attach(base(host), method, **settings).eval()
            step_of(host, model)()
            return model
    except (InputError, AttributeError, ValueError, RuntimeError) as error:
        print(f"{method} on {host}: {str(error)[:100]}")
        return None


def _of_peft(method: str) -> tuple[str, dict[str, Any]]:
    """What peft calls a method, and the settings that it takes there beside the host's."""
    from peft import KasaConfig

    own: dict[str, tuple[str, dict[str, Any]]] = {
        "hut": ("hira", {"r": 8}),
        "kasa": ("lora", {"kasa_config": KasaConfig()}),
    }
    return own.get(method, (method, {}))


def peft_alone(method: str, host: str) -> nn.Module | None:
    """The same with nothing of ours: peft's layers in the bare host."""
    from peft import inject_adapter_in_model

    from suite.adapters.registry import build_config

    settings, (method, more) = arguments(method, host), _of_peft(method)
    info = adapters.methods()[method]
    if info.source != "peft" or not info.in_place or settings is None:
        return None
    settings |= more
    targets = settings.pop("targets", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return inject_adapter_in_model(build_config(method, settings, targets), base(host)).eval()


def step_of(host: str, model: nn.Module) -> Callable[[], None]:
    """A forward and a backward in training, to the input and to what trains."""
    torch.manual_seed(1)
    model.train()
    x = HOSTS[host].inputs().requires_grad_()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step() -> None:
        HOSTS[host].run(model, x).square().mean().backward()
        x.grad = None
        for parameter in trained:
            parameter.grad = None

    return step


def forward_of(host: str, model: nn.Module) -> Callable[[], None]:
    """A forward as predictions do it."""
    torch.manual_seed(1)
    model.eval()
    x = HOSTS[host].inputs()

    def run() -> None:
        with torch.no_grad():
            HOSTS[host].run(model, x)

    return run


def peak_of(step: Callable[[], None]) -> int:
    """Bytes that a step takes and has alive at once, on the CPU."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    taken = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(taken, key=lambda event: event.start_ns())), default=0)


def peak_bytes(host: str, model: nn.Module) -> int:
    """Bytes that are alive at once in a step, the model's own and two optimiser states of what trains among them."""
    peak = peak_of(step_of(host, model))
    own = {tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
    states = 2 * sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return peak + sum(own.values()) + states


def measured(host: str, methods: Iterable[str], repeats: int) -> list[Row]:
    """The rows of one host."""
    models = {method: found for method in methods if (found := attached(method, host)) is not None}
    others: dict[str, tuple[str, nn.Module]] = {}
    for method in models:
        if (other := peft_alone(method, host)) is not None:
            others[method] = "peft", other
        elif (method, host) in RELEASED:
            others[method] = "released", RELEASED[method, host](base(host), arguments(method, host) or {})
    steps = {"base": step_of(host, base(host))}
    for method, model in models.items():
        steps[method] = step_of(host, model)
        if method in others:
            steps[f"{method} beside"] = step_of(host, others[method][1])
    seconds = rounds(steps, repeats)
    alone, counts, peaks = peak_bytes(host, base(host)), {}, {}
    for method, model in models.items():
        counts[method] = adapters.count(model).trainable
        peaks[method] = peak_bytes(host, model) / alone
    for method, model in models.items():
        if adapters.methods()[method].mergeable:
            try:
                adapters.merge(model)
            except InputError as error:
                print(f"{method} on {host}: {str(error)[:80]}")
    forwards = {"base": forward_of(host, base(host))} | {
        name: forward_of(host, model) for name, model in models.items()
    }
    after = rounds(forwards, repeats)
    rows = []
    for method in models:
        beside = ratio_of(seconds, method, f"{method} beside") if method in others else None
        of = others[method][0] if method in others else ""
        ratios = ratio_of(seconds, method, "base"), peaks[method], ratio_of(after, method, "base")
        rows.append(Row(method, host, counts[method], *ratios, beside, of))
    return rows


def shown(rows: Iterable[Row]) -> None:
    """Print the table, and what it comes to."""
    rows = list(rows)
    print(f"{'method':24s} {'host':6s} {'trainable':>10s} {'time':>6s} {'memory':>7s} {'merged':>7s}  beside")
    for row in rows:
        figures = f"{row.trainable:10,} {row.time:6.2f} {row.memory:7.2f} {row.merged:7.2f}"
        beside = f"{row.beside:.2f} {row.of}{'' if row.holds else ' MISSED'}" if row.beside is not None else ""
        print(f"{row.method:24s} {row.host:6s} {figures}  {beside}")
    ratios = [row.beside for row in rows if row.beside is not None]
    if ratios:
        missed = sum(not row.holds for row in rows)
        print(f"beside: median {statistics.median(ratios):.2f} of {len(ratios)}, {missed} above {BOUND}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="these methods alone")
    parser.add_argument("--hosts", nargs="*", default=[*HOSTS], help="these hosts alone")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/methods.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    known = [name for name in adapters.methods() if name not in LEFT_OUT]
    chosen = [name for name in known if not options.only or name in options.only]
    rows: list[Row] = []
    for host in options.hosts:
        rows += measured(host, chosen, options.repeats)
        if options.save:
            _keep(rows, options.repeats)
    shown(rows)
    return 0


def _keep(rows: list[Row], repeats: int) -> None:
    """Write what was measured in the place of what was known of the same hosts and methods."""
    file = RESULTS / "methods.json"
    known = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    new = {(row.host, row.method): asdict(row) for row in rows}
    kept = {(row["host"], row["method"]): row for row in known} | new
    RESULTS.mkdir(exist_ok=True)
    report = {"threads": 1, "repeats": repeats, "torch": torch.__version__, "rows": [*kept.values()]}
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
