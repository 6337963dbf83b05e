"""The texts in the header of an exported safetensors file: kohya's `ss_*`, Stability's `modelspec.*`, and our own.

Other people's headers are untrusted text: they are read as JSON at most, and cut to a size.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from safetensors.torch import save
from torch import Tensor

from domains.personalized_diffusion.model.families import FAMILIES, of_width
from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.official.changes import (
    Changes,
    Hadamard,
    Kronecker,
    LowRank,
    cross_attention_width,
    transformer_family,
)

OWN = "peft_suite"
"""The key of our own record."""
_LONGEST = 1 << 20


def family_of(changes: Changes, facts: Stated) -> str:
    """The family of the base: as recorded, else by the width that cross-attention reads; else `unknown`."""
    if facts.family:
        return facts.family
    if "transformer" in changes:
        return transformer_family(changes["transformer"]) or "unknown"
    return of_width(cross_attention_width(changes)) or "unknown"


def trigger_phrase(facts: Stated) -> str | None:
    """What a prompt must contain: token and class noun."""
    return (facts.trigger.phrase or None) if facts.trigger else None


def record(changes: Changes, facts: Stated, base: Mapping[str, Any]) -> dict[str, Any]:
    """Our own record: what was trained, on what, how, so that an import loses nothing."""
    flat = {f"{part}.{name}": change for part, modules in changes.items() for name, change in modules.items()}
    made: dict[str, Any] = {
        **facts.to_dict(),
        "target_modules": sorted(flat),
        "base": {**base, "cross_attention_width": cross_attention_width(changes)},
        "family": family_of(changes, facts),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("torch", "diffusers", "peft")}},
    }
    factors = {name: list(c.a.shape) for name, c in flat.items() if isinstance(c, Kronecker)}
    if factors and len(factors) == len(flat):
        layouts = {c.official for c in flat.values() if isinstance(c, Kronecker)}
        made |= {
            "method": "krona",
            "layout": "official" if layouts == {True} else "kron",
            "scaling": sorted({c.scaling for c in flat.values() if isinstance(c, Kronecker)}),
        }
        pairs = list(factors.values())
        usual = max(pairs, key=pairs.count)
        made |= {"a1": usual[0], "a2": usual[1]}
        made["a_pattern"] = {name: pair for name, pair in factors.items() if pair != usual}
    return made


def build(
    changes: Changes, facts: Stated, base: Mapping[str, Any], *, title: str, form: str, date: str | None = None
) -> dict[str, str]:
    """The header of a file.

    Args:
        changes: what the file holds, as it is written.
        facts: what the adapter that it was made of says. base: what its manifest records of the base.
        title: the file's name.
        form: how it is written: `lokr`, `lora` or `diff`.
        date: ISO 8601; now by default.
    """
    train, size = facts.train, facts.resolution
    name, phrase = family_of(changes, facts), trigger_phrase(facts)
    family = FAMILIES.get(name)
    kind = "lora" if form == "lora" else "lycoris"
    known: dict[str, Any] = {
        **_network(changes, form),
        "ss_output_name": title,
        "ss_base_model_version": family.version if family else None,
        "ss_v2": name == "sd21",
        "ss_sd_model_name": base.get("reference") or facts.base,
        "ss_resolution": f"({size}, {size})" if size else None,
        **{theirs: train.get(ours) for ours, theirs in _TRAIN.items()},
        "ss_num_train_images": train.get("shown", train.get("images")),
        "ss_total_batch_size": _product(train.get("batch_size"), train.get("accumulate_grad_batches", 1)),
        "ss_clip_skip": facts.clip_skip if facts.clip_skip > 1 else None,
        "ss_bucket_info": _buckets(train.get("buckets")),
        "ss_tag_frequency": train.get("tags") or None,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{(family and family.architecture) or name}/{kind}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.date": date or datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.trigger_phrase": phrase,
        "modelspec.resolution": f"{size}x{size}" if size else None,
        "modelspec.prediction_type": _PREDICTIONS.get(str(train.get("prediction_type"))),
        OWN: record(changes, facts, base),
    }
    return {key: _text(value) for key, value in known.items() if value is not None}


_TRAIN = {
    "steps": "ss_steps",
    "max_steps": "ss_max_train_steps",
    "lr": "ss_learning_rate",
    "accumulate_grad_batches": "ss_gradient_accumulation_steps",
    "text_lr": "ss_text_encoder_lr",
    "seed": "ss_seed",
    "class_images": "ss_num_reg_images",
    "optimizer": "ss_optimizer",
    "scheduler": "ss_lr_scheduler",
    "snr_gamma": "ss_min_snr_gamma",
    "noise_offset": "ss_noise_offset",
}
"""What the recipe records about training, and kohya's name for it."""
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
"""What a base predicts, in diffusers' words and in the specification's."""


def hashes(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The digest of the tensors of a file, whatever its header says, by which programs know it again."""
    content = save({name: tensor.detach().clone().contiguous() for name, tensor in state.items()})
    start = 8 + int.from_bytes(content[:8], "little")  # the format's header, with its own length in front
    digest = hashlib.sha256(content[start:]).hexdigest()
    return {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}


def _product(*numbers: object) -> int | None:
    found = [number for number in numbers if isinstance(number, int)]
    return math.prod(found) if len(found) == len(numbers) else None


def _buckets(recorded: object) -> dict[str, Any] | None:
    """Width, height and number of photos of each bucket, as kohya's scripts write them."""
    if not isinstance(recorded, list) or not all(isinstance(row, list) and len(row) == 3 for row in recorded):
        return None
    rows = enumerate(recorded)
    return {"buckets": {str(n): {"resolution": [wide, high], "count": count} for n, (wide, high, count) in rows}}


def _network(changes: Changes, form: str) -> dict[str, Any]:
    everything = [change for modules in changes.values() for change in modules.values()]
    if form == "lora":
        ranks = {change.rank for change in everything if isinstance(change, LowRank)}
        alphas = {change.rank * change.scaling for change in everything if isinstance(change, LowRank)}
        rank = ranks.pop() if len(ranks) == 1 else "Dynamic"
        alpha = alphas.pop() if len(alphas) == 1 else "Dynamic"
        return {"ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": alpha}
    if form == "loha":
        rank = max(change.rank for change in everything if isinstance(change, Hadamard))
        alpha = max(change.rank * change.scaling for change in everything if isinstance(change, Hadamard))
        size = {"ss_network_dim": rank, "ss_network_alpha": alpha}
        return {"ss_network_module": "lycoris.kohya", **size, "ss_network_args": {"algo": "loha"}}
    arguments: dict[str, Any] = {"algo": "lokr", "full_matrix": True} if form == "lokr" else {"algo": "full"}
    if form == "lokr":
        arguments["factor"] = next(int(c.a.shape[0]) for c in everything if isinstance(c, Kronecker))
    return {
        "ss_network_module": "lycoris.kohya",
        "ss_network_dim": 1,
        "ss_network_alpha": 1,
        "ss_network_args": arguments,
    }


def own(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Our record in a header; empty where there is none, or none that can be trusted to be one."""
    text = metadata.get(OWN, "")
    if len(text) > _LONGEST:
        return {}
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def shown(metadata: Mapping[str, str], longest: int = 200, most: int = 60) -> dict[str, str]:
    """A header for people: control characters out, each text and their number cut."""
    clean = {"".join(c for c in key if c.isprintable())[:80]: value for key, value in list(metadata.items())[:most]}
    return {
        key: text if len(text) <= longest else text[: longest - 1] + "…"
        for key, value in clean.items()
        for text in ["".join(c if c.isprintable() else " " for c in value[: longest + 1])]
    }


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)
