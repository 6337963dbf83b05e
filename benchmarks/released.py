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


def reft(projection: str, difference: bool = True) -> Callable[[nn.Module, Settings], nn.Module]:
    """pyreft's other interventions: gathered, edited and scattered; projections that are orthogonal, or free."""

    def put(model: nn.Module, settings: Settings) -> nn.Module:
        for _, block in _linears(model, settings["targets"]):
            free, constant = nn.Linear(512, 8), nn.Parameter(torch.rand(8))
            block.rotate = free if projection == "free" else parametrizations.orthogonal(nn.Linear(8, 512, bias=False))
            block.source = nn.Linear(512, 8)
            if projection == "constant":
                block.source, block.constant = None, constant

            def after(module: Any, _args: Any, output: Any) -> Any:
                h = output if isinstance(output, Tensor) else output[0]
                places = torch.cat((torch.arange(7), torch.arange(h.shape[1] - 7, h.shape[1])))
                index = places[None, :, None].expand(h.shape[0], -1, h.shape[2])
                states = h.gather(1, index)
                weight = module.rotate.weight if projection == "free" else module.rotate.weight.T  # (r, d)
                aim = module.source(states) if module.source is not None else module.constant
                if difference:
                    aim = aim - functional.linear(states, weight, module.rotate.bias)
                h = h.scatter(1, index, states + aim @ weight)
                return h if isinstance(output, Tensor) else (h, *output[1:])

            block.register_forward_hook(after)
        return model

    return put


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


def series_adapter(model: nn.Module, settings: Settings) -> nn.Module:
    """Two linear layers with tanh between, added to what the last layer of an MLP gives and to what others read."""
    for name, layer in _linears(model, settings["targets"]):
        behind = name.endswith(("down_proj", "fc2"))
        size, width = layer.out_features if behind else layer.in_features, settings["bottleneck_size"]
        layer.adapter = nn.Sequential(nn.Linear(size, width, bias=False), nn.Tanh(), nn.Linear(width, size, bias=False))
        if behind:
            layer.register_forward_hook(lambda module, _args, output: output + module.adapter(output))
        else:
            layer.register_forward_pre_hook(lambda module, args: (args[0] + module.adapter(args[0]),))
    return model


def adaptformer(model: nn.Module, settings: Settings) -> nn.Module:
    """A bottleneck beside the MLP, with dropout before the way up, times 0.1."""
    for name, block in list(model.named_modules()):
        if name in block_names(model):
            down, up = nn.Linear(384, settings["bottleneck_size"]), nn.Linear(settings["bottleneck_size"], 384)
            block.mlp.adapter = nn.Sequential(down, nn.ReLU(), nn.Dropout(0.1), up)
            block.mlp.register_forward_hook(lambda module, args, output: output + 0.1 * module.adapter(args[0]))
    return model


class _Convpass(nn.Module):
    """Down, a convolution of the patches and one of the class token alone, up."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(384, width), nn.Linear(width, 384)
        self.conv, self.dropout = nn.Conv2d(width, width, 3, padding=1), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(x)
        h = h * torch.sigmoid(1.702 * h)
        batch, side = h.shape[0], int((h.shape[1] - 1) ** 0.5)
        patches = self.conv(h[:, 1:].reshape(batch, side, side, -1).permute(0, 3, 1, 2))
        patches = patches.permute(0, 2, 3, 1).reshape(batch, side * side, -1)
        alone = self.conv(h[:, :1].reshape(batch, 1, 1, -1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
        h = torch.cat([alone, patches], 1)
        return self.up(self.dropout(h * torch.sigmoid(1.702 * h)))


def convpass(model: nn.Module, settings: Settings) -> nn.Module:
    """A convolutional bottleneck beside attention."""
    for name in block_names(model):
        part: Any = model.get_submodule(f"{name}.attn")
        part.adapter = _Convpass()
        part.register_forward_hook(lambda module, args, output: output + 0.1 * module.adapter(args[0]))
    return model


def lora_like(rank: int, scale: float, members: int = 1, gated: bool = False, dropout: float = 0.0) -> Any:
    """y + s (g * (x A^T)) B^T, step by step, for each member of a group."""

    def put(model: nn.Module, settings: Settings) -> nn.Module:
        for _, layer in _linears(model, settings["targets"]):
            layer.a = nn.ParameterList(0.02 * torch.randn(rank, layer.in_features) for _ in range(members))
            layer.b = nn.ParameterList(torch.zeros(layer.out_features, rank) for _ in range(members))
            layer.gate = nn.Parameter(torch.randn(1, rank)) if gated else None

            def after(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
                x = functional.dropout(args[0], dropout, module.training)
                for a, b in zip(module.a, module.b, strict=True):
                    low = x @ a.T
                    output = output + ((low * module.gate if gated else low) @ b.T) * scale
                return output

            layer.register_forward_hook(after)
        return model

    return put


def increlora(model: nn.Module, settings: Settings) -> nn.Module:
    """The change of the weight is made in every forward, while it grows and afterwards, which is what runs here."""
    for _, layer in _linears(model, settings["targets"]):
        layer.a, layer.b = (
            nn.Parameter(torch.randn(1, layer.in_features)),
            nn.Parameter(torch.randn(layer.out_features, 1)),
        )
        layer.e = nn.Parameter(torch.zeros(1, 1))

        def after(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            delta = module.b @ (module.a * module.e)
            return output + (args[0] @ delta.T) * (16.0 / (1 + 1e-5))

        layer.register_forward_hook(after)
    return model


def loldu(model: nn.Module, settings: Settings) -> nn.Module:
    """The weight is put together from its factors in every forward."""
    for _, layer in _linears(model, settings["targets"]):
        permutation, lower, upper = torch.linalg.lu(layer.weight.detach().flatten(1))
        pivots = upper.diagonal()[:8].clone()
        left, right = (permutation @ lower)[:, :8].contiguous(), (upper[:8] / pivots[:, None]).contiguous()
        layer.z, layer.residual = nn.Parameter(pivots), layer.weight.detach().flatten(1) - 2.0 * (left * pivots) @ right

        def forward(x: Tensor, layer: Any = layer, left: Tensor = left, right: Tensor = right) -> Tensor:
            weight = (layer.residual + 2.0 * (left @ torch.diag(layer.z) @ right)).view_as(layer.weight)
            if weight.dim() == 4:
                return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
            return functional.linear(x, weight, layer.bias)

        layer.forward = forward
    return model


def svdiff(model: nn.Module, settings: Settings) -> nn.Module:
    """The weight is put together from its shifted spectrum in every forward."""
    for _, layer in _linears(model, settings["targets"]):
        left, sigma, right = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
        layer.delta = nn.Parameter(torch.zeros_like(sigma))

        def forward(x: Tensor, layer: Any = layer, parts: tuple[Tensor, ...] = (left, sigma, right)) -> Tensor:
            left, sigma, right = parts
            weight = (left @ torch.diag(torch.relu(sigma + layer.delta)) @ right).view_as(layer.weight)
            if weight.dim() == 4:
                return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
            return functional.linear(x, weight, layer.bias)

        layer.forward = forward
    return model


def krona(model: nn.Module, settings: Settings) -> nn.Module:
    """Two products with the input cut into rows, added to what the layer gives."""
    a1, a2 = settings["a1"], settings["a2"]
    for _, layer in _linears(model, settings["targets"]):
        b1, b2 = layer.out_features // a1, layer.in_features // a2
        layer.down, layer.up = nn.Linear(a2, a1, bias=False), nn.Linear(b2, b1, bias=False)

        def after(module: Any, args: tuple[Tensor, ...], output: Tensor, sizes: Any = (a2, b2)) -> Tensor:
            x = args[0]
            blocks = x.reshape(*x.shape[:-1], *sizes).transpose(-1, -2)  # (..., b2, a2)
            low = module.down(blocks).transpose(-1, -2)  # (..., a1, b2)
            return output + module.up(low).transpose(-1, -2).reshape(output.shape)

        layer.register_forward_hook(after)
    return model


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, values: Tensor, index: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x[..., index], weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        part, weight = ctx.saved_tensors
        return gradient @ weight, None, gradient.flatten(0, -2).T @ part.flatten(0, -2), None, None


def paca(model: nn.Module, settings: Settings) -> nn.Module:
    """Columns are written into the weight in every forward; of the input, theirs are kept."""
    for _, layer in _linears(model, settings["targets"]):
        index = torch.randperm(layer.in_features)[:8]
        layer.values = nn.Parameter(layer.weight.detach()[:, index].clone())

        def forward(x: Tensor, layer: Any = layer, index: Tensor = index) -> Tensor:
            layer.weight.data[:, index] = layer.values.data
            return _Columns.apply(x, layer.weight, layer.values, index, layer.bias)

        layer.forward = forward
    return model


def compacter(model: nn.Module, settings: Settings) -> nn.Module:
    """Two maps that are sums of Kronecker products, made in every forward, behind the layer; rules shared by all."""
    rule = nn.Parameter(0.01 * torch.randn(4, 4, 4))
    model.rule = rule
    for _, layer in _linears(model, settings["targets"]):
        layer.factors = nn.ParameterList()
        out, inner = layer.out_features, layer.out_features // 32
        for read, made in ((out, inner), (inner, out)):
            sizes = ((4, read // 4, 1), (4, 1, made // 4), (made,))
            layer.factors.extend(nn.Parameter(0.01 * torch.randn(size)) for size in sizes)

        def product(x: Tensor, left: Tensor, right: Tensor, bias: Tensor) -> Tensor:
            part = left @ right  # (n, in / n, out / n)
            weight = torch.einsum("kij,kpq->ipjq", rule, part).flatten(2).flatten(0, 1)
            return x @ weight + bias

        def after(module: Any, _args: Any, output: Tensor, product: Any = product) -> Tensor:
            one, other = [*module.factors][:3], [*module.factors][3:]
            return output + product(functional.gelu(product(output, *one), approximate="tanh"), *other)

        layer.register_forward_hook(after)
    return model


RELEASED: dict[tuple[str, str], Callable[[nn.Module, Settings], nn.Module]] = {
    **{("neuroada", host): neuroada for host in ("llama", "vit")},
    **{("sift", host): sift for host in ("llama", "vit", "conv")},
    **{(method, host): masked for method in ("pafi", "id3") for host in ("llama", "vit", "conv")},
    ("loreft", "llama"): loreft,
    ("noreft", "llama"): reft("free"),
    ("direft", "llama"): reft("orthogonal", difference=False),
    ("nodireft", "llama"): reft("free", difference=False),
    ("consreft", "llama"): reft("constant"),
    ("lobireft", "llama"): reft("constant", difference=False),
    **{("lofit", host): lofit for host in ("llama", "vit")},
    **{("bitfit", host): bitfit for host in ("vit", "conv")},
    ("difffit", "vit"): difffit,
    ("adaptformer", "vit"): adaptformer,
    ("convpass", "vit"): convpass,
    **{("svdiff", host): svdiff for host in ("llama", "vit", "conv")},
    **{("loldu", host): loldu for host in ("llama", "vit", "conv")},
    **{
        (put.__name__, host): put
        for put in (series_adapter, increlora, krona, paca, compacter)
        for host in ("llama", "vit")
    },
    **{
        (name, host): put
        for name, put in (
            ("sora", lora_like(8, 2.0, gated=True)),
            ("mtlora", lora_like(64, 4.0, dropout=0.05)),
            ("pego", lora_like(4, 1.0, members=4)),
        )
        for host in ("llama", "vit")
    },
    **{("telly", host): telly for host in ("llama", "vit")},
    **{("ssf", host): ssf for host in ("llama", "vit", "conv")},
    **{("parallel_adapter", host): parallel_adapter for host in ("llama", "vit")},
}
