"""peft's own tests of custom models, over our tuners. Run: python -m tests.adapters.peft_suite FOLDER [pytest options]

FOLDER is `tests` of a checkout of peft, of the version that is installed or the nearest one. peft takes its cases from
a list in `test_custom_models.py`; here that list is replaced by ours, in a copy, and everything else is as it stands.
What cannot hold for a method by its nature is expected to fail, for the reason in `failing`; anything else is a fault.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from suite import adapters
from suite.adapters.registry import peft_type_of
from tests.adapters.cases import SETTINGS

PACKAGE = "peft_tests"
# The layers of peft's small models, by our name for their kind.
PLACES = {
    "Linear": ("MLP", "lin0"),
    "Conv1D": ("EmbConv1D", "conv1d"),
    "Conv2d": ("Conv2d", "conv2d"),
    "LayerNorm": ("MLP_LayerNorm", "layernorm0"),
}
# Sizes that fit their layers: of 10 inputs and 20 outputs, and (Conv1D) of 5 and 1.
FITTING: dict[str, dict[str, Any]] = {
    "krona": {"a1": 4, "a2": 5},
    "convnet_adapter": {"adapt_size": 1},
    "krona on Conv1D": {"a1": 1, "a2": 5},
    "loldu on Conv1D": {"r": 1},
    "repadapter on Conv1D": {"hidden": 5, "groups": 5},
    "sltrain on Conv1D": {"sp_ratio": 0.4},
    "soka on Conv1D": {"r": 1},
    "svfit on Conv1D": {"r": 1},
}
# Those that are told what to train by a plan or by patterns, or need heads; and layers with too few channels.
LEFT_OUT = {"bitfit", "lofit", "pafi", "parameters", "spt", "telly", "compacter on Conv1D"}


def cases() -> list[tuple[str, str, type, dict[str, Any]]]:
    """Every method of ours on every layer of peft's models that it declares: name, model, config class, settings."""
    found = []
    for name, info in adapters.methods().items():
        if info.source != "suite" or name in LEFT_OUT:
            continue
        config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(name)]
        if not config.__module__.startswith("suite."):
            continue
        for kind, (model, target) in PLACES.items():
            label = f"{name} on {kind}"
            if kind in info.layers and label not in LEFT_OUT:
                fitting = {**FITTING.get(name, {}), **FITTING.get(label, {})}
                found.append((label, model, config, {**SETTINGS.get(name, {}), **fitting, "target_modules": [target]}))
    return found


MERGING = {
    "delete_merged_adapter_only_rejects_the_merged_one",
    "delete_merged_adapter_raises_without_mutation",
    "disable_adapters_with_merging",
    "forward_bfloat16",
    "forward_bfloat16_no_autocast",
    "forward_float16",
    "forward_float16_no_autocast",
    "merge_layers",
    "merge_layers_fp16",
    "merge_layers_is_idempotent",
    "safe_merge",
}
FEWER = {"parameters_after_loading_model", "save_pretrained", "save_pretrained_pickle"}


def failing(test: str, label: str) -> str | None:
    """Why a test, without its `test_`, cannot pass with one of our cases; None where it must."""
    method = label.split(" on ")[0]
    info = adapters.methods()[method]
    if test in MERGING and not info.mergeable:
        return "it is no change of a weight, so that there is nothing to merge"
    if test in ("disable_adapters", "disable_adapters_with_merging") and not info.identity_at_start:
        return "it changes outputs, or (KaSA) the weights, from the start"
    if test in FEWER and info.procedure in ("increlora", "triadaptlora"):
        return "a file holds the ranks that there are, and a layer in training has room for more"
    if method in ("id3", "neuroada", "paca", "sift") and test in ("active_adapter", "only_params_are_updated"):
        return "it trains entries of the base's own weights, of which two adapters may choose the same"
    if method == "id3" and test in ("adapter_name", "training_custom_models"):
        return "it has no tensors beside the base's own"
    if test == "only_params_are_updated" and label in SLOW:
        return "three steps of SGD move its smallest gradients by less than 1e-4; at peft's other rate, 100, all move"
    return None


SLOW = {"conv_adapter on LayerNorm", "linear_adapter on Conv1D", "repadapter on Conv1D"}


class Expectations:
    """A plugin of pytest that marks what is expected to fail."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            label = item.callspec.params.get("test_name") if hasattr(item, "callspec") else None
            name = getattr(item, "originalname", item.name).removeprefix("test_")
            if isinstance(label, str) and " on " in label and (reason := failing(name, label)):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=label not in SLOW))


def main(folder: Path, options: list[str]) -> int:
    """Run peft's tests with our cases; returns pytest's exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / PACKAGE
        shutil.copytree(folder, copy)
        file = copy / "test_custom_models.py"
        source = file.read_text(encoding="utf-8")
        # The list ends at the first line that is its closing bracket alone.
        ours = "from tests.adapters.peft_suite import cases as _ours\n\nTEST_CASES = _ours()\n"
        replaced, count = re.subn(r"^TEST_CASES = \[\n.*?^\]\n", lambda _: ours, source, flags=re.M | re.S)
        if count != 1:
            sys.exit(f"{file} holds no list TEST_CASES as it is known here")
        file.write_text(replaced, encoding="utf-8")
        sys.path.insert(0, temporary)
        # Imported at its top for tests that load data, which are not among these.
        sys.modules.setdefault("datasets", SimpleNamespace(load_dataset=None))  # type: ignore[arg-type]
        chosen = ["-k", " or ".join(f"test_{name}" for name in parametrised(replaced))]
        arguments = [str(file), "-q", "-p", "no:cacheprovider", "--rootdir", temporary, *chosen, *options]
        return int(pytest.main(arguments, plugins=[Expectations()]))


def parametrised(source: str) -> list[str]:
    """The names of the tests that the list of cases goes into, without their `test_`."""
    return sorted(set(re.findall(r"config_kwargs\", TEST_CASES\)\n(?:    @.*\n)*    def test_(\w+)", source)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
