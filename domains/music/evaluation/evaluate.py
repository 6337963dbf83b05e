"""The verb `evaluate`: what an adapter makes, or a folder of pieces, beside recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.music.evaluation.scoring import Heard
    from domains.music.predict import MusicGenerator


def evaluate(
    data: str = "world:test",
    *,
    generated: Path | None = None,
    recordings: Path | None = None,
    adapter: str = "tiny",
    base: str | None = None,
    frozen: bool = False,
    embedding: tuple[str, ...] = ("spectral",),
    as_published: bool = False,
    seconds: float | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score pieces beside recordings: Frechet distances, KL, agreement with captions, chroma.

    Without `--generated` the adapter makes one piece for the caption of each recording. Made recordings are also judged
    by their own rules: the share of notes in the scale, and of the time in cycles of the right length.

    Args:
        data: the recordings: `world:test[:COUNT[:GENRE]]`, or `PATH[:SPLIT]` of a folder, a table or JSON lines.
        generated: a folder of pieces; those named as a recording are compared with it.
        recordings: folder of the recordings that a table names.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        frozen: the base alone, to see what the adapter adds.
        embedding: `spectral` (ours, no file needed), `vggish:FILE` (FAD), `panns:FILE` (FD and KL), `clap:FOLDER`.
        as_published: distances as the published code computes them.
        seconds: of the pieces that are made; each as long as its recording where left out, of long ones the
            part of half a minute.
        guidance: of the pieces that are made; the base's own where left out.
        seed: of the first piece.
        batch_size: pieces side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for metrics.json and report.html; pieces that are made are kept in it.

    Raises:
        InputError: adapter, data or an embedding cannot be read, or do not fit.
    """
    from domains.music.data.sources import open_recordings, read_all
    from domains.music.evaluation.embeddings import open_embedder
    from domains.music.evaluation.scoring import heard_of, made_means, score, table_of
    from suite.devices import choose_device
    from suite.scores import Scores

    embedders = [open_embedder(reference, choose_device(device)) for reference in embedding]
    reference = open_recordings(data, split="test", recordings=recordings)
    made_before = None if generated is None else read_all(generated)  # what is not there is known before all is heard
    targets = heard_of(reference)
    if made_before is not None:
        pieces = heard_of(made_before)
        by = str(generated)
    else:
        generator = _generator(adapter, base, device, dtype)
        pieces = made(
            generator, targets, frozen=frozen, out=out, seconds=seconds, guidance=guidance, seed=seed,
            batch_size=batch_size,
        )  # fmt: skip
        by = "the frozen base" if frozen else adapter
    scored = score(targets, pieces, embedders, as_published=as_published)
    means, rows = made_means(pieces)
    metrics = {**means, **scored.metrics}
    about = {
        "recordings": data,
        "pieces": by,
        "number": f"{len(targets)} recordings, {len(pieces)} pieces",
        "embeddings": ", ".join(f"{one.name} at {one.rate} Hz" for one in embedders),
        "seed": seed,
    }
    scores = Scores(
        metrics,
        about,
        title="Music beside recordings",
        tables={"pieces": table_of(scored, rows)},
        notices=(*reference.remarks, *(made_before.remarks if made_before else ()), *scored.notices),
    )
    return scores.answer(out)


def made(
    generator: MusicGenerator,
    targets: list[Heard],
    *,
    frozen: bool,
    out: Path | None,
    seconds: float | None,
    guidance: float | None,
    seed: int,
    batch_size: int,
) -> list[Heard]:
    """A piece for the caption of each recording, as long as it; kept below `out`, else in memory.

    Raises:
        InputError: a caption cannot be made.
    """
    from domains.music.evaluation.scoring import of_waves
    from domains.music.types import MusicQuery
    from suite.media import audio

    found = []
    for start in range(0, len(targets), batch_size):
        part = targets[start : start + batch_size]
        longest = seconds or max(one.sound(one.rate).shape[1] / one.rate for one in part)
        query = MusicQuery(seconds=longest, guidance=guidance, batch_size=batch_size)
        seeds = [seed + start + place for place in range(len(part))]
        waves = generator.composer.compose([one.caption for one in part], query, seeds=seeds, frozen=frozen)
        for one, wave in zip(part, waves, strict=True):
            if out is not None:
                audio.write(out / "pieces" / f"{one.name}.wav", wave, generator.composer.rate)
            found.append((one.name, one.caption, wave, generator.composer.rate))
    return of_waves(found)


def measure(
    adapter: str,
    *,
    source: str = "world:test:24",
    frozen: bool = False,
    base: str | None = None,
    seconds: float | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 12,
) -> dict[str, float]:
    """The figures of an adapter on made recordings: `in_scale`, `in_cycle`, `frechet_spectral`, `chroma`.

    Args:
        source: `world:SPLIT[:COUNT[:GENRE]]`.

    Raises:
        InputError: there is no such adapter.
    """
    from domains.music.data.sources import open_recordings
    from domains.music.evaluation.embeddings import Spectral
    from domains.music.evaluation.scoring import heard_of, made_means, score

    generator = _generator(adapter, base, "cpu", "auto")
    targets = heard_of(open_recordings(source, split="test"))
    pieces = made(
        generator, targets, frozen=frozen, out=None, seconds=seconds, guidance=guidance, seed=seed,
        batch_size=batch_size,
    )  # fmt: skip
    return {**made_means(pieces)[0], **score(targets, pieces, [Spectral()]).metrics}


def _generator(adapter: str, base: str | None, device: str, dtype: str) -> MusicGenerator:
    from domains.music.predict import MusicGenerator

    return MusicGenerator.from_pretrained(adapter, base, device, dtype)
