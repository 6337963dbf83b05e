"""Putting adapters on a model: what is asked for, whether it can be, and its injection."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig, PeftModel, TaskType, get_peft_model, inject_adapter_in_model
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import cast_adapter_dtype
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from suite.adapters import biases
from suite.adapters.bypass import check_called
from suite.adapters.carriers import Selected, Site, WeightChange
from suite.adapters.checks import check_base_stays
from suite.adapters.detach import remove
from suite.adapters.fingerprint import identify
from suite.adapters.fused.fusing import fuse
from suite.adapters.handle import (
    ATTRIBUTE,
    Attachment,
    Handle,
    Member,
    adapter_layers,
    adapters_on,
    base_of,
    check_unmerged,
    public_name,
)
from suite.adapters.naming import suggest
from suite.adapters.nf4 import is_packed, secure_foreign_layers
from suite.adapters.registry import build_config, method_info, method_of
from suite.adapters.switching import activate, apply_active
from suite.adapters.ties import tie
from suite.errors import InputError, one_line


@dataclass(frozen=True)
class MethodSpec:
    """One method to attach: its name, its targets and the settings of its config."""

    method: str
    targets: list[str] | str | None = None
    name: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: str | Mapping[str, Any] | MethodSpec) -> MethodSpec:
        """A spec from a method's name or from `dict(method=..., targets=..., name=..., **settings)`."""
        if isinstance(given, MethodSpec):
            return given
        if isinstance(given, str):
            return cls(given)
        settings = dict(given)
        if "method" not in settings:
            raise InputError(f"adapter settings {settings} name no method: add method=...")
        return cls(settings.pop("method"), settings.pop("targets", None), settings.pop("name", None), settings)


def attach(
    model: nn.Module,
    *methods: str | Mapping[str, Any] | MethodSpec,
    targets: list[str] | str | None = None,
    train: Sequence[str] = (),
    buffers: Sequence[str] = (),
    tie_groups: Sequence[Sequence[str]] = (),
    name: str = "default",
    **config: Any,
) -> nn.Module:
    """Put one adapter, made of one or several methods, on a model and make it the active, trainable one.

    Every other parameter is frozen. Adapters that were active before stay on the model, switched off and frozen.

    Args:
        model: any torch module; transformers, diffusers and timm models included.
        methods: names, or dicts with `method` and its settings, in the order in which they act (first innermost).
        targets: for methods that name none of their own: endings of module names, or one regular expression.
        train: globs over parameter names; what they match is trained in place and saved with the adapter.
        buffers: globs over buffer names (BatchNorm statistics); saved with the adapter.
        tie_groups: lists of globs over the adapter's saved keys; all parameters of a list become one.
        name: what the adapter is called on this model.
        config: settings of the method, where there is exactly one.

    Returns:
        The model to use from here on: the same object wherever the methods can be injected in place.

    Raises:
        InputError: the name is taken, or a method, setting, target or pattern fits nothing. The model is unchanged.
    """
    specs = [MethodSpec.parse(method) for method in methods]
    if config and len(specs) != 1:
        raise InputError(f"settings {sorted(config)} need exactly one method, {len(specs)} given: use dict(method=...)")
    if config:
        specs = [MethodSpec(specs[0].method, specs[0].targets, specs[0].name, {**specs[0].config, **config})]
    if train or buffers:
        specs.append(MethodSpec("parameters", config={"parameters": list(train), "buffers": list(buffers)}))
    if not specs:
        raise InputError("nothing to attach: name a method, or parameters to train")
    planned = [(spec.method, build_config(spec.method, spec.config, _targets(spec, targets))) for spec in specs]
    names = [spec.name for spec in specs]
    return attach_configs(model, planned, name=name, adapter_names=names, tie_groups=tie_groups, trainable=True)


def _targets(spec: MethodSpec, common: list[str] | str | None) -> list[str] | str | None:
    if spec.targets is not None or spec.method == "parameters" or "target_modules" in spec.config:
        return spec.targets
    return common


def attach_configs(
    model: nn.Module,
    planned: Sequence[tuple[str, PeftConfig]],
    *,
    name: str,
    adapter_names: Sequence[str | None] = (),
    tie_groups: Sequence[Sequence[str]] = (),
    trainable: bool,
) -> nn.Module:
    """Attach methods whose peft configs are built already; see `attach`."""
    handle = getattr(model, ATTRIBUTE, None)
    members = _members(name, [method for method, _ in planned], adapter_names)
    _check_name(name, members, handle)
    check_unmerged(model, "attaching another")
    for _, config in planned:
        check_base_stays(config)
    secure_foreign_layers(model)
    fresh = handle is None
    if handle is None:
        handle = Handle(base=identify(model))
        setattr(model, ATTRIBUTE, handle)
    attachment = Attachment(name, members, trainable, [list(group) for group in tie_groups])
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    modes = {id(module): module.training for module in model.modules()}
    previous = list(handle.active)
    handle.attachments[name] = attachment
    result = model
    try:
        for member, (_, config) in zip(members, planned, strict=True):
            # Wrappers that exchange modules refuse inference_mode; apply_active freezes all others as well.
            config.inference_mode = not trainable and not method_info(member.method).exchanges
            result = _inject(result, member, config)
            biases.take(result, member.adapter, config)
        tie(result, attachment)
        _take_mode(result, modes, model.training)
        activate(result, name)
    except Exception:
        remove(result, attachment)
        handle.active = previous
        if fresh:
            delattr(model, ATTRIBUTE)
        else:
            apply_active(result)
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
        raise
    return result


def _take_mode(module: nn.Module, known: Mapping[int, bool], mode: bool) -> None:
    """Put every module that is not `known` yet in the mode, training or eval, of what it is around or in."""
    if isinstance(module, AuxiliaryTrainingWrapper):
        module.training = module.original_module.training
        return  # its copies have the modes of what they are copies of
    if id(module) not in known:
        host = module
        while isinstance(inner := getattr(host, "base_layer", None), nn.Module):
            host = inner  # what it is around may be as new as itself
        module.training = mode = host.training if host is not module else mode
    for child in module.children():
        _take_mode(child, known, module.training)


def _check_name(name: str, members: Sequence[Member], handle: Handle | None) -> None:
    if not name or "." in name or "/" in name:
        raise InputError(f"adapter name {name!r} must be non-empty and hold neither '.' nor '/'")
    for adapter in (member.adapter for member in members):
        if any(hasattr(container, adapter) for container in (nn.ModuleDict(), nn.ParameterDict(), BufferDict({}))):
            raise InputError(f"adapter name {adapter!r} means something to torch's containers: choose another")
    if handle is not None and name in handle.attachments:
        raise InputError(f"adapter {name!r} is already on this model: choose another name= or detach it first")


def _members(name: str, methods: Sequence[str], given: Sequence[str | None]) -> list[Member]:
    """Adapter names: the attachment's own for a single method, else one per method, made unique by a number."""
    if len(methods) == 1:
        return [Member(methods[0], (given[0] if given else None) or name)]
    members: list[Member] = []
    for position, method in enumerate(methods):
        own = given[position] if position < len(given) else None
        label = f"{name}-{own or method}"
        repeats = sum(member.adapter.split("~")[0] == label for member in members)
        members.append(Member(method, f"{label}~{repeats + 1}" if repeats else label))
    return members


def _inject(model: nn.Module, member: Member, config: PeftConfig) -> nn.Module:
    """Add one method's layers to the model under the member's adapter name."""
    info = method_info(member.method)
    base = base_of(model)
    _check_targets(base, member, config)
    _check_alone(base, member)
    if not info.in_place:
        _check_packed(base, member)
    try:
        with warnings.catch_warnings():
            # Several adapters on one model is what we are here for.
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            # A line for every norm that ln_tuning is put on, which is what it is for.
            warnings.filterwarnings("ignore", message="Unsupported layer type")
            if info.in_place:
                inject_adapter_in_model(config, base, member.adapter)
            else:
                model = _wrap(model, member, config)
    except (ValueError, ImportError) as error:
        raise InputError(f"{member.method}: {one_line(error)}") from error
    except KeyError as error:
        if error.args == ("model_type",):
            # peft knows the usual layers of transformers' models alone, and takes any config for one of theirs.
            what = type(base).__name__
            raise InputError(f"{member.method}: no layers of a {what} are usual; name them (target_modules)") from error
        if error.args == (config.task_type,) and not info.in_place:
            tasks = ", ".join(task.value for task in TaskType)
            raise InputError(f"{member.method}: task_type={config.task_type!r} is none of {tasks}") from error
        raise
    except (TypeError, RuntimeError) as error:
        _check_packed(base, member, error)
        if unfit := re.match(r"Target module (\w+).*is not supported", str(error), re.DOTALL):
            raise InputError(f"{member.method}: a target is a {unfit[1]}, which it cannot adapt") from error
        raise
    _check_packed(base, member)
    _check_weight_readers(base, member)
    cast_adapter_dtype(base, member.adapter)
    check_called(base, member.adapter, member.method)
    fuse(base)
    if hasattr(base, "_hf_peft_config_loaded"):
        base._hf_peft_config_loaded = True  # transformers then saves and reports the adapter as its own
    return model


def _check_packed(model: nn.Module, member: Member, cause: Exception | None = None) -> None:
    """Refuse a method over 4-bit weights that needs their values."""
    info = method_info(member.method)
    if info.quantizable:
        return
    if cause is not None or not info.in_place:  # no telling at which layer
        packed = [name for name, module in model.named_modules() if is_packed(module)]
    else:
        packed = [
            name
            for name, layer in adapter_layers(model)
            if is_packed(layer.get_base_layer()) and member.adapter in adapters_on(layer)
        ]
    if packed:
        raise InputError(f"{member.method} does not work over 4-bit weights (as in {packed[0]})") from cause


def _check_weight_readers(model: nn.Module, member: Member) -> None:
    """Refuse a method that takes a layer's weight together with one inside the layer that it would pass by."""
    for name, layer in adapter_layers(model):
        info = method_of(layer)
        ours = isinstance(layer, WeightChange) and not layer.is_live()
        if info is None or not (info.reads_weight or ours):
            continue
        for inside in layer.get_base_layer().children():
            passed_by = isinstance(inside, Site) if ours else isinstance(inside, Selected) and inside.trains("weight")
            if passed_by and member.adapter in adapters_on(layer) | adapters_on(inside):
                raise InputError(
                    f"{name}: {info.name} takes the layer's weight, past what {inside.method} does there; put them on "
                    "different layers"
                )


def _check_alone(model: nn.Module, member: Member) -> None:
    """Refuse a second adapter of a method that cannot have one."""
    if method_info(member.method).multi_adapter:
        return
    handle: Handle = getattr(model, ATTRIBUTE)
    for attachment in handle.attachments.values():
        for other in attachment.members:
            if other.method == member.method and other.adapter != member.adapter:
                raise InputError(f"{member.method}: only one adapter of it fits on a model; {other.adapter!r} is there")


def _wrap(model: nn.Module, member: Member, config: PeftConfig) -> PeftModel:
    if not isinstance(model, PeftModel):
        return get_peft_model(model, config, adapter_name=member.adapter)
    if model.peft_type != config.peft_type:
        raise InputError(
            f"{member.method}: the model is already wrapped for {str(model.peft_type.value).lower()!r}; "
            "only one kind of method that needs a wrapper fits on one model"
        )
    model.add_adapter(member.adapter, config)
    return model


def _check_targets(model: nn.Module, member: Member, config: PeftConfig) -> None:
    """Refuse a target that names nothing: peft only complains when all of them do."""
    modules = [name for name, _ in model.named_modules()]
    parameters = [public_name(model, name) for name, _ in model.named_parameters()]
    for field_name, what, names in (
        ("target_modules", "module", modules),
        ("target_parameters", "parameter", parameters),
    ):
        targets = getattr(config, field_name, None)
        for target in targets if isinstance(targets, (set, list, tuple)) else ():
            if not any(name == target or name.endswith(f".{target}") for name in names):
                near = suggest(target, names)
                raise InputError(f"{member.method}: target {target!r} is no {what} of the model{near}")
    saved = getattr(config, "modules_to_save", None) or ()
    # One is enough: for classifiers peft writes down several names that a head may have.
    if saved and not any(name.rpartition(".")[2] == part or name.endswith(part) for part in saved for name in modules):
        raise InputError(f"{member.method}: modules_to_save {sorted(saved)} are no modules of the model")
