"""What one diff gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.code_review.output import formats, page
from domains.code_review.types import Review, printable
from suite.files import write_text
from suite.tables import counted

MOST_NAMED = 5
"""Files passed over for one reason that are named one by one."""


@dataclass(frozen=True)
class ReviewResult(Review):
    """A review as it is shown and saved."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the diff itself, ready for `json.dumps`."""
        return formats.record(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Write it as JSON, SARIF, one patch of all suggestions and a page; return the files."""
        folder = Path(folder)
        written = [
            write_text(folder / f"{self.name}.json", formats.as_json(self)),
            write_text(folder / f"{self.name}.sarif", formats.as_sarif(self)),
        ]
        if patch := formats.as_patch(self):
            file = folder / f"{self.name}.patch"
            file.write_bytes(patch.encode("utf-8", "surrogateescape"))
            written.append(file)
        written.append(write_text(folder / f"{self.name}.html", page.render(self)))
        return written

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        lines += [f"passed over: {line}" for line in self._passed_over()]
        told = {f"{path}: passed over: {why}" for path, why in self.passed_over.items()}
        lines += [f"notice: {line}" for line in self.notices if line not in told]
        if self.dropped:
            lines.append("left out: " + ", ".join(f"{number} {why}" for why, number in self.dropped.items()))
        files = sum(file.path not in self.passed_over for file in self.diff)
        if not self.diff.files:
            return "\n".join([*lines, f"{self.source}: no changes to review"])
        return "\n".join([*lines, f"{self.source}: {self.summary()} of {counted(files, 'file')}"])

    def _passed_over(self) -> Iterator[str]:
        """Files that were not looked at, with the reason; those of one reason together where they are many."""
        by_reason: dict[str, list[str]] = {}
        for path, why in self.passed_over.items():
            by_reason.setdefault(why, []).append(printable(path))
        for why, paths in by_reason.items():
            if len(paths) > MOST_NAMED:
                yield f"{len(paths)} files, e.g. {paths[0]}: {why}"
            else:
                yield from (f"{path}: {why}" for path in paths)
