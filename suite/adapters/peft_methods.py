"""What each method of the installed peft declares. A method that a newer peft adds is reachable with cautious words."""

from __future__ import annotations

from peft import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from suite.adapters.registry import MethodInfo, declare

# peft injects these only through a PeftModel of its own: the adapter's state is not in the adapted layers.
WRAPPED = {"adaption_prompt", "shadow"}


def declare_peft_methods() -> None:
    """Enter every method of the installed peft into the registry."""
    for peft_type, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        if not config_class.__module__.startswith("peft."):
            continue
        name = PeftType(peft_type).value.lower()
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[peft_type]
        prompt = issubclass(config_class, PromptLearningConfig)
        in_place = not (prompt or name in WRAPPED or getattr(tuner, "uses_shared_state", False))
        declare(
            MethodInfo(
                name,
                "prompt" if prompt or name == "adaption_prompt" else "reparameterized",
                "",
                "peft",
                in_place=in_place,
                identity_at_start=not prompt,
                mergeable=not prompt and hasattr(tuner, "merge_and_unload"),
                layers=() if prompt else ("Linear",),
            )
        )
