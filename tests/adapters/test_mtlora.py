"""MTLoRA: tasks are chosen by the context, kept apart, saved together, and only a layer without tasks is merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from suite import adapters
from suite.errors import InputError

TASKS = {"semseg": 2, "normals": 3}


def attached(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)).eval()
    settings = {"tasks": TASKS, "r": 2, "init_weights": False, "task_modules": ["2"], **settings}
    model = adapters.attach(model, "mtlora", targets=["0", "2"], **settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "tasks_B" in name:
                parameter.normal_()
    return model


def test_a_task_acts_in_its_context_alone_and_survives_saving(tmp_path: Path) -> None:
    model, x = attached(), torch.randn(3, 6)
    plain, outputs = model(x), {}
    for task in TASKS:
        with adapters.context(model, task=task):
            outputs[task] = model(x)
    assert not torch.allclose(outputs["semseg"], outputs["normals"])
    assert torch.equal(model(x), plain)
    adapters.save(model, tmp_path / "a")
    torch.manual_seed(0)
    bare = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)).eval()
    loaded = adapters.load(bare, tmp_path / "a")
    with adapters.context(loaded, task="normals"):
        assert torch.equal(loaded(x), outputs["normals"])
        outputs["normals"].sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any("normals" in name for name in trained) and not any("semseg" in name for name in trained)
    with pytest.raises(InputError, match="no task 'depth'"), adapters.context(model, task="depth"):
        model(x)


def test_only_what_tasks_share_can_be_merged() -> None:
    with pytest.raises(InputError, match="2: mtlora cannot be merged where tasks"):
        adapters.merge(attached())
    alone, x = attached(tasks={}), torch.randn(3, 6)
    expected = alone(x)
    adapters.merge(alone)
    torch.testing.assert_close(alone(x), expected)


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="task_scale names depth"):
        attached(task_scale={"depth": 1.0})
    with pytest.raises(InputError, match="addition sums up the changes of tasks"):
        attached(tasks={}, shared_mode="addition")


def test_adapters_around_new_adapters_have_the_mode_of_the_model() -> None:
    """Dropout of the outer method was on in a model at rest, when its host came with it."""
    model = adapters.attach(
        nn.Sequential(nn.Linear(4, 4)).eval(),
        {"method": "lora", "targets": ["0"]},
        {"method": "mtlora", "targets": ["0"]},
    )
    assert not any(module.training for module in model.modules())


CLASSES = {"semseg": 21, "normals": 3, "sal": 1, "human_parts": 7}
PLACES = ["attn.proj", "mlp.fc1", "mlp.fc2"]
LAST = [f"layers.{stage}.blocks.{depth - 1}.{place}" for stage, depth in enumerate((2, 2, 6, 2)) for place in PLACES]


def swin() -> nn.Module:
    """The published network on 448 pixels: a Swin-T and, for each task, convolutions over its four stages."""
    import timm

    with torch.device("meta"):
        backbone = timm.create_model("swin_tiny_patch4_window7_224", img_size=448, num_classes=0)
        heads = nn.ModuleDict()
        for task, classes in CLASSES.items():
            pairs = ((192, 18), (384, 36), (768, 72), (768, 144))
            stages = [nn.Conv2d(before, after, 1, bias=False) for before, after in pairs]
            last = [nn.Conv2d(270, 1080, 1), nn.BatchNorm2d(1080), nn.Conv2d(1080, classes, 1)]
            heads[task] = nn.ModuleList([*stages, *last])
    return nn.ModuleDict({"backbone": backbone, "heads": heads})


@pytest.mark.parametrize(
    ("rank", "reduction", "count"),
    [(64, False, 8_344_634), (32, False, 6_083_642), (16, False, 4_953_146), (64, True, 8_602_682)],
)
def test_the_published_networks_train_as_many_parameters(rank: int, reduction: bool, count: int) -> None:
    model = swin()
    assert sum(p.numel() for p in model["heads"].parameters()) == 1_946_624
    stages = [p for name, p in model["backbone"].named_parameters() if not name.startswith("norm.")]
    assert sum(p.numel() for p in stages) == 27_517_818  # heads read the stages, before the last norm
    targets = ["attn.qkv", *PLACES, *(["downsample.reduction"] if reduction else [])]
    names = ["patch_embed.*", "layers.*norm*", "*relative_position_bias_table", "*downsample.reduction.weight"]
    trained = [*(f"backbone.{name}" for name in names), "heads.*"]
    model = adapters.attach(
        model,
        "mtlora",
        targets=targets,
        r=rank,
        tasks=dict.fromkeys(CLASSES, 4),
        task_modules=LAST,
        train=trained,
    )
    assert adapters.count(model).trainable == count


def test_an_adapter_in_half_precision_runs_without_autocast() -> None:
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    config = PEFT_TYPE_TO_CONFIG_MAPPING["MTLORA"](target_modules=["0"], r=2)
    model = get_peft_model(nn.Sequential(nn.Linear(4, 4)).bfloat16(), config, autocast_adapter_dtype=False)
    assert model(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
