"""The demo of unit tests: made tests, good and bad, through the funnel of the sandbox."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

FUNCTIONS = 3


def demo(out: Path = Path("out/demo/unit_tests")) -> dict[str, Any]:
    """Judge made tests of a made module, most of them good and some bad in every way, and draw what became of them.

    Args:
        out: folder for the module, the tests that are kept, the reports and the picture.
    """
    from domains.unit_tests.inference.judge import Rules
    from domains.unit_tests.inference.sandbox import MEGABYTE, Limits, probe
    from domains.unit_tests.output.pictures import funnel
    from domains.unit_tests.predict import judge_file
    from suite.files import write_text

    started = time.perf_counter()
    title = "Which tests are worth keeping"
    isolation = probe()
    if not isolation.namespaces:
        said = f"This machine cannot isolate generated tests ({isolation.reason}), so none was run."
        return {"title": title, "summary": said, "text": said, "pictures": [], "seconds": 0.0}
    project = out / "project"
    module, tests = _made()
    file = write_text(project / "shop.py", module)
    given = write_text(out / "made_tests.py", tests)
    rules = Rules(repeat=2, limits=Limits(seconds=8, processor=2, memory=512 * MEGABYTE))
    result = judge_file(file, given, project, rules=rules, mutants=12)
    result.save(out)
    judged = result.judged
    assert judged is not None
    picture = funnel(judged, out / "funnel.png")
    dropped = [
        {"test": verdict.candidate.name, "dropped as": verdict.reason} for verdict in judged.verdicts if verdict.reason
    ]
    score = judged.mutation_score or 0.0
    return {
        "title": title,
        "summary": f"Of {len(judged.verdicts)} tests of a made module {len(judged.kept)} were kept; they run "
        f"{judged.after.line_share:.0%} of its lines and notice {score:.0%} of {len(judged.mutants or ())} small "
        "changes. Each other one was dropped in a sandbox, with its reason.",
        "text": str(result),
        "tables": {"Tests that were dropped": dropped},
        "pictures": [picture],
        "captions": ["From the tests that were given to those that are kept"],
        "seconds": time.perf_counter() - started,
    }


def _made() -> tuple[str, str]:
    """A module of a few functions, and tests of it."""
    from itertools import islice

    from suite.code import world

    made: list[world.Function] = []
    kinds = set[str]()
    for function in islice(world.functions(0, "held out"), 100):
        if function.kind not in kinds and len(made) < FUNCTIONS:
            made.append(function)
            kinds.add(function.kind)
    first = made[0]
    call = f"{first.name}({first.calls[0]})"
    bad = {
        "wrong": f"    assert {call} == 'something else'\n",
        "silent": f"    {call}\n",
        "certain": f"    {call}\n    assert 1 == 1\n",
        "endless": f"    while {call} is not NotImplemented:\n        pass\n    assert {call}\n",
        "online": f"    socket.create_connection(('192.0.2.1', 80), 2)\n    assert {call} != 1\n",
        "destructive": f"    os.remove('shop.py')\n    assert {call} != 1\n",
        "leaving": f"    assert {call} != 1\n    os._exit(0)\n",
        "hasty": f"    assert {call} != 1 and time.time() < {time.time() + 3600:.0f}\n",
    }
    tests = [test for function in made for test in function.tests()]
    tests += [f"def test_{name}():\n{body}" for name, body in bad.items()]
    names = ", ".join(sorted(function.name for function in made))
    head = f"import os\nimport socket\nimport time\n\nfrom shop import {names}\n"
    return "\n\n".join(function.source for function in made), "\n\n".join([head, *tests])
