"""Methods that add what a small network makes of a module's input or output to its output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.site import Site
from suite.adapters.carriers.weights import kind_of, sizes
from suite.errors import InputError


@dataclass
class BranchConfig(TunerConfig):
    """Fields of the methods that are a branch beside, or behind, a module or a part of one."""

    reads: str = field(
        default="", metadata={"help": "The module inside the target whose input is read; empty for the target itself."}
    )
    adds_to: str = field(
        default="", metadata={"help": "The module inside the target whose output is added to; empty for the target."}
    )
    adds_before: str = field(
        default="", metadata={"help": "The module inside the target whose input is added to, instead of an output."}
    )
    sizes: list[int] | None = field(
        default=None, metadata={"help": "Channels read and channels added to; None asks the modules."}
    )


class Branch(Site):
    """h + f(x): a method states `create` and `branch`, f; and `is_behind` if it reads the output that it adds to."""

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        """What is added, in any dtype."""
        raise TypeError(f"{type(self).__name__} must define branch")

    def is_behind(self, adapter: str) -> bool:
        """Whether the branch reads the output that it is added to, instead of an input."""
        return False

    def joined(self, output: Tensor, added: Tensor, adapter: str) -> Tensor:
        """The output with the branch's."""
        return output + added

    def connect(self, config: Any) -> tuple[int, int]:
        """Connect a new adapter to the modules that it reads and adds to. Called by `create`.

        Returns:
            Channels that it reads, and that it adds to.

        Raises:
            InputError: the target has no such module, or does not tell its channels.
        """
        if config.reads:
            self.watch(self.inside(config.reads), before=self._note)
        if config.adds_before:
            self.watch(self.inside(config.adds_before), before=self._join_input)
        elif config.adds_to:
            self.watch(self.inside(config.adds_to), after=self._join_output)
        if config.sizes is not None:
            read, added = config.sizes
            return read, added
        read, _ = self._sizes(self.inside(config.reads), last=False)
        if config.adds_before:
            return read, self._sizes(self.inside(config.adds_before), last=False)[0]
        return read, self._sizes(self.inside(config.adds_to), last=True)[1]

    def inside(self, name: str) -> nn.Module:
        """A module of the host by its name there."""
        try:
            found: nn.Module = self.host.get_submodule(name)
        except AttributeError as error:
            raise InputError(f"{self.target}: {type(self.host).__name__} has no {name!r} inside") from error
        return found

    def _sizes(self, module: nn.Module, *, last: bool) -> tuple[int, int]:
        """Channels of a module, or of the first or last layer with a weight in it."""
        known = [layer for layer in module.modules() if kind_of(layer) not in (None, "Embedding")]
        if not known:
            raise InputError(f"{self.target}: {type(module).__name__} does not tell its channels; give sizes=[in, out]")
        return sizes(known[-1 if last else 0])

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        config = self.settings[adapter]
        return output if config.adds_to or config.adds_before else self._added(args, kwargs, output, adapter)

    def _added(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        main = output if isinstance(output, Tensor) else output[0]
        h = main if self.is_behind(adapter) else first_tensor(args, kwargs)
        new = self.joined(main, self.branch(h, adapter).to(main.dtype), adapter)
        return new if isinstance(output, Tensor) else type(output)((new, *output[1:]))

    def _note(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.scratch.read = first_tensor(args, kwargs)

    def _join_output(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        read = getattr(self.scratch, "read", None)
        if self.disable_adapters:
            return None
        given = (args, kwargs) if read is None else ((read,), {})

        def change(state: Any, adapter: str) -> Any:
            (args, kwargs), output = state
            place = self.inside(self.settings[adapter].adds_to)
            return (args, kwargs), self._added(args, kwargs, output, adapter) if place is module else output

        return self._changed((given, output), given, change)[1]

    def _join_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read, (x, *rest) = getattr(self.scratch, "read", None), args
        if self.disable_adapters or read is None:  # None: the part was called without its host
            return None

        def change(state: Any, adapter: str) -> Any:
            read, x = state
            place = self.inside(self.settings[adapter].adds_before)
            return read, self._added((read,), {}, x, adapter) if place is module else x

        return (self._changed((read, x), read, change)[1], *rest), kwargs


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The first tensor that a module was called with."""
    found: Tensor = next(leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor))
    return found
