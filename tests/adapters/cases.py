"""What the contract test needs to know: small models of every kind, and small settings for every method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.nf4 import BLOCK, Backend, quantize_model


class Mlp(nn.Module):
    """Two linear layers with a LayerNorm between."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width)
        self.fc2 = nn.Linear(2 * width, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


class ConvNet(nn.Module):
    """Two convolutions with a BatchNorm, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


@dataclass(frozen=True)
class Subject:
    """A kind of model.

    Attributes:
        build: a fresh model.
        inputs: what `run` takes.
        run: the model's output, one tensor.
        targets: linear layers to adapt.
        layers: further layer types it has, with an ending that names some.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    run: Callable[[nn.Module, Any], Tensor]
    targets: tuple[str, ...]
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _llama(width: int = 32) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=61,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def _vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=5)


def _unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )


SUBJECTS = {
    "mlp": Subject(
        Mlp,
        lambda: torch.randn(3, 16),
        lambda model, x: model(x),
        ("fc1", "fc2"),
        {"LayerNorm": ("norm",)},
    ),
    "conv": Subject(
        ConvNet,
        lambda: torch.randn(2, 3, 8, 8),
        lambda model, x: model(x),
        ("head",),
        {"Conv2d": ("conv1", "conv2"), "BatchNorm": ("bn",)},
    ),
    "llama": Subject(
        _llama,
        lambda: torch.randint(0, 61, (2, 6)),
        lambda model, x: model(x).logits,
        ("q_proj", "v_proj"),
        {"TransformerBlock": ("layers.0", "layers.1"), "TransformersAttention": ("self_attn",)},
    ),
    "vit": Subject(
        _vit,
        lambda: torch.randn(2, 3, 16, 16),
        lambda model, x: model(x),
        ("attn.proj", "fc1"),
        {
            "TransformerBlock": ("blocks.0", "blocks.1"),
            "PreNormBlock": ("blocks.0", "blocks.1"),
            "Attention": ("attn",),
            "Mlp": ("mlp",),
            "Conv2d": ("patch_embed.proj",),
            "LayerNorm": ("norm1",),
        },
    ),
    "unet": Subject(
        _unet,
        lambda: (torch.randn(1, 4, 8, 8), torch.randn(1, 3, 16)),
        lambda model, x: model(x[0], 5, x[1]).sample,
        ("to_q", "to_v"),
        {"Conv2d": ("conv_shortcut",), "GroupNorm": ("norm1",)},
    ),
}
EVERY_METHOD = tuple(SUBJECTS)
# Rows of whole blocks of 64, which bitsandbytes' own layers need.
SUBJECTS["mlp_64"] = Subject(
    lambda: Mlp(BLOCK), lambda: torch.randn(3, BLOCK), SUBJECTS["mlp"].run, ("fc1", "fc2"), {"LayerNorm": ("norm",)}
)
SUBJECTS["llama_64"] = replace(SUBJECTS["llama"], build=lambda: _llama(BLOCK))


@cache
def _original(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = SUBJECTS[name].build().eval()
    # Weights as freshly made are partly 0 and 1, which hides mistakes.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def fresh(name: str) -> nn.Module:
    """An independent copy of a subject; all copies are equal."""
    return copy.deepcopy(_original(name))


def packed(name: str, backend: Backend = "torch") -> nn.Module:
    """The subject with its linear layers in 4 bit, but for the head."""
    return quantize_model(fresh(name), skip=lambda layer, _: layer in ("head", "lm_head"), backend=backend)


def sample(name: str) -> Any:
    """The same input each time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return SUBJECTS[name].inputs()


def randomise(model: nn.Module, scale: float = 0.05, seed: int = 7) -> None:
    """Move whatever trains away from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


CAUSAL = {"task_type": "CAUSAL_LM"}
PROMPT = {**CAUSAL, "num_virtual_tokens": 3}

# Settings that are small enough for the subjects; methods not named here need none.
SETTINGS: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 10, "init_r": 4, "target_r": 2},
    "adamss": {"r": 4, "num_subspaces": 2},
    "adaptformer": {"bottleneck_size": 4},
    "adaption_prompt": {**CAUSAL, "adapter_len": 3, "adapter_layers": 2},
    "apt": {"tokens": 3},
    "boft": {"boft_block_size": 2},
    "c3a": {"block_size": 4},
    "cartridge": {**PROMPT},
    "compacter": {"reduction": 2, "n": 2},
    "convnet_adapter": {"adapt_size": 1},
    "convpass": {"width": 4},
    "cpt": {**CAUSAL, "cpt_token_ids": [1, 2, 3], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3]},
    "deft": {},
    "dept": {**PROMPT, "r": 2, "max_length": 8},
    "difffit": {"scaled": ["proj", "q_proj", "v_proj", "to_q", "to_v", "fc2"]},
    "fact": {"r": 4},
    "forecast_peft": {"r": 3},
    "fourierft": {"n_frequency": 10},
    "gralora": {"r": 4, "gralora_k": 2},
    "hut": {"r": 4},
    "ia3": {"feedforward_modules": []},
    "kasa": {"r": 2},
    "krona": {"a1": 4, "a2": 8},
    "llama_adapter": {"adapter_len": 3, "adapter_layers": 2},
    "loldu": {"r": 4},
    "light_peft": {"heads": ["proj", "q_proj"], "num_heads": 4},
    "lofit": {"num_heads": 4},
    "low_rank_adapter": {"reduction": 2},
    "miss": {"r": 4},
    "mtlora": {"r": 4},
    "multitask_prompt_tuning": {**PROMPT, "num_tasks": 2},
    "oft": {"oft_block_size": 4},
    "osf": {},
    "pafi": {"budget": 60},
    "p_tuning": {**PROMPT, "encoder_hidden_size": 8},
    "parallel_adapter": {"bottleneck_size": 4},
    "pego": {"r": 2, "members": 2},
    "poly": {"n_tasks": 1, "n_skills": 2, "n_splits": 1, "r": 2},
    "prefix_attention": {"tokens": 3},
    "prefix_tuning": {**PROMPT},
    "prompt_tuning": {**PROMPT},
    "psoft": {"r": 4},
    "randlora": {"r": 4},
    "repadapter": {"hidden": 4},
    "road": {"group_size": 4},
    "series_adapter": {"bottleneck_size": 4},
    "shadow": {**CAUSAL},
    "shira": {"r": 2},
    "sltrain": {"r": 4},
    "soka": {"r": 3},
    "sora": {"r": 4},
    "svfit": {"r": 4},
    "telly": {"frozen": 1},
    "tmoe": {"r": 4, "alpha": 8},
    "sift": {"rate": 0.05},
    "triadaptlora": {"r": 4},
    "unified_adapter": {"bottleneck_size": 4},
    "unilora": {"theta_d_length": 64},
    "vblora": {"num_vectors": 8, "vector_length": 4, "r": 2, "topk": 2},
    "visual_prompt": {"tokens": 3},
    "waveft": {"n_frequency": 10},
    "xlora": {},
}


# Methods whose forward needs more than a model's own inputs: reachable, but not run through the contract.
UNEXERCISED = {
    "xlora": "needs trained LoRA adapters on the disk to mix",
}
# Methods of blocks that fit fewer models than those with blocks.
BLOCKS: dict[str, tuple[str, ...]] = {"visual_prompt": ("vit",), "adaptformer": ("vit",)}
MODULES: dict[str, tuple[str, ...]] = {"ln_tuning": ("input_layernorm",), "trainable_tokens": ("embed_tokens",)}


def arguments(method: str, subject: str) -> dict[str, Any]:
    """Keyword arguments of `attach` for a method on a subject."""
    settings = dict(SETTINGS.get(method, {}))
    info = adapters.methods()[method]
    if method == "trainable_tokens":
        settings["token_indices"] = [1, 2, 3]
    if method == "parameters":
        return {"parameters": ["bn"] if subject == "conv" else ["*norm*"]}
    if (not info.in_place and info.kind == "prompt") or method in ("shadow", "visual_prompt", "bitfit", "telly"):
        return settings
    model = SUBJECTS[subject]
    linear = info.source == "peft" or {"Linear", "*"} & {*info.layers}
    targets = MODULES.get(method, model.targets if linear else ())
    if method not in MODULES:
        # Whole blocks do not tell how wide they are; what fits single layers is put on those.
        kinds = [kind for kind in model.layers if kind in info.layers and not (kind == "TransformerBlock" and linear)]
        targets += tuple(name for kind in kinds for name in model.layers[kind])
    if method == "spt":
        names = [name for name, _ in fresh(subject).named_modules()]
        settings["counts"] = {name: 5 for name in names if any(f".{name}".endswith(f".{end}") for end in targets)}
    return {**settings, "targets": list(targets)}


def forward(method: str, subject: str, model: nn.Module, x: Any) -> Tensor:
    """One forward; methods for several tasks get the first task."""
    if method in ("multitask_prompt_tuning", "poly") and hasattr(model, "peft_type"):
        # peft's plain wrapper keeps task ids from poly's own; its tuner takes them.
        wrapped = model.base_model if method == "poly" else model
        return wrapped(x, task_ids=torch.zeros(len(x), dtype=torch.long)).logits
    return SUBJECTS[subject].run(model, x)


def home(method: str) -> str:
    """The subject on which one run of a method is enough."""
    fits = [subject for name, subject in pairs() if name == method]
    return "vit" if "vit" in fits else fits[0]


def ours() -> list[str]:
    """Our methods that fit plain layers, so that the subjects here can carry them."""
    return [name for name in dict.fromkeys(name for name, _ in pairs()) if adapters.methods()[name].source == "suite"]


def pairs() -> list[tuple[str, str]]:
    """Every (method, subject) that the method declares to fit; a domain's own sites are tested on its own models."""
    found = []
    for name, info in adapters.methods().items():
        if name in UNEXERCISED or name.startswith("toy_"):
            continue
        if info.source == "peft":
            found.append((name, "llama"))
            if "Conv2d" in info.layers:
                found.append((name, "conv"))
        elif not info.in_place:
            found.append((name, "llama"))
        elif "TransformerBlock" in info.layers and "Linear" not in info.layers:
            found += [(name, subject) for subject in BLOCKS.get(name, ("llama", "vit"))]
        elif name == "bitfit":
            found += [(name, subject) for subject in ("mlp", "conv", "vit", "unet")]
        elif name == "parameters" or "Linear" in info.layers:
            found += [(name, subject) for subject in EVERY_METHOD]
        else:
            found += [(name, subject) for subject in EVERY_METHOD if {*info.layers} & {*SUBJECTS[subject].layers}]
    return found


def packed_pairs() -> list[tuple[str, str]]:
    """(method, subject) for 4-bit bases: peft's on a Llama, ours on a ViT."""
    wanted = {"peft": "llama", "suite": "vit"}
    # These say themselves why not; that one refuses so small a model.
    needless = {"paca", "neuroada", "pafi", "sift", "spt", "id3", "telly", "osf"}
    return [
        (name, subject)
        for name, subject in pairs()
        if wanted[adapters.methods()[name].source] == subject and name not in needless
    ]
