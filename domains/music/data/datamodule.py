"""Training data: recordings and captions to batches of what a model's encoder makes of them, each made once."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from domains.music.data.captions import numbered, shortened
from domains.music.data.clips import Clip, clips_of, is_silent
from domains.music.data.encoding import ClipEncoder, Sample
from domains.music.data.recordings import Collection, Recording
from domains.music.data.sources import open_recordings
from suite.errors import InputError
from suite.training import loader
from suite.training.caches import TensorCache


class ClipSamples(Dataset):
    """Clips as a model's encoder makes them; codes and text states are kept.

    Args:
        word_dropout: chance that a word of a caption is left out. caption_dropout: that all of it is.
    """

    def __init__(
        self,
        clips: list[Clip],
        encoder: ClipEncoder,
        cache: TensorCache,
        *,
        word_dropout: float = 0.0,
        caption_dropout: float = 0.0,
    ) -> None:
        self.clips, self.encoder, self.cache = clips, encoder, cache
        self.word_dropout, self.caption_dropout = word_dropout, caption_dropout

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> Sample:
        """What `encode` and `words` give of the clip.

        Raises:
            InputError: the recording cannot be read.
        """
        clip = self.clips[number]
        return {**self.codes(clip), **self.words(self._varied(clip.caption))}

    def codes(self, clip: Clip) -> Sample:
        """The clip's codes, made if they are not there."""
        key = ("clip", clip.digest, self.encoder.key, self.encoder.rate, self.encoder.channels)
        return self.cache.get(key, lambda: self.encoder.encode(self._sound(clip)))

    def words(self, caption: str) -> Sample:
        """The caption's states, made if they are not there."""
        return self.cache.get(("words", caption, self.encoder.key), lambda: self.encoder.words(caption))

    def _sound(self, clip: Clip) -> Any:
        wave = clip.sound(self.encoder.rate, self.encoder.channels)
        if wave.shape[1] < self.encoder.least:
            raise InputError(
                f"{clip.recording.name}: {wave.shape[1]} samples from {clip.start:g} s on are fewer than the "
                f"{self.encoder.least} of one frame; leave it out"
            )
        return wave

    def _varied(self, caption: str) -> str:
        if not self.word_dropout and not self.caption_dropout:
            return caption
        if random.random() < self.caption_dropout:
            return ""
        return " ".join(word for word in caption.split() if random.random() >= self.word_dropout)


class MusicData(L.LightningDataModule):
    """Recordings of the made world or of one's own.

    Args:
        train: `world:SPLIT[:COUNT[:GENRE]]`, several with `+` between; or `PATH[:train|val|test]` of a folder of
            recordings (captions in texts of the same name, Saraga's or audiocraft's JSON, tags), of a table
            (`path,text`, Dunya's metadata) or of JSON lines (audiocraft, Mustango). A source without sides of its own
            is split by recording.
        val: the same; None: no validation.
        recordings: folder of the recordings that a table names; the table's own where left out.
        format: table, jsonl or folder; `auto` finds it.
        seconds: of a clip; as many as the base takes where left out.
        edges: shares of a recording left out at its beginning and end; `[0.2, 0.1]` as published.
        skip_silent: leave out clips in which nothing is to be heard.
        fix_swapped: put makams and usuls that stand in each other's place back.
        licence: of the recordings, for the adapter's card, where they state none.
        word_dropout: chance that a word of a caption is left out. caption_dropout: that all of it is; the recipe's
            guidance dropout, which stands for both, is beside it.
        batch_size: clips a batch.
        cache: folder that keeps codes and text states from run to run.
        num_workers: processes that load.
    """

    def __init__(
        self,
        train: str = "world:train",
        val: str | None = "world:val",
        recordings: str | None = None,
        format: str = "auto",
        seconds: float | None = None,
        edges: tuple[float, float] = (0.0, 0.0),
        skip_silent: bool = True,
        fix_swapped: bool = False,
        licence: str | None = None,
        word_dropout: float = 0.0,
        caption_dropout: float = 0.0,
        batch_size: int = 4,
        cache: str | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not train:
            raise InputError("data.train is empty; give a folder of recordings, a table, or world:train")
        if seconds is not None and not seconds > 0:
            raise InputError(f"data.seconds is {seconds}; give more than 0")
        if min(edges) < 0 or sum(edges) >= 1:
            raise InputError(f"data.edges are {list(edges)}; give shares that leave something between them")
        for name, chance in (("word_dropout", word_dropout), ("caption_dropout", caption_dropout)):
            if not 0 <= chance <= 1:
                raise InputError(f"data.{name} is {chance}; a chance lies between 0 and 1")
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; give at least 1")
        self.sources: Mapping[str, str | None] = {"train": train, "val": val}
        self.recordings, self.format, self.fix_swapped, self.licence = recordings, format, fix_swapped, licence
        self.seconds, self.edges, self.skip_silent = seconds, edges, skip_silent
        self.word_dropout, self.caption_dropout = word_dropout, caption_dropout
        self.batch_size, self.num_workers = batch_size, num_workers
        self.cache = TensorCache(None if cache is None else Path(cache).expanduser())
        self.encoder: ClipEncoder | None = None
        self.seed = 0
        self.collections: dict[str, Collection] = {}
        self.clips: dict[str, list[Clip]] = {}

    def bind(self, encoder: ClipEncoder, seed: int = 0) -> None:
        """Say what makes codes and states; the recipe does so before training."""
        self.encoder, self.seed = encoder, seed
        self.clips.clear()

    def setup(self, stage: str = "fit") -> None:
        """Find the recordings, once each; what is unusual about them is said once.

        Raises:
            InputError: there are none, or one is trained and validated on.
        """
        for name, source in self.sources.items():
            if source is not None and name not in self.collections:
                self.collections[name] = self._opened(name, source)
        self._check_apart()
        for name, collection in self.collections.items():
            if self.encoder is not None and name not in self.clips:
                self.clips[name] = self._cut(name, collection)

    def samples(self, name: str) -> ClipSamples:
        """The samples of `train` or `val`."""
        self.setup()
        assert self.encoder is not None, "the recipe's bind was not called"
        varied = name == "train"
        return ClipSamples(
            self.clips[name],
            self.encoder,
            self.cache,
            word_dropout=self.word_dropout if varied else 0.0,
            caption_dropout=self.caption_dropout if varied else 0.0,
        )

    def train_dataloader(self) -> DataLoader:
        samples = self.samples("train")
        self._encode(samples)
        return loader(samples, self.batch_size, num_workers=self.num_workers, collate_fn=samples.encoder.collate)

    def val_dataloader(self) -> DataLoader | list[Any]:
        if self.sources["val"] is None:
            return []
        samples = self.samples("val")
        self._encode(samples)
        return loader(
            samples, self.batch_size, shuffle=False, num_workers=self.num_workers, collate_fn=samples.encoder.collate
        )

    def record(self) -> dict[str, Any]:
        """What an adapter says of the recordings that it was trained on."""
        self.setup()
        clips, collection = self.clips.get("train", []), self.collections["train"]
        return {
            "source": self.sources["train"] if str(self.sources["train"]).startswith("world") else collection.name,
            "recordings": len({one.id for one in collection.recordings}),
            "clips": len(clips),
            "hours": round(sum(clip.seconds for clip in clips) / 3600, 4),
            "caption": next((clip.caption for clip in clips if clip.caption), ""),
            "licences": list(collection.licences) or ([self.licence] if self.licence else []),
        }

    def _opened(self, name: str, source: str) -> Collection:
        collection = open_recordings(
            source,
            split="train" if name == "train" else "val",
            recordings=self.recordings,
            format=self.format,
            licence=self.licence,
            fix_swapped=self.fix_swapped,
            seed=self.seed,
        )
        said = [line for held in self.collections.values() for line in held.remarks]
        for notice in collection.remarks:
            if notice not in said:  # both sides may come of one folder
                print(f"data: {notice}", file=sys.stderr, flush=True)
        return collection

    def _check_apart(self) -> None:
        sides = {name: {_key(one) for one in held.recordings} for name, held in self.collections.items()}
        if shared := sides.get("train", set()) & sides.get("val", set()):
            named = shortened(sorted(key[0] for key in shared), 3)
            raise InputError(
                f"data.train and data.val share {len(shared)} recordings ({named}); what is validated must not be "
                "trained on: name the sides, e.g. FOLDER:train and FOLDER:val"
            )

    def _cut(self, name: str, collection: Collection) -> list[Clip]:
        assert self.encoder is not None
        seconds = min(self.seconds or self.encoder.longest, self.encoder.longest)
        if self.seconds is not None and self.seconds > self.encoder.longest:
            raise InputError(f"data.seconds is {self.seconds:g}; this base takes {self.encoder.longest:g} at most")
        clips = clips_of(collection.recordings, seconds, edges=self.edges, seed=self.seed)
        kept = [clip for clip in clips if not (self.skip_silent and self._silent(clip))]
        if not kept:
            raise InputError(f"data.{name}: {collection.name} holds no clip in which anything is to be heard")
        said = [numbered(len(clips) - len(kept), "silent clips are left out")] if len(kept) < len(clips) else []
        if short := sum(not clip.whole for clip in kept):
            said.append(numbered(short, f"clips are shorter than {seconds:g} s; they are padded and masked"))
        if unsaid := sum(not clip.caption for clip in kept):
            said.append(numbered(unsaid, "clips have no caption, for what is made without a prompt alone"))
        for notice in said:
            print(f"data: {name}: {notice}", file=sys.stderr, flush=True)
        return kept

    def _silent(self, clip: Clip) -> bool:
        return isinstance(clip.recording.source, Path) and is_silent(clip.sound(8000, 1))

    def _encode(self, samples: ClipSamples) -> None:
        """Fill the cache, so that codec and text encoder are not asked again."""
        for clip in tqdm(samples.clips, desc="codes", unit="clip", disable=not sys.stderr.isatty(), leave=False):
            samples.codes(clip)
            samples.words(clip.caption)


def _key(one: Recording) -> tuple[str, str]:
    """A recording, whatever part of it: made pieces of two splits may bear one number."""
    return (one.id, "" if isinstance(one.source, Path) else repr(one.source))
