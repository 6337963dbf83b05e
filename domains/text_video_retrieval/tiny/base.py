"""The base of the embedded default: pre-trained, saved, described."""

from __future__ import annotations

from pathlib import Path

from domains.text_video_retrieval.tiny import networks, pretraining
from suite.training import embedded
from suite.training.plain import Schedule


def write_base(
    folder: Path,
    schedule: Schedule = pretraining.SCHEDULE,
    stills: int = pretraining.STILLS,
    kept: Path | None = None,
) -> float:
    """Pre-train the base and save it; return how many of 400 unseen stills find their own caption.

    Args:
        kept: file that says how far it is; stopped and called again, it goes on there.
    """
    model, words = pretraining.new(schedule.seed)
    pretraining.pretrain(pretraining.Pool(stills, words), model, schedule, kept)
    reached = pretraining.retrieved(model, words)
    card = base_card(schedule, stills, reached)
    embedded.write_base(folder, lambda empty: networks.save(empty, model, words.tokenizer), card)
    return reached


def base_card(schedule: Schedule, stills: int, reached: float) -> str:
    """The README of the base."""
    text = f"""\
A small `CLIPModel`: pictures of 64 pixels in patches of 8 through six layers, sentences through three, one space of
{networks.DIM} dimensions. Pre-trained by the contrastive loss on {stills:,} still pictures of sprites with their
captions; where a caption says how two sprites lie, the same two stand the other way round in the same batch.

- Held out: every motion and order of events, and the shapes star and heart.
- Data: made at run time by `domains/text_video_retrieval/data/world.py`.
- Training: {schedule.steps} steps of {schedule.batch} pairs, AdamW, cosine, half of the patches left out in most steps;
  one CPU core, fp32, no GPU.
- Reached: of 400 unseen stills, {100 * reached:.1f} % find their own caption.
- Rebuild: `python -m domains.text_video_retrieval.tiny --part base`
"""
    return embedded.card("The tiny CLIP of videos", text, {"library_name": "transformers"})
