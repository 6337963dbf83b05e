"""One process of two: every method's gradients under DDP, against those of the whole batch. Run by its test."""

from __future__ import annotations

import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from suite import adapters
from tests.adapters.cases import SUBJECTS, arguments, fresh, home, ours, randomise, sample


def gradients(method: str, share: slice, wrapped: bool) -> dict[str, Tensor]:
    """The gradients of what a method trains, from a share of the batch, averaged over the processes if wrapped."""
    subject = home(method)
    base = fresh(subject)
    torch.manual_seed(0)
    model: nn.Module = adapters.attach(base, method, **arguments(method, subject))
    randomise(model)
    model.eval()  # dropout draws differently in each process
    x = sample(subject)[share]
    called = DistributedDataParallel(model) if wrapped else model
    SUBJECTS[subject].run(called, x).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def main() -> None:
    """Say which methods differ."""
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for method in sys.argv[1:] or ours():
        size = len(sample(home(method))) // 2
        shares = [slice(rank * size, (rank + 1) * size), slice(0, 2 * size)]
        together, alone = (
            gradients(method, share, wrapped) for share, wrapped in zip(shares, (True, False), strict=True)
        )
        same = together.keys() == alone.keys() and all(
            torch.allclose(together[name], alone[name], atol=1e-6, rtol=1e-4) for name in alone
        )
        if rank == 0:
            print(method, "same" if same else "differs", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
