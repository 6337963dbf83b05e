"""The loop of embedded bases."""

from __future__ import annotations

import pytest
import torch

from suite import hub
from suite.hub import paths
from suite.training import embedded
from suite.training.kept import Progress
from suite.training.muon import optimizers_of
from suite.training.plain import Schedule, minimise, train


def test_the_rate_warms_up_and_falls_to_nothing():
    schedule = Schedule(steps=100, batch=1, lr=1e-2, warmup=10)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-3 * (step + 1) for step in range(10)])
    assert rates[10] == 1e-2 and rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 1e-5
    assert schedule.rate(9, peak=4.0) == 4.0


def test_training_lowers_the_loss_of_what_is_to_be_trained(capsys):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    model[0].requires_grad_(False)
    frozen, x = model[0].weight.clone(), torch.randn(64, 3)
    counted = []

    def loss() -> torch.Tensor:
        return (model(x).squeeze(1) - x.sum(1).tanh()).square().mean()

    before = loss().item()
    train("toy", model, loss, Schedule(100, 64, lr=0.05, warmup=5, decay=0.0), after=lambda: counted.append(1))
    assert loss().item() < before / 3 and len(counted) == 100
    assert torch.equal(model[0].weight, frozen)
    assert capsys.readouterr().err.startswith("toy 100/100  ")


@pytest.mark.parametrize("muon", [False, True])
def test_stopped_and_called_again_it_ends_with_the_same_bits(tmp_path, capsys, muon):
    class Stopped(Exception):
        pass

    def run(kept, stop=None, lr=0.05):
        torch.manual_seed(0)
        model, rng = torch.nn.Linear(3, 1), torch.Generator().manual_seed(1)
        optimizers = optimizers_of(model, lr, lr, tables=())[0] if muon else None
        progress, schedule = Progress(kept, rng, f"lr {lr}", every=4), Schedule(20, 8, lr=lr, warmup=5)

        def loss():
            if progress.step == stop:
                raise Stopped
            x = torch.randn(8, 3, generator=rng)
            return (model(x).squeeze(1) - x.sum(1)).square().mean()

        train("toy", model, loss, schedule, progress=progress, optimizers=optimizers)
        progress.finish()
        return model.weight

    file = tmp_path / "kept.safetensors"
    whole = run(None)
    with pytest.raises(Stopped):
        run(file, stop=11)
    assert torch.equal(run(file), whole)
    assert not file.exists()
    with pytest.raises(Stopped):
        run(file, stop=11, lr=0.01)
    assert torch.equal(run(file), whole)
    assert "of another training; begun anew" in capsys.readouterr().err


def test_every_group_has_its_own_peak_and_gradients_are_cut():
    slow, fast = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizers = [torch.optim.SGD([slow], lr=0.1), torch.optim.SGD([fast], lr=1.0)]
    told = []
    minimise(
        lambda: (1000 * slow + 1000 * fast).sum(),
        optimizers,
        lambda step, peak: peak / (step + 1),
        3,
        clipped=[slow, fast],
        told=lambda step, value, seconds: told.append(step),
        every=2,
    )
    step = 2**-0.5  # each half of a gradient of norm 1
    assert slow.item() == pytest.approx(-0.1 * step * (1 + 1 / 2 + 1 / 3), rel=1e-4)
    assert fast.item() == pytest.approx(10 * slow.item()) and told == [2, 3]


def test_a_base_comes_whole_with_its_card(tmp_path):
    text = embedded.card("A base", "It knows nothing.\n", {"library_name": "pytorch"})
    assert text == "---\nlicense: apache-2.0\nlibrary_name: pytorch\n---\n\n# A base\n\nIt knows nothing.\n"
    folder = embedded.write_base(tmp_path / "base", lambda empty: (empty / "weights").write_text("1"), text)
    assert {file.name for file in folder.iterdir()} >= {"weights", "README.md"}
    with pytest.raises(RuntimeError, match="broken"):
        embedded.write_base(tmp_path / "other", lambda empty: (_ for _ in ()).throw(RuntimeError("broken")), text)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("part", ["all", "base", "adapter"])
def test_an_embedded_default_is_rebuilt_in_parts_and_recorded(tmp_path, monkeypatch, part):
    written = ["base", "adapter"] if part == "all" else [part]
    monkeypatch.setattr(paths, "checkpoints", lambda: tmp_path)
    made = []

    def write(folder):
        made.append(folder.relative_to(tmp_path / "tiny" / "music").as_posix())
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        return hub.Metric("F1", 0.5, "made-up data")

    embedded.rebuild("music", part, base=write, adapter=write, method="lora")
    assert made == written
    entries = {entry.kind: entry for entry in hub.catalogue()}
    assert sorted(entries) == sorted(written)
    if "adapter" in entries:
        adapter = entries["adapter"]
        assert (adapter.reference, adapter.method, adapter.base) == ("music/tiny", "lora", "tiny")
        assert adapter.metric == hub.Metric("F1", 0.5, "made-up data")
