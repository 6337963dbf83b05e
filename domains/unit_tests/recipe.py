"""Fine-tuning that teaches a language model to write unit tests: the loss is on the tests alone."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from domains.unit_tests.data.datamodule import UnitTestData
from domains.unit_tests.model import study
from domains.unit_tests.model.bases import (
    DOMAIN,
    INIT_TEXT,
    attachment,
    begin_with,
    load_base,
    skeleton,
    virtual_tokens,
)
from domains.unit_tests.model.codegen import BLOCKS
from domains.unit_tests.model.manifest import Manifest
from suite import adapters, hub
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.generation.base import Quantize
from suite.generation.tokenizer import load_tokenizer
from suite.training import AdapterModule, Outputs, lm_outputs


class UnitTestRecipe(AdapterModule):
    """The study's fine-tuning (arXiv 2411.02462): next tokens of a test behind the code that it is for.

    Args:
        base: reference of the base language model; of the study's thirteen `count` needs no download.
        architecture: its class and configuration, for counting another one without its weights.
        adapter: what is attached: `{preset: lora, <settings>}` with the study's methods lora, ia3 and prompt_tuning,
            their targets chosen by the base's family; or `{method: ..., targets: ..., <settings>}`. `init_text` of
            prompt tuning is what its tokens begin as, as many as the text has.
        append_end: end every target with the end-of-sequence token; the study appends none, so that its models stop
            only where braces close.
        begin: begin every source with the beginning-of-sequence token, also where the tokenizer puts none there.
        quantize: `nf4` trains on a base in 4 bit (QLoRA).
        qkv_blocks: of a CodeGen, in how many blocks its fused projections lie: no configuration says it, and
            transformers takes 4.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = {"preset": "lora"},  # noqa: B006 - never changed
        append_end: bool = True,
        begin: bool = False,
        quantize: Quantize | None = None,
        qkv_blocks: int = BLOCKS,
    ) -> None:
        super().__init__(base, architecture)
        self.section = AdapterSection.of(adapter, study.METHODS)
        self.append_end, self.begin, self.quantize, self.qkv_blocks = append_end, begin, quantize, qkv_blocks
        self._block_size = Manifest().block_size

    @cached_property
    def backbone(self) -> tuple[nn.Module, Any]:
        """The base and its tokenizer."""
        return load_base(self.base, qkv_blocks=self.qkv_blocks, dtype=self.base_dtype, quantize=self.quantize)

    def bind(self, data: L.LightningDataModule) -> None:
        if isinstance(data, UnitTestData):
            virtual = virtual_tokens(self.section, self._tokenizer)
            data.bind(lambda: self.backbone[1], self.append_end, self.begin, virtual)
            self._block_size = data.block_size

    def prepare(self) -> None:
        _ = self.backbone

    def build(self) -> nn.Module:
        meta = torch.get_default_device().type == "meta"  # to be counted
        model = skeleton(self.base, self.architecture) if meta else self.backbone[0]
        text, spec = self.section.settings.get(INIT_TEXT), attachment(self.section, model)
        if text is None:
            return adapters.attach(model, spec)
        if meta and "num_virtual_tokens" not in spec:
            raise InputError(
                "recipe.adapter: how many virtual tokens the text has, the base's tokenizer alone tells; say "
                "--recipe.adapter.num_virtual_tokens to count"
            )
        adapted = adapters.attach(model, {**spec, "num_virtual_tokens": virtual_tokens(self.section, self._tokenizer)})
        if not meta:
            begin_with(adapted, self.backbone[1], str(text))
        return adapted

    def _tokenizer(self) -> Any:
        return load_tokenizer(hub.resolve(self.base, DOMAIN, kind="base"))

    def compute(self, batch: dict[str, torch.Tensor]) -> Outputs:
        """Cross-entropy of the tests.

        Args:
            batch: `input_ids` and `labels` (batch, length); packed batches add positions and boundaries.
        """
        return lm_outputs(self.model, batch)

    def labels(self) -> dict[str, str]:
        return {"train/loss": "loss on training tests", "val/loss": "loss on held-out tests"}

    def extra(self) -> dict[str, Any]:
        return Manifest(self.append_end, self.begin, self._block_size, self.qkv_blocks).to_dict()

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite unit_tests predict FILE.py --adapter {where} --out tests/"]
