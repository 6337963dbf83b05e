"""What one prompt gives: its pieces, and the files of them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.music.types import Facts, MusicQuery, Wave
from suite.files import write_text
from suite.media import audio, loudness


@dataclass(frozen=True)
class Take:
    """One piece, and what it was made with.

    Attributes:
        number: among those of its prompt, from 0. rate: Hz. frozen: made by the base alone.
    """

    wave: Wave
    rate: int
    number: int
    seed: int
    frozen: bool = False

    @property
    def seconds(self) -> float:
        return self.wave.shape[1] / self.rate

    @property
    def digest(self) -> str:
        """sha256 over shape, rate and samples: two takes of one digest sound the same to the bit."""
        return hashlib.sha256(f"{self.wave.shape} {self.rate}".encode() + self.wave.tobytes()).hexdigest()

    @property
    def suffix(self) -> str:
        """What tells its file from those of its prompt's other takes."""
        return ("" if self.number == 0 else f"_{self.number + 1}") + ("_base" if self.frozen else "")


@dataclass(frozen=True)
class MusicResult:
    """The pieces of one prompt, or the `error` that says why there are none.

    Attributes:
        source: the prompt, or FILE:LINE where it stands. prompt: as the model read it.
        name: of its files, unique within one prediction.
        takes: the adapter's, then those of the frozen base where it was asked for.
        continued: seconds of the recording at the beginning of each take that it goes on from.
        notices: what the user should know, one line each. seconds: that making them took.
    """

    source: str
    error: str | None = None
    name: str = ""
    prompt: str = ""
    takes: tuple[Take, ...] = ()
    continued: float = 0.0
    facts: Facts = field(default_factory=lambda: Facts(""))
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    query: MusicQuery = field(default_factory=MusicQuery)

    @property
    def wave(self) -> Wave:
        """The first piece, (channels, samples)."""
        return self.takes[0].wave

    @property
    def rate(self) -> int:
        """Of the pieces, Hz."""
        return self.takes[0].rate

    def __str__(self) -> str:
        if not self.takes:
            return f"{self.source}: nothing made"
        count = f"{len(self.takes)} pieces of " if len(self.takes) > 1 else ""
        lines = [f"{self.source}: {count}{self.takes[0].seconds:.2f} s, made in {self.seconds:.1f} s"]
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def file_of(self, take: Take) -> str:
        """The name of a take's file."""
        return f"{self.name}{take.suffix}.{self.query.format}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples, ready for `json.dumps`; each piece by the sha256 of its samples."""
        return {
            "name": self.name,
            "prompt": self.prompt,
            "pieces": [
                {
                    "number": take.number,
                    "seed": take.seed,
                    "by": "base" if take.frozen else "adapter",
                    "seconds": round(take.seconds, 4),
                    "rate": take.rate,
                    "channels": len(take.wave),
                    "sha256": take.digest,
                }
                for take in self.takes
            ],
            "continued": round(self.continued, 4),
            "guidance": self.query.guidance,
            "temperature": self.query.temperature,
            "top_k": self.query.top_k,
            "top_p": self.query.top_p,
            "base": self.facts.base,
            "adapter": self.facts.adapter,
            "licences": list(self.facts.licences),
            "notices": list(self.notices),
            "seconds": round(self.seconds, 3),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write every piece in the format asked for, `<name>.json` and the picture; return the files.

        A piece that would clip is written quieter as a whole, one whose loudness is asked for as loud as that; the JSON
        says by how many decibels it is quieter (louder below 0).
        """
        folder = Path(folder)
        written, quieter = [], {}
        for take in self.takes:
            path = folder / self.file_of(take)
            wave, changed = self._levelled(take)
            decibels = audio.write(path, wave, take.rate, tags=self._tags()) - changed
            if decibels:
                quieter[path.name] = round(decibels, 2)
            written.append(path)
        record = {"source": self.source, **self.to_dict(), **({"decibels_quieter": quieter} if quieter else {})}
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        written.append(write_text(folder / f"{self.name}.json", text))
        if self.query.pictures and self.takes:
            from suite.media import plots  # with matplotlib, which a result without pictures need not load

            written.append(plots.save(self.picture(), folder / f"{self.name}.png"))
        return written

    def picture(self) -> Any:
        """Waveform and spectrogram of every take, the end of a continued recording marked."""
        from suite.media import spectrograms

        shown = [
            spectrograms.Shown(
                take.wave, take.rate, f"{'base' if take.frozen else 'adapter'}, seed {take.seed}", self.continued
            )
            for take in self.takes
        ]
        return spectrograms.draw(shown, title=self.prompt or "without a prompt")

    def _levelled(self, take: Take) -> tuple[Wave, float]:
        """The take at the loudness asked for, and the decibels added for it; as it is where none is, or in silence."""
        heard = None if self.query.loudness is None else loudness.integrated(take.wave, take.rate)
        if heard is None or self.query.loudness is None or not math.isfinite(heard):
            return take.wave, 0.0
        added = self.query.loudness - heard
        return (take.wave * 10 ** (added / 20)).astype(take.wave.dtype), added

    def _tags(self) -> dict[str, str]:
        licences = "; ".join(self.facts.licences)
        return {"title": self.prompt, "comment": licences} if licences else {"title": self.prompt}
