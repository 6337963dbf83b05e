"""The VOT toolkit: a tracker of ours as one of its trackers, for its experiments and stacks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.tracking.types import Box

SCRIPT = "suite_tracker"
"""The module that the toolkit imports; importing it tracks."""


def vot(
    *,
    adapter: str = "tiny",
    base: str | None = None,
    name: str = "SuiteTracker",
    device: str = "auto",
    out: Path = Path("vot"),
) -> dict[str, Any]:
    """Write what the VOT toolkit needs to run a tracker: `trackers.ini` and the script that it names.

    In the folder: `vot initialize vots2023`, then `vot evaluate NAME`. Several objects of a sequence go through the
    model together; boxes are given and reported, no masks.

    Args:
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        name: of the tracker in the toolkit; letters, digits and _.
        device: auto, cpu, cuda or cuda:N.
        out: folder for both files, a workspace of the toolkit.

    Raises:
        InputError: the name cannot be one of the toolkit's, or the adapter cannot be found.
    """
    from suite import hub
    from suite.errors import InputError
    from suite.files import write_text

    if not name.isidentifier() or not name.isascii():
        raise InputError(f"name is {name!r}; give letters, digits and _, e.g. SuiteTracker")
    hub.resolve(adapter, "tracking", kind="adapter")
    out = Path(out)
    settings = f"[{name}]\nlabel = {name}\nprotocol = traxpython\ncommand = {SCRIPT}\npaths = .\n"
    call = f"serve({adapter!r}, {base!r}, {device!r})"
    head = '"""Imported by the VOT toolkit; tracks one sequence."""\n\n'
    script = f"{head}from domains.tracking.evaluation.vot import serve\n\n{call}\n"
    files = [write_text(out / "trackers.ini", settings), write_text(out / f"{SCRIPT}.py", script)]
    steps = f"in {out}: pip install vot-toolkit, vot initialize vots2023, vot evaluate {name}"
    return {"files": [str(file) for file in files], "message": "\n".join([*map(str, files), f"next     {steps}"])}


def serve(adapter: str, base: str | None = None, device: str = "auto", vot: Any = None) -> int:
    """Answer the toolkit, frame by frame, until it has no more; return how many frames were tracked.

    Args:
        vot: the toolkit's own module; imported where left out.

    Raises:
        InputError: the toolkit is not there, or the adapter cannot be loaded.
    """
    from domains.tracking.data.pictures import read_picture
    from domains.tracking.predict import Tracker
    from suite.errors import InputError

    if vot is None:
        try:
            vot = import_module("vot")
        except ImportError as error:
            raise InputError("the VOT toolkit is not installed; pip install vot-toolkit") from error
    session = Tracker.from_pretrained(adapter, base=base, device=device).loaded.session()
    handle = vot.VOT("rectangle", multiobject=True)
    names = []
    first = read_picture(Path(_colour(handle.frame())))
    for number, region in enumerate(handle.objects(), 1):
        names.append(str(number))
        session.add(names[-1], first, (region.x, region.y, region.width, region.height))
    frames = 0
    while image := handle.frame():
        found = session.track(read_picture(Path(_colour(image))))
        handle.report([_region(vot, found[name].box) for name in names])
        frames += 1
    return frames


def _colour(image: str | Sequence[str]) -> str:
    """The file of the colour channel; the toolkit gives a list where there are others."""
    return image if isinstance(image, str) else image[0]


def _region(vot: Any, box: Box | None) -> Any:
    x, y, width, height = box or (0.0, 0.0, 0.0, 0.0)
    return vot.Rectangle(x, y, width, height)
