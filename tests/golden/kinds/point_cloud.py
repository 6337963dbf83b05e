"""Golden cases of the point-cloud models (PointGST, Point-PEFT, Point-MAE)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from domains.point_cloud import geometry, metrics, schedule
from domains.point_cloud.backbone import BackboneConfig
from domains.point_cloud.segmentation import PartSegmenter, SegmentationConfig
from tests.golden.registry import Case, kind


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=tolerance)


@kind("point_cloud/ops")
def ops(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    points, grid, want = tensors["input/points"], tensors["input/grid"], lambda name: tensors[f"output/{name}"]
    assert torch.equal(geometry.farthest_point_sample(points, config["fps"]), want("fps_idx").long())
    steps = want("fps_grid_idx_lowest_tie").shape[1]
    assert torch.equal(geometry.farthest_point_sample(grid, steps), want("fps_grid_idx_lowest_tie").long())
    assert torch.equal(geometry.farthest_point_sample(grid, steps, ties="cuda"), want("fps_grid_idx_cuda_tie").long())
    patches, centers = geometry.group(points, config["group"], config["k"])
    close(centers, want("center"), 0)
    close(patches, want("neighborhood"), 0)
    distance, index = geometry.nearest_neighbours(centers, points, config["k"])
    assert torch.equal(index, want("knn_idx"))
    close(distance, want("knn_dist"), 1e-5)
    assert torch.equal(geometry.morton_key(centers), want("zkey"))
    order, inverse = geometry.morton_order(centers)
    assert torch.equal(order, want("idx0")) and torch.equal(inverse, want("idx1"))
    greedy = geometry.greedy_order(centers)
    close(geometry.gather(centers, greedy), want("gpt_center"), 0)
    close(geometry.gather(patches, greedy), want("gpt_neighborhood"), 0)
    close(geometry.square_distance_matmul(centers, points), want("square_distance"), 1e-5)
    close(geometry.unit_sphere(tensors["input/raw"]), want("pc_normalize"), 1e-5)
    close(geometry.chamfer(points[:, :64], points[:, 64:160]), want("chamfer_l2"), 1e-5)
    close(geometry.chamfer(points[:, :64], points[:, 64:160], "l1"), want("chamfer_l1"), 1e-5)
    width = config["sine"]["d_model"]
    close(geometry.sine_position(centers, width), want(f"sine_pos_{width}"), 1e-5)


@kind("point_cloud/partseg")
def partseg(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    shape = BackboneConfig(
        trans_dim=config["trans_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        num_group=config["num_group"],
        group_size=config["group_size"],
        encoder_dims=config["trans_dim"],
    )
    *hidden, parts = config["head"]
    categories = tensors["input/cls_onehot"].shape[-1]
    head = SegmentationConfig(parts, categories, tuple(config["fetch"]), tuple(config["prop_mlp"]), tuple(hidden))
    model = PartSegmenter(shape, head).eval()
    weights = {name[8:]: tensor.float() for name, tensor in tensors.items() if name.startswith("weights/")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    points = tensors["input/points"]
    with torch.no_grad():
        patches, centers = model.group(points)
        features = model.features(patches, centers)
        scores = model.decode(points, centers, features, tensors["input/cls_onehot"].squeeze(1))
    close(centers.transpose(1, 2), tensors["output/center"], 1e-4)
    close(features.transpose(1, 2), tensors["output/feat_cat"], 1e-4)
    close(scores, tensors["output/log_prob"], 1e-4)
    close(functional.nll_loss(scores.flatten(0, 1), tensors["input/target"].flatten()), tensors["output/nll"], 1e-4)


@kind("point_cloud/metrics")
def scores(case: Case) -> None:
    if case.path.suffix != ".json":
        return  # the tensors that metrics.json reads
    expected, tensors = case.json(), case.companion("metrics.safetensors").tensors()
    part = expected["partseg"]
    logits, target = tensors["input/logits"], tensors["input/target"]
    predictions = [
        metrics.restrict(shape, metrics.PARTS[name]) for shape, name in zip(logits, part["categories"], strict=True)
    ]
    found = metrics.part_segmentation(predictions, list(target), part["categories"])
    assert abs(found.accuracy - part["official"]["accuracy"]) < 1e-6
    assert abs(found.instance_miou - part["official"]["inctance_avg_iou"]) < 1e-6
    assert abs(found.class_miou - part["class_avg_iou_over_present"]) < 1e-6
    present = {name: value for name, value in part["per_category_mean_iou"].items() if value is not None}
    assert found.categories.keys() == present.keys()
    assert all(abs(found.categories[name] - value) < 1e-6 for name, value in present.items())
    voted = metrics.vote(tensors["input/vote_logits"])
    assert voted.tolist() == expected["vote"]["pred"]
    accuracy = metrics.classification(voted, tensors["input/vote_target"], tensors["input/vote_logits"].shape[-1])
    assert abs(100 * accuracy.overall - expected["vote"]["acc"]) < 1e-4
    rate = expected["cosine_lr"]
    ours = [
        schedule.learning_rate(
            e, rate["base_lr"], rate["epochs"], rate["warmup"], rate["lr_min"], rate["warmup_lr_init"]
        )
        for e in range(len(rate["lr_used_in_epoch"]))
    ]
    assert np.abs(np.array(ours) - rate["lr_used_in_epoch"]).max() < 1e-10
