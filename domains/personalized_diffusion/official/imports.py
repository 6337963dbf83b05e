"""Adapters of other programs to ours: official KronA, LoKr, LoRA, LoHa and differences, whoever wrote the file.

KronA and LoKr whose factors are whole or multiplied out stay what they are, exactly; LoRA stays LoRA. With factors,
anything becomes KronA: for each weight the nearest Kronecker product (van Loan and Pitsianis, 1993), and the share of
the change's squared norm that all of them hold is told.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from torch import nn

from domains.personalized_diffusion.model.families import FAMILIES, of_width
from domains.personalized_diffusion.model.manifest import Stated, TriggerWords
from domains.personalized_diffusion.official import adapter_folder, header, weights_files
from domains.personalized_diffusion.official.changes import Changes, Hadamard, Kronecker, cross_attention_width, fit_all
from domains.personalized_diffusion.official.exports import DIFFUSERS_NAME
from domains.personalized_diffusion.official.forms import converted
from domains.personalized_diffusion.official.processor_keys import Kind
from suite.adapters import storage
from suite.errors import InputError
from suite.files import read_json
from suite.hub import formats

Layout = Literal["kron", "official"]
_LONGEST_PHRASE = 200


@dataclass(frozen=True)
class Opened:
    """An adapter of anybody's.

    Attributes:
        kind: what it is, for people.
        changes: what it does; empty where that takes its base.
        metadata: the header of its file.
        manifest: of an adapter folder of ours, else empty.
        file: its weights, or its folder.
    """

    kind: str
    changes: Changes
    metadata: Mapping[str, str]
    manifest: Mapping[str, Any]
    file: Path

    @property
    def facts(self) -> Stated:
        """What is known of base, trigger and training: from our manifest or header, or from another's header."""
        if self.manifest:
            return Stated.from_dict(self.manifest["domain"], self.file / storage.MANIFEST)
        own = Stated.of_strangers(header.own(self.metadata))
        phrase = header.shown(self.metadata, _LONGEST_PHRASE).get("modelspec.trigger_phrase")
        return replace(own, trigger=TriggerWords(phrase, "", "{token}")) if phrase and not own.trigger else own

    @property
    def base(self) -> str | None:
        """Reference of the base, where it is recorded as one of ours."""
        recorded = (self.manifest or header.own(self.metadata)).get("base")
        reference = recorded.get("reference") if isinstance(recorded, Mapping) else None
        return reference if isinstance(reference, str) else None


def open_adapter(path: Path, *, kind: Kind | None = None, pickle: bool = False) -> Opened:
    """Read an adapter folder of ours or of peft, a weights file, or a folder that holds one.

    Args:
        path: the file or folder.
        kind: what an official file is where its shapes fit KronA and LoRA alike.
        pickle: read torch files too, as plain tensors; nothing in them is run.

    Raises:
        InputError: there is no adapter, or none that can be read.
    """
    if path.is_dir() and formats.detect(path) in (formats.BUNDLE, formats.PEFT):
        found = adapter_folder.read(path)
        manifest = found.manifest if (path / "suite.json").is_file() else {}
        return Opened(_title(found.method), found.changes, {}, manifest, path)
    file = _weights_file(path)
    if file.suffix != ".safetensors" and not pickle:
        raise InputError(
            f"{file.name} is no safetensors file; --pickle reads a torch file's plain tensors, running nothing"
        )
    foreign = weights_files.read(file, kind=kind)
    return Opened(foreign.kind, foreign.changes, foreign.metadata, {}, file)


def _title(method: str) -> str:
    names = {
        "krona": "KronA",
        "lora": "LoRA",
        "lokr": "LoKr",
        "loha": "LoHa",
        "svdiff": "SVDiff",
        "parameters": "whole weights",
    }
    return " and ".join(names.get(part, part) for part in method.split("+"))


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / DIFFUSERS_NAME).is_file():
        return path / DIFFUSERS_NAME
    found = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", *formats.PICKLES))
    safe = [file for file in found if file.suffix == ".safetensors"] or found
    if len(safe) != 1:
        listed = ", ".join(file.name for file in safe[:5]) or "no weights file"
        raise InputError(f"{path} holds {listed}; name one file")
    return safe[0]


def convert(
    source: Path,
    out: Path,
    *,
    factors: tuple[int, int] | None = None,
    layout: Layout = "kron",
    rank: int | None = None,
    kind: Kind | None = None,
    base: str | None = None,
    token: str | None = None,
    noun: str | None = None,
    pickle: bool = False,
) -> None:
    """Fill `out` with an adapter folder of what `source` holds.

    Args:
        source: the file or folder.
        out: an existing, empty folder.
        factors: (a1, a2) of KronA to fit; by default nothing is fitted.
        layout: of the fitted KronA.
        rank: make it a LoRA of this rank instead.
        kind: see `open_adapter`.
        base: reference of the base; its shapes are compared. By default the one that the family usually means.
        token: the trigger word, where the file does not tell it. noun: the class noun after it.
        pickle: see `open_adapter`.

    Raises:
        InputError: the source cannot be read, does not fit the base, or needs factors or a rank.
    """
    opened = open_adapter(source, kind=kind, pickle=pickle)
    if factors is not None and rank is not None:
        raise InputError("--factors make KronA and --rank makes LoRA; give one of them")
    if layout != "kron" and factors is None:
        raise InputError(f"--layout {layout} is of the KronA that --factors fit; give them too, e.g. --factors 4,64")
    if not opened.changes:
        raise InputError(f"{opened.kind} exists relative to its base only; export it with --to diff and import that")
    if base is not None:
        check_shapes(opened.changes, shapes_of(base))
    changes, held = opened.changes, 1.0
    if factors is not None:
        changes, held = fit_all(opened.changes, factors, official=layout == "official")
    elif rank is not None:
        changes, error = converted(opened.changes, "lora", rank)
        held = 1 - error**2
    facts = _facts(opened, changes, held, token, noun)
    family = FAMILIES.get(facts.family)
    # A path of this machine was given to compare shapes with; the adapter goes without one.
    stated = None if base is None or base.startswith((".", "/", "~")) else base
    base = stated or opened.base or (family.usual if family else None)
    with TemporaryDirectory(dir=out.parent) as scratch:  # saving an adapter replaces its folder, and `out` is there
        written = adapter_folder.write(changes, Path(scratch) / "adapter", base=base, facts=replace(facts, base=base))
        for file in written.iterdir():
            shutil.move(str(file), out / file.name)


def _facts(opened: Opened, changes: Changes, held: float, token: str | None, noun: str | None) -> Stated:
    facts = opened.facts
    everything = [change for modules in changes.values() for change in modules.values()]
    pairs = [list(change.a.shape) for change in everything if isinstance(change, Kronecker)]
    return replace(
        facts,
        trigger=TriggerWords(token, noun or "") if token else facts.trigger,
        family=header.family_of(changes, facts),
        method="krona" if pairs else "loha" if everything and isinstance(everything[0], Hadamard) else "lora",
        layout=("official" if everything[0].official else "kron") if isinstance(everything[0], Kronecker) else None,
        factors=max(pairs, key=pairs.count) if pairs else None,
        text_encoder=any(part.startswith("text_encoder") for part in changes),
        source={"format": opened.kind, "file": opened.file.name, "captured_energy": held},
    )


def shapes_of(base: str) -> dict[str, nn.Module]:
    """The networks of a base by component, without weights, from its configuration files.

    Raises:
        InputError: it cannot be had, or is no pipeline.
    """
    import diffusers
    import torch
    import transformers

    from domains.personalized_diffusion.model import bases

    folder, _ = bases.located(base)
    index = read_json(folder / "model_index.json") if bases.pipeline_class(folder) else {}
    made: dict[str, nn.Module] = {}
    for name in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        library, class_name = (index.get(name) or [None, None])[:2]
        if library is None or (library == "transformers" and "CLIP" not in class_name):
            continue
        with torch.device("meta"):
            if library == "diffusers":
                network = getattr(diffusers, class_name)
                made[name] = network.from_config(network.load_config(folder / name))
            else:
                config = transformers.AutoConfig.from_pretrained(folder / name)
                made[name] = getattr(transformers, class_name)(getattr(config, "text_config", config))
    return made


def check_shapes(changes: Changes, networks: Mapping[str, nn.Module]) -> None:
    """Compare changes with the networks that they are to be put on.

    Raises:
        InputError: a network lacks a module, or one has another size; says for which base the adapter is.
    """
    width = cross_attention_width(changes)
    for component, modules in changes.items():
        if component not in networks:
            raise InputError(
                f"the adapter changes {component}, which the base has not; its parts are {', '.join(networks)}"
            )
        network = networks[component]
        own = dict(network.named_modules())
        for name, change in modules.items():
            weight = getattr(own.get(name), "weight", None)
            if weight is not None and tuple(weight.shape) == change.shape:
                continue
            found = "has no such module" if weight is None else f"has {tuple(weight.shape)} there"
            has = getattr(getattr(network, "config", None), "cross_attention_dim", None)
            raise InputError(
                f"the adapter is for {_family_title(width)} ({component}: {name} {change.shape}); the base is "
                f"{_family_title(has)} and {found}"
            )


def _family_title(width: object) -> str:
    if not isinstance(width, int):
        return "a base of unknown cross-attention width"
    family = FAMILIES.get(str(of_width(width)))
    return f"{family.title if family else 'another base'} (cross-attention width {width})"
