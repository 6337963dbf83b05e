"""Tracking's figures, archives and choice of templates, as the authors' programs and two toolkits compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domains.tracking import metrics
from domains.tracking.inference.memory import template_frames
from domains.tracking.metrics import Curves, Protocol
from domains.tracking.output.submissions import Tracked, files_of
from tests.golden.registry import Case, kind

CURVES = {"success": "success_curve", "precision": "precision_curve", "normalised": "norm_precision_curve"}
FIGURES = {"auc": "success_score", "precision": "precision", "norm_precision": "norm_precision"}
EXACT = {"rel": 0, "abs": 1e-6}


@kind("tracking/metrics")
def all_metrics(case: Case) -> None:
    content = case.json()
    sequences = [_Sequence(one) for one in content["sequences"]]
    for benchmark, expected in content["compatible"].items():
        protocol: Protocol = metrics.PROTOCOLS.get(benchmark.lower(), "ope")
        curves = [one.one_pass(protocol) for one in sequences]
        for own, wanted in zip(curves, expected["per_sequence"], strict=True):
            _equal(own, wanted)
        _equal(metrics.mean(curves), expected["dataset_mean"])
    _plain(sequences, content["plain"])
    _pytracking(sequences, content["pytracking"])
    _got10k(sequences, content["got10k_toolkit"])
    _submissions(content["submission"])
    for policy in ("segments", "thirds"):
        for number, frames in content["memory_indices"][policy].items():
            assert list(template_frames(policy, int(number))) == frames


class _Sequence:
    def __init__(self, stored: dict[str, Any]) -> None:
        self.truth, self.predicted = (np.array(stored[name], np.float64) for name in ("gt", "pred"))
        self.visible = np.array(stored["visible"], bool)

    def one_pass(self, protocol: Protocol) -> Curves:
        return metrics.one_pass(self.predicted, self.truth, self.visible, protocol)


def _equal(own: Curves, wanted: dict[str, Any]) -> None:
    for name, stored in CURVES.items():
        assert getattr(own, name) == pytest.approx(wanted[stored], **EXACT)
    figures = own.figures
    for name, stored in {**FIGURES, "op50": "sr50", "op75": "sr75"}.items():
        assert figures[name] == pytest.approx(wanted[stored], **EXACT)


def _plain(sequences: list[_Sequence], expected: list[dict[str, Any]]) -> None:
    for one, wanted in zip(sequences, expected, strict=True):
        curves, means = metrics.plain(one.predicted, one.truth, one.visible)
        for name, stored in CURVES.items():
            assert getattr(curves, name) == pytest.approx(wanted[stored], **EXACT)
        for name, stored in FIGURES.items():
            assert curves.figures[name] == pytest.approx(wanted[stored], **EXACT)
        assert means == pytest.approx({name: wanted[name] for name in means}, **EXACT)


def _pytracking(sequences: list[_Sequence], expected: list[dict[str, Any]]) -> None:
    for one, wanted in zip(sequences, expected, strict=True):
        for benchmark, figures in wanted.items():
            found = one.one_pass({"lasot": "lasot", "uav": "uav"}.get(benchmark, "ope")).figures  # type: ignore[arg-type]
            own = {"auc": found["auc"], "precision20": found["precision"], "norm_precision20": found["norm_precision"]}
            assert own == pytest.approx(figures, **EXACT)


def _got10k(sequences: list[_Sequence], expected: dict[str, Any]) -> None:
    bound = (expected["bound_wh"][0], expected["bound_wh"][1])
    speed = expected["overall"]["speed_fps"]
    parts = [
        metrics.got10k(
            one.predicted, one.truth, bound=bound, covered=~one.visible, times=np.full(len(one.truth), 1 / speed)
        )
        for one in sequences
    ]
    for part, wanted in [
        *zip(parts, expected["per_sequence"], strict=True),
        (metrics.pooled(parts), expected["overall"]),
    ]:
        figures = {**part.figures, "speed_fps": part.figures["fps"]}
        assert figures | {"succ_curve": 0} == pytest.approx(figures | {**wanted, "succ_curve": 0}, **EXACT)
    assert metrics.pooled(parts).curve == pytest.approx(expected["overall"]["succ_curve"], **EXACT)


def _submissions(stored: dict[str, Any]) -> None:
    boxes = np.array(stored["pred_xyxy"], np.float64)
    seconds = [float(line) for line in stored["got10k_time"]["text"].split()]
    timed = Tracked("seq", boxes, times=np.array(seconds))
    untimed = Tracked("seq", boxes)
    written = {
        **files_of("got10k", "tracker", "got10k", timed),
        **files_of("trackingnet", "tracker", "trackingnet", untimed),
        **files_of("pytracking", "tracker", "lasot", Tracked("lasot", boxes)),
        **files_of("pytracking", "tracker", "uav123", Tracked("bike1", boxes)),
    }
    named = {"pytracking_lasot": "lasot"}
    for name in ("got10k", "got10k_time", "trackingnet", "pytracking_lasot", "pytracking_uav"):
        path = stored[name]["path"].format(tracker="tracker", seq=named.get(name, "seq"))
        assert written[path] == stored[name]["text"], name
