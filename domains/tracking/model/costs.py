"""Multiply-adds of one tracking step, from the model's shapes alone (the meta device will do)."""

from __future__ import annotations

from domains.tracking.model.spmtrack import SpmTrack


def step_macs(model: SpmTrack, *, adapters: bool = True) -> int:
    """Multiply-adds of one search for one object, attention included; biases, norms and gates' products are left out.

    A step embeds its search crop and one template: the tokens of the others are kept from the step that took them.

    Args:
        model: with adapters or without.
        adapters: count what adapters on the blocks add.
    """
    settings, sizes = model.settings, model.sizes
    tokens, cells = settings.tokens, settings.search_grid**2
    matrices = {name: value for name, value in model.blocks.named_parameters() if value.dim() > 1}
    base = sum(value.numel() for name, value in matrices.items() if not _of_adapter(name))
    added = sum(value.numel() for name, value in matrices.items() if _of_adapter(name))
    attention = 2 * tokens**2 * sizes.width * sizes.depth
    patches = (cells + settings.template_grid**2) * 3 * sizes.patch**2 * sizes.width
    head = cells * sum(value.numel() for value in model.head.parameters() if value.dim() > 1)
    return tokens * (base + added * adapters) + attention + patches + head


def _of_adapter(name: str) -> bool:
    """Whether a block's matrix is an adapter's: each of its numbers is multiplied once a token, as the base's are."""
    return any(part in name for part in ("tmoe_", "lora_"))
