"""Bases: diffusers pipelines, loaded from a reference, or as shapes without weights to count on."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite import adapters, hub
from suite.errors import InputError
from suite.files import read_json

DOMAIN = "personalized_diffusion"
Family = Literal["tiny", "sd15", "sd21", "sdxl", "sd3", "flux"]

PIPELINES = {
    "StableDiffusionPipeline": "sd15",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
}
"""Pipeline classes that a base folder may name, and their families."""

# A base's own checker and image encoder neither train nor matter to a subject.
_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts.

    Attributes:
        embeds: (B, L, D) states of the tokens.
        pooled: (B, P) of the whole prompt, where the family has it.
    """

    embeds: Tensor
    pooled: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> Conditioning:
        """The same on another device or in another type."""
        return Conditioning(
            self.embeds.to(*args, **kwargs), None if self.pooled is None else self.pooled.to(*args, **kwargs)
        )


@dataclass
class Base:
    """A loaded text-to-image pipeline.

    Attributes:
        pipe: diffusers' pipeline; adapters attached to its modules act in it.
        family: which architecture it is.
        id: its reference.
        folder: where it was loaded from.
    """

    pipe: Any
    family: Family
    id: str
    folder: Path

    @property
    def unet(self) -> nn.Module:
        """What denoises: the UNet, or the transformer of newer families."""
        return self.pipe.transformer if self.component == "transformer" else self.pipe.unet

    @property
    def component(self) -> Literal["unet", "transformer"]:
        """What the pipeline calls it."""
        return "transformer" if self.family in ("sd3", "flux") else "unet"

    @property
    def vae(self) -> nn.Module:
        return self.pipe.vae

    @property
    def scheduler(self) -> Any:
        return self.pipe.scheduler

    @property
    def text_encoders(self) -> list[nn.Module]:
        """The text encoders in the pipeline's order."""
        return list(self.named_text_encoders().values())

    @property
    def tokenizers(self) -> list[Any]:
        """The tokenizer of each text encoder."""
        names = [name.replace("text_encoder", "tokenizer") for name in self.named_text_encoders()]
        return [getattr(self.pipe, name) for name in names]

    def named_text_encoders(self) -> dict[str, nn.Module]:
        """The text encoders by component name."""
        found = {name: getattr(self.pipe, name, None) for name in _ENCODERS}
        return {name: module for name, module in found.items() if module is not None}

    def pipeline(self) -> Any:
        """diffusers' pipeline round the very same modules, silent."""
        self.pipe.set_progress_bar_config(disable=True)
        return self.pipe

    @property
    def resolution(self) -> int:
        """The picture size in pixels that the base was made for."""
        config = self.unet.config
        return int(getattr(config, "sample_size", 128)) * self.pipe.vae_scale_factor

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The prompts as the denoiser reads them, by the pipeline's own `encode_prompt`.

        Gradients flow where the caller lets them, so that text encoders can be trained.
        """
        given, device = list(prompts), self.text_encoders[0].device
        if self.family in ("sd15", "sd21", "tiny"):
            return Conditioning(self.pipe.encode_prompt(given, device, 1, False)[0])
        if self.family == "flux":
            embeds, pooled, _ = self.pipe.encode_prompt(given, None, device)
            return Conditioning(embeds, pooled)
        if self.family == "sd3":
            embeds, _, pooled, _ = self.pipe.encode_prompt(given, None, None, device, do_classifier_free_guidance=False)
            return Conditioning(embeds, pooled)
        embeds, _, pooled, _ = self.pipe.encode_prompt(given, device=device, do_classifier_free_guidance=False)
        return Conditioning(embeds, pooled)

    def tokenization(self, text: str) -> list[str]:
        """How the first tokenizer cuts a text, without its begin and end marks."""
        return list(self.tokenizers[0].tokenize(text))

    def to(self, device: str | torch.device) -> Base:
        """Move every module."""
        self.pipe.to(device)
        return self


def load(base: str | Path = "tiny", dtype: torch.dtype | str = "auto", device: str | torch.device = "auto") -> Base:
    """A base from its reference or folder, frozen and in evaluation mode.

    Args:
        base: `tiny`, `hf:org/name`, or the folder of a diffusers pipeline (a path object, or text that starts with
            `.`, `/` or `~`).
        dtype: of its weights; `auto` is bfloat16 on a GPU and float32 elsewhere.
        device: where it goes; `auto` is a GPU where there is one.

    Raises:
        InputError: it cannot be had, is no pipeline, or is of a family that nothing here adapts.
    """
    folder = Path(base) if isinstance(base, Path) else hub.resolve(base, DOMAIN, kind="base")
    name = pipeline_class(folder)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if dtype == "auto":
        dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    elif isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    import diffusers

    made = getattr(diffusers, name)
    try:
        with warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore", FutureWarning)
            pipe = made.from_pretrained(
                folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, **_absent(made, folder)
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: the pipeline cannot be loaded ({' '.join(str(error).split())[:200]})") from error
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    shown = str(base) if not isinstance(base, Path) else base.name
    return Base(pipe.to(where), family_of(name, pipe.components), shown, folder)


@contextmanager
def lent(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Modules on a device inside the block, back where they were after it."""
    homes = [module.device for module in modules]
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)


@contextmanager
def _silent() -> Iterator[None]:
    """No progress bars of the libraries: standard error is for what a person should know."""
    import diffusers
    import transformers

    bars = (diffusers.utils.logging, transformers.utils.logging)
    shown = [bar.is_progress_bar_enabled() for bar in bars]
    for bar in bars:
        bar.disable_progress_bar()
    try:
        yield
    finally:
        for bar, was in zip(bars, shown, strict=True):
            if was:
                bar.enable_progress_bar()


def _absent(made: Any, folder: Path) -> dict[str, Any]:
    """Parts that the pipeline is to go without: those left out here, and those that its folder lacks (SD3's T5)."""
    listed = read_json(folder / "model_index.json")
    known = inspect.signature(made.__init__).parameters
    lacking = [name for name in ("text_encoder_3", "tokenizer_3") if not (listed.get(name) or [None])[0]]
    absent: dict[str, Any] = {name: None for name in (*_LEFT_OUT, *lacking) if name in known}
    if "requires_safety_checker" in known:
        absent["requires_safety_checker"] = False
    return absent


def pipeline_class(folder: Path) -> str:
    """The class that a pipeline folder names.

    Raises:
        InputError: it is no pipeline folder, or of a class that nothing here adapts.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    name = str(read_json(index).get("_class_name"))
    if name not in PIPELINES:
        raise InputError(f"{folder} is a {name}; adapters are trained on {', '.join(PIPELINES)}")
    return name


def family_of(class_name: str, parts: Mapping[str, Any]) -> Family:
    """The family of a pipeline; Stable Diffusion's versions are told apart by the width of their text states."""
    family: Any = PIPELINES[class_name]
    if family != "sd15":
        return family
    width = parts["unet"].config.cross_attention_dim
    return "sd15" if width == 768 else "sd21" if width == 1024 else "tiny"


def skeleton(architecture: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Networks of an `architecture:` block by component name, with no weights where the default device is meta.

    Args:
        architecture: `unet`, or `transformer` (with its diffusers `class`), and `text_encoder`, `text_encoder_2`: each
            the fields of that component's configuration.

    Raises:
        InputError: a component is unknown or its fields do not fit it.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    made: dict[str, nn.Module] = {}
    for name, given in architecture.items():
        fields = dict(given)
        try:
            if name == "unet":
                made[name] = diffusers.UNet2DConditionModel(**fields)
            elif name == "transformer":
                made[name] = _transformer(str(fields.pop("class", "")))(**fields)
            elif name in _ENCODERS:
                made[name] = CLIPTextModel(CLIPTextConfig(**fields))
            else:
                raise InputError(f"architecture: {name!r} is no component; known are unet, transformer, text_encoder")
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, InputError) else InputError(f"architecture.{name}: {error}") from error
    return made


def _transformer(name: str) -> Any:
    import diffusers

    known = {"SD3Transformer2DModel", "FluxTransformer2DModel"}
    if name not in known:
        raise InputError(f"architecture.transformer.class is {name!r}; it is one of {', '.join(sorted(known))}")
    return getattr(diffusers, name)


def network(parts: Mapping[str, nn.Module]) -> nn.Module:
    """The model that an adapter is attached to: the one component, or a container that names each.

    The names become the first segment of the adapter's keys.
    """
    return next(iter(parts.values())) if len(parts) == 1 else nn.ModuleDict(dict(parts))


def adapted_parts(base: Base, text_encoder: bool) -> dict[str, nn.Module]:
    """What is adapted of a loaded base: its denoiser, and its CLIP text encoders where they are to be."""
    encoders = clip_encoders(base.named_text_encoders()) if text_encoder else {}
    return {base.component: base.unet, **encoders}


def adapted_network(base: Base, text_encoder: bool) -> nn.Module:
    """`network` of `adapted_parts`."""
    return network(adapted_parts(base, text_encoder))


def read_architecture(base: str) -> dict[str, Any]:
    """An `architecture:` block from the configuration files of a base's folder.

    Raises:
        InputError: the base cannot be had.
    """
    folder = hub.resolve(base, DOMAIN, kind="base")
    pipeline_class(folder)
    found: dict[str, Any] = {}
    for name in ("unet", "transformer", *_ENCODERS):
        file = folder / name / "config.json"
        if file.is_file():
            fields = read_json(file)
            kind = fields.get("_class_name") or next(iter(fields.get("architectures") or ()), "")
            if name in _ENCODERS and "CLIP" not in kind:
                continue
            fields = {key: value for key, value in fields.items() if not key.startswith("_")}
            found[name] = {**fields, **({"class": kind} if name == "transformer" else {})}
    return found


def clip_encoders(encoders: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of the text encoders that are CLIP's; T5 is never adapted."""
    return {name: module for name, module in encoders.items() if "CLIP" in type(module).__name__}


def identity(module: nn.Module, base: Base) -> str:
    """What tells a frozen network from others: its fingerprint, or the base's reference where it cannot be known."""
    return adapters.fingerprint(module) or f"{base.id}/{type(module).__name__}"
