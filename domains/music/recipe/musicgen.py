"""MusicGen's recipe: adapters on a frozen MusicGen learn the codes of recordings whose captions they are given.

Exploring Adapter Design Tradeoffs for Low Resource Music Generation, arXiv 2506.21298. Its published script minimises
the difference between sampled audio and a recording, which says nothing of the model's tokens; ours is the
cross-entropy that MusicGen was trained with, masked on the delay pattern.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.music.inference.loaded import MusicGenComposer
from domains.music.model import attachments, bases, delays
from domains.music.model.encoders import MusicGenEncoder
from domains.music.model.manifest import WEIGHTS_LICENCE, Manifest, in_words
from domains.music.model.musicgen import MusicGenLM, TextPadding, losses
from domains.music.output.samples import Samples, write_samples
from domains.music.recipe.carded import CardedRecipe
from suite import adapters, hub
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.training import Outputs

CONV: dict[str, Any] = {"preset": "conv", "placement": "per_layer", "target_params": "40M"}


class MusicGenRecipe(CardedRecipe):
    """Cross-entropy of the codes, a mean over codebooks; text encoder and codec stay outside.

    Args:
        base: reference of a MusicGen.
        architecture: `size` (small, medium or large), `text_width`, and fields of a `MusicgenDecoderConfig` that
            differ; for counting without weights.
        adapter: what is attached: `{preset: linear | conv | transformer, placement: per_layer | decoder_out | encoder
            or several, target_params: 40M}` or with `bottleneck_size`; `{preset: lora | krona | lora-r128}`; or
            `{method: ..., targets: ...}` with any method of the core.
        guidance_dropout: share of clips that train without their caption, so that guidance has something to guide from.
        text_padding: `masked`, or `audiocraft`, in whose batches padding takes part in attention.
        samples: pieces during training, into the run's `samples/`: `prompts`, `every` so many steps, `seconds`,
            `guidance`, `seed`.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = CONV,
        guidance_dropout: float = 0.3,
        text_padding: TextPadding = "masked",
        samples: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(base, architecture)
        if not 0 <= guidance_dropout <= 1:
            raise InputError(f"recipe.guidance_dropout is {guidance_dropout}; a share lies between 0 and 1")
        self.adapter = AdapterSection.of(adapter, attachments.PRESETS)
        self.guidance_dropout, self.text_padding = guidance_dropout, text_padding
        self.samples = Samples.of(samples) if samples else None
        self._sampled = 0
        self.encoder: MusicGenEncoder | None = None
        self.data: dict[str, Any] = {}
        self._whole: Any = None

    def bind(self, data: Any) -> None:
        """The data learn what makes codes and text states, and tell what they are."""
        data.setup()  # recordings that are not there are known before a base is loaded
        folder = hub.resolve(self.base, bases.DOMAIN, kind="base")
        self._whole = bases.load(folder, self.base_dtype)
        self.encoder = MusicGenEncoder(self._whole, bases.tokenizer(folder))
        data.bind(self.encoder)
        self.data = dict(data.record())

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":
            return self._attached(bases.shape(self.base, self.architecture, self.text_padding))
        whole, self._whole = self._whole, None
        if whole is None:
            whole = bases.load(hub.resolve(self.base, bases.DOMAIN, kind="base"), self.base_dtype)
        return self._attached(bases.language_model(whole, self.text_padding))

    def _attached(self, model: MusicGenLM) -> nn.Module:
        return attachments.attach_section(model, self.adapter)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        if self.adapter.preset == "waveform":
            raise InputError(
                "recipe.adapter: the published waveform adapter is not in the way of the tokens, so that codes cannot "
                "teach it; it is converted and played. Train preset linear with placement decoder_out or per_layer"
            )
        codes, mask = batch["codes"], batch["text_mask"]  # (B, K, T), (B, L)
        model = self.model
        if self.training:
            dropped = torch.rand(len(mask), device="cpu").to(mask.device) < self.guidance_dropout
            mask = mask * ~dropped[:, None]
        states = batch["text"].to(next(model.decoder.parameters()).dtype) * mask[..., None]
        wanted, known = delays.targets(codes, model.special, model.delays)
        sequence = delays.delayed(codes, model.special, model.delays)[..., :-1]  # the last step predicts nothing
        with adapters.context(model, valid=mask.bool()):
            logits = model(sequence, states, mask)  # (B, K, T, vocabulary)
        per_codebook, per_sample = losses(logits.float(), wanted, known)
        self._log_codebooks(per_codebook, len(codes))
        return Outputs(per_codebook.mean(), per_sample, weight=known.sum())

    def _log_codebooks(self, per_codebook: Tensor, size: int) -> None:
        """The first codebook is most of what is heard, so that all of them are logged."""
        if self.training or getattr(self, "_trainer", None) is None:
            return
        for number, loss in enumerate(per_codebook):
            self.log(f"val/loss_codebook_{number}", loss, on_epoch=True, sync_dist=True, batch_size=size)
        self.log("val/perplexity", per_codebook.mean().exp(), on_epoch=True, sync_dist=True, batch_size=size)

    def on_train_start(self) -> None:
        if self.samples and self.trainer.global_step == 0:
            self._sample(0)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        if self.samples and step > self._sampled and step % self.samples.every == 0:
            self._sample(step)

    def _sample(self, step: int) -> None:
        """Pieces of the model as it is; training goes on as if there were none, since every token has its own draw."""
        assert self.samples is not None and self.encoder is not None
        self._sampled = step
        if not self.trainer.is_global_zero:
            return
        folder = Path(self.trainer.default_root_dir) / "samples"
        self.model.eval()
        try:
            write_samples(MusicGenComposer.of(self.model, self.encoder), self.samples, folder, step)
        finally:
            self.train()

    def labels(self) -> dict[str, str]:
        first = {0: "first", 1: "second", 2: "third", 3: "fourth"}
        return {
            "train/loss": "loss on training clips",
            "val/loss": "loss on held-out clips",
            "val/perplexity": "perplexity of held-out codes",
            **{f"val/loss_codebook_{n}": f"held-out loss of the {word} codebook" for n, word in first.items()},
        }

    def extra(self) -> dict[str, Any]:
        config = self.model.config
        licences = [] if self.base == "tiny" else [WEIGHTS_LICENCE]
        return Manifest(
            family="musicgen",
            codebooks=config.num_codebooks,
            width=config.hidden_size,
            rate=self.encoder.rate if self.encoder is not None else 0,
            text_padding=self.text_padding,
            trained_on=in_words(self.data),
            wording=str(self.data.get("caption", "")),
            licences=(*licences, *map(str, self.data.get("licences", ()))),
        ).to_dict()

    def costs(self) -> dict[str, str]:
        trainable, total = adapters.count(self.model)
        return {"base": f"{total - trainable:,} parameters"}

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        prompt = self.data.get("caption") or "a slow raga for flute"
        return [f"suite music predict {prompt!r} --adapter {where} --out out/"]
