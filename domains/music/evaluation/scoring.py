"""Scores of a set of pieces beside a set of recordings, and of pieces that the made world can judge by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.music.data import world
from domains.music.data.clips import Clip, clips_of
from domains.music.data.recordings import Collection
from domains.music.data.world import Piece
from domains.music.evaluation.embeddings import Embedder
from domains.music.metrics import pitch, rhythm
from domains.music.metrics.chroma import chroma_cosine
from domains.music.metrics.divergence import Pairs, kl_by_name
from domains.music.metrics.frechet import frechet, small_sample
from domains.music.types import Wave
from suite.errors import InputError
from suite.media import audio

Floats = NDArray[np.floating]

LONGEST = 30.0
"""Seconds of a recording that are heard at once."""

FRECHET = {"vggish": "fad", "panns": "fd"}
"""What the Frechet distance on an embedding is called; on others `frechet_<key>`."""


@dataclass(frozen=True)
class Heard:
    """A piece or a recording that is scored.

    Attributes:
        name: by which pairs are matched. rate: its own, Hz.
        sound: mono (1, samples) at a rate; called again for each embedding, so that a set takes no memory.
    """

    name: str
    caption: str
    rate: int
    sound: Callable[[int], Wave]


@dataclass
class Scored:
    """Figures, what is told of them, and a row a piece."""

    metrics: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def heard_of(collection: Collection) -> list[Heard]:
    """The recordings of a collection in parts of half a minute, pairs being matched by their files' names.

    Raises:
        InputError: one cannot be read.
    """
    return [_heard(clip) for clip in clips_of(collection.recordings, LONGEST)]


def of_waves(waves: Iterable[tuple[str, str, Wave, int]]) -> list[Heard]:
    """Pieces that are at hand: names, captions, waves (channels, samples) and rates."""
    return [Heard(name, caption, rate, _resampled(wave, rate)) for name, caption, wave, rate in waves]


def score(
    reference: Sequence[Heard],
    generated: Sequence[Heard],
    embedders: Sequence[Embedder],
    *,
    as_published: bool = False,
) -> Scored:
    """Frechet distances, KL divergences, agreement with the captions and chroma, as far as the sets allow them.

    Args:
        as_published: distances as the published code computes them, on audio that is brought to half its rate by
            leaving out every second sample.

    Raises:
        InputError: a set is empty, or a sound cannot be read.
    """
    if not reference or not generated:
        raise InputError("an evaluation needs recordings on both sides")
    found = Scored()
    for embedder in embedders:
        _distances(embedder, reference, generated, found, as_published=as_published)
    _paired(reference, generated, found)
    if as_published:
        found.notices.append(
            "distances as published: covariances between pieces, not features, and rates halved without a filter; they "
            "are no Frechet distances and compare with nothing but the published tables"
        )
    return found


def made_figures(wave: Wave, rate: int, piece: Piece) -> dict[str, float]:
    """How far a piece is what the made world's caption asks for, by trackers that hear the sound alone.

    Returns:
        `in_scale`: share of the notes' time on the scale. `in_cycle`: share of the time between deep strokes that lies
        in gaps of a cycle's length; 0 where nothing is heard.
    """
    heard = pitch.notes(wave, rate)
    inside = pitch.share_in_scale(heard, world.TONIC, world.SCALES[piece.scale])
    beats = world.GENRES[piece.genre].beats
    return {
        "in_scale": 0.0 if np.isnan(inside) else inside,
        "in_cycle": rhythm.share_of_cycle(wave, rate, piece.beat, beats),
    }


def made_means(generated: Sequence[Heard]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The mean figures of the pieces whose captions are the made world's, and a row for each; empty without any."""
    rows = []
    for one in generated:
        piece = world.of_caption(one.caption)
        if piece is not None:
            figures = made_figures(one.sound(one.rate), one.rate, piece)
            rows.append({"name": one.name, "caption": one.caption, **figures})
    names = ("in_scale", "in_cycle")
    return ({name: float(np.mean([row[name] for row in rows])) for name in names} if rows else {}), rows


def _distances(
    embedder: Embedder, reference: Sequence[Heard], generated: Sequence[Heard], found: Scored, *, as_published: bool
) -> None:
    sets, logits = [], []
    for name, heard in (("reference", reference), ("generated", generated)):
        embeddings, classes = _embedded(embedder, heard, halved=as_published)
        sets.append(embeddings)
        logits.append(classes)
        found.metrics[f"{embedder.key}_{name}_embeddings"] = len(embeddings)
        if notice := small_sample(f"{embedder.name}, {name}", len(embeddings), embeddings.shape[1]):
            found.notices.append(notice)
    if min(map(len, sets)) < 2:
        found.notices.append(f"{embedder.name}: one embedding has no covariance, and so no distance")
    else:
        name = FRECHET.get(embedder.key, f"frechet_{embedder.key}")
        found.metrics[name] = frechet(*sets, as_published=as_published)
    if logits[0] and logits[1]:
        figures, _ = kl_by_name(logits[0], logits[1])
        found.metrics.update(figures)
    agreements = [_agreement(embedder, one) for one in generated if one.caption]
    if known := [each for each in agreements if each is not None]:
        found.metrics[f"{embedder.key}_agreement"] = float(np.mean(known))


def _embedded(embedder: Embedder, heard: Sequence[Heard], *, halved: bool) -> tuple[Floats, dict[str, Floats]]:
    """(count, dim) of a set, and by name the logits of an embedder that knows classes."""
    parts, classes = [], {}
    for one in heard:
        wave = one.sound(one.rate)[:, ::2] if halved and one.rate == 2 * embedder.rate else one.sound(embedder.rate)
        parts.append(embedder.embed(wave))
        if (logits := embedder.classify(wave)) is not None:
            classes[one.name] = logits
    return np.concatenate(parts), classes


def _agreement(embedder: Embedder, one: Heard) -> float | None:
    return embedder.agreement(one.sound(embedder.rate), one.caption)


def _paired(reference: Sequence[Heard], generated: Sequence[Heard], found: Scored) -> None:
    """Chroma of the pairs of one name, and which have no partner."""
    targets, made = ({one.name: one for one in heard} for heard in (reference, generated))
    pairs = Pairs.of(targets, made)
    found.metrics["pairs"] = len(pairs.both)
    if not pairs.both:
        found.notices.append("no name is on both sides, so nothing is compared piece by piece (chroma, KL)")
        return
    if notice := pairs.notice():
        found.notices.append(notice)
    for name in pairs.both:
        one, other = targets[name], made[name]
        cosine = chroma_cosine((one.sound(one.rate), one.rate), (other.sound(other.rate), other.rate))
        found.rows.append({"name": name, "caption": other.caption, "chroma": cosine})
    found.metrics["chroma"] = float(np.mean([row["chroma"] for row in found.rows]))


def _heard(clip: Clip) -> Heard:
    source = clip.recording.source
    name = clip.recording.id if isinstance(source, Piece) else source.stem
    if clip.start > (clip.recording.start or 0.0):
        name = f"{name}_{round(1000 * clip.start)}"
    rate = world.RATE if isinstance(source, Piece) else audio.probe(source).rate
    return Heard(name, clip.caption, rate, lambda wanted: clip.sound(wanted, 1))


def _resampled(wave: Wave, rate: int) -> Callable[[int], Wave]:
    mono = wave.mean(0, keepdims=True)
    return lambda wanted: audio.resample(mono, rate, wanted)


def table_of(scored: Scored, made: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a piece, with all that is known of it."""
    rows: dict[str, dict[str, Any]] = {}
    for row in [*scored.rows, *made]:
        rows.setdefault(str(row["name"]), {}).update(row)
    return list(rows.values())
