"""The made world: short pieces of a melody over strokes of a drum, and the captions that name what they are.

A piece has a genre, which says its cycle of beats, a scale, an instrument and a tempo. Pre-training hears marches,
waltzes and songs in major, minor and pentatonic. The raga is held out from it: its scale (that of raga Bibhas), its
cycle of five beats (half a Jhaptal, 2 + 3) and the bends between its notes stand in no other genre, so that a model has
it only from its adapter. All pieces share one tonic, which is what makes "in the scale" a figure that can be counted.

Notes are tuned in small whole numbers above the tonic, as singers tune them: every pitch is a multiple of a quarter of
the codec's frame rate, so that a held note comes round after four frames. A beat is eight or twelve frames: a note
begins where the one before would come round, and frames are counted by fours. That is what lets networks of two million
parameters learn such music in minutes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from domains.music.data import synthesis
from domains.music.data.synthesis import INSTRUMENTS, Note, Stroke
from domains.music.types import Wave

Split = Literal["train", "val", "test"]

RATE = 8000
"""Samples a second."""
SECONDS = 8.0
"""Of a piece, unless asked otherwise."""
TONIC = 300.0
"""Hz of the tonic, a D above middle C that is a little sharp."""
FRAME = 0.04
"""Seconds of a frame of the codec, of which notes and strokes last whole numbers."""
PEAK = 0.95

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 5, 7, 9),
    "bibhas": (0, 1, 4, 7, 8),
}
"""Semitones above the tonic, nearly: `TUNING` says what sounds."""
TUNING = (48, 51, 54, 57, 60, 64, 68, 72, 76, 80, 85, 90)
"""Forty-eighths of the tonic of each semitone: a just second 9/8, third 5/4, fourth 4/3, fifth 3/2, sixth 5/3 and so
on, none of them more than 0.16 semitones from the piano's."""
TEMPI: dict[str, float] = {"slow": 0.48, "fast": 0.32}
"""Seconds of a beat."""
OLD_SCALES = ("major", "minor", "pentatonic")
"""Those of the genres that pre-training hears."""


@dataclass(frozen=True)
class Genre:
    """What pieces of one kind have in common.

    Attributes:
        cycle: a stroke a beat: `D` deep, `t` sharp, `.` none; the deep one opens the cycle.
        scales: that its pieces may be in. lengths: beats of a note, the likely ones several times.
        bends: whether notes glide into each other.
    """

    name: str
    cycle: str
    scales: tuple[str, ...]
    lengths: tuple[int, ...]
    bends: bool = False

    @property
    def beats(self) -> int:
        """Of one cycle."""
        return len(self.cycle)


GENRES: dict[str, Genre] = {
    genre.name: genre
    for genre in (
        Genre("march", "Dt", OLD_SCALES, (1, 1, 2, 2)),
        Genre("waltz", "Dtt", OLD_SCALES, (1, 1, 2, 3)),
        Genre("song", "D.t.", OLD_SCALES, (1, 2, 2, 4)),
        Genre("raga", "D.t.t", ("bibhas",), (1, 2, 2, 3), bends=True),
    )
}
HELD_OUT = "raga"
"""The genre that pre-training never hears."""
OLD = tuple(name for name in GENRES if name != HELD_OUT)


@dataclass(frozen=True)
class Piece:
    """One piece; the same fields always sound the same."""

    genre: str
    scale: str
    instrument: str
    tempo: str
    seed: int

    @property
    def caption(self) -> str:
        """`a slow waltz in minor for flute`."""
        return f"a {self.tempo} {self.genre} in {self.scale} for {self.instrument}"

    @property
    def beat(self) -> float:
        """Seconds of a beat."""
        return TEMPI[self.tempo]

    def notes(self, seconds: float = SECONDS) -> list[Note]:
        """The melody: a phrase, the phrase again, another one, and so on, each one home on the tonic."""
        rng = random.Random(f"melody-{self.seed}-{self.caption}")
        genre, degrees = GENRES[self.genre], SCALES[self.scale]
        beats = genre.beats * max(2, round(9 / genre.beats))
        phrases = [_phrase(rng, beats, genre.lengths, len(degrees)) for _ in range(2)]
        order, found, at = [0, 0, 1, 0], [], 0
        while at * self.beat < seconds:
            for place, length in phrases[order[at // beats % len(order)]]:
                octave, step = divmod(place, len(degrees))
                pitch = tuned(12 * octave + degrees[step])
                found.append(Note(at * self.beat, length * self.beat, pitch, glides=genre.bends))
                at += length
        return [note for note in found if note.start < seconds]

    def strokes(self, seconds: float = SECONDS) -> list[Stroke]:
        """The drum, a cycle after another."""
        cycle = GENRES[self.genre].cycle
        count = int(np.ceil(seconds / self.beat - 1e-9))
        kinds = (cycle[place % len(cycle)] for place in range(count))
        return [Stroke(place * self.beat, kind) for place, kind in enumerate(kinds) if kind != "."]

    def sound(self, seconds: float = SECONDS, rate: int = RATE) -> Wave:
        """The piece as it sounds: (1, samples), float32, within -1 and 1."""
        samples = round(seconds * rate)
        melody = synthesis.voice(self.notes(seconds), INSTRUMENTS[self.instrument], samples, rate)
        return _mixed(0.36 * melody, 0.45 * synthesis.drum(self.strokes(seconds), samples, rate))


def tuned(semitones: int) -> float:
    """Hz of a note so many semitones above the tonic."""
    octave, step = divmod(semitones, 12)
    return TONIC * 2**octave * TUNING[step] / TUNING[0]


def piece(split: Split, number: int, genre: str | None = None) -> Piece:
    """The piece of a number; other splits have other pieces.

    Args:
        genre: a key of `GENRES`; those that pre-training hears in turn where left out.
    """
    seed = {"train": 0, "val": 1, "test": 2}[split] + 3 * number
    rng = random.Random(f"piece-{seed}")
    chosen = GENRES[genre or OLD[number % len(OLD)]]
    scale, instrument, tempo = rng.choice(chosen.scales), rng.choice(list(INSTRUMENTS)), rng.choice(list(TEMPI))
    return Piece(chosen.name, scale, instrument, tempo, seed)


def of_caption(text: str, seed: int = 0) -> Piece | None:
    """The piece that a caption of this world asks for; None for any other sentence."""
    words = text.lower().split()
    if len(words) != 7 or (words[0], words[3], words[5]) != ("a", "in", "for"):
        return None
    _, tempo, genre, _, scale, _, instrument = words
    if tempo not in TEMPI or genre not in GENRES or scale not in SCALES or instrument not in INSTRUMENTS:
        return None
    return Piece(genre, scale, instrument, tempo, seed)


def exercise(number: int, seconds: float = SECONDS, rate: int = RATE) -> Wave:
    """Sounds without music, for a codec that is to hear any: notes of all twelve steps, glides, strokes at any time.

    (1, samples), float32. Neither scale nor beat nor genre is in them.
    """
    rng = random.Random(f"exercise-{number}")
    notes, strokes, at = [], [], 0
    gliding = rng.random() < 0.5
    while at * FRAME < seconds:
        length = rng.randint(4, 16)
        notes.append(Note(at * FRAME, length * FRAME, tuned(rng.randint(-6, 17)), glides=gliding))
        at += length
    at = rng.randint(0, 7)
    while at * FRAME < seconds:
        strokes.append(Stroke(at * FRAME, rng.choice("Dt")))
        at += rng.randint(4, 20)
    samples = round(seconds * rate)
    melody = synthesis.voice(notes, INSTRUMENTS[rng.choice(list(INSTRUMENTS))], samples, rate)
    return _mixed(0.36 * melody, 0.45 * synthesis.drum(strokes, samples, rate))


def vocabulary() -> list[str]:
    """Every word of the captions."""
    return ["a", "in", "for", *TEMPI, *GENRES, *SCALES, *INSTRUMENTS]


def _mixed(melody: synthesis.Samples, drum: synthesis.Samples) -> Wave:
    """(samples,) twice to (1, samples), within `PEAK`."""
    both = melody + drum
    return (both * min(1.0, PEAK / max(float(np.abs(both).max(initial=0)), 1e-9)))[None].astype(np.float32)


def _phrase(rng: random.Random, beats: int, lengths: tuple[int, ...], degrees: int) -> list[tuple[int, int]]:
    """Degrees above the tonic and their beats: steps, few leaps, at the end the tonic."""
    place = rng.choice((0, 2, degrees))
    found, left = [], beats
    while left:
        length = min(left, rng.choice(lengths))
        if left - length < 2:  # the last note rests
            found.append((0 if place < degrees / 2 else degrees, left))
            break
        found.append((place, length))
        left -= length
        step = rng.choice((-2, -1, -1, -1, 1, 1, 1, 2))
        place += step if -2 <= place + step <= degrees + 2 else -step
    return found
