"""The language models that relation extraction adapts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from domains.relation_extraction.model.bundle import DOMAIN, Bundle
from suite import devices
from suite.generation import base, memory

load_base = partial(base.load_base, domain=DOMAIN)
base_config = partial(base.base_config, domain=DOMAIN)
base_skeleton = partial(base.base_skeleton, domain=DOMAIN)
choose_dtype = partial(devices.choose_dtype, quantized=("nf4",))


def estimate_memory(
    config: Any, bundle: Bundle | None, *, dtype: torch.dtype, quantize: bool = False
) -> memory.MemoryEstimate:
    """What a base and the adapters of a bundle need, from the configuration alone."""
    parts = bundle.parts.values() if bundle else ()
    return memory.estimate_memory(config, parts, dtype=dtype, quantize=quantize)
