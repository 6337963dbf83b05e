"""A loaded model that turns videos, pictures and sentences into vectors of one space."""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from domains.text_video_retrieval.data.datamodule import mask_of
from domains.text_video_retrieval.data.frames import read_clip
from domains.text_video_retrieval.model import bases, positions
from domains.text_video_retrieval.model.costs import Cost, video_cost
from domains.text_video_retrieval.model.manifest import Stated
from domains.text_video_retrieval.model.schedule import UNMERGED, Schedule
from suite import adapters, hub
from suite.clip import pictures, words
from suite.clip.pictures import Preprocessing
from suite.clip.words import Words
from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.hub.checksums import sha256
from suite.prediction.loading import choose

NONE = "none"
"""Name of no adapter."""
FRAMES = 12
"""Of a video, where no adapter says."""

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


class Encoder:
    """Videos, pictures and sentences to vectors of length 1.

    Args:
        model: a `TempMe`, with an adapter or without.
        stated: how its videos and sentences are prepared.
        identity: what an index remembers of it: `base`, `adapter` and their digests.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        stated: Stated,
        look: Preprocessing,
        reader: Words,
        *,
        identity: dict[str, str] | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.model, self.stated = model.to(self.device).eval(), stated
        self.look, self.words = look, reader
        self.identity = identity or {}
        self._warned = False

    @classmethod
    def from_pretrained(
        cls,
        adapter: str = "tiny",
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        *,
        frames: int | None = None,
        interpolate: bool = False,
    ) -> Self:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter; `none` is the base alone, frame by frame.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto (float32), float32, bfloat16 or float16.
            frames: of a video, where no adapter states them; with one that has temporal positions, its own.
            interpolate: an adapter's temporal positions to another number of `frames`.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        device = choose_device(device)
        computed = choose_dtype(dtype, device, auto=torch.float32)
        if adapter == NONE:
            reference = base or "tiny"
            folder = hub.resolve(reference, bases.DOMAIN, kind="base")
            plain = bases.load_folder(folder, UNMERGED, frames or FRAMES)
            length = int(plain.clip_config.text_config.max_position_embeddings)
            stated = Stated(frames=plain.frames, words=length, schedule=UNMERGED)
            model: torch.nn.Module = plain
            identity = {"base": reference, "adapter": NONE, "digest": ""}
        else:
            chosen = choose(adapter, base, bases.DOMAIN)
            trained, folder = Stated.from_dict(chosen.settings, chosen.folder), chosen.base_folder()
            stated = trained.on(frames, interpolate=interpolate)
            plain = bases.load_folder(folder, stated.schedule, stated.frames)
            model = positions.load_adapter(plain, chosen.folder, trained.frames)
            identity = {"base": chosen.base, "adapter": adapter, "digest": weights_digest(chosen.folder)}
        identity["base_digest"] = adapters.fingerprint(folder) or ""
        look, reader = pictures.of_base(folder), words.of_base(folder, stated.words)
        return cls(model, stated, look, reader, identity=identity, device=device, dtype=computed)

    def on(self, frames: int | None, *, interpolate: bool = False) -> Self:
        """The same on as many frames; itself where they are its own, or left out.

        Raises:
            InputError: its temporal positions are of another number, and may not be interpolated.
        """
        if frames is None or frames == self.frames:
            return self
        adapter, base = self.identity["adapter"], self.identity["base"]
        options: dict[str, Any] = {"frames": frames, "interpolate": interpolate}
        other = type(self).from_pretrained(adapter, base, str(self.device), "float32", **options)
        other.dtype = self.dtype
        return other

    def bare(self, device: str = "auto", dtype: str = "auto") -> Self:
        """The same base without the adapter and without merging, on as many frames."""
        folder = hub.resolve(self.identity["base"], bases.DOMAIN, kind="base")
        stated = replace(self.stated, schedule=UNMERGED)
        model = bases.load_folder(folder, UNMERGED, self.frames)
        device = choose_device(device)
        computed = choose_dtype(dtype, device, auto=torch.float32)
        identity = {**self.identity, "adapter": NONE, "digest": ""}
        return type(self)(model, stated, self.look, self.words, identity=identity, device=device, dtype=computed)

    def unmerged(self, device: str = "auto", dtype: str = "auto") -> Self:
        """The same weights, clips joined as they were trained and no token merged: what merging costs and saves."""
        schedule = replace(self.stated.schedule, tome_r=0, merge_token_proportion=(0, 0))
        return self.scheduled(schedule, device, dtype)

    def scheduled(self, schedule: Schedule, device: str = "auto", dtype: str = "auto") -> Self:
        """The same weights under another schedule than they were trained with, or none.

        Raises:
            InputError: the schedule does not fit, or has temporal positions that the adapter lacks.
        """
        device = choose_device(device)
        computed = choose_dtype(dtype, device, auto=torch.float32)
        plain = bases.load(self.identity["base"], schedule, self.frames)
        own: Any = self.model
        if (held := own.plan.positions) and held != plain.plan.positions:
            raise InputError(
                f"schedule: the adapter has temporal positions for {list(held.values())} clips in layers {list(held)}; "
                f"keep merge_layer {list(held)} and its merge_frame_num, or take an adapter without positions"
            )
        model: torch.nn.Module = plain
        if self.identity["adapter"] != NONE:
            folder = hub.resolve(self.identity["adapter"], bases.DOMAIN, kind="adapter")
            trained = Stated.from_dict(adapters.read_manifest(folder)["domain"], folder).frames
            model = positions.load_adapter(plain, folder, trained)
        stated = replace(self.stated, schedule=schedule)
        return type(self)(model, stated, self.look, self.words, identity=self.identity, device=device, dtype=computed)

    @property
    def tokens(self) -> int:
        """Tokens of a video after the last layer."""
        model: Any = self.model
        return int(model.plan.tokens)

    @property
    def cost(self) -> Cost:
        """Of a video in the image tower, without the adapter's own part."""
        model: Any = self.model
        return video_cost(model.clip_config.vision_config, model.plan, rank=0, dim=self.dim)

    @property
    def frames(self) -> int:
        """Frames of a video, or of a segment of one."""
        return self.stated.frames

    @property
    def dim(self) -> int:
        """Of the common space."""
        model: Any = self.model
        return int(model.clip_config.projection_dim)

    @property
    def seconds(self) -> float:
        """Length of a segment whose frames come at the rate of training."""
        return self.frames / self.stated.fps

    def texts(self, sentences: Sequence[str]) -> tuple[Vectors, tuple[str, ...]]:
        """Vectors (T, dim) of sentences, and what people should know of them.

        Raises:
            InputError: one is empty.
        """
        notices = [notice for sentence in sentences for notice in self.checked(sentence)]
        # A marker that somebody wrote is what they wrote, and does not end the sentence.
        tokens = self.words(list(sentences), markers=False).to(self.device)
        with torch.inference_mode(), self._mixed():
            vectors = self.model.encode_text(tokens, mask_of(tokens.cpu()).to(self.device))
        return _unit(vectors), tuple(notices)

    def checked(self, sentence: str) -> list[str]:
        """What people should know of a query.

        Raises:
            InputError: it is empty.
        """
        if not sentence.strip():
            raise InputError("query is empty; write what is to be seen, e.g. 'a dog runs'")
        notices = []
        if self.words.cut(sentence):
            kept = self.words.tokens(sentence)[: self.words.length - 2]
            rest = self.words.tokenizer.decode(self.words.tokens(sentence)[len(kept) :]).strip()
            notices.append(f"the query is longer than {self.words.length} tokens; cut: {rest!r}")
        if not self._warned and _is_foreign(sentence):
            self._warned = True
            notices.append("the query is mostly of non-Latin letters; the model read English sentences in training")
        return notices

    def videos(self, clips: Sequence[Sequence[Pixels]]) -> tuple[Vectors, Vectors]:
        """Vectors of clips of as many frames as the model takes: (V, dim), and of their frames (V, N, dim)."""
        return self.encoded(torch.stack([self.look.batch(clip) for clip in clips]))

    def encoded(self, frames: Tensor) -> tuple[Vectors, Vectors]:
        """As `videos`, of pictures that are ready (V, N, 3, side, side)."""
        with torch.inference_mode(), self._mixed():
            vectors: Tensor = self.model.encode_frames(frames.to(self.device))  # (V, N, dim)
        return _unit(vectors.mean(1)), vectors.float().cpu().numpy()

    def image(self, picture: Pixels) -> Vectors:
        """The vector (dim,) of a picture, as of a video in which nothing moves."""
        return self.videos([[picture] * self.frames])[0][0]

    def video(self, path: str | Path) -> Vectors:
        """The vector (dim,) of a whole video of a file.

        Raises:
            InputError: it cannot be read.
        """
        return self.videos([read_clip(path, self.frames, rate=self.stated.fps).pictures])[0][0]

    def _mixed(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def weights_digest(folder: Path) -> str:
    """One sha256 over the weights of an adapter, whatever its card says."""
    lines = [f"{path.relative_to(folder).as_posix()} {sha256(path)}" for path in sorted(folder.rglob("*.safetensors"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _unit(vectors: Tensor) -> Vectors:
    return functional.normalize(vectors.float(), dim=-1).cpu().numpy()


def _is_foreign(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    foreign = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
    return len(foreign) * 2 > len(letters)


def said(notices: Sequence[str]) -> None:
    """Say notices on standard error, each once."""
    for notice in dict.fromkeys(notices):
        print(f"note: {notice}", file=sys.stderr, flush=True)
