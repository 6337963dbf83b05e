"""What each method of the installed peft declares, as the contract test found it.

A method that a newer peft adds is reachable at once, with the properties that its classes show.
"""

from __future__ import annotations

from typing import Any

from peft import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from suite.adapters.peft_facts import FACTS
from suite.adapters.registry import Kind, MethodInfo, declare

# Beside prompts and shared state: these need the forward of a PeftModel (task ids, scalings, cached modules).
WRAPPED = {"adaption_prompt", "poly", "shadow", "xlora"}
CONV = ("Linear", "Conv1D", "Conv2d")
LINEAR = ("Linear", "Conv1D")

# As peft's own sources cite them; methods not listed have no citation there.
PAPERS = {
    "adalora": "2303.10512",
    "adaption_prompt": "2303.16199",
    "boft": "2311.06243",
    "c3a": "2407.19342",
    "cartridge": "2506.06266",
    "cpt": "2410.17222",
    "delora": "2503.18225",
    "fourierft": "2405.03003",
    "glora": "2306.07967",
    "gralora": "2505.20355",
    "hira": "HiRA, ICLR 2025",
    "hra": "2405.17484",
    "ia3": "2205.05638",
    "ln_tuning": "2312.11420",
    "loha": "2108.06098",
    "lokr": "2309.14859",
    "lily": "2407.09946",
    "lora": "2106.09685",
    "miss": "2409.15371",
    "multitask_prompt_tuning": "2303.02861",
    "oft": "2306.07280",
    "osf": "2504.07097",
    "p_tuning": "2103.10385",
    "peanut": "2410.01870",
    "poly": "2202.13914",
    "prefix_tuning": "2101.00190",
    "prompt_tuning": "2104.08691",
    "pvera": "2512.07703",
    "randlora": "2502.00987",
    "road": "2409.00119",
    "shira": "2406.13175",
    "supertuning": "2607.09287",
    "tinylora": "2602.04118",
    "unilora": "2506.00799",
    "vblora": "2405.15179",
    "vera": "2310.11454",
    "waveft": "2505.12532",
    "xlora": "2402.07148",
}

KINDS: dict[str, Kind] = {
    "adaption_prompt": "prompt",
    "beft": "selective",
    "ia3": "reparameterized",
    "ln_tuning": "selective",
    "peanut": "additive",
    "shadow": "additive",
    "shira": "selective",
    "supertuning": "selective",
    "trainable_tokens": "selective",
}

# Where a method differs from what its classes show.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "adaption_prompt": {"mergeable": False, "layers": ("Attention",), "exchanges": "adaption_"},
    "c3a": {"identity_at_start": False},
    "delora": {"half": False},
    "fourierft": {"identity_at_start": False},
    "lily": {"mergeable": False},
    "ln_tuning": {"layers": ("LayerNorm", "RMSNorm")},
    "lora": {"live": ("alpha_pattern", "lora_alpha", "use_rslora")},
    "osf": {"mergeable": False, "multi_adapter": False},
    "poly": {"mergeable": False},
    "pvera": {"half": False},
    "randlora": {"multi_adapter": False},
    "shadow": {"mergeable": False, "layers": ("Attention",)},
    "tinylora": {"half": False},
    "trainable_tokens": {"layers": ("Embedding",)},
    "unilora": {"identity_at_start": False, "half": False},
    "vblora": {"identity_at_start": False},
    "vera": {"half": False},
    "xlora": {"mergeable": False, "multi_adapter": False, "identity_at_start": False},
}
# Over bases in 4 bit: those that read no number of the base's weight, or read it through the layer.
QUANTIZABLE = {
    *("adalora", "boft", "c3a", "fourierft", "gralora", "ia3", "lily", "ln_tuning", "lora", "miss", "oft"),
    *("pvera", "randlora", "road", "shadow", "trainable_tokens", "vblora", "vera", "waveft"),
}
# Merging adds their layer's `get_delta_weight`; boft, hira, hra and oft mean something else by that name.
ADDITIVE = {
    *("adalora", "c3a", "deft", "delora", "fourierft", "gralora", "loha", "lokr", "lora", "peanut"),
    *("pvera", "randlora", "supertuning", "tinylora", "unilora", "vblora", "vera", "waveft"),
}
# Their layers' `set_scale` does it; boft's and oft's only warn, adalora's forgets that its scaling is not alpha / r.
SCALABLE = {"loha", "lokr", "lora", "shira"}
READS_WEIGHT = {"deft", "glora", "hira", "hra", "peanut", "shira", "supertuning"}
CONVOLUTIONS = {"adalora", "hira", "ia3", "loha", "lokr", "lora"}


def declare_peft_methods() -> None:
    """Enter every method of the installed peft into the registry."""
    for peft_type, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        if not config_class.__module__.startswith("peft."):
            continue
        name = PeftType(peft_type).value.lower()
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft_type]
        prompt = issubclass(config_class, PromptLearningConfig)
        properties: dict[str, Any] = {
            "in_place": not (prompt or name in WRAPPED or getattr(tuner, "uses_shared_state", False)),
            "identity_at_start": not prompt,
            "mergeable": not prompt,
            "quantizable": prompt or name in QUANTIZABLE,
            "procedure": "adalora" if name == "adalora" else None,
            "scalable": name in SCALABLE,
            "by_row": name == "lora",
            "additive": name in ADDITIVE,
            "reads_weight": name in READS_WEIGHT,
            "layers": ("TransformerModel",) if prompt else CONV if name in CONVOLUTIONS else LINEAR,
            "trainable": FACTS[name].trains if name in FACTS else "",
            **EXCEPTIONS.get(name, {}),
        }
        kind: Kind = "prompt" if prompt else KINDS.get(name, "reparameterized")
        declare(MethodInfo(name, kind, PAPERS.get(name, ""), "peft", **properties))
