"""The verb `search`: the seconds of indexed videos that a sentence, several of them, or a picture is nearest to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from suite.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.inference.nearest import Kind, Nearest
    from domains.text_video_retrieval.inference.store import Store
    from domains.text_video_retrieval.output.page import Hit

from domains.text_video_retrieval.inference.indexing import STORE

By = Literal["best", "top3"]
Per = Literal["video", "segment"]
SNIPPET = 3.0
"""Seconds before and after the nearest frame that are shown."""
ROWS_A_VIDEO = 8
"""Rows that are fetched for each video that is wanted, since several may be of one."""
SCALE = 100.0
"""Of the softmax over what is found, CLIP's own."""


def search(
    query: tuple[str, ...] = (),
    *,
    store: Path = STORE,
    image: tuple[Path, ...] = (),
    without: tuple[str, ...] = (),
    weight: tuple[float, ...] = (),
    top: int = 10,
    by: By = "best",
    per: Per = "video",
    nearest: Literal["auto", "exact", "cells"] = "auto",
    root: Path | None = None,
    adapter: str | None = None,
    base: str | None = None,
    device: str = "auto",
    out: Path | None = Path("search"),
) -> dict[str, Any]:
    """Search an index.

    Scores are cosines, typically 0.15 to 0.35: they order what is found, and are no probabilities.

    Args:
        query: sentences; several are sought together.
        store: folder of the index.
        image: pictures to search with, beside sentences or alone.
        without: sentences that what is found should be far from.
        weight: of each sentence, then of each picture; 1 where left out.
        top: videos (or segments) that are shown.
        by: what a video scores: its best segment, or the mean of its best three.
        per: list videos, each with its best second, or all segments.
        nearest: exact, or cells (approximate, for very many segments; says its measured recall).
        root: where the videos lie now, if they were moved.
        adapter: reference of the adapter; the one that made the index where it is left out.
        base: reference of the base, likewise.
        device: auto, cpu, cuda or cuda:N.
        out: folder of the result page and its pictures.

    Raises:
        InputError: there is nothing to search for or in, or the index is of another model.
    """
    from domains.text_video_retrieval.inference.loaded import said
    from domains.text_video_retrieval.output import page

    if top < 1:
        raise InputError(f"top is {top}; give at least 1")
    with VideoSearcher.open(store, adapter=adapter, base=base, device=device, nearest=nearest, root=root) as searcher:
        vector, notices = combined(searcher.encoder, query, image, without, weight)
        said(notices)
        hits = searcher.nearest_to(vector, top, by=by, per=per)
        asked = page.asked(query, image, without)
        files = [] if out is None else [str(path) for path in page.write(out, asked, hits, notices)]
    lines = [str(hit) for hit in hits] or ["nothing is indexed"]
    lines += ["scores are cosines: they order what is found, and are no probabilities", *files]
    return {"message": "\n".join(lines), "query": asked, "hits": [hit.to_dict() for hit in hits], "files": files}


def combined(
    encoder: Encoder, query: Sequence[str], image: Sequence[Path], without: Sequence[str], weight: Sequence[float]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """One vector (dim,) of length 1 for all that is sought, less what is not.

    Raises:
        InputError: nothing is sought, a picture cannot be read, or weights are of another number.
    """
    import numpy as np

    if not query and not image:
        raise InputError("query is empty; write what is to be seen, e.g. 'a dog runs', or give --image FILE")
    if weight and len(weight) != len(query) + len(image):
        raise InputError(
            f"{len(weight)} weights for {len(query) + len(image)} sentences and pictures; give one for each"
        )
    notices: tuple[str, ...] = ()
    parts = []
    if query:
        vectors, notices = encoder.texts(query)
        parts += list(vectors)
    parts += [encoder.image(_picture(path)) for path in image]
    shares = list(weight) or [1.0] * len(parts)
    total = sum(share * part for share, part in zip(shares, parts, strict=True))
    if without:
        away, more = encoder.texts(without)
        total = total - away.mean(0)
        notices += more
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise InputError("the query takes away what it asks for; change --without or --weight")
    return (total / length).astype(np.float32), notices


class VideoSearcher:
    """An index held open with the model that made it: any number of searches load both once.

    with VideoSearcher.open("video_index") as searcher:
        for hit in searcher.search("a dog runs", without=["snow"], top=5):
            print(hit.path, hit.start, hit.end, hit.score)
    """

    def __init__(self, store: Store, encoder: Encoder, *, nearest: Kind = "auto", root: Path | None = None) -> None:
        from domains.text_video_retrieval.inference.nearest import Nearest

        self.store, self.encoder, self.root = store, encoder, root
        rows = store.live()
        self._nearest: Kind | Nearest = Nearest.over(store.vectors()[rows], rows, nearest) if len(rows) else nearest

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
        from domains.text_video_retrieval.inference.loaded import Encoder
        from domains.text_video_retrieval.inference.store import Store

        opened = Store.open(Path(store))
        try:
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

    def search(
        self,
        *query: str,
        image: Sequence[str | Path] = (),
        without: Sequence[str] = (),
        weight: Sequence[float] = (),
        top: int = 10,
        by: By = "best",
        per: Per = "video",
    ) -> list[Hit]:
        """The nearest videos or segments, the nearest first; arguments as those of `suite text_video_retrieval search`.

        Raises:
            InputError: nothing is sought, a picture cannot be read, or weights are of another number.
        """
        if top < 1:
            raise InputError(f"top is {top}; give at least 1")
        for name, given in (("image", image), ("without", without)):
            if isinstance(given, str | Path):
                raise InputError(f"{name} is one {type(given).__name__}; give a list")
        vector, _ = combined(self.encoder, query, [Path(path) for path in image], without, weight)
        return self.nearest_to(vector, top, by=by, per=per)

    def nearest_to(
        self, vector: NDArray[np.float32], top: int = 10, *, by: By = "best", per: Per = "video"
    ) -> list[Hit]:
        """As `search`, for a vector (dim,) of length 1."""
        return find(self.store, vector, top, by=by, per=per, nearest=self._nearest, root=self.root)


def find(
    store: Store,
    vector: NDArray[np.float32],
    top: int = 10,
    *,
    by: By = "best",
    per: Per = "video",
    nearest: Kind | Nearest = "auto",
    root: Path | None = None,
) -> list[Hit]:
    """The nearest videos or segments, the nearest first; `nearest` is how to look, or what was built for it."""
    import numpy as np

    from domains.text_video_retrieval.inference.nearest import Nearest

    rows = store.live()
    if not len(rows):
        return []
    built = nearest if isinstance(nearest, Nearest) else Nearest.over(store.vectors()[rows], rows, nearest)
    count = top * ROWS_A_VIDEO if per == "video" else top
    while True:
        scores, places = built.search(vector[None], count)
        found = {int(row): float(score) for row, score in zip(places[0], scores[0], strict=True) if row >= 0}
        segments = store.segments(list(found))
        videos = {segments[row].video for row in found}
        if per == "segment" or len(videos) >= top or count >= len(rows):
            break
        count *= 4
    ranked = _ranked(found, segments, by) if per == "video" else [(row, score, [row]) for row, score in found.items()]
    shares = np.exp(SCALE * (np.array([score for _, score, _ in ranked]) - ranked[0][1]))
    shares /= shares.sum()
    names = {video.id: video for video in store.videos().values()}
    return [
        _hit(store, segments[row], names[segments[row].video], score, float(share), vector, root)
        for (row, score, _), share in list(zip(ranked, shares, strict=True))[:top]
    ]


def _ranked(found: dict[int, float], segments: dict[int, Any], by: str) -> list[tuple[int, float, list[int]]]:
    """For each video its best row, its score and its rows, the best video first."""
    own: dict[int, list[int]] = {}
    for row in found:  # in falling order of score
        own.setdefault(segments[row].video, []).append(row)
    scored = []
    for rows in own.values():
        best = [found[row] for row in rows[:3]] if by == "top3" else [found[rows[0]]]
        scored.append((rows[0], sum(best) / len(best), rows))
    return sorted(scored, key=lambda each: -each[1])


def _hit(store: Store, segment: Any, video: Any, score: float, share: float, vector: Any, root: Path | None) -> Hit:
    from domains.text_video_retrieval.inference.indexing import file_of
    from domains.text_video_retrieval.output.page import Hit

    frames = store.frames()[segment.row].astype("float32")
    moment = segment.times[int((frames @ vector).argmax())]
    begin = max(segment.start, moment - SNIPPET)
    return Hit(
        path=video.path,
        file=file_of(store, video.path, root),
        score=score,
        share=share,
        start=segment.start,
        end=segment.end,
        moment=moment,
        snippet=(begin, min(segment.end, moment + SNIPPET)),
        thumbnail=store.thumbnail(segment.row),
        row=segment.row,
        status=video.status,
    )


def _picture(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: no picture that can be read ({error})") from None
