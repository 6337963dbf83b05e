"""What one diff gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.code_review.output import formats, page
from domains.code_review.types import Review, counted
from suite.files import write_text


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
        lines += [f"passed over: {path}: {why}" for path, why in self.passed_over.items()]
        told = {f"{path}: passed over: {why}" for path, why in self.passed_over.items()}
        lines += [f"notice: {line}" for line in self.notices if line not in told]
        files = sum(file.path not in self.passed_over for file in self.diff)
        if not self.diff.files:
            return "\n".join([*lines, f"{self.source}: no changes to review"])
        return "\n".join([*lines, f"{self.source}: {self.summary()} of {counted(files, 'file')}"])
