"""The base of the embedded default: pre-trained, saved, described."""

from __future__ import annotations

from pathlib import Path

from domains.text_video_retrieval.tiny import networks, pretraining
from suite.training import embedded
from suite.training.plain import Schedule

STILLS, PORTRAITS = pretraining.STILLS, pretraining.PORTRAITS


def write_base(
    folder: Path,
    schedule: Schedule = pretraining.SCHEDULE,
    stills: int = STILLS,
    people: int = PORTRAITS,
    kept: Path | None = None,
) -> float:
    """Pre-train the base and save it; return how many of 400 unseen stills find their own caption.

    Args:
        kept: file that the weights are written to on the way.
    """
    model, words = pretraining.new(schedule.seed)
    pretraining.pretrain(pretraining.Pool(stills, people, words), model, schedule, kept)
    reached = pretraining.retrieved(model, words)
    card = base_card(schedule, stills, people, reached)
    embedded.write_base(folder, lambda empty: networks.save(empty, model, words.tokenizer), card)
    return reached


def base_card(schedule: Schedule, stills: int, people: int, reached: float, steps: int | None = None) -> str:
    """The README of the base.

    Args:
        steps: that were taken, where it was stopped before its schedule's end.
    """
    taken = f"{steps} of {schedule.steps}" if steps is not None else str(schedule.steps)
    text = f"""\
A small `CLIPModel`: pictures of 64 pixels in patches of 8 through six layers, sentences through three, one space of
{networks.DIM} dimensions. Pre-trained by the contrastive loss on {stills:,} still pictures of sprites and {people:,}
made portraits with their captions, every third of them blurred, noisy or coarse, which its caption says.

- Held out: every motion and order of events, and the shapes star and heart.
- Data: made at run time by `domains/text_video_retrieval/data/world.py` and `suite/media/portraits.py`.
- Training: {taken} steps of {schedule.batch} pairs, AdamW, cosine, half of the patches left out in most steps;
  one CPU core, fp32, no GPU.
- Reached: of 400 unseen stills of sprites, {100 * reached:.1f} % find their own caption.
- Rebuild: `python -m domains.text_video_retrieval.tiny --part base`
"""
    return embedded.card("The tiny CLIP of videos and faces", text, {"library_name": "transformers"})
