"""Methods that act at places inside every block of a transformer encoder, with state that goes from block to block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from suite.adapters.carriers.site import Site
from suite.errors import InputError


class BlockHooks:
    """What acts in one block. Its methods are bound ones, so that a deepcopy of the model calls the copied site."""

    def __init__(self, site: Any, index: int) -> None:
        self.site, self.index = site, index

    def enter(self, block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The block's changed arguments; None leaves them."""
        return None

    def leave(self, block: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """The block's changed output; None leaves it."""
        return None


class BlockSite(Site):
    """Sits on the encoder, a module with `blocks`, and acts inside each of them; one adapter at a time.

    Attributes:
        hooks: what acts in one block, beside its entrance and its exit.
        places: children of a block, and the method of `hooks` that changes their output.
    """

    hooks: ClassVar[type[BlockHooks]]
    places: ClassVar[Mapping[str, str]] = {}

    def install(self) -> None:
        super().install()
        blocks = getattr(self.host, "blocks", None)
        if not isinstance(blocks, nn.ModuleList) or not all(hasattr(b, name) for b in blocks for name in self.places):
            parts = " and ".join(f"`{name}`" for name in ("norm2", *self.places))
            raise InputError(
                f"{self.target}: {type(self.host).__name__} has no `blocks` of transformer blocks with {parts}; "
                "target the encoder"
            )
        for index, block in enumerate(blocks):
            inside = self.hooks(self, index)
            self._hooks.append(block.register_forward_pre_hook(inside.enter))
            for name, method in self.places.items():
                self._hooks.append(getattr(block, name).register_forward_hook(getattr(inside, method)))
            self._hooks.append(block.register_forward_hook(inside.leave))

    @property
    def blocks(self) -> nn.ModuleList:
        """The host's blocks."""
        return self.host.blocks

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.blocks[0].norm2.normalized_shape[0]

    def acting(self) -> tuple[Any, Any] | None:
        """The modules and the config of the one active adapter; None while switched off.

        Raises:
            InputError: several are active.
        """
        adapters = [] if self.disable_adapters else self.present()
        if len(adapters) > 1:
            raise InputError(f"{self.method} adapters {adapters} cannot act together: activate one of them")
        return (self.tensor("modules", adapters[0]), self.settings[adapters[0]]) if adapters else None
