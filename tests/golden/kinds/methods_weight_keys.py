"""The names and shapes of what the authors' files hold, against what our layers take from them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive import bottleneck, compacter, convpass, unified_adapter
from suite.adapters.methods.prompt import apt, dept, llama_adapter
from suite.adapters.methods.reparameterized import (
    increlora,
    kasa,
    krona,
    loldu,
    mtlora,
    pego,
    sltrain,
    sora,
    triadaptlora,
)
from tests.adapters import test_mtlora
from tests.adapters.test_published_counts import SEQUENCES, clip, llama_7b, roberta, t0, t5, vit
from tests.golden.registry import Case, kind

Shapes = dict[str, str]
KEY = "key ({i} = expanded range)"


@kind("methods_weight/keys")
def keys(case: Case) -> None:
    tables: dict[str, Shapes] = {}
    for row in case.rows():
        shapes = row["shape"].split(" (")[0].split(" | ")
        for place, key in enumerate(expanded(row[KEY].split(" (")[0])):
            # Two shapes: of the first and of the last alternative in braces, `down` and `up`.
            shape = shapes[min(place % 2 if len(shapes) == 2 else 0, len(shapes) - 1)]
            tables.setdefault(row["method"].split(" (")[0], {})[key] = shape
    for method, found in tables.items():
        CHECKS[method](found)


def expanded(key: str) -> Iterator[str]:
    """A pattern's keys: `{0-11}` is a range and `{q,k}` are alternatives, the last of them varying first."""
    parts = re.split(r"\{([^{}]*)\}", key)
    choices = []
    for place, part in enumerate(parts):
        if place % 2 == 0:
            choices.append([part])
        elif re.fullmatch(r"\d+-\d+", part):
            first, last = map(int, part.split("-"))
            choices.append([str(number) for number in range(first, last + 1)])
        else:
            choices.append(part.split(",") if "," in part else [f"{{{part}}}"])
    return ("".join(words) for words in itertools.product(*choices))


def grouped(found: Mapping[str, str], ending: str) -> dict[str, dict[str, Tensor]]:
    """Meta tensors by the place of a layer and by the name inside it, which the expression `ending` says."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, shape in found.items():
        parts = re.fullmatch(rf"(.*?)\.?({ending})", key)
        assert parts is not None, key
        size = [int(number) for number in shape.split("x")]
        layers.setdefault(parts[1], {})[parts[2]] = torch.empty(size, device="meta")
    return layers


def on_a_model(
    build: Callable[[], nn.Module],
    method: str,
    settings: dict[str, Any],
    ending: str,
    official: Any,
    places: Any = None,
) -> Callable[[Mapping[str, str]], None]:
    """A check that a table's keys are, layer by layer, what our method trains on the published model."""

    def check(found: Mapping[str, str]) -> None:
        model = adapters.attach(build(), method, **settings)
        ours = {name: layer for name, layer in adapters.layers(model)}
        theirs = grouped(found, ending)
        named = {places(name) if places else name: layer for name, layer in ours.items()}
        assert sorted(named) == sorted(theirs)
        for place, state in theirs.items():
            for name, tensor in official(state).items():
                assert named[place].tensor(name, "default").shape == tensor.shape, (place, name)

    return check


def by_name(official: Callable[[dict[str, Tensor]], Any], *wanted: str) -> Callable[[Mapping[str, str]], None]:
    """A check of a table whose shapes are symbols: its names are those that the method's reader takes."""

    def check(found: Mapping[str, str]) -> None:
        names = {re.sub(r"\{\w\}$", "0", re.split(r"<[^>]*>\.|_proj\}\.|\{task\}\.", key)[-1]) for key in found}
        state = {name: torch.zeros(1, 1) for name in names if not name.endswith(("ranknum", "sparse_index"))}
        state |= {name: torch.ones(1) for name in names if name.endswith("ranknum")}
        state |= {name: torch.zeros(1, dtype=torch.long) for name in names if name.endswith("sparse_index")}
        assert sorted(official(state)) == sorted(wanted)

    return check


def _ia3(found: Mapping[str, str]) -> None:
    """The converter's own test reads a released file; here its vectors are those that peft trains on a T0."""
    model = adapters.attach(t0(32, 5120), "ia3", targets=["k", "v", "wo"], feedforward_modules=["wo"])
    ours = {re.sub(r"block\.\d+\.layer\.\d+", "block.{i}.layer.{j}", name) for name, _ in adapters.layers(model)}
    theirs = {key.removesuffix(".multi_lora_b").replace("wi_1", "wo") for key in found}
    assert {name for name in theirs if "encoder.block.{i}.layer.{j}.EncDec" not in name} == ours


def _llama_adapter(found: Mapping[str, str]) -> None:
    state = {"adapter_query.weight": torch.empty(300, 4096, device="meta")}
    assert found["adapter_query.weight"] == "300x4096" and found["layers.{i}.attention.gate"] == "1x32x1x1"
    state |= {f"layers.{i}.attention.gate": torch.empty(1, 32, 1, 1, device="meta") for i in range(32)}
    official = llama_adapter.official_tensors(state, 32)
    layers = dict(adapters.layers(adapters.attach(llama_7b(), "llama_adapter")))
    assert len(official) == 2 * len(layers) == 60
    for key, tensor in official.items():
        number, name = key.split(".")
        layer = next(layer for place, layer in layers.items() if f"layers.{number}.self_attn" in place)
        assert layer.tensor(name, "default").shape == tensor.shape


def _dept(found: Mapping[str, str]) -> None:
    model = adapters.attach(t5(), "dept", num_virtual_tokens=40, r=45, **SEQUENCES)
    [state] = grouped({f"x.{key}": shape for key, shape in found.items()}, r"prompt_.*").values()
    for name, tensor in dept.official_tensors(state).items():
        assert model.prompt_encoder["default"].state_dict()[name].shape == tensor.shape


def _mtlora(found: Mapping[str, str]) -> None:
    """The table lists all that trains: 305 tensors, of the published number of parameters."""
    assert len(found) == 305
    sizes = {key: torch.Size(map(int, shape.split("x"))).numel() for key, shape in found.items()}
    assert sum(sizes.values()) == 8_344_634
    low_rank = {key: shape for key, shape in found.items() if ".lora_" in key}
    model = adapters.attach(
        test_mtlora.swin(),
        "mtlora",
        targets=["attn.qkv", *test_mtlora.PLACES],
        tasks=dict.fromkeys(test_mtlora.CLASSES, 4),
        task_modules=test_mtlora.LAST,
    )
    layers = dict(adapters.layers(model))
    for place, state in grouped(low_rank, r"lora_.*").items():
        for name, tensor in mtlora.official_tensors(state).items():
            own = layers[place].tensor(name, "default")
            pairs = (
                [(own[task], value) for task, value in tensor.items()] if isinstance(tensor, dict) else [(own, tensor)]
            )
            assert all(mine.shape == theirs.shape for mine, theirs in pairs)


def _paca(found: Mapping[str, str]) -> None:
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = adapters.attach(llama_7b(), "paca", r=8, targets=names)
    theirs = grouped(found, r"paca_w|paca_indices")
    layers = {f"base_model.model.{place.removesuffix('.suite_paca')}": layer for place, layer in adapters.layers(model)}
    assert sorted(layers) == sorted(theirs)
    for place, state in theirs.items():
        assert layers[place].tensor("w", "default").shape == state["paca_w"].shape
        assert layers[place].places("default").numel() == state["paca_indices"].numel()


def _ssf(found: Mapping[str, str]) -> None:
    """Which pair belongs to which operation: the order in which a block computes them."""
    pairs = {key.replace("_scale_", "_{}_").replace("_shift_", "_{}_") for key in found}
    operations = {"patch_embed.ssf_{}_1": "patch_embed.proj", "ssf_{}_1": "norm"}
    inside = {"ssf_{}_1": "norm1", "ssf_{}_2": "norm2", "attn.ssf_{}_1": "attn.qkv", "attn.ssf_{}_2": "attn.proj"}
    inside |= {"mlp.ssf_{}_1": "mlp.fc1", "mlp.ssf_{}_2": "mlp.fc2"}
    operations |= {f"blocks.{n}.{key}": f"blocks.{n}.{value}" for n in range(12) for key, value in inside.items()}
    assert pairs == set(operations)
    layers = dict(adapters.layers(adapters.attach(vit(), "ssf", targets="|".join(map(re.escape, operations.values())))))
    for key, place in operations.items():
        for part in ("scale", "shift"):
            assert list(layers[place].tensor(part, "default").shape) == [int(found[key.format(part)])]


def _compacter(found: Mapping[str, str]) -> None:
    """Each adapter of the table has the shapes of ours; which sub-layer it sits behind, its number says."""
    assert found.pop("phm_rule") == "4x4x4"
    model = adapters.attach(t5(), "compacter", targets=["SelfAttention.o", "DenseReluDense.wo"], n=4)
    [layer, *others] = [layer for _, layer in adapters.layers(model, "compacter")]
    assert len(others) == 47 and layer.tensor("rule", "default").shape == (4, 4, 4)
    sizes = {
        "down_L": (4, 192, 1),
        "down_Q": (4, 1, 6),
        "down_b": (24,),
        "up_L": (4, 6, 1),
        "up_Q": (4, 1, 192),
        "up_b": (768,),
    }
    names = {re.search(r"\{task\}|<task>", key) and key.rpartition("sampler.")[2] for key in found}
    assert names == {"W_left", "W_right", "b"}
    official = compacter.official_tensors(
        {f"{end}_sampler.{name}": torch.empty(1) for end in ("down", "up") for name in names}
    )
    assert sorted(official) == sorted(sizes)
    assert all(tuple(layer.tensor(name, "default").shape) == size for name, size in sizes.items())


def _pego(found: Mapping[str, str]) -> None:
    """Theirs sits on a fused projection, whose query and value are two parts of ours."""
    model = adapters.attach(clip(), "pego", targets=["q_proj", "v_proj"], members=4)
    theirs = grouped(found, r"linear_\w_\w\.\d\.weight")
    layers = [layer for _, layer in adapters.layers(model)]
    assert len(layers) == 2 * len(theirs) == 24
    for state in theirs.values():
        both = pego.official_tensors(state)
        for name in ("a", "b"):
            assert both[name].shape == (8, *layers[0].tensor(name, "default").shape[1:])


def _after(state: Mapping[str, Tensor], mark: str) -> dict[str, Tensor]:
    """The tensors by what follows a mark in their names."""
    return {key.rpartition(mark)[2]: tensor for key, tensor in state.items()}


QV = {"targets": ["query", "value"], "r": 8}
CHECKS: dict[str, Callable[[Mapping[str, str]], None]] = {
    "kasa": on_a_model(
        roberta, "kasa", QV, r"lora_\w+(?:\.weight)?", kasa.official_tensors, "base_model.model.roberta.{}".format
    ),
    "paca": _paca,
    "sora": by_name(lambda state: sora.official_tensors(_after(state, "lora.")), "gate", "lora_A", "lora_B"),
    "loldu": by_name(loldu.official_tensors, "vector_z"),
    "increlora": by_name(increlora.official_tensors, "lora_A", "lora_B", "lora_E"),
    "adalora": by_name(dict, "lora_A", "lora_B", "lora_E", "ranknum"),
    "triadaptlora": by_name(triadaptlora.official_tensors, "lora_A", "lora_B", "lora_C_col", "lora_C_row"),
    "sltrain": by_name(sltrain.official_tensors, "lora_A", "lora_B", "sparse_index", "sparse_value"),
    "ssf": _ssf,
    "compacter": _compacter,
    "apt": on_a_model(
        vit, "apt", {"targets": ["attn"]}, r"(?:mm\S*|scale)", apt.official_tensors,
        lambda name: f"transformer.{name.removesuffix('.suite_apt')}.APT",
    ),
    "convpass": on_a_model(
        vit, "convpass", {"targets": ["attn", "mlp"]}, r"adapter_\w+\.\w+", convpass.official_tensors,
        lambda name: re.sub(r"(attn|mlp)\.suite_convpass", r"adapter_\1", name),
    ),
    "llama_adapter v1": _llama_adapter,
    "dept": _dept,
    "pego": _pego,
    "ia3": _ia3,
    "llm-adapters bottleneck": by_name(bottleneck.official_tensors, "down", "up"),
    "mam": by_name(
        lambda state: unified_adapter.official_tensors(_after(state, "adapter.")),
        "down", "down_b", "factor", "up", "up_b",
    ),
    "krona": by_name(lambda state: krona.official_tensors(_after(state, "_lora.")), "a", "b"),
    "mtlora": _mtlora,
}  # fmt: skip
