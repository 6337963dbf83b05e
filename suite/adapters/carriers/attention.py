"""Methods that act inside an attention of transformers: on queries, keys and values, before the output projection."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from suite.adapters.carriers.child import child_name
from suite.adapters.carriers.site import Site
from suite.errors import InputError

INSIDE = "suite_inside"
"""Start of the names under which transformers finds our attention functions, by method."""

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""An attention: query (B, heads, T, d), key and value (B, kv heads, S, d) and mask to output (B, T, heads, d)."""


class AttentionSite(Site):
    """A child of an attention module that changes what its attention function does; a method states `attend`.

    The modules of transformers ask their config which function to call. The host gets a copy of it that names ours,
    which calls the one that the model's own config names.

    Attributes:
        adds_keys: it lets queries see keys that are no part of the sequence, so that a row of several texts, told apart
            by where they begin, cannot be used.
    """

    adds_keys: ClassVar[bool] = False

    def attend(
        self, inner: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, adapter: str
    ) -> tuple[Tensor, Tensor | None]:
        """The attention's output (B, T, heads, d) and weights.

        Args:
            inner: the attention without this adapter.
            query: (B, heads, T, d), key and value: (B, kv heads, S, d).
            mask: (B or 1, 1 or heads, T, S), of truth values or added to the scores.
            adapter: the adapter.
        """
        raise TypeError(f"{type(self).__name__} must define attend")

    def install(self) -> None:
        super().install()
        config: Any = getattr(self.host, "config", None)
        if not hasattr(config, "_attn_implementation") or not hasattr(self.host, "head_dim"):
            raise InputError(
                f"{self.target}: {type(self.host).__name__} is no attention of transformers; target modules such as "
                "self_attn"
            )
        self._asked = (config,)  # in a tuple, as the model's own: what it names may change
        name = f"{INSIDE}_{self.method}"
        ALL_ATTENTION_FUNCTIONS.register(name, partial(_attended, child_name(self.method)))
        self.host.config = copy.copy(config)
        self.host.config._attn_implementation_internal = name

    def uninstall(self) -> None:
        self.host.config = self._asked[0]
        super().uninstall()

    @property
    def asks_for_the_past(self) -> bool:
        """Whether the attention sees the past alone and leaves that to be said by a mask (FlashAttention knows it)."""
        kernel = str(self._asked[0]._attn_implementation)
        return bool(getattr(self.host, "is_causal", False)) and "flash" not in kernel

    def inner(self, kwargs: dict[str, Any]) -> Attend:
        """The attention that the model's own config names."""
        usual = getattr(sys.modules[type(self.host).__module__], "eager_attention_forward", None)
        function = ALL_ATTENTION_FUNCTIONS.get_interface(self._asked[0]._attn_implementation, usual)

        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
            found: tuple[Tensor, Tensor | None] = function(self.host, query, key, value, mask, **kwargs)
            return found

        return attend


def _attended(
    child: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls."""
    site: AttentionSite = getattr(module, child)
    attend = site.inner(kwargs)
    acting = [] if site.disable_adapters else site.present()
    if acting and site.adds_keys and kwargs.get("cu_seq_lens_q") is not None:
        raise InputError(
            f"{site.target}: {site.method} puts keys before a sequence, and this row is of several texts: train "
            "without packing, or with attention implementation eager"
        )
    for adapter in acting:
        attend = partial(_with, site, attend, adapter)
    return attend(query, key, value, attention_mask)


def _with(
    site: AttentionSite, inner: Attend, adapter: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    return site.attend(inner, query, key, value, mask, adapter)


def widened(mask: Tensor | None, query: Tensor, key: Tensor, more: int, *, causal: bool) -> Tensor | None:
    """The mask for `more` keys that come first and that every query sees.

    Args:
        mask: of the keys alone: added to scores, or of truth values (or 0 and 1), which may be (B, S) of a kernel that
            knows the past by itself; None where all are seen, or those of the past alone.
        query: (B, heads, T, d), key: (B, kv heads, S, d).
        more: how many come first.
        causal: whether a missing mask means the past alone.

    Raises:
        InputError: the mask is of a kind that no keys can be added to.
    """
    if mask is not None and not isinstance(mask, Tensor):
        raise InputError(f"a {type(mask).__name__} takes no further keys: use attention implementation sdpa or eager")
    if mask is not None:
        return functional.pad(mask, (more, 0), value=0.0 if mask.is_floating_point() else 1)
    steps, seen = query.shape[2], key.shape[2]
    if not causal or steps == 1:
        return None
    past = torch.ones(steps, seen, dtype=torch.bool, device=query.device).tril(seen - steps)
    return functional.pad(past, (more, 0), value=True)[None, None]
