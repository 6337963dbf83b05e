"""The verb `compare`: methods trained on the same recipe, photos and seeds; one table and one picture of them all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from suite.errors import InputError
from suite.tables import aligned, records_csv

if TYPE_CHECKING:
    from domains.personalized_diffusion.evaluation.pictures import Asked, Choice
    from suite.training import ExperimentConfig
    from suite.training.drivers.comparison import Member, MethodRow

DOMAIN = "personalized_diffusion"
METRICS = ("dino", "clip_i", "clip_t", "div")
BASE = "base"
SHOWN = {BASE: "frozen base", "krona": "KronA", "lora": "LoRA", "lokr": "LoKr", "loha": "LoHa", "svdiff": "SVDiff"}
"""What rows of the picture are called."""


def compare(
    config: Path | None = None,
    *,
    methods: tuple[str, ...] = ("krona", "lora", "lokr", "loha", "full", "svdiff"),
    seeds: tuple[int, ...] = (0,),
    rates: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    real: Path | None = None,
    prompts: Path | None = None,
    subject: str | None = None,
    images: int = 4,
    steps: int | None = None,
    guidance: float | None = None,
    strength: float = 1.0,
    clip: str = "auto",
    dino: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    out: Path = Path("out/compare"),
) -> dict[str, Any]:
    """Train several methods on the same photos by the same recipe, and score what each draws.

    Runs that `out` holds already, finished, are not trained again; one that was interrupted goes on.

    Args:
        config: configuration of the recipe (default: the domain's tiny).
        methods: krona, lora, lokr, loha, full, svdiff.
        seeds: of training; several give each number its spread. Pictures have the same seeds always.
        rates: learning rates that differ from the configuration's, each METHOD=RATE, e.g. full=1e-5.
        set: further values of the configuration, each SECTION.KEY=VALUE, e.g. trainer.max_steps=100.
        real: folder of photos to score against; the embedded default has held-out ones.
        prompts: DreamBooth's prompts_and_classes.txt or one prompt a line; the embedded default has its own.
        subject: of DreamBooth's prompts.
        images: how many of each prompt.
        steps: of the sampler; the base's own where it is left out.
        guidance: how strongly prompts are followed; the base's own where it is left out.
        strength: how strongly every adapter acts; 1 is as trained.
        clip: reference of the CLIP; auto as in evaluate.
        dino: reference of the vision transformer; auto as in evaluate.
        device: auto, cpu, cuda or cuda:N, for drawing and scoring.
        dtype: of drawing: auto, float32, bfloat16 or float16.
        out: folder for the runs, comparison.csv, comparison.json, comparison.png and report.html.

    Raises:
        InputError: a method, rate or setting is unknown, or photos or prompts are missing.
    """
    from domains.personalized_diffusion.evaluation.pictures import Choice
    from suite.hub import paths
    from suite.training.drivers.comparison import Comparison, MethodRow

    chosen = _rates(rates, methods)
    path = config or paths.assets() / "configs" / DOMAIN / "tiny.yaml"
    compared = Comparison(methods, seeds, partial(_config, path, rates=chosen, settings=set), out)
    settings = {"images": images, "steps": steps, "guidance": guidance, "strength": strength}
    scoring = _Scoring(real, prompts, subject, settings, clip, dino)
    _check_scorable(compared.planned[methods[0], seeds[0]], real, prompts, settings)
    members = compared.train()
    first = members[methods[0], seeds[0]]

    def choice(member: Member, frozen: bool = False) -> Choice:
        return Choice(str(member.adapter), member.config.base, frozen, device, dtype)

    scored = {key: scoring(choice(member)) for key, member in members.items()}
    bare = scoring(choice(first, frozen=True))
    figures = {key: {name: found[name] for name in METRICS if name in found} for key, (found, _) in scored.items()}
    rows = [MethodRow(BASE, (), 0, 0, 0.0, bare[0], {}, {}), *compared.rows(members, figures)]
    shown = {BASE: bare[1], **{method: scored[method, seeds[0]][1] for method in methods}}
    files = _write(out, rows, shown)
    return {
        "rows": [row.to_dict() for row in rows],
        "files": list(map(str, files)),
        "message": "\n".join([_table(rows), *map(str, files)]),
    }


def _check_scorable(
    config: ExperimentConfig, real: Path | None, prompts: Path | None, settings: Mapping[str, Any]
) -> None:
    """Refuse before anything is trained what could not be scored after it.

    Raises:
        InputError: photos or prompts are missing, or pictures cannot be drawn as asked.
    """
    from domains.personalized_diffusion.data import world
    from domains.personalized_diffusion.evaluation.pictures import check_asked

    check_asked(real, prompts, settings)
    missing = [name for name, given in (("--real", real), ("--prompts", prompts)) if given is None]
    if missing and config.data.get("noun") not in world.SUBJECTS:
        raise InputError(
            f"{' and '.join(missing)} must be given; only the embedded default has photos and prompts to score on"
        )


class _Scoring:
    """Draws with an adapter and scores it; the encoders are loaded once."""

    def __init__(
        self,
        real: Path | None,
        prompts: Path | None,
        subject: str | None,
        settings: Mapping[str, Any],
        clip: str,
        dino: str,
    ) -> None:
        self.real, self.prompts, self.subject, self.settings = real, prompts, subject, settings
        self.clip, self.dino = clip, dino
        self.eyes: Any = None

    def __call__(self, choice: Choice) -> tuple[dict[str, float], Asked]:
        from domains.personalized_diffusion.evaluation import encoders, scoring
        from domains.personalized_diffusion.evaluation import pictures as candidates

        asked = candidates.of_adapter(choice, self.real, self.prompts, subject=self.subject, settings=self.settings)
        if self.eyes is None:
            self.eyes = encoders.load(self.clip, self.dino, carrier=asked.base, device=choice.device)
        return dict(scoring.score(asked.drawn, asked.real, *self.eyes).overall), asked


def _rates(given: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    from domains.personalized_diffusion.model.methods import METHODS

    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"no method is called {', '.join(unknown)}; choose from {', '.join(METHODS)}")
    found = {}
    for word in given:
        method, equals, rate = word.partition("=")
        try:
            found[method] = float(rate)
        except ValueError:
            equals = ""
        if not equals or method not in methods:
            raise InputError(f"rate {word!r}: write METHOD=RATE with one of {', '.join(methods)}")
    return found


def _config(
    path: Path, method: str, seed: int, *, rates: Mapping[str, float], settings: Sequence[str]
) -> ExperimentConfig:
    from domains.personalized_diffusion.model.methods import section_of
    from suite import training

    words = ["--seed", str(seed)]
    if method in rates:
        words += ["--trainer.lr", str(rates[method])]
    for word in settings:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"setting {word!r}: write SECTION.KEY=VALUE, e.g. trainer.max_steps=100")
        words += [f"--{name}", value]
    config = training.load_config(path, words)
    if config.domain != DOMAIN:
        raise InputError(f"{path} is of domain {config.domain}, not {DOMAIN}; name a configuration of {DOMAIN}")
    section = section_of(cast(Any, method), config.recipe.get("adapter") or {})
    return replace(config, recipe={**config.recipe, "adapter": section})


def _write(out: Path, rows: Sequence[MethodRow], shown: Mapping[str, Asked]) -> list[Path]:
    from domains.personalized_diffusion.evaluation.folders import opened
    from domains.personalized_diffusion.output import pictures
    from suite.files import write_text
    from suite.media.report import Report
    from suite.media.sheets import save_png

    flat = [
        {"method": row.method, "parameters": row.parameters, "bytes": row.bytes, "seconds": round(row.seconds, 1)}
        | {name: row.metrics[name] for name in METRICS if name in row.metrics}
        | {f"{name}_spread": row.spread.get(name) for name in METRICS if name in row.metrics}
        for row in rows
    ]
    first = next(iter(shown.values()))
    [real] = first.real.values()
    drawn = {
        SHOWN.get(name, name): [opened(prompt.images[0]) for prompt in asked.drawn] for name, asked in shown.items()
    }
    files = [
        write_text(out / "comparison.json", json.dumps([row.to_dict() for row in rows], indent=2) + "\n"),
        write_text(out / "comparison.csv", records_csv(flat)),
        save_png(pictures.real_and_generated([opened(one) for one in real], drawn), out / "comparison.png"),
    ]
    page = Report("Personalized diffusion: methods compared").table(_HEADER, [_cells(row) for row in rows])
    page.image(files[-1], "photos; then each prompt's first picture, by method: " + ", ".join(_words(first)))
    return [*files, page.save(out / "report.html")]


def _words(asked: Asked) -> list[str]:
    return [one.prompt for one in asked.drawn]


_HEADER = ("method", "parameters", "bytes", "train s", "DINO", "CLIP-I", "CLIP-T", "DIV")


def _cells(row: MethodRow) -> list[str]:
    def number(name: str) -> str:
        if name not in row.metrics:
            return "-"
        return f"{row.metrics[name]:.4f}" + (f" ± {row.spread[name]:.4f}" if name in row.spread else "")

    counts = [f"{row.parameters:,}", f"{row.bytes:,}", f"{row.seconds:.0f}"] if row.method != BASE else ["-"] * 3
    return [row.method, *counts, *(number(name) for name in METRICS)]


def _table(rows: Sequence[MethodRow]) -> str:
    return aligned([_HEADER, *map(_cells, rows)])
