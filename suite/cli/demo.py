"""`suite demo`: every installed domain on its shipped adapter, and one page with the pictures."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.doctor import lacking
from suite.cli.output import note
from suite.domain import Domain, discover, find, load
from suite.errors import InputError
from suite.hub import paths

if TYPE_CHECKING:
    from suite.media.report import Report

SMOKE = "smoke.yaml"
"""The configuration, among those of a domain, that trains in a minute or two on two cores."""


def demo(domains: list[str] | None = None, *, out: Path = Path("out/demo"), train: bool = False) -> dict[str, Any]:
    """Show every installed domain on its shipped adapter, in one report.html.

    Args:
        domains: which; all that are installed when none is named.
        out: folder for the report and what it shows.
        train: first train the smoke recipe of the first installed domain that has one, and show its run.
    """
    from suite.media.report import Report

    started = time.perf_counter()
    chosen = [find(name) for name in domains] if domains else list(discover().values())
    report = Report("PEFT Suite", "each domain on its shipped adapter")
    shown: list[dict[str, Any]] = []
    if train:
        shown.append(_trained(report, out))
    shown += [_shown(domain, report, out) for domain in chosen]
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
    report.section(domain.title)
    started = time.perf_counter()
    error = None
    pictures: list[Path] = []
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
        else:
            pictures = [Path(picture) for picture in outcome["pictures"]]
            report.text(outcome["text"]).gallery([(picture, _caption(picture)) for picture in pictures])
    seconds = time.perf_counter() - started
    report.text(error or f"{seconds:.1f} s")
    return {"domain": domain.name, "error": error, "seconds": seconds, "pictures": pictures}


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


def _trained(report: Report, out: Path) -> dict[str, Any]:
    """Train a smoke recipe and put its curves into the report."""
    from suite import training
    from suite.training import folder

    domain = _with_smoke_recipe()
    started = time.perf_counter()
    note(f"training {domain.name}'s smoke recipe ...")
    config = training.load_config(paths.assets() / "configs" / domain.name / SMOKE)
    run = training.run(config, run_dir=folder.fresh(out / "runs", "demo").path)
    seconds = time.perf_counter() - started
    pictures = sorted(run.folder.glob("**/plots/*.png"))
    report.section("Training an adapter").text(f"{config.source}: {seconds:.0f} s on this machine.")
    report.facts({name: float(value) for name, value in sorted(run.metrics.items())})
    report.gallery([(picture, _caption(picture)) for picture in pictures])
    return {"domain": f"{domain.name} (training)", "error": None, "seconds": seconds, "pictures": pictures}
