"""Bases: diffusers pipelines, loaded from a reference."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from domains.personalized_diffusion.model import conditioning, single_file
from domains.personalized_diffusion.model.conditioning import Conditioning
from domains.personalized_diffusion.model.families import FAMILIES, PIPELINES, Component, of_pipeline
from suite import adapters, hub
from suite.errors import InputError
from suite.files import read_json

DOMAIN = "personalized_diffusion"
# A base's own checker and image encoder neither train nor matter to a subject.
_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
ENCODERS: tuple[str, ...] = ("text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass
class Base:
    """A loaded text-to-image pipeline.

    Attributes:
        pipe: diffusers' pipeline; adapters attached to its modules act in it.
        family: which architecture it is, a name of `FAMILIES`.
        id: its reference.
        folder: where it was loaded from; of a single file, where the settings of its parts are.
        file: the single file that it was loaded from, if it is one.
        clip_skip: the CLIP layer that prompts are read from, counted from the last, which is 1.
    """

    pipe: Any
    family: str
    id: str
    folder: Path
    clip_skip: int = 1
    file: Path | None = None

    @property
    def unet(self) -> nn.Module:
        """What denoises: the UNet, or the transformer of newer families."""
        return self.pipe.transformer if self.component == "transformer" else self.pipe.unet

    @property
    def component(self) -> Component:
        """What the pipeline calls it."""
        return FAMILIES[self.family].component

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
        # Flux.2's is a processor that holds one.
        return [getattr(found, "tokenizer", found) for found in (getattr(self.pipe, name) for name in names)]

    def named_text_encoders(self) -> dict[str, nn.Module]:
        """The text encoders by component name."""
        found = {name: getattr(self.pipe, name, None) for name in ENCODERS}
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

    @property
    def unit(self) -> int:
        """Sides of pictures in pixels are its multiples."""
        return int(self.pipe.vae_scale_factor) * FAMILIES[self.family].patch

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """The prompts as the denoiser reads them.

        Gradients flow where the caller lets them, so that text encoders can be trained.
        """
        return conditioning.encode(self.pipe, self.family, prompts, self.text_encoders[0].device, self.clip_skip)

    def reading(self, clip_skip: int) -> Base:
        """The same, with prompts read from a layer of CLIP, counted from the last.

        Raises:
            InputError: the family reads another layer always, or the text encoder has none such.
        """
        if clip_skip < 1:
            raise InputError(f"recipe.clip_skip is {clip_skip}; the last layer is 1, the last but one 2")
        if clip_skip > 1 and self.family not in conditioning.SKIPPING:
            raise InputError(
                f"recipe.clip_skip is for SD 1.x and 2.x; {FAMILIES[self.family].title} reads its own layer"
            )
        if clip_skip > 1 and clip_skip > (layers := self.text_encoders[0].config.num_hidden_layers):
            raise InputError(f"recipe.clip_skip is {clip_skip}; the base's text encoder has {layers} layers")
        self.clip_skip = clip_skip
        return self

    def to(self, device: str | torch.device) -> Base:
        """Move every module."""
        self.pipe.to(device)
        return self


def load(base: str | Path = "tiny", dtype: torch.dtype | str = "auto", device: str | torch.device = "auto") -> Base:
    """A base from its reference or folder, frozen and in evaluation mode.

    Args:
        base: `tiny`, `hf:org/name`, or the folder of a diffusers pipeline or a single .safetensors file of one (a path
            object, or text that starts with `.`, `/` or `~`).
        dtype: of its weights; `auto` is bfloat16 on a GPU and float32 elsewhere.
        device: where it goes; `auto` is a GPU where there is one.

    Raises:
        InputError: it cannot be had, is no pipeline, or is of a family that nothing here adapts.
    """
    folder, file = located(base)
    name = pipeline_class(folder)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if dtype == "auto":
        dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    elif isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    made = getattr(diffusers, name)
    given: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": True, **_absent(made, folder)}
    try:
        with warnings.catch_warnings(), silent():
            warnings.simplefilter("ignore", FutureWarning)
            if file is None:
                pipe = made.from_pretrained(folder, use_safetensors=True, **given)
            else:
                pipe = made.from_single_file(str(file), config=str(folder), **given)
    except (OSError, ValueError, KeyError, AttributeError, SingleFileComponentError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{file or folder}: the pipeline cannot be loaded ({why})") from error
    if file is not None and (bare := _without_weights(pipe)):
        raise InputError(f"{file} lacks the weights of {', '.join(bare)}; name a pipeline's folder that has them all")
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    shown = str(base) if not isinstance(base, Path) else base.name
    width = getattr(pipe.unet.config, "cross_attention_dim", None) if hasattr(pipe, "unet") else None
    return Base(pipe.to(where), of_pipeline(name, width), shown, folder, file=file)


def located(base: str | Path) -> tuple[Path, Path | None]:
    """The folder of a base's settings, and the single file of its weights where it is one.

    Raises:
        InputError: it cannot be had.
    """
    file = single_file.weights_file(base, DOMAIN)
    if file is not None:
        return single_file.settings_folder(file), file
    return (base if isinstance(base, Path) else hub.resolve(base, DOMAIN, kind="base")), None


def _without_weights(pipe: Any) -> list[str]:
    """The parts of a pipeline that its file had no weights for."""
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    return [name for name, part in modules.items() if any(p.is_meta for p in part.parameters())]


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
def silent() -> Iterator[None]:
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


def left_out(folder: Path) -> list[str]:
    """Parts that a pipeline folder names and that are not loaded here, e.g. its safety checker."""
    listed = read_json(folder / "model_index.json")
    return [name for name in _LEFT_OUT if (listed.get(name) or [None])[0]]


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


def network(parts: Mapping[str, nn.Module]) -> nn.Module:
    """The model that an adapter is attached to: the one component, or a container that names each.

    The names become the first segment of the adapter's keys.
    """
    return next(iter(parts.values())) if len(parts) == 1 else nn.ModuleDict(dict(parts))


def adapted_parts(base: Base, text_encoder: bool) -> dict[str, nn.Module]:
    """What is adapted of a loaded base: its denoiser, and its CLIP text encoders where they are to be.

    Raises:
        InputError: text encoders are to be, and none of the base's is CLIP's.
    """
    encoders = clip_encoders(base.named_text_encoders()) if text_encoder else {}
    if text_encoder and not encoders:
        raise InputError(f"recipe.text_encoder adapts CLIP text encoders, and {FAMILIES[base.family].title} has none")
    return {base.component: base.unet, **encoders}


def adapted_network(base: Base, text_encoder: bool) -> nn.Module:
    """`network` of `adapted_parts`."""
    return network(adapted_parts(base, text_encoder))


def clip_encoders(encoders: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Those of the text encoders that are CLIP's; T5 is never adapted."""
    return {name: module for name, module in encoders.items() if "CLIP" in type(module).__name__}


def identity(module: nn.Module, base: Base) -> str:
    """What tells a frozen network from others: its fingerprint, or the base's reference where it cannot be known."""
    return adapters.fingerprint(module) or f"{base.id}/{type(module).__name__}"
