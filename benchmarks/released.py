"""What the authors' released code computes, written anew on plain modules: what our methods stand beside.

Each function changes a bare, frozen host in place and returns it; the parameters that train require gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from suite.adapters.blocks import block_names

Settings = dict[str, Any]


def _linears(model: nn.Module, targets: list[str]) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if any(f".{name}".endswith(f".{target}") for target in targets):
            yield name, module


def neuroada(model: nn.Module, settings: Settings) -> nn.Module:
    """A dense tensor of zeros with the bypass in it, made anew in every forward."""
    for _, layer in _linears(model, settings["targets"]):
        weight = layer.weight
        rows, columns = weight.shape
        best = weight.abs().topk(settings.get("k", 1), dim=1).indices + torch.arange(rows)[:, None] * columns
        places = best.flatten()
        layer.values = nn.Parameter(torch.zeros(places.numel()))

        def forward(x: Tensor, layer: Any = layer, places: Tensor = places) -> Tensor:
            delta = torch.zeros(layer.weight.numel()).scatter(0, places, layer.values).view_as(layer.weight)
            return functional.linear(x, layer.weight + delta, layer.bias)

        layer.forward = forward
    return model


def sift(model: nn.Module, settings: Settings) -> nn.Module:
    """The whole gradient of every tensor, of which some numbers are taken as soon as it is there."""
    for _, layer in _linears(model, settings["targets"]):
        for tensor in layer.parameters(recurse=False):
            count = min(int(0.01 * tensor.numel()) + 1, tensor.numel())
            places = tensor.abs().flatten().topk(count).indices

            def take(tensor: Tensor, places: Tensor = places) -> None:
                assert tensor.grad is not None
                tensor.taken = tensor.grad.flatten()[places]  # type: ignore[attr-defined]
                tensor.grad = None

            tensor.requires_grad_(True).register_post_accumulate_grad_hook(take)
    return model


def masked(model: nn.Module, settings: Settings) -> nn.Module:
    """The whole gradient of every tensor, times a mask."""
    for _, layer in _linears(model, settings["targets"]):
        for tensor in layer.parameters(recurse=False):
            mask = tensor.abs() <= tensor.abs().flatten().quantile(0.01) if tensor.numel() < 2**24 else tensor > 0
            hook: Callable[[Tensor], Tensor] = lambda gradient, mask=mask: gradient * mask  # noqa: E731
            tensor.requires_grad_(True).register_hook(hook)
    return model


def loreft(model: nn.Module, settings: Settings) -> nn.Module:
    """An orthogonal parametrisation of torch's, and an edit that is gathered, made and scattered."""
    for _, block in _linears(model, settings["targets"]):
        block.rotate = parametrizations.orthogonal(nn.Linear(8, 512, bias=False))  # its weight is R^T (d, r)
        block.source = nn.Linear(512, 8)

        def after(module: Any, _args: Any, output: Any) -> Any:
            h = output if isinstance(output, Tensor) else output[0]
            places = torch.cat((torch.arange(7), torch.arange(h.shape[1] - 7, h.shape[1])))
            index = places[None, :, None].expand(h.shape[0], -1, h.shape[2])
            states, rotation = h.gather(1, index), module.rotate.weight
            h = h.scatter(1, index, states + (module.source(states) - states @ rotation) @ rotation.T)
            return h if isinstance(output, Tensor) else (h, *output[1:])

        block.register_forward_hook(after)
    return model


def lofit(model: nn.Module, settings: Settings) -> nn.Module:
    """An offset on every head's output, before the projection."""
    for _, layer in _linears(model, settings["targets"]):
        layer.offset = nn.Parameter(1e-3 * torch.randn(layer.in_features))
        layer.register_forward_pre_hook(lambda module, args: (args[0] + module.offset, *args[1:]))
    return model


def bitfit(model: nn.Module, settings: Settings) -> nn.Module:
    """Biases require gradients."""
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(name.endswith("bias"))
    return model


def difffit(model: nn.Module, settings: Settings) -> nn.Module:
    """Biases and norms require gradients; a factor is multiplied on what attention and MLP give."""
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(name.endswith("bias") or "norm" in name)
    for name, module in list(model.named_modules()):
        if name.endswith((".attn", ".mlp")):
            module.factor = nn.Parameter(torch.ones(384))
            module.register_forward_hook(lambda module, _args, output: output * module.factor)
    return model


def telly(model: nn.Module, settings: Settings) -> nn.Module:
    """The upper blocks require gradients."""
    for name in block_names(model)[settings["frozen"] :]:
        model.get_submodule(name).requires_grad_(True)
    return model


def ssf(model: nn.Module, settings: Settings) -> nn.Module:
    """What every operation gives, scaled and shifted."""
    for _, layer in _linears(model, settings["targets"]):
        size = layer.weight.shape[0]
        layer.scale, layer.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        shape = (1, -1, 1, 1) if layer.weight.dim() == 4 else (-1,)

        def after(module: Any, _args: Any, output: Tensor, shape: Any = shape) -> Tensor:
            return output * module.scale.view(shape) + module.shift.view(shape)

        layer.register_forward_hook(after)
    return model


def parallel_adapter(model: nn.Module, settings: Settings) -> nn.Module:
    """Two linear layers with tanh between, beside the layer."""
    for _, layer in _linears(model, settings["targets"]):
        width = settings["bottleneck_size"]
        down, up = nn.Linear(layer.in_features, width, bias=False), nn.Linear(width, layer.out_features, bias=False)
        layer.adapter = nn.Sequential(down, nn.Tanh(), up)
        layer.register_forward_hook(lambda module, args, output: output + module.adapter(args[0]))
    return model


RELEASED: dict[tuple[str, str], Callable[[nn.Module, Settings], nn.Module]] = {
    **{("neuroada", host): neuroada for host in ("llama", "vit")},
    **{("sift", host): sift for host in ("llama", "vit", "conv")},
    **{(method, host): masked for method in ("pafi", "id3") for host in ("llama", "vit", "conv")},
    ("loreft", "llama"): loreft,
    **{("lofit", host): lofit for host in ("llama", "vit")},
    **{("bitfit", host): bitfit for host in ("vit", "conv")},
    ("difffit", "vit"): difffit,
    **{("telly", host): telly for host in ("llama", "vit")},
    **{("ssf", host): ssf for host in ("llama", "vit", "conv")},
    **{("parallel_adapter", host): parallel_adapter for host in ("llama", "vit")},
}
