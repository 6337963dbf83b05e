"""Scores of generated pictures against real photos and their prompts: per prompt, per subject, overall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any

from PIL import Image

from domains.personalized_diffusion import metrics
from domains.personalized_diffusion.evaluation.encoders import Embeddings, ImageEncoder, TextImageEncoder
from domains.personalized_diffusion.evaluation.folders import Drawn, PictureSource, by_subject, opened
from domains.personalized_diffusion.metrics import SubjectScores
from suite.errors import InputError
from suite.scores import Drawn as Pictured
from suite.scores import Scores

NAMES = {"clip_i": "CLIP-I", "clip_t": "CLIP-T", "dino": "DINO", "div": "DIV", "pres": "PRES"}
"""How people write them. CLIP-I, DINO: likeness to the subject. CLIP-T: agreement with the prompt. DIV: likeness of
pictures of one prompt to one another, lower is more diverse. PRES: likeness of other members of the class to the
subject, lower means less drift of the prior."""


@dataclass(frozen=True)
class PictureScores:
    """Figures of one evaluation.

    Attributes:
        overall: means over subjects. spread: their standard deviation over subjects, where there are several.
        subjects: scores by subject. prompts: the words of each subject's prompts.
        pres: by subject, where pictures of its class were given.
        real: how many photos of each subject.
        encoders: ids by role, clip and dino.
        protocol: how it was done: crop policy, whether the token stood in the prompts.
    """

    overall: Mapping[str, float]
    spread: Mapping[str, float]
    subjects: Mapping[str, SubjectScores]
    prompts: Mapping[str, tuple[str, ...]]
    pres: Mapping[str, float]
    real: Mapping[str, int]
    encoders: Mapping[str, str]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many generated pictures were scored."""
        return sum(scores.images for scores in self.subjects.values())

    def subject_rows(self) -> list[dict[str, Any]]:
        """One row a subject."""
        return [
            {
                "subject": name,
                **{metric: getattr(scores, metric) for metric in ("clip_i", "clip_t", "dino", "div")},
                "pres": self.pres.get(name),
                "prompts": len(scores.prompts),
                "images": scores.images,
                "real": self.real[name],
            }
            for name, scores in self.subjects.items()
        ]

    def prompt_rows(self) -> list[dict[str, Any]]:
        """One row a subject and prompt."""
        return [
            {"subject": name, "index": index, "prompt": prompt, **row}
            for name, scores in self.subjects.items()
            for index, (prompt, row) in enumerate(zip(self.prompts[name], scores.prompts, strict=True))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {
            "metrics": dict(self.overall),
            "spread_over_subjects": dict(self.spread),
            "subjects": self.subject_rows(),
            "prompts": self.prompt_rows(),
            "images": self.images,
            "encoders": dict(self.encoders),
            "protocol": dict(self.protocol),
            "notices": list(self.notices),
        }

    def report(self, pictures: Mapping[str, Pictured] | None = None) -> Scores:
        """What people read, and the files: `metrics.json`, `subjects.csv`, `prompts.csv` and `report.html`.

        Args:
            pictures: for the page, by heading.
        """
        lines = []
        for name, value in self.overall.items():
            spread = f"  ± {self.spread[name]:.4f} over subjects" if name in self.spread else ""
            lines.append(f"{NAMES[name]:<7} {value:.4f}{spread}")
        photos_ = sum(self.real.values())
        subjects = f"{len(self.subjects)} subject" + ("s" if len(self.subjects) > 1 else "")
        lines.append(f"{self.images} pictures of {subjects} against {photos_} photos")
        lines.append(f"CLIP {self.encoders['clip']}, DINO {self.encoders['dino']}")
        return Scores(
            {NAMES[name]: value for name, value in self.overall.items()},
            {**self.encoders, **self.protocol, "pictures": self.images},
            title="Personalized diffusion: evaluation",
            tables={"subjects": self.subject_rows(), "prompts": self.prompt_rows()},
            pictures=pictures or {},
            notices=self.notices,
            message="\n".join(lines),
            record=self.to_dict(),
        )


def score(
    drawn: Sequence[Drawn],
    real: Mapping[str, Sequence[PictureSource]],
    clip: TextImageEncoder,
    dino: ImageEncoder,
    *,
    prior: Mapping[str, Sequence[PictureSource]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    notices: Sequence[str] = (),
) -> PictureScores:
    """Score generated pictures by DreamBooth's protocol.

    Args:
        drawn: pictures by subject and prompt. real: photos by subject.
        clip, dino: the encoders.
        prior: by subject, pictures of its class without the token, for PRES.
        protocol, notices: what the report says beside the figures.

    Raises:
        InputError: a picture cannot be read, or a subject lacks real photos.
    """
    subjects, texts, pres = {}, {}, {}
    unread: list[str] = []
    for name, prompts in by_subject(drawn).items():
        if not real.get(name):
            raise InputError(f"no real photos of {name}; give some")
        texts[name] = tuple(one.prompt for one in prompts)
        unread += clip.overlong(texts[name])
        groups = [[opened(file) for file in one.images] for one in prompts]
        photographs = [opened(file) for file in real[name]]
        dino_real = dino.images(photographs)
        subjects[name] = metrics.subject_scores(
            clip.images(photographs),
            _split(clip, groups),
            list(clip.texts(texts[name])),
            dino_real,
            _split(dino, groups),
        )
        if prior and prior.get(name):
            pres[name] = metrics.image_similarity(dino.images([opened(file) for file in prior[name]]), dino_real)
    if unread:
        notices = [*notices, f"{len(unread)} prompts are longer than CLIP reads, e.g. {unread[0][:60]!r}"]
    means, spread = _over_subjects(subjects, pres)
    counts = {name: len(real[name]) for name in subjects}
    ids = {"clip": clip.id, "dino": dino.id}
    return PictureScores(means, spread, subjects, texts, pres, counts, ids, protocol or {}, tuple(notices))


def how(*, token_kept: bool = False) -> dict[str, Any]:
    """What a report says of the protocol's choices."""
    return {
        "crop": "short side resized (bicubic), centre cut; the same for generated and real",
        "token in the prompts of CLIP-T": "kept" if token_kept else "removed",
        "means": "of pairwise cosines within a subject, then over subjects",
    }


def _split(encoder: ImageEncoder, groups: Sequence[Sequence[Image.Image]]) -> list[Embeddings]:
    """Embeddings of each group; all groups go through the encoder together."""
    flat = encoder.images([image for group in groups for image in group])
    parts, start = [], 0
    for group in groups:
        parts.append(flat[start : start + len(group)])
        start += len(group)
    return parts


def _over_subjects(
    subjects: Mapping[str, SubjectScores], pres: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Means and standard deviations over subjects, each counting once."""
    columns = {name: [getattr(scores, name) for scores in subjects.values()] for name in ("clip_i", "clip_t", "dino")}
    columns["div"] = [scores.div for scores in subjects.values() if scores.div is not None]
    columns["pres"] = list(pres.values())
    means = metrics.overall(subjects)
    means |= {name: sum(columns[name]) / len(columns[name]) for name in ("div", "pres") if columns[name]}
    spread = {name: stdev(values) for name, values in columns.items() if len(values) > 1}
    return means, spread
