"""The verb `prepare`: recordings to clips with captions, split by recording; a report says what was dropped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from domains.music.data.recordings import Collection, Recording
    from domains.music.types import Wave

TABLE = "clips.csv"
VOICES = ("voice", "vocal", "vocals", "singing")
QUIET = -45.0
"""Decibels below full scale under which a clip is hardly heard beside others."""
HEARD = 3
"""Clips that the report plays."""


def prepare(
    source: Path,
    *,
    out: Path,
    recordings: Path | None = None,
    format: Literal["auto", "table", "jsonl", "folder"] = "auto",
    seconds: float = 30.0,
    rate: int = 32000,
    channels: int = 1,
    edges: tuple[float, float] = (0.0, 0.0),
    incomplete: bool = True,
    files: Literal["wav", "flac"] = "wav",
    fix_swapped: bool = False,
    vocals: Literal["keep", "drop"] = "keep",
    licence: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Cut recordings into clips with captions, split by recording, and say what was dropped.

    The folder is read by `train` as it is: `--data.train OUT:train --data.val OUT:val`.

    Args:
        source: folder of recordings, a table (`path,text`, Dunya's metadata) or JSON lines (audiocraft, Mustango).
        out: folder for the clips, `clips.csv` and `report.html`; new, empty, or written by an earlier `prepare`.
        recordings: folder of the recordings that a table names; the table's own where left out.
        format: of the source.
        seconds: of a clip: 30 for MusicGen, 10 for Mustango.
        rate: samples a second: 32000 for MusicGen, 16000 for Mustango.
        channels: 1, or 2 for stereo models.
        edges: shares of a recording left out at its beginning and end; `0.2 0.1` as published.
        incomplete: keep the last, shorter clip of a recording; training pads and masks it.
        files: wav, or flac for half the space.
        fix_swapped: put makams and usuls that stand in each other's place back.
        vocals: drop recordings that name a voice among their instruments; MusicGen was trained without any.
        licence: of recordings that state none.
        seed: of the split and of which sentence a clip gets.

    Raises:
        InputError: the source is broken, or nothing of it is left. Nothing is written then.
    """
    from domains.music.data.sources import read_all
    from suite.errors import InputError
    from suite.files import Kind, atomic_folder

    check_options(seconds, rate, channels, edges)
    held = read_all(source, recordings=recordings, format=format, licence=licence, fix_swapped=fix_swapped)
    cutting = Cutting(seconds, rate, channels, edges, incomplete, files, seed)
    with atomic_folder(out, Kind("prepared music", ".suite.json", added=True)) as folder:
        found = cut(held, cutting, folder, drop_vocals=vocals == "drop")
        if not found.rows:
            why = "; ".join(found.notices()) or "it holds nothing"
            raise InputError(f"{source}: no clip is left: {why}")
        write_tables(folder, found, held, cutting)
    return answer(out, found, held, cutting)


@dataclass(frozen=True)
class Cutting:
    """How clips are cut; see `prepare`."""

    seconds: float
    rate: int
    channels: int
    edges: tuple[float, float]
    incomplete: bool
    files: str
    seed: int


@dataclass
class Found:
    """What cutting gave.

    Attributes:
        rows: of the table. dropped: how often for which reason. unread: reason by recording.
        clipped, quiet, voices, stereo: names of recordings. short: clips.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    unread: dict[str, str] = field(default_factory=dict)
    clipped: dict[str, None] = field(default_factory=dict)
    quiet: dict[str, None] = field(default_factory=dict)
    voices: dict[str, None] = field(default_factory=dict)
    stereo: dict[str, None] = field(default_factory=dict)
    short: int = 0

    def add(self, own: Found) -> None:
        """What cutting one recording more gave."""
        self.rows += own.rows
        self.dropped += own.dropped
        for kind in ("clipped", "quiet", "stereo"):
            getattr(self, kind).update(getattr(own, kind))
        self.short += own.short

    def notices(self) -> list[str]:
        """What the user should know, one line each."""
        from domains.music.data.captions import numbered, shortened
        from domains.music.data.recordings import unreadable

        said = [numbered(count, reason) for reason, count in self.dropped.items()]
        said += unreadable(self.unread)
        if self.clipped:
            said.append(f"clipped, peaks are cut off: {shortened(list(self.clipped))}")
        if self.quiet:
            said.append(f"very quiet, below {QUIET:g} dB: {shortened(list(self.quiet))}; raise their level")
        if self.stereo:
            said.append(numbered(len(self.stereo), "stereo recordings are mixed down to one channel"))
        if self.voices:
            voices = numbered(len(self.voices), "recordings have a voice")
            said.append(
                f"{voices} ({shortened(list(self.voices), 2)}); MusicGen was trained "
                "without: separate it first (e.g. demucs --two-stems=vocals), or leave them out with --vocals drop"
            )
        if self.short:
            said.append(numbered(self.short, "clips are shorter than the others; training pads and masks them"))
        if bare := sum(not row["text"] for row in self.rows):
            said.append(numbered(bare, "clips have no caption, for what is made without a prompt alone"))
        return said


def check_options(seconds: float, rate: int, channels: int, edges: tuple[float, float]) -> None:
    """Refuse what no clip can be.

    Raises:
        InputError: an option is out of its range.
    """
    from suite.errors import InputError

    if not 0.1 <= seconds <= 600:
        raise InputError(f"seconds is {seconds:g}; give 0.1 to 600, e.g. 30")
    if not 4000 <= rate <= 192_000:
        raise InputError(f"rate is {rate}; give samples a second, e.g. 32000")
    if channels not in (1, 2):
        raise InputError(f"channels is {channels}; give 1 or 2")
    if len(edges) != 2 or min(edges) < 0 or sum(edges) >= 1:
        raise InputError(f"edges are {' '.join(map(str, edges))}; give two shares with something between, e.g. 0.2 0.1")


def cut(held: Collection, cutting: Cutting, folder: Path, *, drop_vocals: bool = False) -> Found:
    """Write the clips of every recording below `folder`; a recording that cannot be read is one reason more.

    A side is drawn among the recordings that clips are left of, so that a silent one does not stand for all of a side.
    """
    from domains.music.data.recordings import check_sides, drawn
    from suite.errors import InputError
    from suite.prediction.inputs import Names

    found, names = Found(unread=dict(held.unread)), Names()
    stated = check_sides(held.recordings)
    for one in held.recordings:
        if any(name.lower() in VOICES for name in one.fields.get("instruments", ())):
            if drop_vocals:
                found.dropped["recordings with a voice are left out"] += 1
                continue
            found.voices[one.name] = None
        own = Found()
        try:
            _cut_one(one, cutting, folder, own, names)
        except InputError as error:
            for row in own.rows:
                (folder / row["path"]).unlink()
            found.unread[one.name] = str(error).removeprefix(str(one.source)).lstrip(": ")
        else:
            found.add(own)
    sides = stated or drawn(dict.fromkeys(row["recording"] for row in found.rows), cutting.seed)
    for row in found.rows:
        row["split"] = sides.get(row["recording"], "train")
    return found


def waves_of(one: Recording, cutting: Cutting) -> Iterator[tuple[float, Wave]]:
    """Starts and sounds of a recording's clips, read once from its beginning to its end, a clip held at a time.

    Raises:
        InputError: it cannot be read.
    """
    import numpy as np

    from domains.music.data.clips import bounds
    from suite.media import audio

    first, last = bounds(one, cutting.edges)
    size, at = round(cutting.seconds * cutting.rate), first
    held = np.zeros((cutting.channels, 0), np.float32)
    if last <= first:
        return
    for block in audio.stream(one.source, start=first, end=last, rate=cutting.rate, channels=cutting.channels):  # type: ignore[arg-type]
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= size:
            yield at, held[:, :size]
            held, at = held[:, size:], at + cutting.seconds
    if held.shape[1]:
        yield at, held


def _cut_one(one: Recording, cutting: Cutting, folder: Path, found: Found, names: Any) -> None:
    from domains.music.data.captions import caption
    from domains.music.data.clips import SHORTEST, is_clipped, is_silent, loudness
    from suite.media import audio
    from suite.prediction.inputs import slug

    size = round(cutting.seconds * cutting.rate)
    if audio.probe(one.source).channels > cutting.channels:  # type: ignore[arg-type]
        found.stereo[one.name] = None
    for number, (start, wave) in enumerate(waves_of(one, cutting)):
        whole = wave.shape[1] >= size
        if not whole and number and (not cutting.incomplete or wave.shape[1] < SHORTEST * cutting.rate):
            found.dropped["incomplete clips at the end of a recording are left out"] += 1
            continue
        if is_silent(wave):
            found.dropped["silent clips are left out"] += 1
            continue
        if loudness(wave) < QUIET:
            found.quiet[one.name] = None
        if is_clipped(wave):
            found.clipped[one.name] = None
        key = f"{one.id}/{round(1000 * start)}"
        said = one.caption or caption(one.fields, seed=cutting.seed, key=key)
        path = f"clips/{names.of(f'{slug(one.id)}_{round(1000 * start)}')}.{cutting.files}"
        audio.write(folder / path, wave, cutting.rate)
        found.short += not whole
        seconds = round(wave.shape[1] / cutting.rate, 4)
        kinds = {kind: ", ".join(values) for kind, values in one.fields.items()}
        row = {"path": path, "text": said, "recording": one.id, "split": "", "seconds": seconds}
        found.rows.append({**row, "from_second": round(start, 3), "licence": one.licence, **kinds})


def write_tables(folder: Path, found: Found, held: Collection, cutting: Cutting) -> None:
    """Write `clips.csv` and `report.html`, which plays some of the clips."""
    from suite.files import write_text
    from suite.tables import records_csv

    write_text(folder / TABLE, records_csv(found.rows))
    _page(found, held, cutting, folder).save(folder / "report.html")


def answer(out: Path, found: Found, held: Collection, cutting: Cutting) -> dict[str, Any]:
    """What the verb returns."""
    counts = sides_of(found.rows)
    notices = [*held.notices, *found.notices()]
    whole = {"clips": len(found.rows), "recordings": sum(count["recordings"] for count in counts.values())}
    lines = [f"{_clips_of(whole)} in {out}", *(f"{side}: {_clips_of(count)}" for side, count in counts.items())]
    lines += [f"note: {notice}" for notice in notices]
    lines += [f"report  {out / 'report.html'}", f"next    {train_command(out, counts, cutting)}"]
    return {
        "out": str(out),
        "clips": len(found.rows),
        "splits": counts,
        "hours": round(sum(row["seconds"] for row in found.rows) / 3600, 4),
        "dropped": dict(found.dropped),
        "unread": found.unread,
        "licences": list(held.licences),
        "notices": notices,
        "message": "\n".join(lines),
    }


def train_command(out: Path, sides: Container[str], cutting: Cutting) -> str:
    """How to train on it: with the smallest base of its rate, validated where a side is there for it."""
    config = "mustango" if cutting.rate == 16000 else "musicgen_small"
    val = ["--data.val", f"{out}:val"] if "val" in sides else ["--data.val", "null", "--trainer.monitor", "null"]
    words = ["--config", f"configs/music/{config}.yaml", "--data.train", f"{out}:train", *val]
    return f"suite music train {shlex.join(words)}"


def _clips_of(count: Mapping[str, int]) -> str:
    from suite.tables import counted

    return f"{counted(count['clips'], 'clip')} of {counted(count['recordings'], 'recording')}"


def sides_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Clips and recordings of each side."""
    sides: dict[str, dict[str, int]] = {}
    for side in ("train", "val", "test"):
        own = [row for row in rows if row["split"] == side]
        if own:
            sides[side] = {"clips": len(own), "recordings": len({row["recording"] for row in own})}
    return sides


def _page(found: Found, held: Collection, cutting: Cutting, folder: Path) -> Any:
    from suite.media import audio, spectrograms
    from suite.media.report import Report

    hours = sum(row["seconds"] for row in found.rows) / 3600
    page = Report("Prepared music", held.name).facts(
        {
            "clips": len(found.rows),
            "hours": round(hours, 3),
            "seconds of a clip": cutting.seconds,
            "samples a second": cutting.rate,
            "licences": held.licences or "none stated",
        }
    )
    for notice in [*held.notices, *found.notices()]:
        page.text(f"Note: {notice}")
    page.section("Splits, by recording").records(
        [{"split": side, **counts} for side, counts in sides_of(found.rows).items()]
    )
    heard = found.rows[:: max(1, len(found.rows) // HEARD)][:HEARD]
    sounds = [(row, audio.read(folder / row["path"])) for row in heard]
    shown = [spectrograms.Shown(sound.wave, sound.rate, row["text"] or row["path"]) for row, sound in sounds]
    page.section("Some clips").image(spectrograms.draw(shown, waveform=False))
    for row in heard:
        page.audio(row["path"], row["text"] or row["path"])
    if found.unread:
        page.section("Not read").records([{"recording": name, "why": why} for name, why in found.unread.items()])
    return page
