"""What an adapter's config must not ask for."""

from __future__ import annotations

from peft import PeftConfig

from suite.errors import InputError

# Starts of peft's LoRA that put a part of the base's weight into the adapter and take it out of the base.
TAKING = ("pissa", "corda", "olora", "loftq", "lora_ga")


def check_base_stays(config: PeftConfig) -> None:
    """Refuse a start that rewrites the base, which no switch could then give back and no second adapter would fit.

    Raises:
        InputError: it is one of those.
    """
    start = getattr(config, "init_lora_weights", None)
    if isinstance(start, str) and start.lower().startswith(TAKING):
        raise InputError(
            f"init_lora_weights={start!r} rewrites the base's weights: disabling, detaching or a second adapter "
            "would not find them: take another start, or have peft convert the adapter to plain LoRA "
            "(save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if getattr(config, "kasa_config", None) is not None:
        raise InputError(
            "kasa_config cuts the base's weights for good, so that disabling, detaching or a second adapter would not "
            "find the base: leave it out"
        )
