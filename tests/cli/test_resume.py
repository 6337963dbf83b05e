"""`suite DOMAIN train --resume`: what is given with it is taken or refused, never ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.cli.conftest import Command


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run, "adapter", "adapter_model.safetensors"))


@pytest.mark.usefixtures("fake_domain")
def test_the_command_takes_or_refuses_what_is_given_with_resume(suite: Command) -> None:
    Path("c.yaml").write_text("domain: fake\ndata: {size: 64}\ntrainer: {accelerator: cpu, max_epochs: 1}\n")
    assert suite("fake", "train", "--config", "c.yaml", "--run-dir", "run").code == 0
    first = weights("run")
    longer = suite("fake", "train", "--resume", "run", "--trainer.max_epochs", "2")
    assert longer.code == 0 and not all(torch.equal(first[name], tensor) for name, tensor in weights("run").items())
    assert yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["max_epochs"] == 2

    refused = suite("fake", "train", "--resume", "run", "--trainer.lr", "1.0")
    assert refused.code == 2 and "trainer.lr was 0.0001 and is now 1.0" in refused.err
    refused = suite("fake", "train", "--resume", "run", "--config", "c.yaml")
    assert refused.code == 2 and "trainer.max_epochs is 1, and run has got to 2" in refused.err
    refused = suite("fake", "train", "--resume", "run", "--run-dir", "other")
    assert refused.code == 2 and "--run-dir" in refused.err

    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("size: 64", "size: 32"))
    edited = suite("fake", "train", "--resume", "run")
    assert edited.code == 2 and "data.size was 64 and is now 32" in edited.err
    assert len(edited.err.strip().splitlines()) == 1

    where = suite("fake", "train", "--config", "c.yaml", "--run-dir", "c.yaml/run")
    assert where.code == 2 and "cannot be written" in where.err
    rare = suite("fake", "train", "--config", "c.yaml", "--run-dir", "rare", "--trainer.val_every", "5000")
    assert rare.code == 2 and "trainer.val_every is 5000 batches" in rare.err and "Traceback" not in rare.err
