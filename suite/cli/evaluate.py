"""`suite DOMAIN evaluate`: the recipe's own metrics on its configuration's held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.cli.options import Parser
from suite.cli.output import Answer
from suite.cli.strictness import STRICT_HELP, strict_bases
from suite.cli.train import checked
from suite.domain import Domain


def run(domain: Domain, argv: Sequence[str]) -> Answer:
    """Score an adapter, or the bare base, on the validation data of a configuration."""
    parser = Parser(
        f"suite {domain.name} evaluate",
        description="Score an adapter on the held-out data of a configuration.",
        words="[--config FILE] [--adapter REF | --frozen] [--section.key VALUE ...]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: the domain's tiny)")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--adapter", default="tiny", metavar="REF", help="reference of the adapter (default: tiny)")
    chosen.add_argument("--frozen", action="store_true", help="score the base without any adapter")
    parser.add_argument("--out", type=Path, metavar="PATH", help="folder for metrics.json and report.html")
    parser.add_argument("--strict-base", action="store_true", help=STRICT_HELP)
    given, overrides = parser.parse_known_args(list(argv))

    from suite import hub, training
    from suite.hub import paths
    from suite.scores import Scores

    path = given.config or paths.assets() / "configs" / domain.name / "tiny.yaml"
    config = checked(training.load_config(path, overrides), domain)
    adapter = None if given.frozen else hub.resolve(given.adapter, domain.name)
    with strict_bases(given.strict_base):
        metrics = training.evaluate(config, adapter)
    about = {"config": str(path), "adapter": None if given.frozen else given.adapter}
    scores = Scores(dict(sorted(metrics.items())), about, title=f"{domain.title}: evaluation")
    files = scores.save(given.out) if given.out else []
    data = {**about, "metrics": metrics, **({"files": files} if files else {})}
    return Answer(data, "\n".join([str(scores), *map(str, files)]))
