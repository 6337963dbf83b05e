"""The verb `search`: the seconds of indexed videos that sentences, pictures or other videos are nearest to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from domains.text_video_retrieval.inference.asking import Asked, combined
from domains.text_video_retrieval.inference.indexing import STORE
from suite.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from domains.text_video_retrieval.inference.finding import By, Filter, Per
    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.inference.nearest import Kind, Nearest
    from domains.text_video_retrieval.inference.store import Store
    from domains.text_video_retrieval.output.page import Hit

_OUT = Path("search")


def search(
    query: tuple[str, ...] = (),
    *,
    store: Path = STORE,
    image: tuple[Path, ...] = (),
    video: tuple[Path, ...] = (),
    without: tuple[str, ...] = (),
    weight: tuple[float, ...] = (),
    top: int = 10,
    by: Literal["best", "top3"] = "best",
    per: Literal["video", "segment"] = "video",
    threshold: float | None = None,
    path: str | None = None,
    longer: float | None = None,
    shorter: float | None = None,
    after: str | None = None,
    before: str | None = None,
    nearest: Literal["auto", "exact", "cells"] = "auto",
    root: Path | None = None,
    adapter: str | None = None,
    base: str | None = None,
    device: str = "auto",
    out: Path | None = _OUT,
    contact_sheet: bool = False,
    clips: bool = False,
    interactive: bool = False,
) -> dict[str, Any]:
    """Search an index.

    Scores are cosines, typically 0.15 to 0.35: they order what is found, and are no probabilities.

    Args:
        query: sentences; several are sought together.
        store: folder of the index.
        image: pictures to search with, beside sentences or alone.
        video: videos to find more like, likewise.
        without: sentences that what is found should be far from.
        weight: of each sentence, then of each picture and video; 1 where left out.
        top: videos (or segments) that are shown.
        by: what a video scores: its best segment, or the mean of its best three.
        per: list videos, each with its best second, or all segments; one that overlaps a nearer one is merged into it.
        threshold: cosine below which nothing is shown.
        path: only videos whose path fits this pattern, e.g. '2024/*.mp4'.
        longer: only videos of at least so many seconds.
        shorter: only videos of at most so many seconds.
        after: only videos written from this date on, e.g. 2024-05-31.
        before: only videos written before this date.
        nearest: exact, or cells (approximate, for very many segments; says its measured recall).
        root: where the videos lie now, if they were moved.
        adapter: reference of the adapter; the one that made the index where it is left out.
        base: reference of the base, likewise.
        device: auto, cpu, cuda or cuda:N.
        out: folder of the result page and its pictures; --interactive writes none.
        contact_sheet: also draw all hits in one picture, contact_sheet.png.
        clips: also cut the seconds around each hit into a video of their own, without its sound.
        interactive: read sentences from standard input, one a line, and answer each; the model is loaded once.

    Raises:
        InputError: there is nothing to search for or in, or the index is of another model.
    """
    from domains.text_video_retrieval.inference.finding import Filter

    if top < 1:
        raise InputError(f"top is {top}; give at least 1")
    only = Filter(path, longer, shorter, after, before, threshold)
    extras = [name for name, wanted in (("contact sheet", contact_sheet), ("clips", clips)) if wanted]
    if extras and out is None:
        raise InputError(f"{' and '.join(extras)} need --out FOLDER")
    if interactive:
        given = {"sentences": query, "--image": image, "--video": video, "--weight": weight, "--clips": clips}
        given |= {"--contact-sheet": contact_sheet, "--out": out not in (None, _OUT)}
        if unused := [name for name, value in given.items() if value]:
            raise InputError(
                f"--interactive reads sentences from standard input and writes no page; leave out {', '.join(unused)}"
            )
    asked = None if interactive else Asked(query, image, video, without, weight)
    with VideoSearcher.open(store, adapter=adapter, base=base, device=device, nearest=nearest, root=root) as searcher:
        options: dict[str, Any] = {"top": top, "by": by, "per": per, "only": only}
        if asked is None:
            found = [_answer(searcher, Asked((line,), without=without), None, (), options) for line in _lines()]
            return {"message": f"{len(found)} searches", "searches": found}
        return _answer(searcher, asked, out, extras, options)


def _answer(
    searcher: VideoSearcher, asked: Asked, out: Path | None, extras: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    """Search once, write what was asked for, and say it."""
    from domains.text_video_retrieval.inference.loaded import said
    from domains.text_video_retrieval.output import page, sheet

    vector, notices = combined(searcher.encoder, asked)
    said(notices)
    hits = searcher.nearest_to(vector, **options)
    files: list[Path] = []
    if out is not None:
        files += page.write(out, str(asked), hits, notices)
        if "contact sheet" in extras and hits:
            files.append(sheet.contact_sheet(out / "contact_sheet.png", hits))
        if "clips" in extras:
            files += sheet.clips(out / "clips", hits)
    lines = [str(hit) for hit in hits] or ["nothing is found"]
    lines.append("scores are cosines: they order what is found, and are no probabilities")
    if searcher.recall < 1 or searcher.kind == "cells":
        lines.append(f"searched by cells, which find {searcher.recall:.1%} of the exact first ten (--nearest exact)")
    lines += map(str, files)
    if out is None:
        print("\n".join(lines), file=sys.stderr, flush=True)
    return {
        "message": "\n".join(lines),
        "query": str(asked),
        "hits": [hit.to_dict() for hit in hits],
        "files": [str(file) for file in files],
        "recall_at_10": searcher.recall,
    }


def _lines() -> Iterator[str]:
    """Sentences from standard input, up to its end; empty lines are passed by."""
    if sys.stdin.isatty():
        print("a sentence a line; end with Ctrl-D", file=sys.stderr, flush=True)
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


class VideoSearcher:
    """An index held open with the model that made it: any number of searches load both once.

    with VideoSearcher.open("video_index") as searcher:
        for hit in searcher.search("a dog runs", without=["snow"], top=5):
            print(hit.path, hit.start, hit.end, hit.score)
    """

    def __init__(self, store: Store, encoder: Encoder, *, nearest: Kind = "auto", root: Path | None = None) -> None:
        from domains.text_video_retrieval.inference.nearest import Nearest

        self.store, self.encoder, self.root = store, encoder, root
        self._nearest: Kind | Nearest = Nearest.of(store, nearest) if len(store.live()) else nearest

    @classmethod
    def open(
        cls,
        store: str | Path = STORE,
        *,
        adapter: str | None = None,
        base: str | None = None,
        device: str = "auto",
        nearest: Kind = "auto",
        root: Path | None = None,
    ) -> Self:
        """Open an index; what is left out is what made it.

        Args:
            store: its folder. nearest: exact, or cells for very many segments.
            adapter, base: references. root: where the videos lie now, if they were moved.

        Raises:
            InputError: there is no such index, it is broken, or it is of another model.
        """
        from domains.text_video_retrieval.inference.store import Store

        opened = Store.open(Path(store))
        try:
            # Only now: an index that is not there is refused at once, not after torch is imported.
            from domains.text_video_retrieval.inference.loaded import Encoder

            model = opened.about["model"]
            encoder = Encoder.from_pretrained(
                adapter or model["adapter"],
                base or model["base"],
                device,
                frames=opened.per_row,
                interpolate=True,  # whoever made the index was asked
            )
            opened.check_model(encoder.identity)
            return cls(opened, encoder, nearest=nearest, root=root)
        except BaseException:
            opened.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    @property
    def kind(self) -> str:
        """`exact` or `cells`."""
        return self._nearest if isinstance(self._nearest, str) else self._nearest.kind

    @property
    def recall(self) -> float:
        """Share of the exact first ten that are found; 1 of exact search."""
        return 1.0 if isinstance(self._nearest, str) else self._nearest.recall

    def search(
        self,
        *query: str,
        image: Sequence[str | Path] = (),
        video: Sequence[str | Path] = (),
        without: Sequence[str] = (),
        weight: Sequence[float] = (),
        top: int = 10,
        by: By = "best",
        per: Per = "video",
        only: Filter | None = None,
    ) -> list[Hit]:
        """The nearest videos or segments, the nearest first; arguments as those of `suite text_video_retrieval search`.

        Raises:
            InputError: nothing is sought, a file cannot be read, or weights are of another number.
        """
        if top < 1:
            raise InputError(f"top is {top}; give at least 1")
        for name, given in (("image", image), ("video", video), ("without", without)):
            if isinstance(given, str | Path):
                raise InputError(f"{name} is one {type(given).__name__}; give a list")
        asked = Asked(query, [*map(Path, image)], [*map(Path, video)], without, weight)
        vector, _ = combined(self.encoder, asked)
        return self.nearest_to(vector, top, by=by, per=per, only=only)

    def nearest_to(
        self,
        vector: NDArray[np.float32],
        top: int = 10,
        *,
        by: By = "best",
        per: Per = "video",
        only: Filter | None = None,
    ) -> list[Hit]:
        """As `search`, for a vector (dim,) of length 1."""
        from domains.text_video_retrieval.inference.finding import ALL, find

        return find(self.store, vector, top, by=by, per=per, nearest=self._nearest, root=self.root, only=only or ALL)
