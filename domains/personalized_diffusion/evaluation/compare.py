"""The verb `compare`: methods trained on the same recipe, photos and seeds; one table and one picture of them all."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, cast

from suite.errors import InputError
from suite.tables import aligned, records_csv

if TYPE_CHECKING:
    from domains.personalized_diffusion.evaluation.pictures import Asked, Choice
    from suite.training import ExperimentConfig

DOMAIN = "personalized_diffusion"
METRICS = ("dino", "clip_i", "clip_t", "div")
BASE = "base"


@dataclass(frozen=True)
class MethodRow:
    """One method over its seeds.

    Attributes:
        parameters: trained numbers. bytes: of the adapter's files. seconds: of training, mean over seeds.
        metrics: means over seeds. spread: their standard deviations, where there are several seeds.
    """

    method: str
    seeds: tuple[int, ...]
    parameters: int
    bytes: int
    seconds: float
    metrics: Mapping[str, float]
    spread: Mapping[str, float]


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

    chosen = _rates(rates, methods)
    if not seeds or not methods:
        raise InputError("name at least one method and one seed")
    path = config or paths.assets() / "configs" / DOMAIN / "tiny.yaml"
    # Every configuration is read before the first training, which may take hours.
    planned = [(method, seed, _config(path, method, seed, chosen, set)) for method in methods for seed in seeds]
    settings = {"images": images, "steps": steps, "guidance": guidance, "strength": strength}
    scoring = _Scoring(real, prompts, subject, settings, clip, dino)
    adapters = {(method, seed): _train(experiment, out / f"{method}-{seed}") for method, seed, experiment in planned}
    base = planned[0][2].base
    scored = {key: scoring(Choice(str(folder), base, False, device, dtype)) for key, (folder, _) in adapters.items()}
    bare = scoring(Choice(str(adapters[planned[0][:2]][0]), base, True, device, dtype))
    rows = [MethodRow(BASE, (), 0, 0, 0.0, bare[0], {}), *(_row(method, seeds, adapters, scored) for method in methods)]
    shown = {BASE: bare[1], **{method: scored[method, seeds[0]][1] for method in methods}}
    files = _write(out, rows, shown)
    records = [asdict(row) for row in rows]
    return {"rows": records, "files": list(map(str, files)), "message": "\n".join([_table(rows), *map(str, files)])}


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
    path: Path, method: str, seed: int, rates: Mapping[str, float], settings: Sequence[str]
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


def _train(config: ExperimentConfig, folder: Path) -> tuple[Path, float]:
    """The adapter of a run and the seconds that training took; a finished run is taken as it is."""
    from suite import training
    from suite.training.folder import RunFolder

    home = RunFolder(folder)
    if not home.finished:
        started = time.perf_counter()
        resume = folder if home.state_file.is_file() else None
        training.run(config, run_dir=folder, resume=resume)
        home.mark("finished", seconds=time.perf_counter() - started)
    return home.adapter.resolve(), float(home.state().get("seconds", 0.0))


def _row(method: str, seeds: Sequence[int], adapters: Mapping[Any, Any], scored: Mapping[Any, Any]) -> MethodRow:
    found = [scored[method, seed][0] for seed in seeds]
    means = {name: mean(one[name] for one in found) for name in METRICS if name in found[0]}
    spread = {name: stdev(one[name] for one in found) for name in means} if len(found) > 1 else {}
    folder = adapters[method, seeds[0]][0]
    parameters, size = weigh(folder)
    return MethodRow(method, tuple(seeds), parameters, size, mean(adapters[method, s][1] for s in seeds), means, spread)


def weigh(adapter: Path) -> tuple[int, int]:
    """Numbers in an adapter's tensors, and bytes of their files."""
    import math

    from safetensors import safe_open

    numbers, size = 0, 0
    for file in sorted(adapter.rglob("*.safetensors")):
        size += file.stat().st_size
        with safe_open(file, "pt") as tensors:
            numbers += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return numbers, size


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
    columns = {name: [opened(prompt.images[0]) for prompt in asked.drawn] for name, asked in shown.items()}
    files = [
        write_text(out / "comparison.json", json.dumps([asdict(row) for row in rows], indent=2) + "\n"),
        write_text(out / "comparison.csv", records_csv(flat)),
        save_png(pictures.real_and_generated([opened(one) for one in real], columns), out / "comparison.png"),
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
