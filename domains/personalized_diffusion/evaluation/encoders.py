"""Encoders that the metrics look through: CLIP for images and texts, a vision transformer's class token for images.

Both see a picture by one crop policy: its short side resized to the encoder's size (bicubic), its middle cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from suite import hub
from suite.devices import choose_device
from suite.errors import InputError
from suite.files import read_json

DOMAIN = "personalized_diffusion"

CLIP = "hf:openai/clip-vit-base-patch32"
DINO = "hf:facebook/dino-vits16"
"""The encoders of DreamBooth's protocol; numbers of others do not compare with published ones."""

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 32

Embeddings = NDArray[np.float32]


class ImageEncoder(Protocol):
    """From pictures to embeddings (N, D), not normalised. `id` names the encoder in every report."""

    id: str

    def images(self, pictures: Sequence[Image.Image]) -> Embeddings: ...


class TextImageEncoder(ImageEncoder, Protocol):
    """An encoder that puts texts beside pictures."""

    def texts(self, texts: Sequence[str]) -> Embeddings: ...

    def overlong(self, texts: Sequence[str]) -> list[str]:
        """Those of which only the beginning is read."""
        ...


@dataclass(frozen=True)
class Crop:
    """How pictures become tensors: side in pixels, and the channels' mean and standard deviation."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, folder: Path, config: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """What the folder's processor says, else the model's own size with the usual mean and deviation."""
        said = _processor(folder)
        size = said.get("crop_size") or said.get("size") or config.image_size
        if isinstance(size, dict):
            size = size.get("shortest_edge") or size["height"]
        return cls(int(size), tuple(said.get("image_mean", mean)), tuple(said.get("image_std", std)))

    def __call__(self, picture: Image.Image) -> Tensor:
        """(3, side, side)."""
        width, height = picture.size
        scale = self.side / min(width, height)
        size = max(self.side, round(width * scale)), max(self.side, round(height * scale))
        resized = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - self.side) // 2, (size[1] - self.side) // 2
        cut = resized.crop((left, top, left + self.side, top + self.side))
        pixels = torch.from_numpy(np.asarray(cut, dtype=np.float32)).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def _processor(folder: Path) -> dict[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            said = read_json(folder / name)
            return said.get("image_processor", said)
    return {}


class Clip:
    """CLIP's projected embeddings of images and texts (its logit scale is not applied).

    Args:
        model: `transformers.CLIPModel`. tokenizer: its own. crop: how it sees pictures.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, crop: Crop, id: str, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.crop, self.id = model.to(device).eval(), tokenizer, crop, id
        self.device = torch.device(device)

    @classmethod
    def from_pretrained(cls, reference: str = CLIP, device: str = "cpu") -> Self:
        """Load what a reference names: CLIP's folder, or a base that keeps one in `encoders/clip`.

        Raises:
            InputError: it names nothing, or no CLIP.
        """
        from transformers import CLIPModel, CLIPTokenizer

        folder = _folder(reference, "clip")
        model = _load(CLIPModel, folder, reference, "CLIP")
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        crop = Crop.of(folder, model.config.vision_config, _CLIP_MEAN, _CLIP_STD)
        return cls(model, tokenizer, crop, _id(reference), device)

    def images(self, pictures: Sequence[Image.Image]) -> Embeddings:
        """(N, D) of N pictures."""

        def embed(pixels: Tensor) -> Tensor:
            return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

        return _batched(pictures, self.crop, embed, self.device)

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """(N, D) of N texts; what is beyond the model's longest text is not read."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            found = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            return self.model.text_projection(found.pooler_output).float().cpu().numpy()

    def overlong(self, texts: Sequence[str]) -> list[str]:
        """Texts of more tokens than the model reads (77 for CLIP)."""
        return [text for text in texts if len(self.tokenizer(text, verbose=False).input_ids) > self._longest]

    @property
    def _longest(self) -> int:
        return self.model.config.text_config.max_position_embeddings


class Vision:
    """The class token of a vision transformer, e.g. DINO's."""

    def __init__(self, model: nn.Module, crop: Crop, id: str, device: str = "cpu") -> None:
        self.model, self.crop, self.id = model.to(device).eval(), crop, id
        self.device = torch.device(device)

    @classmethod
    def from_pretrained(cls, reference: str = DINO, device: str = "cpu") -> Self:
        """Load what a reference names: a transformer's folder, or a base that keeps one in `encoders/vision`.

        Raises:
            InputError: it names nothing, or no vision transformer.
        """
        from transformers import AutoModel

        folder = _folder(reference, "vision")
        model = _load(AutoModel, folder, reference, "a vision transformer")
        if not hasattr(model.config, "image_size"):
            raise InputError(f"{reference} is no encoder of images ({type(model).__name__}); {DINO} is DINO's")
        return cls(model, Crop.of(folder, model.config, _IMAGENET_MEAN, _IMAGENET_STD), _id(reference), device)

    def images(self, pictures: Sequence[Image.Image]) -> Embeddings:
        """(N, D) of N pictures."""

        def embed(pixels: Tensor) -> Tensor:
            return self.model(pixel_values=pixels).last_hidden_state[:, 0]

        return _batched(pictures, self.crop, embed, self.device)


def load(clip: str = "auto", dino: str = "auto", *, carrier: str = "", device: str = "auto") -> tuple[Clip, Vision]:
    """The two encoders of an evaluation.

    Args:
        clip, dino: references. `auto`: those that `carrier` keeps, else DreamBooth's.
        carrier: reference of a base that may keep encoders of its own, as the embedded default does.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: a reference names nothing, or no such encoder.
    """
    own = bool(carrier) and (hub.resolve(carrier, DOMAIN, kind="base") / "encoders").is_dir()
    names = [(carrier if own else usual) if given == "auto" else given for given, usual in ((clip, CLIP), (dino, DINO))]
    where = choose_device(device)
    return Clip.from_pretrained(names[0], where), Vision.from_pretrained(names[1], where)


def notices(clip: str, dino: str) -> list[str]:
    """What a reader must know of numbers that other encoders than the protocol's gave."""
    lines = []
    if "dinov2" in dino.lower() or "dinov3" in dino.lower():
        lines.append(f"{dino} is not DINO: its numbers do not compare with published DINO scores")
    elif dino != DINO.removeprefix("hf:"):
        lines.append(
            f"DINO is measured with {dino}, not with {DINO.removeprefix('hf:')}: compare it with its like only"
        )
    if clip != CLIP.removeprefix("hf:"):
        lines.append(f"CLIP is {clip}, not ViT-B/32 ({CLIP.removeprefix('hf:')}): compare it with its like only")
    return lines


def _folder(reference: str, part: str) -> Path:
    folder = hub.resolve(reference, DOMAIN, kind="base")
    own = folder / "encoders" / part
    return own if own.is_dir() else folder


def _load(kind: Any, folder: Path, reference: str, what: str) -> Any:
    from suite.hub.pretrained import bars_for_people

    try:
        with bars_for_people():
            return kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{reference} is no {what.removeprefix('a ')}: {str(error).splitlines()[0]}") from error


def _id(reference: str) -> str:
    """How reports name an encoder: a hub id, a catalogue name, or the folder's own name, never a machine's path."""
    if reference.startswith("hf:"):
        return reference.removeprefix("hf:")
    return Path(reference).name if reference.startswith((".", "/", "~")) else reference


def _batched(
    pictures: Sequence[Image.Image], crop: Crop, embed: Callable[[Tensor], Tensor], device: torch.device
) -> Embeddings:
    if not pictures:
        raise InputError("there are no pictures to embed")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), _BATCH):
            pixels = torch.stack([crop(picture) for picture in pictures[start : start + _BATCH]])
            parts.append(embed(pixels.to(device)).float().cpu().numpy())
    return np.concatenate(parts)
