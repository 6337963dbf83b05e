"""FSDP for adapters: the frozen base lies in shards over the devices, and every device has all of what trains.

An adapter is a thousandth of its base. Cutting it too, as FSDP does by itself, saves nothing and leaves shards that no
adapter file can be written from. Here torch's `fully_shard` gets the frozen parameters alone, so that a block is whole
only while it computes, and DDP averages the gradients of the rest: clipping, optimisers, averages and checkpoints are
those of any other run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerStatus
from torch import nn
from torch.distributed._composable_state import _module_state_mapping
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from suite.adapters.blocks import all_blocks
from suite.adapters.carriers import Selected
from suite.errors import InputError
from suite.training.lightning_fixes import leave_where_it_is

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class ShardedBase(DDPStrategy):
    """Lightning's DDP over what trains, with the frozen base cut over all processes."""

    strategy_name = "fsdp"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shards: Shards | None = None

    def model_to_device(self) -> None:
        module = self.lightning_module
        assert module is not None
        self._shards = Shards(module, init_device_mesh(self.root_device.type, (self.world_size,)))
        # DDP compares and broadcasts, at its start, all that it is not told to leave alone.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, self._shards.names)
        super().model_to_device()

    def teardown(self) -> None:
        """Give the module its whole base back, unless the run failed: then the other processes may be gone."""
        module = self.lightning_module
        if self._shards is not None and module is not None:
            if module.trainer.state.status == TrainerStatus.RUNNING:
                self._shards.gather()
            else:
                leave_where_it_is(self)
        super().teardown()


class Shards:
    """A module whose frozen parameters are cut over the processes of a mesh, until `gather`.

    Args:
        module: what runs forward; its blocks and what lies outside of them are the units that become whole together.
        mesh: the processes, in one dimension.

    Attributes:
        names: of the parameters that are cut.

    Raises:
        InputError: the module has no frozen parameter that can be cut.
    """

    def __init__(self, module: nn.Module, mesh: DeviceMesh) -> None:
        self.module = module
        before = {child: set(vars(child)) for child in module.modules()}
        units = [*all_blocks(module), module]
        whole = _kept_whole(units)
        if all(parameter in whole for parameter in module.parameters()):
            raise InputError("trainer.strategy is fsdp, and the base has no frozen parameter to cut in shards; use ddp")
        for unit in units:
            fully_shard(unit, mesh=mesh, ignored_params=whole)
        self.names = [name for name, parameter in _parameters(module) if isinstance(parameter, DTensor)]
        self._marks = {child: set(vars(child)) - known for child, known in before.items()}

    @torch.no_grad()
    def gather(self) -> None:
        """Put every parameter together again, on the CPU, and take FSDP off the module: all processes must call it.

        torch has no call for the way back. A module left sharded would wait, at its next forward, for processes that
        may long have ended, and could not be trained again with another adapter on it.
        """
        units = [child for child in self.module.modules() if isinstance(child, FSDPModule)]
        for unit in units:
            unit.reshard()
        gathered: dict[nn.Parameter, nn.Parameter] = {}
        for child in self.module.modules():
            for name, parameter in child.named_parameters(recurse=False):
                if isinstance(parameter, DTensor):
                    if parameter not in gathered:
                        gathered[parameter] = nn.Parameter(parameter.full_tensor().cpu(), requires_grad=False)
                    setattr(child, name, gathered[parameter])
        for child in self.module.modules():
            self._forget(child)

    def _forget(self, child: nn.Module) -> None:
        """Remove what `fully_shard` left in a module: its class, its hooks, its marks."""
        if isinstance(child, FSDPModule):
            _, child.__class__ = type(child).__bases__
            _module_state_mapping.pop(child, None)
        for registry in (vars(child)[name] for name in _HOOKS):
            for key, hook in list(registry.items()):
                if getattr(hook, "hook", hook).__module__.startswith("torch.distributed.fsdp"):
                    del registry[key]
        for mark in self._marks.get(child, ()):
            delattr(child, mark)


def _kept_whole(units: list[nn.Module]) -> set[nn.Parameter]:
    """Parameters that every process keeps: what trains, what adapters write into, what torch cannot cut."""
    *blocks, root = units
    owners: dict[nn.Parameter, set[int]] = defaultdict(set)
    inside = {child for block in blocks for child in block.modules()}
    for number, block in enumerate(blocks):
        for parameter in block.parameters():
            owners[parameter].add(number)
    for child in root.modules():
        if child not in inside:
            for parameter in child.parameters(recurse=False):
                owners[parameter].add(len(blocks))
    written = {
        parameter
        for layer in root.modules()
        if isinstance(layer, Selected)
        for parameter in layer.host.parameters(recurse=False)
    }
    return written | {
        parameter
        for parameter, places in owners.items()
        if parameter.requires_grad or len(places) > 1 or not _can_be_cut(parameter)
    }


def _can_be_cut(parameter: nn.Parameter) -> bool:
    # Packed weights of quantised layers are subclasses, with a state of their own.
    plain = type(parameter) is nn.Parameter and parameter.is_floating_point()
    return plain and parameter.ndim > 0 and parameter.numel() > 0 and parameter.is_contiguous()


def _parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return module.named_parameters(remove_duplicate=False)
