"""Other people's formats to ours and back, by the functions of the domains' `official.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suite.errors import InputError
from suite.files import EXPORT, atomic_file, atomic_folder, read_json
from suite.hub import archives, converters, formats, ingest, references, weights
from suite.hub.resolution import fetch, resolve


def convert(reference: str, out: str | Path, converter: str, *, domain: str | None = None, **options: Any) -> Path:
    """Make an adapter folder of files in another format.

    Args:
        reference: where the files are, as for `suite.hub.resolve`.
        out: the folder to write, all or nothing.
        converter: import string of `convert(source: Path, out: Path, **options)`, which reads the fetched file or
            folder and fills the empty folder `out` with a peft folder or bundle.
        domain: the domain of a name without one.
        options: for the converter.

    Raises:
        InputError: the reference names nothing, or the converter refuses what it found (unknown and missing keys are
            listed).
    """
    found, _ = fetch(references.parse(reference, domain), "adapter", pickles=True)
    target = converters.run(converter, archives.unpacked(found), Path(out), **options)
    return ingest.adapter(target, reference)


def export(
    reference: str, out: str | Path, exporter: str | None = None, *, domain: str | None = None, **options: Any
) -> Path:
    """Write an adapter for others: as the authors' layout, one safetensors file, or one zip archive.

    Args:
        reference: the adapter.
        out: what to write. Without an exporter its ending chooses: `.safetensors` for weights with the configuration in
            the header (a single peft folder only), `.zip` for the folder. Both can be resolved again.
        exporter: import string of `export(source: Path, out: Path, **options)`, which reads the adapter's folder and
            fills the empty folder `out`.
        domain: the domain of a name without one.
        options: for the exporter.

    Raises:
        InputError: the reference names nothing, the ending is unknown, or the adapter does not fit the format.
    """
    source, target = resolve(reference, domain), Path(out)
    if exporter is not None:
        write = converters.function(exporter)
        with atomic_folder(target, EXPORT) as temporary:
            write(source, temporary, **options)
    elif target.suffix == ".zip":
        with atomic_file(target) as temporary:
            archives.pack(source, temporary)
    elif target.suffix == ".safetensors":
        _single_file(source, target)
    else:
        raise InputError(f"{target} says no format; end it in .safetensors or .zip")
    return target


def _single_file(source: Path, target: Path) -> None:
    if formats.detect(source) != formats.PEFT:
        raise InputError(f"{source} is a bundle of several adapters, which one file cannot hold; export it as .zip")
    config = read_json(source / "adapter_config.json")
    file = source / "adapter_model.safetensors"
    weights.write(weights.read(file), target, {**weights.metadata(file), ingest.CONFIG_KEY: json.dumps(config)})
