"""The verb `evaluate`: recall in both directions of an adapter on pairs of videos and sentences."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

WAYS = ("text_to_video", "video_to_text")
WORST, PICTURED = 20, 6
"""Sentences whose videos were found last: on the page, and with pictures."""


def evaluate(
    data: str = "world:test",
    *,
    adapter: str = "tiny",
    base: str | None = None,
    videos: Path | None = None,
    format: str = "auto",
    frozen: bool = False,
    merging: bool = True,
    schedule: str | None = None,
    dsl: bool = False,
    ties: Literal["middle", "optimistic"] = "middle",
    fps: float | None = None,
    frames: int | None = None,
    interpolate: bool = False,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on pairs of videos and sentences.

    R@1, R@5, R@10, R@50, the sum of the first three (R-Sum), median and mean rank of text to video and of video to
    text; every query has one rank. On made clips also how many sentences are nearer to their clip than to the one in
    the other order of events.

    Args:
        data: `world:test[:COUNT]`, or `PATH[:SPLIT]` of a benchmark's annotations or of a table of one's own.
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is left out.
        videos: folder of the videos; beside the annotations where left out.
        format: msrvtt, msvd, activitynet, didemo, lsmdc, table, beside or auto.
        frozen: the base alone, frame by frame, to see what the adapter adds.
        merging: with --no-merging the same weights join clips and merge no token, to see what merging costs.
        schedule: of merging, other than the adapter was trained with: a preset, or settings as YAML, e.g.
            '{preset: vit-b-32, frame_pos: false}'; what merging costs that nothing was trained for.
        dsl: re-weigh similarities by all queries of the test at once, which no search can; the figures are then of
            another kind, and say so.
        ties: where a query stands among answers that score the same: in their middle, or before them all.
        fps: frames a second that are candidates; as in training where left out.
        frames: of a video; the adapter's where left out.
        interpolate: the adapter's temporal positions, if `frames` is another number than it was trained with.
        batch_size: videos side by side.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        out: folder for metrics.json, ranks.csv (of every sentence) and report.html with the worst of them.

    Raises:
        InputError: adapter or data cannot be read, or do not fit.
    """
    from domains.text_video_retrieval.data.sources import open_pairs
    from domains.text_video_retrieval.evaluation import failures
    from domains.text_video_retrieval.evaluation.scoring import score
    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.model.schedule import Schedule
    from suite.scores import Scores
    from suite.tables import records_csv

    pairs = open_pairs(data, videos=None if videos is None else str(videos), format=format, split="test")
    encoder = Encoder.from_pretrained(adapter, base, device, dtype, frames=frames, interpolate=interpolate)
    if frozen:
        encoder = encoder.bare(device, dtype)
    elif not merging:
        encoder = encoder.unmerged(device, dtype)
    elif schedule is not None:
        encoder = encoder.scheduled(Schedule.parsed(schedule), device, dtype)
    scored = score(encoder, pairs, batch_size=batch_size, fps=fps)
    metrics = scored.metrics(dsl=dsl, ties=ties)
    notices = list(pairs.notices)
    if scored.unread:
        name, why = next(iter(scored.unread.items()))
        notices.append(f"{len(scored.unread)} videos cannot be read, e.g. {name}: {why}")
    if encoder.stated.selected_on and encoder.stated.selected_on == data:
        notices.append(f"the adapter's weights were selected on {data}: its figures there are too good")
    if dsl:
        notices.append("with DSL: every query knew all others of the test")
    about = {
        "data": data,
        "adapter": "none" if frozen else adapter,
        "frames": encoder.frames,
        "tokens": encoder.tokens,
        "cost": str(encoder.cost),
    }
    lines = [f"{pairs.name}: {metrics['pairs']} sentences, {metrics['videos']} videos, {metrics['missing']} missing"]
    for way in WAYS:
        shown = "  ".join(f"{name} {value:.1f}" for name, value in metrics[way].items())
        lines.append(f"{way.replace('_', ' '):<14} {shown}")
    if "order_of_events" in metrics:
        lines.append(f"order of events told apart: {metrics['order_of_events']:.1f} %")
    lines.append(f"{encoder.cost}, {metrics['ms_a_video']:.1f} ms, {metrics['embeddings_mb']:.2f} MB of vectors")
    ranks = scored.ranks(ties)
    lost = [{"video": name, "why": "no file"} for name in pairs.missing]
    lost += [{"video": name, "why": why} for name, why in scored.unread.items()]
    tables = {"recall": [{"direction": way.replace("_", " "), **metrics[way]} for way in WAYS]}
    worst = sorted(ranks, key=lambda one: -one["rank"])[:WORST]
    scores = Scores(
        metrics,
        about,
        title="Retrieval of videos",
        tables={**tables, **({"missing": lost} if lost else {})},
        files={"ranks.csv": records_csv(ranks)},
        shown={"The last ranks": worst},
        pictures={"The worst": partial(failures.draw, pairs, encoder.frames, worst[:PICTURED])},
        notices=tuple(notices),
        message="\n".join(lines),
    )
    return scores.answer(out)
