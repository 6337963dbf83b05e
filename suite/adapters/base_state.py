"""The base's own weights around methods that train in them, for peft's functions that read and write a base.

peft tells the base's tensors from an adapter's by their names, and what a `Selected` method trains stands under the
base's own name while it is on. So the originals stand there for as long as peft's function looks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peft
from peft.utils import save_and_load
from torch import Tensor, nn

from suite.adapters.carriers.selected import Selected


@contextmanager
def originals(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Inside the block the hosts, which it yields, hold what they have without what trains in them.

    A merged adapter is the base's own by then and stays.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Selected) and not layer.merged]
    for layer in layers:
        layer.restore()
    try:
        yield [layer.host for layer in layers]
    finally:
        for layer in layers:
            layer.sync()


def _reading(read: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    @functools.wraps(read)
    def base_state(model: nn.Module) -> dict[str, Tensor]:
        with originals(model) as hosts:
            own = {tensor.data_ptr() for host in hosts for tensor in host.state_dict().values()}
            # The values go back into the very same storage.
            return {name: t.clone() if t.data_ptr() in own else t for name, t in read(model).items()}

    return base_state


def _writing(write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(write)
    def set_base_state(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with originals(model):
            return write(model, *args, **kwargs)

    return set_base_state


def teach_peft() -> None:
    """Put both functions in the place of peft's own."""
    for name, around in (("get_base_model_state_dict", _reading), ("set_base_model_state_dict", _writing)):
        function = getattr(save_and_load, name, None)
        if function is None:  # peft has them since 0.21
            continue
        taught = around(function)
        for module in (save_and_load, peft.utils, peft):
            setattr(module, name, taught)
