"""A training step of SDXL's whole UNet at 1024 x 1024 pixels with KronA, LoRA, LoKr and the materialised formula.

    python -m benchmarks.diffusekrona_gpu [--save] [--batch 1] [--checkpointing]
    python -m benchmarks.diffusekrona_gpu --smoke          # the same code on a tiny UNet, on any machine

Random weights in bf16, adapters in float32, SDPA, AdamW. Methods take turns on one UNet; seconds are of the device, the
work in its queue included, as the median over the steps after warming up; memory is the allocator's peak.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks._gpu import refused
from benchmarks.diffusekrona import CANDIDATES, FACTORS, LOKR_FACTOR, RANK, Materialised, adapted, step_of
from suite import adapters

RESULTS = Path(__file__).parent / "results"
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
TINY = {
    **SDXL,
    "sample_size": 8,
    "block_out_channels": (64, 64, 64),
    "transformer_layers_per_block": (1, 1, 1),
    "cross_attention_dim": 64,
    "attention_head_dim": (2, 2, 2),
    "projection_class_embeddings_input_dim": 32 + 6 * 256,
}


def random_unet(config: dict[str, Any], device: torch.device) -> UNet2DConditionModel:
    """A UNet made on the device in bf16."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            return UNet2DConditionModel(**config).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def batch_of(config: dict[str, Any], size: int, device: torch.device) -> Callable[[nn.Module], Tensor]:
    """A forward on one fixed random batch."""
    torch.manual_seed(1)
    like = {"device": device, "dtype": torch.bfloat16}
    side, pooled = config["sample_size"], config["projection_class_embeddings_input_dim"] - 6 * 256
    latents, states = (
        torch.randn(size, 4, side, side, **like),
        torch.randn(size, 77, config["cross_attention_dim"], **like),
    )
    conditions = {
        "text_embeds": torch.randn(size, pooled, **like),
        "time_ids": torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]] * size, **like),
    }
    steps = torch.randint(0, 1000, (size,), device=device)
    return lambda network: network(latents, steps, states, added_cond_kwargs=conditions).sample


def bare(network: nn.Module, method: str) -> None:
    """Take a candidate's method off again."""
    if method != "materialised":
        adapters.detach(network)
        return
    for name, layer in list(network.named_modules()):
        if isinstance(layer, Materialised):
            network.set_submodule(name, layer.base)


def measure(
    network: nn.Module, run: Callable[[nn.Module], Tensor], method: str, warmup: int, steps: int
) -> dict[str, Any]:
    """Seconds a step and the peak of memory with one method on the network."""
    cuda = torch.cuda.is_available()
    adapted(network, method)
    numbers = sum(p.numel() for p in network.parameters() if p.requires_grad)
    step = step_of(network, run)
    taken = []
    for number in range(warmup + steps):
        if cuda:
            torch.cuda.synchronize()
            if number == warmup:
                torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        if number >= warmup:
            taken.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if cuda else None
    bare(network, method)
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    return {"seconds_per_step": statistics.median(taken), "peak_bytes": peak, "parameters": numbers}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1, help="pictures a step (default 1)")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default 20)")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--smoke", action="store_true", help="a tiny UNet on the CPU: does the code run?")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/")
    options = parser.parse_args(words)
    if refused(options.smoke, options.save):
        return 2
    config, device = (TINY, torch.device("cpu")) if options.smoke else (SDXL, torch.device("cuda"))
    network = random_unet(config, device)
    if options.checkpointing:
        network.train().enable_gradient_checkpointing()
    run = batch_of(config, options.batch, device)
    figures = {}
    for method in CANDIDATES:
        figures[method] = measure(network, run, method, *((1, 2) if options.smoke else (5, options.steps)))
        seconds, peak = figures[method]["seconds_per_step"], figures[method]["peak_bytes"]
        memory = "" if peak is None else f"  {peak / 2**30:6.2f} GiB"
        print(f"{method:13s} {seconds:8.3f} s/step{memory}  {figures[method]['parameters']:,} parameters")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        report = {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "batch": options.batch,
            "checkpointing": options.checkpointing,
            "settings": {"krona": FACTORS, "lora": RANK, "lokr": LOKR_FACTOR},
            "methods": figures,
        }
        (RESULTS / "diffusekrona_gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
