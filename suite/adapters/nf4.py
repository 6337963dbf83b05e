"""NF4: 4-bit weights as bitsandbytes stores them, in plain torch, so that quantized bases run and are tested anywhere.

Dettmers et al., QLoRA, arXiv 2305.14314, section 3: blocks of 64 values, each scaled by its largest magnitude and
rounded to the 16 quantiles of a normal distribution; double quantization stores the scales in 8 bits, in blocks of 256.
The codes are bitsandbytes' own, to the bit, and so are the scales but where rounding them is a matter of the last bit.
`quantize_model` takes its layers, which compute faster, on a GPU; never for rows that are no whole number of blocks,
which its kernels for AVX-512 read with other blocks' scales, and those for CUDA slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import InputError

BLOCK = 64
NESTED_BLOCK = 256
# The 16 levels, as bitsandbytes defines them (functional.get_4bit_type("nf4")).
LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


@cache
def _dynamic_map() -> Tensor:
    """The 256 levels for nested scales: signed, 7 exponent steps of ten, linear inside a step, plus 0 and 1."""
    values: list[float] = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        means = (10.0 ** (exponent - 6)) * ((edges[:-1] + edges[1:]) / 2)
        values += means.tolist() + (-means).tolist()
    return torch.tensor(sorted(values), dtype=torch.float32)


@dataclass(frozen=True)
class NF4Weight:
    """A weight in 4 bits.

    Attributes:
        packed: codes, two per byte, the first in the high nibble, (ceil(n / 2), 1) uint8.
        scales: per block of 64: float32 magnitudes, or uint8 codes of them when `nested_scales` is there, (blocks,).
        shape: shape of the weight.
        nested_scales: per 256 scales, float32; None without double quantization.
        offset: mean of the scales, taken off before their quantization, (1,).
    """

    packed: Tensor
    scales: Tensor
    shape: torch.Size
    nested_scales: Tensor | None = None
    offset: Tensor | None = None

    def magnitudes(self) -> Tensor:
        """The float32 scale of every block, (blocks,)."""
        if self.nested_scales is None or self.offset is None:
            return self.scales
        levels = _dynamic_map().to(self.scales.device)[self.scales.long()]
        return levels * self.nested_scales.repeat_interleave(NESTED_BLOCK)[: levels.numel()] + self.offset


def quantize_nf4(weight: Tensor, *, double: bool = True) -> NF4Weight:
    """Quantize a floating-point weight of any shape.

    Args:
        weight: the values.
        double: quantize the scales as well (0.37 bits a parameter less).
    """
    scaled, scales = _scale(weight.detach().reshape(-1).float(), BLOCK)
    codes = _nearest(scaled, torch.tensor(LEVELS, device=weight.device))
    codes = functional.pad(codes, (0, codes.numel() % 2))
    quantized = NF4Weight(((codes[::2] << 4) | codes[1::2]).unsqueeze(1), scales, weight.shape)
    if not double:
        return quantized
    offset = scales.mean()
    scaled, nested = _scale(scales - offset, NESTED_BLOCK)
    codes = _nearest(scaled, _dynamic_map().to(weight.device))
    return replace(quantized, scales=codes, nested_scales=nested, offset=offset.reshape(1))


def dequantize_nf4(weight: NF4Weight, dtype: torch.dtype = torch.float32) -> Tensor:
    """The values that a 4-bit weight stands for, in its shape."""
    packed = weight.packed.reshape(-1)
    codes = torch.stack((packed >> 4, packed & 0xF), dim=1).reshape(-1)[: weight.shape.numel()]
    values = torch.tensor(LEVELS, device=packed.device)[codes.long()]
    scales = weight.magnitudes().repeat_interleave(BLOCK)[: values.numel()]
    return (values * scales).reshape(weight.shape).to(dtype)


def _nearest(values: Tensor, levels: Tensor) -> Tensor:
    """The places of the nearest of ascending levels, (values,), uint8."""
    return torch.bucketize(values, (levels[:-1] + levels[1:]) / 2).to(torch.uint8)


def _scale(values: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Divide each block by its largest magnitude; gives the values in [-1, 1] and the magnitudes."""
    rest = -values.numel() % block
    blocks = functional.pad(values, (0, rest)).reshape(-1, block)
    scales = blocks.abs().amax(dim=1)
    scaled = (blocks * (1.0 / scales.clamp(min=1e-38)).unsqueeze(1)).clamp(-1, 1)
    return scaled.reshape(-1)[: values.numel()], scales


class _Product(torch.autograd.Function):
    """x W^T that dequantizes W again in the backward instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: NF4Weight) -> Tensor:
        ctx.weight, ctx.dtype = weight, x.dtype
        return functional.linear(x, dequantize_nf4(weight, x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ dequantize_nf4(ctx.weight, gradient.dtype), None


class NF4Linear(nn.Linear):
    """A frozen linear layer with a 4-bit weight; gradients reach its input.

    Like bitsandbytes' layer it is an `nn.Linear` whose `weight` holds packed bytes: peft's methods dispatch on the
    class, and any that would compute with the bytes fails on their type instead of giving wrong numbers.

    Attributes:
        compute_dtype: dtype of the products and of adapters around it.
        packed_parameters: how many values the codes stand for (a parameter count includes them).
    """

    weight: Tensor

    def __init__(self, linear: nn.Linear, *, double: bool = True, compute_dtype: torch.dtype | None = None) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would allocate the weight that we are here to avoid
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.compute_dtype = compute_dtype or linear.weight.dtype
        self.double = double
        self._folded: list[NF4Weight] = []
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
        self._store(quantize_nf4(linear.weight, double=double))

    @property
    def packed_parameters(self) -> int:
        return self.in_features * self.out_features

    def _store(self, quantized: NF4Weight) -> None:
        self.register_buffer("weight", quantized.packed)
        self.register_buffer("scales", quantized.scales)
        self.register_buffer("nested_scales", quantized.nested_scales)
        self.register_buffer("offset", quantized.offset)

    def quantized(self) -> NF4Weight:
        """The packed weight, (out, in) when dequantized."""
        shape = torch.Size((self.out_features, self.in_features))
        return NF4Weight(self.weight, self.scales, shape, self.nested_scales, self.offset)

    def dequantize(self) -> Tensor:
        """The weight in the compute dtype, (out, in)."""
        return dequantize_nf4(self.quantized(), self.compute_dtype)

    def requantize(self, weight: Tensor) -> None:
        """Replace the weight; what 4 bits cannot hold is lost."""
        self._store(quantize_nf4(weight, double=self.double))

    def packed_state(self) -> NF4Weight:
        """The packed weight as it is now: nothing later changes it."""
        return self.quantized()

    def load_packed_state(self, state: NF4Weight) -> None:
        """Put back what `packed_state` gave, exact to the bit."""
        self._store(state)

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """A floating-point `weight` inside the block, 4 bits of what it then holds after it; `repack` undoes that."""
        kept = self.quantized()
        del self.weight
        self.weight = nn.Parameter(dequantize_nf4(kept), requires_grad=False)
        try:
            yield
        except BaseException:
            del self.weight
            self._store(kept)
            raise
        changed: Tensor = self.weight.detach()
        del self.weight
        self._store(quantize_nf4(changed, double=self.double))
        self._folded.append(kept)

    def repack(self) -> None:
        """Undo every `unpacked`, exact to the bit."""
        self._store(self._folded[0])
        self._folded.clear()

    def forward(self, x: Tensor) -> Tensor:
        y = _Product.apply(x.to(self.compute_dtype), self.quantized())
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, double={self.double}"


Backend = Literal["auto", "torch", "bitsandbytes"]


def quantize_model(
    model: nn.Module,
    *,
    skip: Callable[[str, nn.Linear], bool] = lambda name, _: name.endswith("lm_head"),
    double: bool = True,
    compute_dtype: torch.dtype | None = None,
    backend: Backend = "auto",
) -> nn.Module:
    """Replace every linear layer of a model by its 4-bit form, in place.

    Args:
        model: the base model, before any adapter is attached.
        skip: which layers to leave (called with name and layer); the output head by default.
        double: quantize the scales as well.
        compute_dtype: dtype of the products; the layer's own by default.
        backend: `bitsandbytes` takes its `Linear4bit`, `torch` our `NF4Linear`, `auto` the former where there is a GPU
            and bitsandbytes is installed. Weights on the CPU of a machine with a GPU are packed when they move to it.
            Layers whose rows are no whole number of blocks of 64 are ours whatever the backend.

    Raises:
        InputError: bitsandbytes is asked for and not installed, or the model carries adapters already.
    """
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise InputError("the model carries adapters, whose layers would be packed too: quantize it before attaching")
    installed = find_spec("bitsandbytes") is not None
    if backend == "bitsandbytes" and not installed:
        raise InputError("bitsandbytes is not installed; pip install 'peft-suite[quantization]', or take backend torch")
    theirs = backend == "bitsandbytes" or (backend == "auto" and installed and torch.cuda.is_available())
    chosen = [
        (name, module) for name, module in model.named_modules() if type(module) is nn.Linear and not skip(name, module)
    ]
    for name, module in chosen:
        parent, _, child = name.rpartition(".")
        whole = module.in_features % BLOCK == 0
        make = _bitsandbytes_linear if theirs and whole else NF4Linear
        setattr(model.get_submodule(parent), child, make(module, double=double, compute_dtype=compute_dtype))
        if make is _bitsandbytes_linear:
            model.is_loaded_in_4bit = True  # by this mark peft chooses its layers for bitsandbytes'
    return model


def _bitsandbytes_linear(linear: nn.Linear, *, double: bool, compute_dtype: torch.dtype | None) -> nn.Linear:
    from bitsandbytes.nn import Linear4bit, Params4bit

    weight, bias = linear.weight.detach(), linear.bias
    kind = {"compress_statistics": double, "quant_type": "nf4"}
    dtype = compute_dtype or weight.dtype
    with torch.device("meta"):  # its own weight would be allocated in full
        made: nn.Linear = Linear4bit(linear.in_features, linear.out_features, bias is not None, dtype, **kind)
    made.support_avx512bf16_for_cpu = False  # see `secure_foreign_layers`
    made.weight = Params4bit(weight, requires_grad=False, **kind)
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made.to(weight.device) if weight.is_cuda or not torch.cuda.is_available() else made


def secure_foreign_layers(model: nn.Module) -> None:
    """See to it that bitsandbytes' layers which others made (transformers' `load_in_4bit`) compute what they hold.

    Where the processor has bf16 products, the first forward in eval packs a layer's codes anew for a kernel that rounds
    to bf16, in place: reading, merging or training it afterwards takes the codes for what they were. The layers are
    told not to.

    Raises:
        InputError: a layer on the CPU was packed anew already, or has rows that its kernels read wrongly.
    """
    for name, layer in model.named_modules():
        if not hasattr(layer, "support_avx512bf16_for_cpu"):
            continue
        weight: Any = layer.weight
        state: Any = getattr(weight, "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            raise InputError(
                f"4-bit layer {name!r} was repacked by bitsandbytes for its CPU kernel when the model first ran, and "
                "carries no adapter: load the model again and attach before it runs"
            )
        layer.support_avx512bf16_for_cpu = False
        on_cpu = state is not None and weight.device.type == "cpu"
        if on_cpu and state.shape[-1] % state.blocksize and _cpu_misreads_part_blocks():
            raise InputError(
                f"4-bit layer {name!r}: bitsandbytes on this CPU misreads rows of {state.shape[-1]} values, no "
                f"multiple of its block of {state.blocksize}: load the model unquantized and call "
                "suite.adapters.nf4.quantize_model, or use a GPU"
            )


@cache
def _cpu_misreads_part_blocks() -> bool:
    """Whether bitsandbytes' own round trip fails here for rows that end inside a block (its AVX-512 kernels')."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    # (2, 96): the second block spans both rows, the third lies in the second row; their scales differ a hundredfold.
    weight = torch.cat((torch.ones(128), torch.full((64,), 0.01))).reshape(2, 96)
    packed, state = quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4")
    return not torch.allclose(dequantize_4bit(packed, state), weight, rtol=1e-2)


def is_packed(layer: nn.Module) -> bool:
    """Whether a layer's weight is in 4 bits, ours or bitsandbytes'."""
    return isinstance(layer, NF4Linear) or type(getattr(layer, "weight", None)).__name__ == "Params4bit"
