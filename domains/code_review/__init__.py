"""Code review (LLaMA-Reviewer): a diff in, comments at its lines, patches and SARIF out."""

from __future__ import annotations

from suite.domain import Domain, on_use

DOMAIN = Domain(
    name="code_review",
    title="diffs to comments at their lines, patches and SARIF (LLaMA-Reviewer's files and figures; reviews by rules)",
    extra="code_review",
    tasks={},
    verbs={
        "review": "domains.code_review.predict:review",
        "demo": "domains.code_review.demo:demo",
    },
)

_PUBLIC = {
    "RuleReviewer": "predict",
    "ReviewQuery": "predict",
    "ReviewResult": "output.result",
    "parse_diff": "data.readers.diff",
    "Diff": "types",
    "FilePatch": "types",
    "Hunk": "types",
    "Finding": "types",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
