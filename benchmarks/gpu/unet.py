"""A training step of SDXL's whole UNet at 1024 x 1024 pixels with KronA, LoRA, LoKr and the materialised formula.

Random weights in bf16, adapters in float32, SDPA, AdamW. Methods take turns on one UNet; seconds are of the device, the
work in its queue included, as the median over the steps after warming up; memory is the allocator's peak.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.claim import Figure, Setting, clear_memory, now, peak_gigabytes
from benchmarks.gpu.trainers import Parts, only

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

PEFT_LORA = "lora, peft's forward"


def measure(setting: Setting) -> Iterator[Figure]:
    """Seconds a step of every method, and KronA's against LoRA's, as peft computes it and as the suite does."""
    from benchmarks.diffusekrona import CANDIDATES

    config = TINY if setting.smoke else SDXL
    network = random_unet(config, setting.device)
    run = batch_of(config, 1, setting.device)
    seconds, memory = {}, {}
    for method in (*CANDIDATES, PEFT_LORA):
        seconds[method], memory[method], parameters = one(network, run, method, *((1, 2) if setting.smoke else (4, 12)))
        note = f"{parameters:,} parameters" + (f", {memory[method]:.2f} GB" if memory[method] else "")
        yield Figure(method, seconds[method], "s/step", note=note)
    yield Figure("KronA / peft's LoRA, seconds", seconds["krona"] / seconds[PEFT_LORA], "x", 0.9, "at most")
    yield Figure("KronA / the suite's LoRA, seconds", seconds["krona"] / seconds["lora"], "x")
    if memory["lora"]:
        yield Figure("KronA / the suite's LoRA, memory", memory["krona"] / memory["lora"], "x", 1.0, "at most")


def random_unet(config: dict[str, Any], device: torch.device) -> nn.Module:
    """A UNet made on the device in bf16."""
    from diffusers import UNet2DConditionModel

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


def one(
    network: nn.Module, run: Callable[[nn.Module], Tensor], method: str, warmup: int, steps: int
) -> tuple[float, float, int]:
    """Seconds a step, gigabytes and trained parameters with one method on the network."""
    from benchmarks.diffusekrona import adapted, step_of

    clear_memory()
    adapted(network, "lora" if method == PEFT_LORA else method)
    step = step_of(network, run)
    taken = []
    with only(Parts(fused=method != PEFT_LORA)):
        for _ in range(warmup + steps):
            start = now()
            step()
            taken.append(now() - start)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    _bare(network, method)
    return statistics.median(taken[warmup:]), peak_gigabytes(), parameters


def _bare(network: Any, method: str) -> None:
    """Take a candidate's method off again."""
    from benchmarks.diffusekrona import Materialised
    from suite import adapters

    if method == "lycoris":
        for module in network.lycoris:
            module.restore()
        del network.lycoris
        return
    if method != "materialised":
        adapters.detach(network)
        return
    for name, layer in list(network.named_modules()):
        if isinstance(layer, Materialised):
            network.set_submodule(name, layer.base)
