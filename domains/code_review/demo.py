"""The demo of code review: changes of a made repository, some with a fault, through the shipped adapters."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

CHANGES, SEED = 6, 3


def demo(out: Path = Path("out/demo/code_review")) -> dict[str, Any]:
    """Review changes of a made repository that the shipped adapters have never seen, and draw what they say.

    Args:
        out: folder for the diff, the review in every format and the picture.
    """
    from domains.code_review.data.world import changes
    from domains.code_review.output import pictures
    from domains.code_review.predict.reviewers import CodeReviewer
    from suite.code.faults import fault_named
    from suite.files import write_text

    started, out = time.perf_counter(), Path(out)
    # One change a file: a diff names a file once.
    made = {change.path: change for change in islice(changes("test", SEED), 60)}
    chosen = list(made.values())[:CHANGES]
    diff = write_text(out / "change.diff", "".join(change.diff for change in chosen))
    [result] = CodeReviewer.from_pretrained("tiny").predict(diff)
    result.save(out)
    picture = pictures.drawn(result, out / "review.png")
    said = {finding.path: finding for finding in result.findings}
    rows = []
    right = 0
    for change in chosen:
        finding = said.get(change.path)
        comment = "" if finding is None else finding.comment or "This change needs a review."
        good = (finding is None) if not change.fault else fault_named(comment) == change.fault
        right += good
        told = {"file": change.path, "fault": change.fault or "none", "said": comment or "nothing"}
        rows.append(told | {"right": "yes" if good else "no"})
    mended = sum(finding.suggestion is not None for finding in result.findings)
    return {
        "title": "A review of changes, with patches",
        "summary": f"Of {len(chosen)} changes of a made, held-out repository, {sum(bool(one.fault) for one in chosen)} "
        f"with a fault, {right} were judged right: nothing said of a good one, the kind of fault named of another. "
        f"{mended} came with new code that applies.",
        "text": str(result),
        "tables": {"Changes": rows},
        "pictures": [picture],
        "captions": ["The changes, each comment below the line that it is on, and below it the code that it suggests"],
        "seconds": time.perf_counter() - started,
    }
