"""The demo of unit tests: what the shipped adapter writes for a made module, through the funnel of the sandbox."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

FUNCTIONS = 4


def demo(out: Path = Path("out/demo/unit_tests")) -> dict[str, Any]:
    """Write tests for functions that the shipped adapter has never seen, run them, and draw what became of them.

    Args:
        out: folder for the module, the tests that are kept, the reports and the picture.
    """
    from domains.unit_tests.inference.sandbox import probe
    from domains.unit_tests.output.pictures import funnel
    from domains.unit_tests.predict import TestWriter
    from suite.files import write_text

    started = time.perf_counter()
    title = "Tests that were run before anybody reads them"
    isolation = probe()
    if not isolation.namespaces:
        said = f"This machine cannot isolate generated tests ({isolation.reason}), so none was run."
        return {"title": title, "summary": said, "text": said, "pictures": [], "seconds": 0.0}
    project = out / "project"
    file = write_text(project / "shop.py", _made())
    (out / "test_shop.py").unlink(missing_ok=True)  # an earlier demo's is of another module
    writer = TestWriter.from_pretrained("tiny")
    [result] = writer.predict(
        file, project=project, samples=1, max_tests=5, temperature=0.0, repeat=2, mutants=8, timeout=60.0, out=out
    )
    judged = result.judged
    assert judged is not None, result.error
    picture = funnel(judged, out / "funnel.png")
    dropped = [
        {"test": verdict.candidate.name, "dropped as": verdict.reason, "said": verdict.said[:120]}
        for verdict in judged.verdicts
        if verdict.reason
    ]
    kept = [{"test": verdict.candidate.name, "code": verdict.candidate.code} for verdict in judged.kept]
    score = judged.mutation_score or 0.0
    return {
        "title": title,
        "summary": f"For {FUNCTIONS} functions of kinds that its base has never seen, the shipped adapter wrote "
        f"{len(judged.verdicts)} tests. {len(judged.kept)} were kept: they pass every time, run "
        f"{judged.after.line_share:.0%} of the lines and notice {score:.0%} of {len(judged.mutants or ())} small "
        "changes of the code. Each other one was dropped with its reason.",
        "text": str(result),
        "tables": {"Tests that were kept": kept, "Tests that were dropped": dropped},
        "pictures": [picture],
        "captions": ["From the tests that were written to those that are kept"],
        "seconds": time.perf_counter() - started,
    }


def _made() -> str:
    """A module of functions of different kinds, all held out."""
    from domains.unit_tests.data.sources import made_repositories

    found: dict[str, str] = {}
    repositories, _ = made_repositories("world:test", seed=1)
    for repository in repositories:
        for module in repository.modules:
            for function in module.functions:
                if len(found) < FUNCTIONS:
                    found.setdefault(function.kind, function.source)
        if len(found) == FUNCTIONS:
            break
    return "\n\n".join(found.values())
