"""One evaluation: trackers run or read, scored, and written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from domains.tracking.evaluation import plots, runs
from domains.tracking.evaluation.runs import Contestant, Source
from domains.tracking.evaluation.success import attribute_rows, score, sequence_rows, tracker_rows
from domains.tracking.output.submissions import FORMS, Tracked, write_archive
from domains.tracking.types import MemoryPolicy, TrackQuery
from suite.errors import InputError
from suite.prediction.inputs import slug
from suite.scores import Drawn, Scores
from suite.tables import aligned


def contestants(
    adapters: Sequence[str],
    base: str | None,
    peers: Sequence[str],
    device: str,
    dtype: str,
    memory_policy: MemoryPolicy,
) -> list[Contestant]:
    """The trackers that are run, each with a name of its own."""
    query = TrackQuery(memory_policy=memory_policy)
    own = [
        Contestant(Path(one).name if Path(one).exists() else one, one, base, device, dtype, query)
        for one in adapters
        if one != "none"
    ]
    # Runs keep their adapters in folders of the same name.
    names = [one.name for one in own]
    own = [
        Contestant(one.reference, one.reference, base, device, dtype, query) if names.count(one.name) > 1 else one
        for one in own
    ]
    return [*own, *runs.peers(peers)]


class TrackerEvaluation:
    """Trackers on one data set.

    Args:
        out: folder that keeps what they give.
    """

    def __init__(self, source: Source, out: Path | None) -> None:
        self.source, self.out = source, out
        self.found = source.open()
        self.tracked: dict[str, list[Tracked]] = {}

    def run(self, entry: Contestant, *, workers: int, resume: bool, most_frames: int | None) -> None:
        """Run a tracker over every sequence."""
        results = runs.run(entry, self.source, self.out, workers=workers, resume=resume, most_frames=most_frames)
        by_name = {one.sequence: one for one in results}
        self.tracked[entry.name] = [by_name[sequence.name] for sequence in self.found.sequences]

    def read(self, folder: Path) -> None:
        """Take what another tracker gave."""
        self.tracked[folder.name] = runs.read_results(folder, self.found)

    def archive(self, form: str, rasterise: bool | None) -> list[Path]:
        """A zip of each tracker."""
        assert self.out is not None
        chosen = FORMS.get(self.found.benchmark, "pytracking") if form == "auto" else form
        return [
            write_archive(
                self.out / f"{slug(name)}.{chosen}.zip",
                chosen,  # type: ignore[arg-type]
                slug(name),
                self.found.benchmark,
                tracked,
                rasterise=rasterise,
            )
            for name, tracked in self.tracked.items()
        ]

    def scores(self, about: dict[str, Any]) -> Scores:
        """The figures; where only first boxes are public there are none but the archives."""
        if not any(sequence.track.annotated for sequence in self.found.sequences):
            said = f"{self.found.name}: only first boxes are public; upload the archive to the benchmark's server"
            if self.out is None or not list(self.out.glob("*.zip")):
                raise InputError(f"{said} (make it with --archive auto --out FOLDER)")
            return Scores({"sequences": len(self.found)}, about, title="Tracking: evaluation", message=said)
        scored = [score(name, self.found, tracked) for name, tracked in self.tracked.items()]
        table, attributes = tracker_rows(scored), attribute_rows(scored, self.found)
        drawn: dict[str, Drawn] = {
            **{title: partial(plots.draw_curves, scored, kind) for kind, (title, *_) in plots.KINDS.items()},
            "Figures": partial(plots.draw_table, table),
        }
        tables = {"trackers": table, "sequences": sequence_rows(scored)}
        if attributes:
            tables["attributes"] = attributes
            drawn["Attributes"] = partial(plots.draw_attributes, attributes)
        return Scores(
            {one.tracker: one.figures() | {"fps": one.fps} for one in scored},
            about | {"sequences": len(scored[0].curves), "benchmark": self.found.benchmark},
            title=f"Tracking: {self.found.name}",
            tables=tables,
            pictures=drawn,
            notices=self.found.notices,
            message=f"{self.found.name}: {len(scored[0].curves)} sequences\n{_aligned(table)}",
        )


def _aligned(table: Sequence[dict[str, Any]]) -> str:
    head = list(table[0])
    return aligned([head, *(["" if row[name] is None else str(row[name]) for name in head] for row in table)])
