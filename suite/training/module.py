"""`AdapterModule`: what a recipe states, and what every recipe gets."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from suite import adapters
from suite.errors import InputError
from suite.training.choices import Capability, base_dtype
from suite.training.clipping import clip_by_norm
from suite.training.declared import bring_procedures
from suite.training.driver import Driver
from suite.training.lightning_fixes import make_loader_again
from suite.training.normalization import GlobalMean
from suite.training.optimization import build_optimizer, build_scheduler, parameter_groups
from suite.training.outputs import Outputs
from suite.training.procedure import Procedure, chain, owned_optimizer, regrouped, total_loss
from suite.training.settings import TrainerConfig
from suite.training.state import TrainedState


class AdapterModule(L.LightningModule):
    """A recipe: what is adapted, what is minimised, what is measured.

    A subclass states `build` and `compute`, usually `metrics` and `extra`; every hook of Lightning stays open to it.
    The rest is here: adapter-only checkpoints, losses weighed by the global number of tokens or samples, parameter
    groups, the learning rate's schedule, modules that stay in evaluation mode, procedures.

    Args:
        base: reference of the base model, in the hub's grammar.
        architecture: class and configuration of the base, for building it without its weights (`suite <domain> count`).

    Attributes:
        model: what `build` returned; exists once `configure_model` has run.
        eval_modules: globs over the model's module names, or module classes, whose modules stay in evaluation mode
            during training: frozen batch norms, a frozen backbone's dropout.
        adapter_name: which of the model's adapters this recipe trains and saves; None is the active one.
        renamed: settings of earlier versions, and what says the same of their value today.
    """

    eval_modules: Sequence[str | type[nn.Module]] = ()
    adapter_name: str | None = None
    renamed: Mapping[str, Callable[[Any], str]] = {}
    model: nn.Module

    def __init__(self, base: str = "tiny", architecture: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.base = base
        self.architecture = architecture
        self.settings = TrainerConfig()
        self.procedures: tuple[Procedure, ...] = ()
        self.val_metrics = MetricCollection({}, prefix="val/")
        self.strict_loading = False
        self.mean = GlobalMean()
        self.trained: TrainedState | None = None
        self._bound: tuple[L.LightningDataModule, TrainerConfig] | None = None
        self._kept_in_eval: list[nn.Module] = []
        self._zeroth_order = False

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the backbone, attach the adapters and return what `suite.adapters.attach` returned."""

    @abstractmethod
    def compute(self, batch: Any) -> Outputs:
        """One batch through `self.model`, with its loss; for training and for validation."""

    def bind(self, data: L.LightningDataModule) -> None:
        """Take from the data what building needs (names of classes), and give them what they need (the base).

        `run`, `evaluate` and `fit` call it once, before `prepare`; `settings` are known by then.
        """

    def prepare(self) -> None:
        """Load what draws no random numbers that matter: downloads, a base that several adapters share.

        Called before the run is seeded, so that a base that is already there gives the same run as one just loaded.
        """

    @property
    def base_dtype(self) -> torch.dtype:
        """The type in which to load a base that stays frozen: bfloat16 where products are in it, else float32.

        A recipe that loads its base in it feeds it inputs of that type: no autocast would convert them.
        """
        return base_dtype(self.settings, Capability.here(self.settings.accelerator))

    def metrics(self) -> MetricCollection:
        """What validation measures; each is logged as `val/<name>`."""
        return MetricCollection({})

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: Any) -> None:
        """Feed a validation batch to the metrics; by default `metrics.update(outputs.logits, outputs.target)`."""
        metrics.update(outputs.logits, outputs.target)

    def labels(self) -> dict[str, str]:
        """Names for people of what a run logs, e.g. `{"val/loss": "loss on held-out documents"}`.

        Reports and plots show them; what is not named here has words made of its name (`suite.training.labels`).
        """
        return {}

    def extra(self) -> dict[str, Any]:
        """What prediction needs beside the weights, as JSON: goes into the saved adapter's `suite.json`."""
        return {}

    def save_adapter(self, folder: Path) -> None:
        """Write the trained adapter into `folder`."""
        # A path of this machine means nothing elsewhere: such a base is known by its fingerprint alone.
        reference = None if self.base.startswith((".", "/", "~")) else self.base
        adapters.save(self.model, folder, name=self.adapter_name, base=reference, extra=self.extra())

    def load_adapter(self, folder: Path) -> None:
        """Put the saved adapter of `folder` in the place of the untrained one."""
        self.model = adapters.load(adapters.detach(self.model), folder, name=self.adapter_name or "default")

    def next_steps(self, run: Path) -> list[str]:
        """Commands to suggest once `run` is finished."""
        return []

    @staticmethod
    def adapter_of(run: Path) -> str:
        """The adapter of a run as commands take it: a path, never a name of the hub's."""
        adapter = run / "adapter"
        return shlex.quote(str(adapter) if adapter.is_absolute() else f"./{adapter}")

    def adapter_and_base_of(self, run: Path) -> str:
        """The same with `--base` behind it where the base is a folder, which the adapter cannot name for others."""
        base = f" --base {shlex.quote(self.base)}" if self.base.startswith((".", "/", "~")) else ""
        return f"{self.adapter_of(run)}{base}"

    def comparisons(self) -> dict[str, int]:
        """What the number of trained parameters is held against by `suite <domain> count`: name to parameters."""
        return {}

    def costs(self) -> dict[str, str]:
        """What one input costs the model that `build` made, by name, for `suite <domain> count`."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters in groups, each with its learning rate and weight decay."""
        return parameter_groups(self, self.settings)

    def driver(self, data: Any) -> Driver | None:
        """A loop round training, when one training is not enough; None trains once. It changes nothing."""
        return None

    def meet(self, settings: TrainerConfig, data: Any) -> None:
        """Take over settings and data; `bind` is called where the data are a module, once for both."""
        known = self._bound is not None and self._bound[0] is data and self._bound[1] == settings
        self.settings = settings
        if isinstance(data, L.LightningDataModule) and not known:
            self._bound = (data, settings)
            self.bind(data)

    def configure_model(self) -> None:
        """Build once, also when Lightning asks again."""
        if hasattr(self, "model"):
            return
        self.model = self.build()
        self._kept_in_eval = matching_modules(self.model, self.eval_modules)
        self.val_metrics = self.metrics().clone(prefix="val/")
        if self.settings.gradient_checkpointing:
            adapters.enable_checkpointing(self.model)
        self.trained = TrainedState(self)
        bring_procedures(self)
        # Backbones from `from_pretrained` come in evaluation mode, and Lightning leaves modes as they are.
        self.train()

    def train(self, mode: bool = True) -> AdapterModule:
        super().train(mode)
        for module in self._kept_in_eval:
            module.eval()
        return self

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        assert self.trained is not None
        self.trained.watch()
        adapters.refresh(self.model)
        with torch.set_grad_enabled(not self._zeroth_order):
            outputs = chain(self.procedures, self.compute)(batch)
            loss, terms = total_loss(self.procedures, outputs, batch, adapters.penalties(self.model))
        weight = outputs.units()
        if self._repeats_a_sample(batch_idx):
            weight = torch.zeros_like(weight)
        scaled = self.mean.scaled(self.trainer, loss, weight)
        return {"loss": scaled, "mean": loss.detach(), "weight": weight, "terms": terms}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        adapters.refresh(self.model)
        outputs = self.compute(batch)
        size = max(1, round(float(outputs.units())))
        self.log("val/loss", outputs.loss, on_epoch=True, sync_dist=True, batch_size=size)
        if len(self.val_metrics):
            self.update(self.val_metrics, outputs, batch)
            self.log_dict(self.val_metrics, on_step=False, on_epoch=True, batch_size=size)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        clip_by_norm(optimizer, gradient_clip_val)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        # A zeroth-order optimiser calls Lightning's closure for the loss alone.
        if not self._zeroth_order:
            loss.backward(*args, **kwargs)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = regrouped(self.procedures, self.parameter_groups())
        optimizer = owned_optimizer(self.procedures, groups)
        self._zeroth_order = bool(getattr(optimizer, "zeroth_order", False))
        if self._zeroth_order and self.settings.accumulate_grad_batches > 1:
            raise InputError(
                "a zeroth-order optimiser accumulates no gradients; set trainer.accumulate_grad_batches to 1"
            )
        if optimizer is None:
            optimizer = build_optimizer(groups, self.settings)
        steps = int(self.trainer.estimated_stepping_batches)
        if self.trainer.ckpt_path is not None:
            make_loader_again(self.trainer)
        scheduler = build_scheduler(optimizer, self.settings, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained tensors only: a checkpoint of a 7B model is as small as its adapter."""
        assert self.trained is not None
        names = self.trained.names()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in names}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this recipe; loading itself is not strict, since the base is not in it."""
        assert self.trained is not None
        saved, known = set(checkpoint["state_dict"]), set(self.state_dict())
        wrong = (self.trained.trainable() - saved) | (saved - known)
        self.trained.resume(saved)
        if wrong:
            raise InputError(
                f"the checkpoint is of another recipe; it differs in {len(wrong)} tensors, e.g. {min(wrong)}"
            )

    def _repeats_a_sample(self, position: int) -> bool:
        sampler = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        asks = getattr(sampler, "without_sample", None)
        return self.trainer.world_size > 1 and asks is not None and asks(position)


def matching_modules(model: nn.Module, wanted: Sequence[str | type[nn.Module]]) -> list[nn.Module]:
    """The modules that the globs and classes name.

    Raises:
        InputError: one of them names nothing.
    """
    found: dict[int, nn.Module] = {}
    for want in wanted:
        hits = [
            module
            for name, module in model.named_modules()
            if (fnmatchcase(name, want) if isinstance(want, str) else isinstance(module, want))
        ]
        if not hits:
            shown = repr(want) if isinstance(want, str) else want.__name__
            raise InputError(f"eval_modules names {shown}, which the model does not have; see model.named_modules()")
        found.update((id(module), module) for module in hits)
    return list(found.values())
