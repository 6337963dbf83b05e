"""What methods of selection and representation claim of memory and time, measured on random weights.

    python -m benchmarks.selection [--save]

One thread, float32, interleaved rounds. NeuroAda: the most that a step has alive, over masked whole gradients. SIFT:
bytes of gradients and optimiser states, over dense AdamW's. Telly: a backward over the share of blocks that train.
Light-PEFT: a step on a base with a third of heads and units cut off. LoReFT and LoFiT: a token's latency in generation.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._measured import keep, ratio_of, rounds, verdict
from benchmarks.methods import peak_of
from benchmarks.released import masked
from suite import adapters
from suite.adapters.methods.selective.light_peft import Pruning


def backward_of(model: nn.Module, x: Tensor, run: Callable[[Any, Tensor], Tensor]) -> Callable[[], None]:
    """One training step of what requires gradients."""

    def step() -> None:
        run(model, x).square().mean().backward()
        model.zero_grad(set_to_none=True)

    return step


def states(model: nn.Module, factor: int) -> int:
    """Bytes of `factor` tensors for each that trains: its gradient, AdamW's two states."""
    return factor * sum(p.nbytes for p in model.parameters() if p.requires_grad)


def neuroada(width: int) -> dict[str, Any]:
    torch.manual_seed(0)
    base = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(4))).requires_grad_(False)
    targets = [str(number) for number in range(len(base))]
    ours = adapters.attach(copy.deepcopy(base), "neuroada", targets=targets, k=1)
    dense, x = masked(base, {"targets": targets}), torch.randn(32, width)
    peaks = [
        peak_of(backward_of(model, x, lambda model, x: model(x)))
        + sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        + states(model, 2)
        for model in (ours, dense)
    ]
    return verdict(f"neuroada k=1, width {width}: peak / masked gradients", peaks[0] / peaks[1], 0.4)


def sift(width: int) -> dict[str, Any]:
    model = adapters.attach(
        nn.Sequential(nn.Linear(width, width)).requires_grad_(False), "sift", targets=["0"], rate=0.01
    )
    return verdict(
        "sift 1 %: gradients and states / dense AdamW's", states(model, 3) / (3 * 4 * width * (width + 1)), 0.03
    )


def roberta(width: int, layers: int) -> nn.Module:
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    sizes = dict(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64
    )
    return RobertaModel(RobertaConfig(vocab_size=512, **sizes), add_pooling_layer=False).eval().requires_grad_(False)


def encode(model: Any, x: Tensor) -> Tensor:
    return model(inputs_embeds=x).last_hidden_state


def telly(width: int, repeats: int) -> list[dict[str, Any]]:
    x = torch.randn(2, 64, width)
    losses: dict[str, list[float]] = {}
    models = {K: adapters.attach(roberta(width, 12), "telly", frozen=K) for K in (0, 3, 6, 9)}

    def backward(model: nn.Module) -> Callable[[], None]:
        held: list[Tensor] = []

        def run() -> None:
            loss = encode(model, x).square().mean()
            held.append(loss)

        def back() -> None:
            held.pop().backward()
            model.zero_grad(set_to_none=True)

        run.back = back  # type: ignore[attr-defined]
        return run

    import time

    steps = {K: backward(model) for K, model in models.items()}
    for _ in range(repeats):
        for K, run in steps.items():
            run()
            start = time.process_time()
            run.back()  # type: ignore[attr-defined]
            losses.setdefault(str(K), []).append(time.process_time() - start)
    found = []
    for K in (3, 6, 9):
        share = statistics.median(a / b for a, b in zip(losses[str(K)], losses["0"], strict=True))
        found.append(verdict(f"telly K={K}: backward / ({12 - K}/12 of all)", share / ((12 - K) / 12), 1.15))
    return found


def light_peft(width: int, repeats: int) -> list[dict[str, Any]]:
    whole, cut, heads = roberta(width, 3), roberta(width, 3), width // 64
    names = [f"encoder.layer.{number}." for number in range(3)]
    stay, units = [*range(heads - heads // 3)], [*range(4 * width - 4 * width // 3)]
    Pruning(
        {f"{name}attention.output.dense": stay for name in names}, {f"{name}output.dense": units for name in names}, 64
    ).apply(cut)
    x = torch.randn(4, 64, width)
    models = {
        name: adapters.attach(model, "lora", targets=["query", "key", "value"], r=8)
        for name, model in (("whole", whole), ("cut", cut))
    }
    steps = {name: backward_of(model, x, encode) for name, model in models.items()}
    seconds = rounds(steps, repeats)
    alive = {
        name: peak_of(steps[name]) + sum(p.nbytes for p in model.parameters()) + states(model, 2)
        for name, model in models.items()
    }
    return [
        verdict("light_peft a third of each: step whole / cut", ratio_of(seconds, "whole", "cut"), 1.25, at_most=False),
        verdict("light_peft a third of each: memory cut / whole", alive["cut"] / alive["whole"], 0.75),
    ]


def decoding(repeats: int) -> list[dict[str, Any]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=4, num_attention_heads=12)
    base = LlamaForCausalLM(LlamaConfig(vocab_size=512, **sizes)).eval().requires_grad_(False)
    models = {
        "base": base,
        "loreft": adapters.attach(copy.deepcopy(base), "loreft", r=8).eval(),
        "lofit": adapters.merge(adapters.attach(copy.deepcopy(base), "lofit").eval()) or base,
    }
    ids = torch.arange(32)[None]

    def generate(model: Any) -> Callable[[], None]:
        return lambda: model.generate(ids, max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0)

    seconds = rounds({name: generate(model) for name, model in models.items()}, repeats)
    return [
        verdict("loreft: generation / base's", ratio_of(seconds, "loreft", "base"), 1.02),
        verdict("lofit, merged: generation / base's", ratio_of(seconds, "lofit", "base"), 1.02),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default 9)")
    parser.add_argument("--width", type=int, default=2048, help="of NeuroAda's and SIFT's layers (default 2048)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/selection.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = [neuroada(options.width), sift(options.width), *telly(256, options.repeats)]
    found += [*light_peft(512, options.repeats), *decoding(options.repeats)]
    if options.save:
        keep("selection", options.repeats, {}, ratios=found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
