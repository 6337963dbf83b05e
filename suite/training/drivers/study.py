"""Several methods on one task under one budget: what they reach, what they cost, and how far they agree.

The V-PEFT study in small (arXiv 2409.16434): methods that score alike still err differently, so that beside accuracy,
parameters, memory and time it tells how often two methods predict the same, and what all of them reach together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.blocks import block_names
from suite.adapters.handle import base_modules
from suite.domain import find, load
from suite.errors import InputError
from suite.training.config import ExperimentConfig
from suite.training.drivers.comparison import Comparison, Member, MethodRow
from suite.training.drivers.stages import Stages
from suite.training.experiment import data_of, evaluate, recipe_of
from suite.training.module import AdapterModule
from suite.training.names import check_names
from suite.training.randomness import seed_all, seed_of_run


@dataclass(frozen=True)
class Answers:
    """What one trained member predicts on the validation data.

    Attributes:
        logits: (n, classes). target: (n,).
    """

    logits: Tensor
    target: Tensor

    @property
    def right(self) -> Tensor:
        """(n,), whether each prediction is the target."""
        return self.logits.argmax(1) == self.target

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return self.right.float().mean().item()


@dataclass(frozen=True)
class Study:
    """What a comparison found.

    Attributes:
        rows: one a method.
        metric: the figure of theirs that ranks them; `lower` is better where `lower` says so, as of a loss.
        agreement: by method and method, how often both predict the same, mean over seeds.
        both_wrong: likewise, how often both are wrong.
        ensemble: accuracy of the mean of all methods' probabilities, mean over seeds.
        gain: of the ensemble over the best member, mean over seeds.
    """

    rows: list[MethodRow]
    agreement: Mapping[str, Mapping[str, float]]
    both_wrong: Mapping[str, Mapping[str, float]]
    ensemble: float | None
    gain: float | None
    metric: str = "accuracy"
    lower: bool = False

    def ranked(self) -> list[MethodRow]:
        """The rows, the best first."""
        return sorted(self.rows, key=lambda row: row.metrics[self.metric], reverse=not self.lower)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return asdict(self)


def study(
    methods: Sequence[str],
    config: ExperimentConfig,
    seeds: Sequence[int],
    folder: str | Path,
    metric: str | None = None,
) -> Study:
    """Train every method with every seed and put them beside each other; what `folder` holds already is taken.

    Args:
        methods: presets of the domain or methods of the core, each with `@RATE` behind it for a rate of its own.
        config: the task and the budget, which are all methods' alike.
        metric: the figure that ranks them; by default accuracy, the first of the domain's scorer, what the trainer
            watches, or the loss.

    Raises:
        InputError: a method fits nothing of the base, the task's data have nothing to score methods on, or no figure of
            theirs is called so.
    """
    reached = _figures(config, metric)
    planned = {named: planned_config(config, named) for named in methods}
    compared = Comparison(methods, seeds, lambda method, seed: seeded(planned[method], seed), folder)
    members = compared.train()
    answers, scored = {}, {}
    for key, member in members.items():
        recipe, data = opened(member.config)
        metrics = {**reached(member), "kept_bytes": float(memory_of(recipe, data, member.seed))}
        found = answers_of(recipe, data, member)
        if found is not None:
            answers[key] = found
            metrics |= {"accuracy": found.accuracy}
        scored[key] = metrics
    rows = compared.rows(members, scored)
    ranking, lower = _ranking(config, rows, metric)
    return dataclasses.replace(together(rows, answers, methods, seeds), metric=ranking, lower=lower)


def _figures(config: ExperimentConfig, metric: str | None) -> Callable[[Member], dict[str, float]]:
    """What scores a member: the domain's own scorer, or what its recipe logs in validation.

    Raises:
        InputError: there is nothing to score on, or no figure is called `metric`. One batch of validation is tried now,
            so that such data are refused before the trainings and not after them.
    """
    own = find(config.domain).scorer
    if own:
        score = load(own)(config)
        return lambda member: {name: float(value) for name, value in score(member.adapter).items()}
    tried = evaluate(
        dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, limit_val_batches=1)), None
    )
    if metric is not None:
        check_names([metric], ["accuracy", *tried], f"figures of {config.domain}")
    return lambda member: {name: float(value) for name, value in evaluate(member.config, member.adapter).items()}


def _ranking(config: ExperimentConfig, rows: Sequence[MethodRow], metric: str | None) -> tuple[str, bool]:
    """The figure that ranks methods, and whether it is better low: accuracy, the scorer's first, or what is watched."""
    known = rows[0].metrics
    if metric is not None:
        check_names([metric], known, f"figures of {config.domain}")
        return metric, metric.endswith("loss")
    if all("accuracy" in row.metrics for row in rows):
        return "accuracy", False
    if find(config.domain).scorer:
        return next(iter(known)), False
    watched = config.trainer.monitor
    if watched is not None and watched in known:
        return watched, config.trainer.mode == "min"
    return "val/loss", True


def seeded(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """The same experiment with another seed."""
    return dataclasses.replace(config, seed=seed)


def planned_config(config: ExperimentConfig, named: str) -> ExperimentConfig:
    """The experiment with a method in the place of its own: a preset of the domain, or one of the core.

    A method of the core that wants targets gets the linear layers, or the norms, of the base's blocks; a preset that
    fits the base with the experiment's own settings alone keeps those.
    """
    method, _, rate = named.partition("@")
    if rate:
        try:
            config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, lr=float(rate)))
        except ValueError:
            raise InputError(f"{named}: {rate!r} is no learning rate; write e.g. lora@1e-3") from None
    own, errors = config.recipe.get("adapter"), []
    sections: list[dict[str, Any]] = [{"preset": method}, {"method": method}, {"method": method, "targets": []}]
    if isinstance(own, dict) and own.get("preset") == method:
        sections.insert(1, own)  # what a preset is for real bases may be too large for the task's small one
    for section in sections:
        try:
            if "targets" in section and not section["targets"]:
                section = {**section, "targets": layers_for(config, method)}
            tried = dataclasses.replace(config, recipe={**config.recipe, "adapter": section})
            built(tried)
            return tried
        except InputError as error:
            errors.append(str(error))
    if "adapter.preset: unknown" not in errors[0]:
        why = errors[0]  # there is such a preset
    else:  # Without targets there was nothing to fit; with them there may be.
        why = errors[-1] if "target_modules" in errors[-2] else errors[-2]
    raise InputError(f"{method} does not fit {config.domain}: {why}")


def built(config: ExperimentConfig) -> AdapterModule:
    """The recipe of an experiment with its model, untrained.

    Raises:
        InputError: the configuration does not fit its domain.
    """
    recipe, data = recipe_of(config), data_of(config)
    recipe.meet(config.trainer, data)
    recipe.prepare()
    seed_all(config.seed)
    recipe.configure_model()
    return recipe


def layers_for(config: ExperimentConfig, method: str) -> list[str]:
    """The endings of the layers in the base's blocks that a method adapts, linear ones before norms.

    Raises:
        InputError: there are none.
    """
    model = built(config).model
    modules, blocks = base_modules(adapters.detach(model)), block_names(model)
    wanted = adapters.methods()[method].layers if method in adapters.methods() else ()
    for kind in (nn.Linear, nn.LayerNorm, nn.Conv2d):
        if kind.__name__ not in wanted and "*" not in wanted:
            continue
        names = [
            name.removeprefix(f"{block}.")
            for block in blocks
            for name, module in modules.items()
            if name.startswith(f"{block}.") and isinstance(module, kind)
        ]
        if names:
            return [*dict.fromkeys(names)]
    raise InputError(f"{method} adapts {', '.join(wanted) or 'nothing known'}, of which the base's blocks have none")


def opened(config: ExperimentConfig) -> tuple[AdapterModule, Any]:
    """The recipe with its model, untrained, and its data, ready; of adapters trained in turn, the first one's."""
    recipe, data = recipe_of(config), data_of(config)
    recipe.meet(config.trainer, data)
    recipe.prepare()
    driver = recipe.driver(data)
    if isinstance(driver, Stages):
        recipe, data = driver.stages[0].recipe, driver.stages[0].data or data
        recipe.meet(config.trainer, data)
    seed_all(config.seed)
    recipe.configure_model()
    data.setup("fit")
    return recipe, data


def memory_of(recipe: AdapterModule, data: Any, seed: int) -> int:
    """Bytes that a step on the first batch of training keeps for its backward."""
    recipe.train()
    with seed_of_run(seed):
        batch = next(iter(data.train_dataloader()))
        return kept_bytes(recipe.model, lambda: recipe.compute(batch).loss)


def answers_of(recipe: AdapterModule, data: Any, member: Member) -> Answers | None:
    """What a member predicts, in the order of the validation data; None where the recipe gives no classes."""
    if find(member.config.domain).scorer:
        return None
    recipe.load_adapter(member.adapter)
    recipe.eval()
    logits, targets = [], []
    with torch.no_grad(), seed_of_run(member.seed):
        for batch in data.val_dataloader():
            outputs = recipe.compute(batch)
            if outputs.logits is None or outputs.target is None or outputs.logits.dim() != 2:
                return None
            logits.append(outputs.logits.float().cpu())
            targets.append(outputs.target.flatten().cpu())
    return Answers(torch.cat(logits), torch.cat(targets))


def kept_bytes(module: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of the tensors that `run` keeps for its backward, the module's own left out, each storage once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor  # held, or its memory would be given out and counted again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def together(
    rows: list[MethodRow], answers: Mapping[tuple[str, int], Answers], methods: Sequence[str], seeds: Sequence[int]
) -> Study:
    """Agreement of the methods and what they reach together, seed by seed."""
    if len(answers) < len(methods) * len(seeds):
        return Study(rows, {}, {}, None, None)

    def over_seeds(share: Callable[[Answers, Answers], Tensor]) -> dict[str, dict[str, float]]:
        return {
            one: {
                other: mean(share(answers[one, seed], answers[other, seed]).float().mean().item() for seed in seeds)
                for other in methods
            }
            for one in methods
        }

    reached, gains = [], []
    for seed in seeds:
        found = [answers[method, seed] for method in methods]
        joint = torch.stack([one.logits.softmax(1) for one in found]).mean(0)  # (n, classes)
        reached.append((joint.argmax(1) == found[0].target).float().mean().item())
        gains.append(reached[-1] - max(one.accuracy for one in found))
    return Study(
        rows,
        over_seeds(lambda one, other: one.logits.argmax(1) == other.logits.argmax(1)),
        over_seeds(lambda one, other: ~one.right & ~other.right),
        mean(reached),
        mean(gains),
    )
