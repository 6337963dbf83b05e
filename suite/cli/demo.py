"""`suite demo`: every installed domain on its shipped adapter, and one page with the pictures.

A domain's demo returns `title`, `text` and `pictures`, the best first, and where it has them `summary` (a sentence or
two with its figures), `captions` (one a picture) and `tables` (records by heading, shown in place of the text).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.doctor import lacking
from suite.cli.output import note
from suite.domain import Domain, discover, find, load
from suite.errors import InputError
from suite.hub import paths

if TYPE_CHECKING:
    from suite.media.report import Part, Report
    from suite.training.folder import Run

SMOKE = "smoke.yaml"
"""The configuration, among those of a domain, that trains in a minute or two on two cores."""


def demo(domains: list[str] | None = None, *, out: Path = Path("out/demo"), train: bool = False) -> dict[str, Any]:
    """Show every installed domain on its shipped adapter, in one report.html.

    Args:
        domains: which; all that are installed when none is named.
        out: folder for the report and what it shows.
        train: first train the smoke recipe of the first installed domain that has one, and show its run.
    """
    from suite.media.report import Part, Report

    started = time.perf_counter()
    chosen = [find(name) for name in domains] if domains else list(discover().values())
    report = Report("PEFT Suite", "What each domain does with its shipped adapter, on this machine, just now.")
    training = Part()
    shown: list[dict[str, Any]] = [_trained(training, out)] if train else []
    shown += [_shown(domain, report, out) for domain in chosen]
    report.append(training)
    seconds = time.perf_counter() - started
    path = report.save(out / "report.html").resolve()
    failed = [part["domain"] for part in shown if part["error"]]
    lines = [f"{part['domain']}: {part['error'] or 'shown'} ({part['seconds']:.0f} s)" for part in shown]
    lines += [f"report  {path}", "next    open it in a browser; suite --help lists what else there is"]
    return {
        "report": path,
        "seconds": seconds,
        "domains": shown,
        "message": "\n".join(lines),
        "exit_code": 1 if failed else 0,
    }


def _shown(domain: Domain, report: Report, out: Path) -> dict[str, Any]:
    """Run one domain's demo and put it into the report; a domain that fails does not take the others down."""
    started = time.perf_counter()
    error = None
    outcome: dict[str, Any] = {}
    if missing := lacking(domain.extra):
        error = f"not installed: pip install 'peft-suite[{domain.extra}]' (lacks {', '.join(missing)})"
    elif "demo" not in domain.verbs:
        error = "it has no demo"
    else:
        note(f"{domain.name} ...")
        try:
            outcome = load(domain.verbs["demo"])(out=out / domain.name)
        except Exception as exception:
            traceback.print_exc()
            error = f"{type(exception).__name__}: {exception}"
    seconds = time.perf_counter() - started
    if error is None:
        _add(report, domain, outcome, seconds)
    else:
        report.feature(domain.title[:1].upper() + domain.title[1:], f"Not shown: {error}", above=_words(domain.name))
    pictures = [Path(picture) for picture in outcome.get("pictures", ())]
    return {"domain": domain.name, "error": error, "seconds": seconds, "pictures": pictures}


def _add(report: Report, domain: Domain, outcome: Mapping[str, Any], seconds: float) -> None:
    """One line and the best picture of a demo, and the rest of it folded."""
    from suite.media.report import Part

    pictures = [Path(picture) for picture in outcome["pictures"]]
    captions = list(outcome.get("captions", ())) or [_caption(picture) for picture in pictures]
    summary = outcome.get("summary") or outcome["text"]
    first = pictures[0] if pictures else None
    report.feature(outcome["title"], summary, first, above=_words(domain.name), alt=captions[0] if captions else "")
    details = Part().text(f"From {domain.title}. Took {seconds:.0f} s here.")
    for heading, records in outcome.get("tables", {}).items():
        details.heading(heading).records(records)
    if len(pictures) > 1:
        details.heading("More pictures").gallery(list(zip(pictures, captions, strict=True))[1:])
    if summary != outcome["text"] and not outcome.get("tables"):
        details.text(outcome["text"])
    report.fold("Details", details)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _caption(picture: Path) -> str:
    return picture.stem.replace("_", " ").replace(".", " ")


def _with_smoke_recipe() -> Domain:
    """The first installed domain that has a smoke recipe.

    Raises:
        InputError: none of them has.
    """
    configs = paths.assets() / "configs"
    for domain in discover().values():
        if (configs / domain.name / SMOKE).is_file() and not lacking(domain.extra):
            return domain
    raise InputError(f"--train needs an installed domain with a smoke recipe: no {configs}/DOMAIN/{SMOKE} is there")


def _trained(report: Part, out: Path) -> dict[str, Any]:
    """Train a smoke recipe and put its curves into the report."""
    from suite import training
    from suite.media.report import Part
    from suite.training import folder
    from suite.training.folder import RunFolder
    from suite.training.reporting import add_values, in_order

    domain = _with_smoke_recipe()
    started = time.perf_counter()
    note(f"training {domain.name}'s smoke recipe ...")
    recipe = paths.assets() / "configs" / domain.name / SMOKE
    config = training.load_config(recipe)
    run = training.run(config, run_dir=folder.fresh(out / "runs", "demo").path)
    seconds = time.perf_counter() - started
    pictures = in_order(run.folder.glob("**/plots/*.png"))
    summary = f"The smoke recipe of {_words(domain.name).lower()}, in {seconds:.0f} s. {_held_out(run)}"
    captions = [_where(picture, run.folder) for picture in pictures]
    first = pictures[0] if pictures else None
    report.feature("Training an adapter", summary, first, above="Training", alt=captions[0] if captions else "")
    details = Part()
    add_values(details, RunFolder(run.folder), run.metrics, run.labels)
    details.heading("Plots").gallery(list(zip(pictures, captions, strict=True)))
    details.heading("Recipe").code(recipe.read_text(encoding="utf-8"))
    report.fold("Details", details)
    return {"domain": f"{domain.name} (training)", "error": None, "seconds": seconds, "pictures": pictures}


def _held_out(run: Run) -> str:
    """The losses on held-out data in a sentence, those of a run's stages together."""
    figures: dict[str, list[str]] = {}
    for name, value in run.metrics.items():
        if name.endswith("val/loss"):
            stage = name.removesuffix("val/loss").rstrip("/")
            words = run.labels.get(name, name).removeprefix(f"{stage}: ")
            figures.setdefault(words, []).append(f"{stage} {value:.3g}".strip())
    sentences = [f"{words}: {', '.join(values)}." for words, values in figures.items()]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _where(plot: Path, run: Path) -> str:
    """The caption of a plot: which stage of the run it is of, and what it shows."""
    stages = plot.parent.parent.relative_to(run).parts
    return ", ".join([*stages, _caption(plot)])
