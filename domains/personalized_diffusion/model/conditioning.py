"""Prompts as the denoisers of each family read them: encoded by the pipelines' own code, long ones in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNKED = ("tiny", "sd15", "sd21", "sdxl")
"""Families whose denoisers read any number of text states, so that a prompt may be longer than CLIP's context."""
SKIPPING = ("tiny", "sd15", "sd21")
"""Families of one CLIP text encoder, whose last layers may be skipped; SDXL takes the last but one always."""


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts.

    Attributes:
        embeds: (B, L, D) states of the tokens.
        pooled: (B, P) of the whole prompt, where the family has it.
        mask: (B, L) which states are a prompt's own, where prompts of several lengths are side by side; None is all.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """The same on another device and in another type."""
        return Conditioning(
            self.embeds.to(device, dtype),
            None if self.pooled is None else self.pooled.to(device, dtype),
            None if self.mask is None else self.mask.to(device),
        )


def side_by_side(parts: Sequence[Conditioning], empty: Callable[[], Conditioning] | None = None) -> Conditioning:
    """Encoded prompts as one batch.

    Args:
        parts: of any lengths.
        empty: the empty prompt, with which shorter ones are filled up to the longest; without it they are filled with
            zeros and masked.
    """
    lengths = [part.embeds.shape[1] for part in parts]
    longest = max(lengths)
    pooled = None if parts[0].pooled is None else torch.cat([p.pooled for p in parts if p.pooled is not None])
    if min(lengths) == longest:
        masks = [part.mask for part in parts if part.mask is not None]
        return Conditioning(torch.cat([part.embeds for part in parts]), pooled, torch.cat(masks) if masks else None)
    if empty is not None:
        blank = empty().embeds
        filled = [
            torch.cat([p.embeds, *[blank.expand(len(p.embeds), -1, -1)] * ((longest - n) // blank.shape[1])], dim=1)
            for p, n in zip(parts, lengths, strict=True)
        ]
        return Conditioning(torch.cat(filled), pooled)
    embeds = [functional.pad(p.embeds, (0, 0, 0, longest - n)) for p, n in zip(parts, lengths, strict=True)]
    masks = [
        functional.pad(
            own if (own := p.mask) is not None else p.embeds.new_ones(p.embeds.shape[:2], dtype=torch.bool),
            (0, longest - n),
        )
        for p, n in zip(parts, lengths, strict=True)
    ]
    return Conditioning(torch.cat(embeds), pooled, torch.cat(masks))


def encode(pipe: Any, family: str, prompts: Sequence[str], device: torch.device, skip: int = 1) -> Conditioning:
    """Encode prompts with a pipeline's text encoders. Gradients flow where the caller lets them.

    Args:
        skip: the CLIP layer counted from the last, which is 1, as kohya's scripts and A1111 count.
    """
    if family not in CHUNKED:
        return _ENCODE[family](pipe, list(prompts), device)
    cut = [chunks(prompt, pipe.tokenizer) for prompt in prompts]
    rounds = max(map(len, cut))
    columns = [[parts[n] if n < len(parts) else "" for parts in cut] for n in range(rounds)]
    encoded = [_sdxl(pipe, c, device) if family == "sdxl" else _sd(pipe, c, device, skip) for c in columns]
    return Conditioning(torch.cat([one.embeds for one in encoded], dim=1), encoded[0].pooled)


def chunks(prompt: str, tokenizer: Any) -> list[str]:
    """A prompt in parts that CLIP reads whole: at most 75 tokens each, cut between words.

    CLIP's tokenizer cuts words one by one, so that the parts' tokens are the prompt's.
    """
    most = tokenizer.model_max_length - 2  # first and last token
    if len(_pieces(tokenizer, prompt)) <= most:
        return [prompt]
    parts: list[list[str]] = [[]]
    room = most
    for word in prompt.split():
        size = len(_pieces(tokenizer, word))
        if size > room and parts[-1]:
            parts.append([])
            room = most
        parts[-1].append(word)
        room -= size
    return [" ".join(part) for part in parts]


def _pieces(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return found


def words_for(pipe: Any, family: str, text: str, negative: str, count: int, skip: int) -> dict[str, Any]:
    """What a call of the pipeline is given for `count` pictures of a prompt: the texts, or, where the pipeline would
    cut them or count layers otherwise, their states."""
    if family not in CHUNKED:
        return {"prompt": [text] * count, "negative_prompt": [negative] * count}
    if skip <= 1 and all(len(chunks(said, pipe.tokenizer)) == 1 for said in (text, negative)):
        return {"prompt": [text] * count, "negative_prompt": [negative] * count}
    with torch.no_grad():
        both = encode(pipe, family, [text, negative], pipe.text_encoder.device, skip)
    given: dict[str, Any] = {}
    for row, prefix in enumerate(("", "negative_")):
        given[f"{prefix}prompt_embeds"] = both.embeds[row : row + 1].expand(count, -1, -1)
        if both.pooled is not None:
            given[f"{prefix}pooled_prompt_embeds"] = both.pooled[row : row + 1].expand(count, -1)
    return given


def _sd(pipe: Any, prompts: list[str], device: torch.device, skip: int) -> Conditioning:
    if skip <= 1:
        return Conditioning(pipe.encode_prompt(prompts, device, 1, False)[0])
    tokens = pipe.tokenizer(
        prompts, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    states = pipe.text_encoder(tokens.input_ids.to(device), output_hidden_states=True).hidden_states
    # diffusers' own clip_skip looks for the norm in `text_model`, which transformers 5 left out of this class.
    inner = getattr(pipe.text_encoder, "text_model", pipe.text_encoder)
    return Conditioning(inner.final_layer_norm(states[-skip]))


def _sdxl(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    embeds, _, pooled, _ = pipe.encode_prompt(prompts, device=device, do_classifier_free_guidance=False)
    return Conditioning(embeds, pooled)


def _sd3(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    embeds, _, pooled, _ = pipe.encode_prompt(prompts, None, None, device, do_classifier_free_guidance=False)
    return Conditioning(embeds, pooled)


def _flux(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    embeds, pooled, _ = pipe.encode_prompt(prompts, None, device)
    return Conditioning(embeds, pooled)


def _flux2(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    return Conditioning(pipe.encode_prompt(prompts, device)[0])


def _qwen_image(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    embeds, mask = pipe.encode_prompt(prompts, device)
    return Conditioning(embeds, mask=None if mask is None else mask.bool())


def _z_image(pipe: Any, prompts: list[str], device: torch.device) -> Conditioning:
    embeds, _ = pipe.encode_prompt(prompts, device, do_classifier_free_guidance=False)  # (L, D) each
    return side_by_side([Conditioning(one[None]) for one in embeds])


_ENCODE: Mapping[str, Callable[[Any, list[str], torch.device], Conditioning]] = {
    "sd3": _sd3,
    "flux": _flux,
    "flux2": _flux2,
    "flux2_klein": _flux2,
    "qwen_image": _qwen_image,
    "z_image": _z_image,
}
