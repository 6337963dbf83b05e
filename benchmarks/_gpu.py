"""What the benchmarks that need a GPU ask before they start."""

from __future__ import annotations

import sys

import torch


def refused(smoke: bool, save: bool) -> bool:
    """Whether the benchmark cannot run as asked; a line on standard error says why."""
    if not smoke and not torch.cuda.is_available():
        print("this benchmark needs a GPU and torch finds none; --smoke runs it tiny on the CPU", file=sys.stderr)
        return True
    if smoke and save:
        print("--smoke measures nothing worth keeping; leave out --save", file=sys.stderr)
        return True
    return False
