"""The verb `evaluate`: DreamBooth's metrics of folders of pictures, or of an adapter whose pictures are drawn first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import InputError

if TYPE_CHECKING:
    from domains.personalized_diffusion.evaluation.folders import Drawn, PictureSource
    from domains.personalized_diffusion.evaluation.pictures import Asked


def evaluate(
    generated: Path | None = None,
    *,
    real: Path | None = None,
    prompts: Path | None = None,
    images: int = 4,
    token: str = "",
    keep_token: bool = False,
    prior: Path | None = None,
    adapter: str | None = None,
    base: str | None = None,
    frozen: bool = False,
    subject: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    strength: float = 1.0,
    clip: str = "auto",
    dino: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score pictures by DreamBooth's protocol: CLIP-I, DINO, CLIP-T, DIV and, with --prior, PRES.

    Means of cosines over all pairs of a generated picture and a real photo, within a subject; then over subjects, each
    counting once. Missing pictures are an error that counts them. With --adapter the pictures are drawn first; without
    anything the shipped adapter is scored on its held-out photos.

    Args:
        generated: folder `<subject>/<prompt index>/<n>.png` (as `predict --subject` writes), or a CSV file (or a
            folder with images.csv, as `predict` writes) with the columns image, prompt, subject.
        real: folder `<subject>/*.jpg` of real photos; for one subject the folder of its photos itself.
        prompts: DreamBooth's prompts_and_classes.txt, or a text file with one prompt a line.
        images: how many pictures each prompt has; 0 takes as many as are found.
        token: the trigger token in the prompts. It is removed from what CLIP-T reads: "a dog in the jungle".
        keep_token: leave it there.
        prior: folder `<subject>/*.png` of pictures of the class alone ("a dog"), drawn with the adapter, for PRES.
        adapter: reference of an adapter whose pictures are drawn and scored, in place of a folder.
        base: reference of its base; the one that it names where it is left out.
        frozen: draw with the base alone, to see what the adapter adds.
        subject: of DreamBooth's prompts, or a name for what the adapter shows.
        seed: of each prompt's first picture.
        steps: of the sampler; the base's own where it is left out.
        guidance: how strongly prompts are followed; the base's own where it is left out.
        strength: how strongly the adapter acts; 1 is as trained.
        clip: reference of the CLIP for CLIP-I and CLIP-T; auto takes the base's own where it keeps one, else
            DreamBooth's hf:openai/clip-vit-base-patch32.
        dino: reference of the vision transformer for DINO and DIV; auto takes the base's own where it keeps one, else
            DreamBooth's hf:facebook/dino-vits16.
        device: auto, cpu, cuda or cuda:N.
        dtype: of drawing: auto, float32, bfloat16 or float16.
        out: folder for metrics.json, subjects.csv, prompts.csv, a contact sheet a subject and report.html.
    """
    from domains.personalized_diffusion.evaluation import encoders, scoring
    from domains.personalized_diffusion.evaluation import pictures as candidates

    if generated is not None and adapter is not None:
        raise InputError("give a folder of generated pictures or --adapter, not both")
    if generated is None and token:
        raise InputError("--token is for a folder of pictures; an adapter says its own")
    if generated is not None:
        drawing = {"base": base, "subject": subject, "steps": steps, "guidance": guidance}
        given = [name for name, value in drawing.items() if value is not None]
        given += (
            ["frozen"] * frozen
            + ["seed"] * (seed != 0)
            + ["strength"] * (strength != 1)
            + ["dtype"] * (dtype != "auto")
        )
        if given:
            raise InputError(
                f"{generated} is drawn already; leave out --{' --'.join(given)}, or give --adapter instead"
            )
        asked = candidates.of_folders(generated, real, prompts, images=images, token=token, keep_token=keep_token)
    else:
        settings = {"images": images, "seed": seed, "steps": steps, "guidance": guidance, "strength": strength}
        chosen = candidates.Choice(adapter or "tiny", base, frozen, device, dtype)
        asked = candidates.of_adapter(chosen, real, prompts, subject=subject, keep_token=keep_token, settings=settings)
    others = candidates.prior_of(prior, asked)
    eyes = encoders.load(clip, dino, carrier=asked.base, device=device)
    report = scoring.score(
        asked.drawn,
        asked.real,
        *eyes,
        prior=others,
        protocol={**scoring.how(token_kept=keep_token), **asked.provenance},
        notices=[*asked.notices, *encoders.notices(*(eye.id for eye in eyes))],
    )
    return report.report(_sheets(asked)).answer(out)


def _sheets(asked: Asked) -> dict[str, Callable[[Path], list[Path]]]:
    """By heading what draws a contact sheet of each subject: its photos, then its pictures by prompt."""
    from domains.personalized_diffusion.evaluation.folders import by_subject
    from domains.personalized_diffusion.output.result import MOST_ROWS
    from suite.prediction.inputs import slug

    return {
        f"{name}: real photos, then each prompt's pictures": partial(
            _sheet, asked.real[name], prompts[:MOST_ROWS], f"sheet_{slug(name)}.png"
        )
        for name, prompts in by_subject(asked.drawn).items()
    }


def _sheet(real: Sequence[PictureSource], prompts: Sequence[Drawn], file: str, out: Path) -> list[Path]:
    from domains.personalized_diffusion.evaluation.folders import opened
    from domains.personalized_diffusion.output import pictures
    from suite.media.sheets import save_png

    shown = {one.prompt: [opened(source) for source in one.images] for one in prompts}
    return [save_png(pictures.real_and_generated([opened(source) for source in real], shown), out / file)]
