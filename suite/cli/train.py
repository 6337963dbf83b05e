"""`suite DOMAIN train`: a configuration in, a run folder with an adapter out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suite.cli.loading import loading
from suite.cli.options import Parser
from suite.cli.output import Answer
from suite.domain import Domain
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.training import ExperimentConfig

_LATEST = "latest"


def run(domain: Domain, argv: Sequence[str]) -> Answer:
    """Train as the configuration and the options in `argv` say."""
    with loading():
        from suite import training
        from suite.training.folder import is_follower

    parser = _parser(domain)
    given, overrides = parser.parse_known_args(list(argv))
    if given.config is None and given.resume in (None, _LATEST):
        parser.error("--config must be given")
    if given.resume is not None and given.run_dir is not None:
        parser.error("--resume goes on in the run's own folder; leave out --run-dir")
    path = given.config or Path(given.resume) / "config.yaml"
    config = checked(training.load_config(path, overrides), domain)
    done = training.run(config, run_dir=given.run_dir, resume=given.resume)
    if is_follower():
        return Answer({})
    metrics = {name: float(value) for name, value in sorted(done.metrics.items())}
    data = {"run": done.folder, "adapter": done.adapter, "report": done.report, "metrics": metrics}
    # The trainer has said where everything is and what to run next, on standard error.
    return Answer(
        data, "\n".join([f"run  {done.folder}", *(f"{name}  {value:.4g}" for name, value in metrics.items())])
    )


def checked(config: ExperimentConfig, domain: Domain) -> ExperimentConfig:
    """Return `config` if it is one of `domain`.

    Raises:
        InputError: it is another domain's.
    """
    if config.domain != domain.name:
        raise InputError(
            f"{config.source} is of domain {config.domain}, not {domain.name}; run suite {config.domain} instead"
        )
    return config


def _parser(domain: Domain) -> Parser:
    parser = Parser(
        f"suite {domain.name} train",
        description="Train an adapter. Any value of the configuration is overridden by its dotted name, for example\n"
        "--trainer.max_epochs 3. Ctrl-C saves and says how to resume.",
        words="--config FILE [--section.key VALUE ...]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration")
    parser.add_argument("--run-dir", type=Path, metavar="PATH", help="the run's folder (default: a new one in runs/)")
    parser.add_argument(
        "--resume", nargs="?", const=_LATEST, metavar="RUN", help="go on with this run folder (default: the latest one)"
    )
    return parser
