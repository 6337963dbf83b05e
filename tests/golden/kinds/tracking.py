"""The tracker against the authors' code: crops, head, decoding and losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from domains.tracking.data import crops
from domains.tracking.inference.decode import decode, hann
from domains.tracking.model.heads import AnchorFreeHead
from domains.tracking.model.losses import LossSettings, frame_terms
from domains.tracking.model.spmtrack import Step
from tests.golden.registry import Case, kind

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


@kind("tracking/crop_decode")
def crop_decode(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    frame = tensors["input/image_hwc_uint8"].numpy()
    for number, box in enumerate(tensors["input/boxes_xyxy"].numpy()):
        expected = {
            key.removeprefix(f"output/{number}."): value
            for key, value in tensors.items()
            if key.startswith(f"output/{number}.")
        }
        _check_crops(frame, box, expected, config)
    _check_decoding(tensors, config)
    _check_head(tensors)


def _check_crops(frame: crops.Pixels, box: crops.Box, expected: dict[str, Tensor], config: dict[str, float]) -> None:
    mean = crops.mean_colour(frame)
    torch.testing.assert_close(mean, expected["image_mean"], **TOLERANCE)
    assert crops.outward(box).tolist() == expected["bbox_rasterized"].tolist()

    size, stride = int(config["template_size"]), int(config["stride"])
    wanted = crops.around(box, config["template_area_factor"], size)
    _close(wanted, expected["template_params"])
    template, actual = crops.cut(frame, wanted, size, mean)
    _close(actual, expected["template_params_adjusted"])
    torch.testing.assert_close(crops.normalised(template), expected["template_normalized"], atol=1e-4, rtol=0.0)
    placed = actual.into(box)
    assert torch.equal(crops.mask(placed, size, stride), expected["mask"])
    assert crops.cells(placed, size, stride).tolist() == expected["mask_box_raw"].tolist()

    size = int(config["search_size"])
    wanted = crops.around(crops.at_least(box, config["min_object_size"]), config["search_area_factor"], size)
    _close(wanted, expected["search_params"])
    search, actual = crops.cut(frame, wanted, size, mean)
    _close(actual, expected["search_params_adjusted"])
    torch.testing.assert_close(search, expected["search_crop_raw"].float(), atol=0.1, rtol=0.0)
    inside = actual.into(box)
    np.testing.assert_allclose(inside, expected["box_in_search"].numpy(), atol=1e-5, rtol=0)
    back = crops.clipped(actual.back(inside), frame.shape[1], frame.shape[0])
    np.testing.assert_allclose(back, expected["box_back_clipped"].numpy(), atol=1e-5, rtol=0)
    positives = crops.mask(inside, size, stride).flatten().nonzero()[:, 0]
    assert torch.equal(positives, expected["positive_indices"])


def _close(found: crops.Geometry, expected: Tensor) -> None:
    np.testing.assert_allclose(np.stack([found.scale, found.shift]), expected.numpy(), atol=1e-5, rtol=0)


def _check_decoding(tensors: dict[str, Tensor], config: dict[str, object]) -> None:
    scores, boxes = tensors["input/score_map"], tensors["input/boxes_map"]
    torch.testing.assert_close(hann(scores.shape[-1]), tensors["output/hann_window"], **TOLERANCE)
    for penalty in config["window_penalties"]:  # type: ignore[attr-defined]
        found = decode(scores, boxes, int(config["search_size"]), penalty)  # type: ignore[call-overload]
        torch.testing.assert_close(found.boxes, tensors[f"output/decode_{penalty}.box"], atol=1e-4, rtol=0.0)
        torch.testing.assert_close(found.scores, tensors[f"output/decode_{penalty}.confidence"], **TOLERANCE)


def _check_head(tensors: dict[str, Tensor]) -> None:
    features = tensors["input/head_feat"]
    head = AnchorFreeHead(features.shape[-1], round(features.shape[1] ** 0.5))
    head.load_state_dict({key[13:]: value for key, value in tensors.items() if key.startswith("weights/head.")})
    scores, boxes = head(features)
    torch.testing.assert_close(scores, tensors["output/head_score_map"], **TOLERANCE)
    torch.testing.assert_close(boxes, tensors["output/head_boxes"], **TOLERANCE)
    torch.testing.assert_close(head.reference_points, tensors["output/reference_points"], **TOLERANCE)


@kind("tracking/losses")
def losses(case: Case) -> None:
    tensors = case.tensors()
    plain, warm = LossSettings(), LossSettings(warmup_epochs=2)
    _check_losses(tensors, "default", plain, 0)
    _check_losses(tensors, "varifocal", replace(plain, kind="varifocal"), 0)
    _check_losses(tensors, "warmup_epoch1", warm, 1)
    _check_losses(tensors, "warmup_epoch2", warm, 2)


def _check_losses(tensors: dict[str, Tensor], name: str, settings: LossSettings, epoch: int) -> None:
    """Each part of both frames, their sum, and gradients with respect to what the model said."""
    total, given = torch.zeros(()), []
    for frame in (0, 1):
        scores, boxes = tensors[f"input/score_map_{frame}"].clone(), tensors[f"input/boxes_{frame}"].clone()
        given += [scores.requires_grad_(), boxes.requires_grad_()]
        positives = torch.zeros_like(scores, dtype=torch.bool).flatten(1)
        positives[tensors[f"input/pos_batch_{frame}"], tensors[f"input/pos_map_{frame}"]] = True
        count = tensors[f"input/num_pos_{frame}"]
        step = Step(scores, boxes, scores)
        terms = frame_terms(step, positives.view_as(scores), tensors[f"input/gt_boxes_{frame}"], count, settings)
        score = settings.score_weight * terms.score.sum()
        box = settings.box_factor(epoch) * terms.box.sum()
        kind_of_score = "varifocal" if settings.kind == "varifocal" else "bce"
        torch.testing.assert_close(score, tensors[f"output/{name}.Loss_{kind_of_score}_{frame}"], **TOLERANCE)
        torch.testing.assert_close(box, tensors[f"output/{name}.Loss_iou_{frame}"], **TOLERANCE)
        total = total + score + box
    torch.testing.assert_close(total[None], tensors[f"output/{name}.total"], **TOLERANCE)
    gradients = torch.autograd.grad(total, given)
    names = [f"grad_{part}_{frame}" for frame in (0, 1) for part in ("score", "boxes")]
    for found, each in zip(gradients, names, strict=True):
        torch.testing.assert_close(found, tensors[f"output/{name}.{each}"], **TOLERANCE)
