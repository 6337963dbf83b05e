"""Figures of detectors, against plain loops and the numbers that follow from their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from domains.deepfake import metrics


def drawn(seed: int, count: int = 40, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    labels[:2] = 0, 1
    return np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), digits), labels


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_order(seed: int) -> None:
    scores, labels = drawn(seed)
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    share = sum((fake > real) + 0.5 * (fake == real) for fake, real in pairs) / len(pairs)
    assert metrics.auroc(scores, labels) == pytest.approx(share)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_weighs_precision_by_the_recall_that_it_adds(seed: int) -> None:
    scores, labels = drawn(seed)
    total, recall = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        called = scores >= cut
        now = labels[called].sum() / labels.sum()
        total += (now - recall) * labels[called].mean()
        recall = now
    assert metrics.average_precision(scores, labels) == pytest.approx(total)
    other = metrics.average_precision(1 - scores, 1 - labels)
    assert other is not None
    assert metrics.mean_average_precision(scores, labels) == pytest.approx((total + other) / 2)


def test_a_perfect_detector_and_one_that_says_always_the_same() -> None:
    labels = np.array([0, 0, 1, 1])
    perfect = metrics.figures(np.array([0.1, 0.2, 0.8, 0.9]), labels)
    expected = {"auroc": 1, "map": 1, "ap_fake": 1, "eer": 0, "accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1}
    assert {name: perfect[name] for name in expected} == expected
    assert perfect["tpr_at_fpr_1"] == 1
    same = metrics.figures(np.full(4, 0.5), labels)
    assert same["auroc"] == 0.5 and same["ap_fake"] == 0.5 and same["eer"] == 0.5
    assert same["accuracy"] == 0.5  # of equal classes the first is called


def test_the_two_equal_error_rates_differ_where_the_curve_has_steps() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 1, 0])
    # Corners (0, 1/3), (1/2, 1/3), (1/2, 1), (1, 1): the line tpr = 1 - fpr is met at fpr 1/2.
    assert metrics.equal_error_rate(scores, labels) == pytest.approx(0.5)
    # |fnr - fpr| is 2/3, 1/6, 1/2, 1: least at (1/2, 1/3).
    assert metrics.nearest_error_rate(scores, labels) == pytest.approx(0.5)
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 0, 1])
    tied = np.array([0.9, 0.8, 0.8, 0.8])
    assert metrics.equal_error_rate(tied, labels) == pytest.approx(1 / 3)  # between (0, 1/2) and (1, 1)
    assert metrics.nearest_error_rate(tied, labels) == 0  # the nearest corner
    assert metrics.equal_error_threshold(np.array([0.9, 0.4, 0.6, 0.1]), np.array([1, 1, 0, 0])) == pytest.approx(0.6)


def test_one_class_alone_is_undefined_and_printed_so() -> None:
    found = metrics.figures(np.array([0.2, 0.7]), np.array([1, 1]))
    undefined = ("auroc", "map", "ap_fake", "eer", "eer_threshold", "balanced_accuracy", "macro_f1", "tpr_at_fpr_5")
    assert all(found[name] is None for name in undefined)
    assert found["accuracy"] == 0.5
    assert metrics.shown(found["auroc"]) == "undefined"
    assert metrics.rounded(found)["eer"] == "undefined"


def test_confusion_by_the_likelier_class_and_by_a_threshold() -> None:
    scores, labels = np.array([0.2, 0.5, 0.6, 0.4]), np.array([0, 0, 1, 1])
    assert metrics.confusion(scores, labels).tolist() == [[2, 0], [1, 1]]
    assert metrics.confusion(scores, labels, 0.4).tolist() == [[1, 1], [0, 2]]


def test_videos_of_one_name_in_two_sources_are_two_but_one_for_deepfakebench() -> None:
    paths = ["d/real/000/0.png", "d/real/000/1.png", "d/fake/000/0.png", "d/fake/000/1.png"]
    scores, labels = np.array([0.1, 0.3, 0.9, 0.5]), np.array([0, 0, 1, 1])
    videos, means, truth = metrics.by_video(paths, scores, labels)
    assert videos == ["d/real/000", "d/fake/000"]
    assert means.tolist() == pytest.approx([0.2, 0.7]) and truth.tolist() == [0, 1]
    videos, means, truth = metrics.by_video(paths, scores, labels, bare=True)
    assert videos == ["000"] and means.tolist() == pytest.approx([0.45]) and truth.tolist() == [0]


def test_the_order_of_frames_changes_no_mean() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=200)
    paths = [f"v/{n}.png" for n in range(200)]
    labels = np.zeros(200, dtype=np.int64)
    order = rng.permutation(200)
    first = metrics.by_video(paths, scores, labels)[1]
    second = metrics.by_video([paths[n] for n in order], scores[order], labels)[1]
    assert first.tolist() == second.tolist()


def test_calibration_error_is_the_distance_of_scores_from_shares() -> None:
    scores, labels = np.full(10, 0.8), np.array([1] * 6 + [0] * 4)
    assert metrics.expected_calibration_error(scores, labels) == pytest.approx(0.2)
    assert metrics.expected_calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0


def test_samples_that_padding_repeats_count_once() -> None:
    scores, labels = torch.tensor([0.9, 0.2, 0.6, 0.4]), torch.tensor([1, 0, 0, 1])
    numbers, videos = torch.arange(4), torch.tensor([0, 1, 1, 0])
    once, padded = metrics.DetectionFigure("accuracy", "frame"), metrics.DetectionFigure("accuracy", "frame")
    once.update(scores, labels, numbers, videos)
    padded.update(scores, labels, numbers, videos)
    padded.update(scores[:1], labels[:1], numbers[:1], videos[:1])
    assert once.compute() == padded.compute() == 0.5
    level = metrics.DetectionFigure("auroc", "video")
    level.update(scores, labels, numbers, videos)
    assert level.compute() == 1  # means 0.65 and 0.4
    single = metrics.DetectionFigure("auroc", "frame")
    single.update(scores[:1], labels[:1], numbers[:1], videos[:1])
    assert torch.isnan(single.compute())


def test_cross_entropy_of_scores() -> None:
    assert metrics.cross_entropy(np.array([0.5, 0.5]), np.array([0, 1])) == pytest.approx(np.log(2))
    assert metrics.cross_entropy(np.array([0.2, 0.9]), np.array([0, 1])) == pytest.approx(-np.log([0.8, 0.9]).mean())
    assert np.isfinite(metrics.cross_entropy(np.array([1.0]), np.array([0])))
