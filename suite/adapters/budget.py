"""How many numbers a method may train, and which of all: the largest or smallest scores over many tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from suite.errors import InputError

_UNITS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}


def numbers(budget: int | float | str, total: int, what: str = "budget") -> int:
    """A budget as a count.

    Args:
        budget: a count, `"0.4M"`, or a part of all such as `"0.02%"`.
        total: how many there are.
        what: what messages call it.

    Raises:
        InputError: it is none of these, or not between 1 and `total`.
    """
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([kKMB%]?)\s*", str(budget))
    try:
        value = float(found[1]) if found else float("nan")
    except ValueError:
        value = float("nan")
    if found is None or value != value:
        raise InputError(f"{what} {budget!r} is no number: write 123456, '0.4M' or '0.02%'")
    count = round(value / 100 * total if found[2] == "%" else value * _UNITS[found[2]])
    if not 1 <= count <= total:
        raise InputError(f"{what} {budget!r} is {count:,} of {total:,} numbers; give 1 to {total:,}")
    return count


@torch.no_grad()
def best(scores: Mapping[str, Tensor], count: int, *, largest: bool = True) -> dict[str, Tensor]:
    """Flat places of the `count` largest (or smallest) scores over all tensors; of equal ones the earlier.

    Never makes a copy of all scores: of each tensor the `count` best compete.

    Returns:
        By name (places,), ascending, of int64; together exactly `count`, or all where there are fewer.
    """
    if count < 1:
        return {name: torch.zeros(0, dtype=torch.int64, device=tensor.device) for name, tensor in scores.items()}
    flat = {name: (tensor if largest else -tensor).detach().flatten().float() for name, tensor in scores.items()}
    first = torch.cat([tensor.topk(min(count, len(tensor))).values.cpu() for tensor in flat.values()])
    limit = first.topk(min(count, len(first))).values[-1]
    left = count - sum(int((tensor > limit).sum()) for tensor in flat.values())
    places = {}
    for name, tensor in flat.items():
        chosen = tensor > limit
        equal = (tensor == limit).nonzero()[: max(0, left), 0]
        left -= len(equal)
        chosen[equal] = True
        places[name] = chosen.nonzero()[:, 0]
    return places
