"""The verb `experts`: which expert of each layer looks at what, as maps over a search crop and as figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.domain import Whole

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from domains.tracking.output.panels import View

FIRST = 4
"""The first frame whose templates are different ones."""

REGIONS = ("state", "template object", "template ground", "search object", "search edge", "search ground")


def experts(
    source: str,
    *,
    box: tuple[Whole, ...] = (),
    first_boxes: Path | None = None,
    sequence: str | None = None,
    frame: int = 20,
    layers: str = "fc1",
    adapter: str = "tiny",
    base: str | None = None,
    device: str = "auto",
    out: Path = Path("out/experts"),
) -> dict[str, Any]:
    """Follow an object to a frame, and show how the routers of TMoE spread that frame's tokens over their experts.

    A row of the picture is a layer, a column an expert: bright where its gate is large in the search crop. The table
    says each expert's mean gate over the state token, object and ground of the templates, and object, edge and ground
    of the search crop.

    Args:
        source: a video, a folder of frames, or a data set with --sequence.
        box: the object's first box, x,y,w,h; that of the ground truth where there is one.
        first_boxes: a file with it instead.
        sequence: of a data set's folder, the sequence of this name.
        frame: that is looked at.
        layers: part of the names of the layers that are drawn, e.g. fc1, proj, qkv.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        device: auto, cpu, cuda or cuda:N.
        out: folder for experts.png and experts.csv.

    Raises:
        InputError: the video cannot be read or ends before, or the adapter has no experts.
    """
    from domains.tracking.inference.footage import open_footage
    from domains.tracking.inference.loaded import LoadedTracker
    from domains.tracking.inference.running import VideoRun
    from domains.tracking.types import TrackQuery
    from suite.adapters.methods.additive.tmoe import recorded_gates
    from suite.errors import InputError
    from suite.files import write_text
    from suite.media import sheets
    from suite.tables import records_csv

    if frame < FIRST:
        raise InputError(f"frame is {frame}; give {FIRST} or more, so that all templates are there")
    tracker = LoadedTracker.from_pretrained(adapter, base=base, device=device)
    query = TrackQuery(box=box, first_boxes=first_boxes, sequence=sequence, panels=True, max_frames=frame + 1)
    run = VideoRun(open_footage(source, sequence=sequence), tracker.session(query), query)
    gates: dict[str, Tensor] = {}
    steps = run.steps()
    while run.speed.frames < frame and next(steps, None) is not None:
        pass
    with recorded_gates(tracker.model) as found:
        if next(steps, None) is None or not run.views():
            raise InputError(f"{source}: ends before frame {frame}; give an earlier one with --frame")
        gates = {name: recorded[-1] for name, recorded in found.items()}
    view = next(iter(run.views().values()))
    chosen = {name: own for name, own in gates.items() if layers in name}
    if not gates:
        raise InputError(f"{adapter}: has no TMoE, and so no experts; give an adapter of the preset spmtrack")
    if not chosen:
        raise InputError(f"no layer has {layers!r} in its name; there is {', '.join(list(gates)[:6])}")
    rows = [row for name, own in gates.items() for row in _rows(name, own, view)]
    picture = sheets.save_png(_picture(chosen, view), Path(out) / "experts.png")
    table = write_text(Path(out) / "experts.csv", records_csv(rows))
    said = _summary(rows)
    return {
        "experts": rows,
        "pictures": [str(picture)],
        "files": [str(picture), str(table)],
        "message": "\n".join([said, str(picture), str(table)]),
    }


def _regions(view: View) -> np.ndarray:
    """(tokens,), the place in `REGIONS` of each token: state, templates, search."""
    import numpy as np

    from domains.tracking.data.crops import outward

    grid = len(view.scores)
    cell = len(view.search) / grid
    left, top, right, bottom = np.clip(outward(np.array(view.box) / cell), 0, grid)
    search = np.full((grid, grid), 5)
    search[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = 4
    search[top:bottom, left:right] = 3
    templates = [np.where(mask > 0, 1, 2).ravel() for _, mask in view.templates]
    return np.concatenate([[0], *templates, search.ravel()])


def _rows(name: str, gates: Tensor, view: View) -> list[dict[str, Any]]:
    """Of one layer a row for each part and expert."""
    import numpy as np

    tokens = gates.flatten(0, -3).cpu().numpy()  # (tokens, P, E)
    regions = _regions(view)[-len(tokens) :]  # without a state token the first is a template's
    rows = []
    for part in range(tokens.shape[1]):
        for expert in range(tokens.shape[2]):
            own = tokens[:, part, expert]
            row: dict[str, Any] = {"layer": name, "part": part, "expert": expert}
            for place, region in enumerate(REGIONS):
                inside = regions == place
                row[region] = round(float(own[inside].mean()), 4) if inside.any() else None
            entropy = -(tokens[:, part] * np.log(np.maximum(tokens[:, part], 1e-12))).sum(-1).mean()
            rows.append(row | {"all": round(float(own.mean()), 4), "entropy": round(float(entropy), 4)})
    return rows


def _picture(gates: dict[str, Tensor], view: View) -> Any:
    """A row for each layer, or for each part of one, a column for each expert, over the search crop."""
    import numpy as np
    from PIL import Image, ImageDraw

    from domains.tracking.output.panels import heated
    from suite.media import sheets

    grid = len(view.scores)
    rows, names = [], []
    for name, own in gates.items():
        tokens = own.flatten(0, -3)[-(grid * grid) :].cpu().numpy()  # (S², P, E)
        for part in range(tokens.shape[1]):
            maps = tokens[:, part].T.reshape(-1, grid, grid)
            # Of all experts of a row together, so that they can be compared.
            low, high = float(maps.min()), float(maps.max())
            cells = []
            for one in maps:
                shown = Image.fromarray(heated(view.search, (one - low) / max(high - low, 1e-6), share=0.65))
                box = tuple(np.clip(view.box, 0, len(view.search) - 1))
                if box[2] > box[0] and box[3] > box[1]:
                    ImageDraw.Draw(shown).rectangle(box, outline=(255, 255, 255))
                cells.append(shown)
            rows.append(cells)
            names.append(name if tokens.shape[1] == 1 else f"{name} {part + 1}")
    count = len(rows[0])
    return sheets.grid(rows, names=names, columns=[f"expert {n + 1}" for n in range(count)], side=150, text=13)


def _summary(rows: list[dict[str, Any]]) -> str:
    """The expert that the object's tokens choose most beyond the ground's."""
    known = [row for row in rows if row["search object"] is not None and row["search ground"] is not None]
    if not known:
        return "the object is not in the search crop"
    best = max(known, key=lambda row: row["search object"] - row["search ground"])
    return (
        f"{best['layer']}: expert {best['expert'] + 1} has a gate of {best['search object']:.2f} on the object and of "
        f"{best['search ground']:.2f} on the ground of the search crop, the widest gap of {len(known)}"
    )
