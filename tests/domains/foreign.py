"""Tensors that know a foreign device, on a machine that has no such device.

Inside `foreign_device()` torch takes `FOREIGN` for a device. Every tensor is a plain one in this machine's memory, so
that anything runs, data-dependent code and whole trainings included; but each storage is known to lie here or there.
What moves a tensor copies it, what is computed lies where its inputs lie, and an operation on tensors of both places
fails as it would on a GPU: so does handing a tensor from there to NumPy, or drawing there from a generator that is
here.

Two of torch's modes do it. The function mode sees calls with their devices as the caller wrote them; it answers
`tensor.device` and replaces the foreign device, for which torch has no kernels, by the CPU. The dispatch mode, below
autograd, sees every operation; it checks where the inputs lie and notes where the outputs do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FOREIGN = torch.device("xpu", 0)
"""A type that torch knows and treats as it treats CUDA; nothing in this package asks for it by name."""
NAME = "foreign"
"""What `trainer.accelerator` and `trainer.strategy` call it."""

_aten = torch.ops.aten
_ACROSS = {_aten.copy_.default, _aten._foreach_copy_.default, _aten._to_copy.default}
# Indices may lie here while the tensor lies there.
_INDEXING = {
    *(_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default),
    *(_aten._unsafe_index.Tensor, _aten._index_put_impl_.default),
}
_HERE_ONLY = {Tensor.numpy, Tensor.__array__, Tensor.data_ptr}
_MOVES = {Tensor.cpu: "cpu", Tensor.cuda: "cuda", Tensor.xpu: str(FOREIGN)}
_CONVERSIONS = {torch.as_tensor, torch.asarray}


class Places:
    """Which storages lie on the foreign device."""

    def __init__(self) -> None:
        # A weak reference keeps the address from being given to another storage.
        self._foreign: dict[int, StorageWeakRef] = {}
        self.put: bool | None = None  # where the outputs of an operation go, if not where its inputs are
        self.inside = False  # in a call about foreign tensors, whose own constants are made beside them

    def has(self, tensor: Tensor) -> bool:
        return _key(tensor) in self._foreign

    def note(self, tensor: Tensor, foreign: bool) -> None:
        key = _key(tensor)
        if key is None:
            return
        if foreign:
            self._foreign[key] = StorageWeakRef(tensor.untyped_storage())
            if len(self._foreign) % 4096 == 0:
                self._foreign = {k: ref for k, ref in self._foreign.items() if not ref.expired()}
        else:
            self._foreign.pop(key, None)

    @contextmanager
    def within(self, *, put: bool | None = None, inside: bool = False) -> Iterator[None]:
        before = self.put, self.inside
        self.put, self.inside = put, inside
        try:
            yield
        finally:
            self.put, self.inside = before


def _key(tensor: Tensor) -> int | None:
    if tensor.layout is not torch.strided or tensor.is_meta:
        return None
    return tensor.untyped_storage()._cdata


class _Operations(TorchDispatchMode):
    """Checks where the inputs of every operation lie and notes where its outputs do."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            places = self.places
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            foreign = any(places.has(tensor) for tensor in given)
            if places.put is None and foreign and func not in _ACROSS:
                self._check(func, args, given)
            found = func(*args, **kwargs)
            # What `torch.tensor` has filled with Python's numbers appears here for the first time.
            fresh = func is _aten.lift_fresh.default
            there = foreign if places.put is None else places.put
            there = there or (places.inside and (fresh or not given))
            if there and isinstance(generator := kwargs.get("generator"), torch.Generator):
                raise RuntimeError(
                    f"Expected a {FOREIGN.type!r} device type for generator but found {generator.device}"
                )
            known = set() if fresh else {_key(tensor) for tensor in given}
            for made in tree_leaves(found):
                if isinstance(made, Tensor) and _key(made) not in known:
                    places.note(made, there)
            return found

    def _check(self, func: Any, args: Any, given: list[Tensor]) -> None:
        if func in _INDEXING and self.places.has(args[0]):
            given = [args[0], *(leaf for leaf in tree_leaves(args[2:]) if isinstance(leaf, Tensor))]
        # As on a GPU, a single number may come from here.
        here = [tensor for tensor in given if tensor.dim() and not self.places.has(tensor) and not tensor.is_meta]
        if here:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in here)
            raise RuntimeError(f"{func}: expected all tensors on {FOREIGN}, but found on the cpu: {shapes}")


class _Calls(TorchFunctionMode):
    """Sees devices as callers write and read them."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and (answer := self._about(func, first)) is not None:
            return answer
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func in _MOVES:
            return self._to(args[0], _MOVES[func])
        if func in _CONVERSIONS and isinstance(args[0], Tensor):
            return self._to(args[0], kwargs.get("device"), kwargs.get("dtype"))
        return self._call(func, args, kwargs)

    def _about(self, func: Any, tensor: Tensor) -> Any:
        """What a tensor that lies there says of itself; None for any other question."""
        if not self.places.has(tensor):
            return None
        if func in _HERE_ONLY:
            raise TypeError(f"can't convert {FOREIGN} device type tensor to numpy; use Tensor.cpu() first")
        name = getattr(getattr(func, "__self__", None), "__name__", "")
        answers = {"device": FOREIGN, "is_cpu": False, "is_xpu": True}
        return answers.get(name) if getattr(func, "__name__", "") == "__get__" else None

    def _call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        device = kwargs.get("device")
        asked = None if device is None else torch.device(device).type
        if asked == FOREIGN.type:
            kwargs["device"] = "cpu"
        about = any(self.places.has(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        there = about if asked in (None, "meta") else asked == FOREIGN.type
        # A device that is named wins over where the inputs lie.
        put = there if asked in ("cpu", FOREIGN.type) else None
        with self.places.within(put=put, inside=there):
            found = func(*args, **kwargs)
        if func is Tensor.__deepcopy__ and about:
            self.places.note(found, True)
        return found

    def _to(self, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        other = kwargs.pop("other", None) or next((arg for arg in args if isinstance(arg, Tensor)), None)
        if other is not None:
            device = FOREIGN if self.places.has(other) else other.device
            dtype = other.dtype
        else:
            given = [arg for arg in args if isinstance(arg, (str, torch.device, torch.dtype))]
            named = {name: kwargs.pop(name) for name in ("device", "dtype") if kwargs.get(name) is not None}
            device, dtype, *_ = torch._C._nn._parse_to(*given, **named)
        layout = {"memory_format": kwargs["memory_format"]} if kwargs.get("memory_format") is not None else {}
        there = self.places.has(tensor)
        if (device is not None and device.type == "meta") or tensor.is_meta:
            return Tensor.to(tensor, device, dtype, copy=copy, **layout)
        target = there if device is None else device.type == FOREIGN.type
        if device is not None and device.type not in ("cpu", FOREIGN.type):
            raise RuntimeError(f"there is no {device} here: {FOREIGN} was asked for")
        with self.places.within(put=target):
            return Tensor.to(tensor, dtype=dtype or tensor.dtype, copy=copy or target != there, **layout)


@contextmanager
def foreign_device() -> Iterator[torch.device]:
    """Make `FOREIGN` a device for the code in the block."""
    places = Places()
    engine = torch.autograd._engine_run_backward

    def backward(*args: Any, **kwargs: Any) -> Any:
        # torch's functions run without the mode; this one runs user code: hooks, and blocks that are recomputed.
        with _Calls(places):
            return engine(*args, **kwargs)

    # Checkpointing compares the devices of what it recomputes, which hooks and user code read differently here.
    checks = patch.dict(checkpoint._allowed_determinism_checks_to_fns, default=lambda tensor: tensor.shape)
    engines = patch.object(torch.autograd, "_engine_run_backward", backward)
    with _Operations(places), _Calls(places), engines, checks:
        yield FOREIGN


class _Foreign(Accelerator):
    """The device for Lightning."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to do."""

    def teardown(self) -> None:
        """Nothing to do."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [FOREIGN]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class _OnForeign(SingleDeviceStrategy):
    """Lightning takes the CPU for accelerators that it does not know."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "device": FOREIGN})


if NAME not in AcceleratorRegistry.available_accelerators():
    AcceleratorRegistry.register(NAME, _Foreign)
    StrategyRegistry.register(NAME, _OnForeign)
