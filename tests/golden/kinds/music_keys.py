"""Names, shapes and counts of full size."""

from __future__ import annotations

import torch
from torch import Tensor

from domains.music.model import attachments, bases, mustango_adapters
from domains.music.model.mustango import MustangoUNet
from domains.music.official import audiocraft, mustango, waveform
from suite import adapters
from suite.adapters.section import AdapterSection
from tests.golden.registry import Case, kind

Rows = dict[str, tuple[tuple[int, ...], str]]


@kind("music/keys")
def keys(case: Case) -> None:
    tables: dict[str, Rows] = {}
    for row in case.rows():
        shape = tuple(int(size) for size in row["shape"].split("x"))
        assert row["dtype"] == ("float16" if row["table"] == "musicgen_medium_best_state" else "float32")
        tables.setdefault(row["table"], {})[row["key"]] = shape, row["transformers_key"]
    _mustango(tables.pop("mustango_conv_adapter"))
    _waveform(tables.pop("musicgen_waveform_linear_adapter_2M"))
    _medium(tables.pop("musicgen_medium_best_state"))
    assert not tables


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _bare(rows: Rows) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, (shape, _) in rows.items()}


def _mustango(rows: Rows) -> None:
    with torch.device("meta"):
        unet = MustangoUNet().requires_grad_(False)
        model = mustango_adapters.attach_section(
            unet, AdapterSection.of({"preset": "published"}, mustango_adapters.PRESETS)
        )
    assert adapters.count(model) == (1_502_841, 1_414_694_849)
    assert _shapes(mustango.released(model)) == _bare(rows)


def _waveform(rows: Rows) -> None:
    with torch.device("meta"):
        model = bases.shape("", {"size": "medium"}).requires_grad_(False)
        model = attachments.attach_section(model, AdapterSection.of({"preset": "waveform"}, attachments.PRESETS))
    assert adapters.count(model).trainable == 2_080_032
    [(_, layer)] = adapters.layers(model, "linear_adapter")
    assert _shapes(waveform.released(layer.tensor("branch", "default").state_dict())) == _bare(rows)


def _medium(rows: Rows) -> None:
    """Layers 0, 1 and 47 of the 48 are listed; the others repeat."""
    with torch.device("meta"):
        model = bases.shape("", {"size": "medium"})
    theirs = audiocraft.audiocraft_language_model(dict(model.state_dict()))
    found = _shapes(theirs)
    assert {key: found[key] for key in rows} == _bare(rows)
    listed = {f"transformer.layers.{number}." for number in (0, 1, 47)}
    assert set(rows) == {key for key in found if not key.startswith("transformer.") or key.startswith(tuple(listed))}
    for key, (_, named) in rows.items():
        own = audiocraft.transformers_names(key)
        assert _same(own, named), (key, own, named)
    assert _shapes(audiocraft.language_model(theirs)) == _shapes(dict(model.state_dict()))


def _same(own: list[str], named: str) -> bool:
    """A fused tensor is named once for its three parts: `...{q,k,v}_proj.weight (rows split ...)`."""
    name, _, remark = named.partition(" ")
    if not remark:
        return own == [name]
    return "that order" in remark and own == [name.replace("{q,k,v}", part) for part in "qkv"]
