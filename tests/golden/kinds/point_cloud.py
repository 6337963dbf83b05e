"""Golden cases of the point-cloud models (PointGST, Point-PEFT, Point-MAE)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from domains.point_cloud import metrics, recipe
from domains.point_cloud.data.datasets import shapenetpart
from domains.point_cloud.model import attachments, bases, geometry
from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from domains.point_cloud.model.part_segmenter import PartSegmenter, SegmentationConfig
from domains.point_cloud.model.prior import PointPrior
from domains.point_cloud.official.keys import full_state, load_full, official_name, trainable_names
from suite import adapters
from suite.adapters.methods.additive.point_cloud import pcsa as spectral
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


def relative(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    assert float((ours - theirs).detach().abs().max()) <= tolerance * float(theirs.detach().abs().max())


def backbone_of(case: Case, name: str) -> torch.nn.Module:
    names = ("trans_dim", "depth", "num_heads", "num_group", "group_size", "encoder_dims", "cls_dim", "drop_path_rate")
    return bases.build({"class": name, **{key: case.config[key] for key in names}})


def weights_of(tensors: dict[str, torch.Tensor], prefix: str = "weights/") -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}


def spectrum_of(tensors: dict[str, torch.Tensor]) -> spectral.Spectrum:
    return spectral.Spectrum(*(tensors[f"input/{name}"] for name in ("U", "sub_U", "idx0", "idx1")))


def same_up_to_sign(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    close((ours.mT @ theirs).diagonal(dim1=-2, dim2=-1).abs(), torch.ones(theirs.shape[:-1]), tolerance)


@kind("point_cloud/pcsa")
def pcsa(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    want = {name.removeprefix("output/"): tensor for name, tensor in tensors.items() if name.startswith("output/")}
    centers, known = tensors["input/center"], spectrum_of(tensors)
    close(spectral.laplacian(centers, "released"), want["laplacian"], 1e-5)
    close(torch.linalg.eigvalsh(spectral.laplacian(centers, "released")), want["eigvals"], 1e-4)
    close(spectral.laplacian(centers[-1:], "exact"), want["laplacian_last_alone"], 1e-5)
    ours = spectral.spectrum(centers, config["local"], "released")
    assert torch.equal(ours.order, known.order) and torch.equal(ours.inverse, known.inverse)
    low, chunk = ours.whole[..., :4], ours.local[..., :2]
    close(low @ low.mT, want["projector_low4"], 2e-3)
    close(chunk @ chunk.mT, want["sub_projector_low2"], 2e-3)
    adapter = spectral.SpectralAdapter(config["dim"], config["rank"])
    adapter.load_state_dict(weights_of(tensors, "weights/pcsa."))
    x = tensors["input/x"].requires_grad_()
    out = adapter(x, known)
    relative(out, want["out"], 1e-4)
    (out * tensors["input/loss_weight"]).sum().backward()
    relative(x.grad, want["grad_x"], 1e-3)
    relative(adapter.adapt1.weight.grad, want["grad_adapt1_weight"], 1e-3)
    relative(adapter.down.weight.grad, want["grad_down_weight"], 1e-3)
    relative(adapter.norm_ly2.weight.grad, want["grad_norm_ly2_weight"], 1e-3)
    detection = spectral.LocalSpectralAdapter(config["dim"], config["rank"], fix=False)
    detection.load_state_dict(weights_of(tensors, "weights/pcsa_det."))
    scales = (tensors["input/det_sub_U0"], tensors["input/det_sub_U1"])
    relative(detection(tensors["input/det_x"], known.order, known.inverse, scales), want["det_out"], 1e-4)


@kind("point_cloud/pointgst_cls")
def pointgst(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    net = attachments.attach(
        backbone_of(case, "point_mae"), "pointgst", rank=config["rank"], local=config["local"]
    ).eval()
    load_full(net, weights_of(tensors))
    known = spectrum_of(tensors)
    with torch.no_grad(), adapters.context(net, spectrum=known):
        patches, centers = net.group(tensors["input/points"])
        tokens, position = net.tokenize(patches, centers)
        features = net.features(tokens, position)
        logits = net.cls_head_finetune(features)
        close(centers, tensors["output/center"], 0)
        close(tokens[:, 1:], tensors["output/tokens"], 1e-4)
        close(net.blocks.blocks[0](tokens + position), tensors["output/block0"], 1e-4)
    close(features, tensors["output/feature"], 1e-4)
    close(logits, tensors["output/logits"], 1e-4)
    close(functional.cross_entropy(logits, torch.tensor(config["labels_for_loss"])), tensors["output/loss"], 1e-4)
    ours = spectral.spectrum(centers, config["local"], "released")
    same_up_to_sign(ours.whole, known.whole, 1e-3)
    same_up_to_sign(ours.local, known.local, 1e-3)


@kind("point_cloud/pointgpt_pgst_cls")
def pointgpt(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    net = attachments.attach(
        backbone_of(case, "point_gpt"), "pointgst", rank=config["rank"], local=config["local"]
    ).eval()
    load_full(net, weights_of(tensors))
    layers: list[torch.Tensor] = []
    net.blocks.layers[0].register_forward_hook(lambda _module, _args, output: layers.append(output))
    with torch.no_grad(), adapters.context(net, spectrum=spectrum_of(tensors)):
        features = net.features(*net.tokenize(*net.group(tensors["input/points"])))
        logits = net.blocks.cls_head_finetune(features)
    close(layers[0], tensors["output/layer0"], 1e-4)
    close(features, tensors["output/feature"], 1e-4)
    close(logits, tensors["output/logits"], 1e-4)


@kind("point_cloud/pointpeft_cls")
def pointpeft(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    net = attachments.attach(
        backbone_of(case, "point_mae"),
        "point_peft",
        prompts=config["num_prompts"],
        adapter_dim=config["adapter_config"]["adapter_dim"],
        prior_width=config["cp_adapter_dim"],
        indexing="released",
    ).eval()
    load_full(net, weights_of(tensors))
    points = tensors["input/points"]
    prior = PointPrior(tensors["input/bank"], config["num_prompts"]).prompt(tensors["input/cp_feat"])
    close(prior, tensors["output/bank_prompt"], 1e-4)
    seen: list[torch.Tensor] = []
    for block in net.blocks.blocks:
        block.register_forward_hook(lambda _module, _args, output: seen.append(output))

    @torch.no_grad()
    def run(rows: slice, **extra: torch.Tensor) -> torch.Tensor:
        seen.clear()
        patches, centers = net.group(points[rows])
        with adapters.context(net, points=points[rows], centers=centers, **extra):
            return net.features(*net.tokenize(patches, centers))

    everything = slice(None)
    features = run(everything, prior=prior)
    for block in (0, 5, 6):
        relative(seen[block], tensors[f"output/block{block}"], 1e-3)
    head = net.cls_head_finetune
    with torch.no_grad():
        close(head(features), tensors["output/logits"], 1e-4)
        close(head[:7](features), tensors["output/penultimate"], 1e-4)
        close(head(run(everything)), tensors["output/logits_no_bank"], 1e-4)
        close(head(run(slice(1, 2), prior=prior[1:2])), tensors["output/logits_sample1_alone"], 1e-4)


@kind("point_cloud/keys")
def keys(case: Case) -> None:
    wanted: dict[str, dict[str, tuple[list[int], str, str]]] = {}
    for row in case.rows():
        shape = [int(size) for size in row["shape"].strip("[]").split(",") if size.strip()]
        wanted.setdefault(row["model"], {})[row["key"]] = (shape, row["dtype"], row["role"])
    with torch.device("meta"):
        mae, scan = {"class": "point_mae", "cls_dim": 40}, {"class": "point_mae", "cls_dim": 15, "num_group": 128}
        large = {"class": "point_gpt", "trans_dim": 1024, "depth": 24, "num_heads": 16, "encoder_dims": 1024}
        models = {
            "pointgst/point-mae/modelnet40": attachments.attach(bases.build(mae), "pointgst"),
            "pointgst/pointgpt-l/modelnet40": attachments.attach(bases.build(large), "pointgst"),
            "point-peft/point-mae/scan-hardest": attachments.attach(bases.build(scan), "point_peft"),
            "point-mae/part-seg": bases.build({"class": "part_segmenter", "num_group": 128}),
            "point-mae/pretrain": PointMAE(BackboneConfig()),
        }
    assert models.keys() == wanted.keys()
    for name, net in models.items():
        state, trained = full_state(net), trainable_names(net)
        found = {}
        buffers = {official_name(key) for key, _ in net.named_buffers()}
        for key, tensor in state.items():
            role = "buffer" if key in buffers else "trainable" if key in trained else "frozen"
            role = "checkpoint" if "checkpoint" in {r for *_, r in wanted[name].values()} else role
            found[key] = (list(tensor.shape), str(tensor.dtype).removeprefix("torch."), role)
        assert found == wanted[name], name


@kind("point_cloud/metrics")
def scores(case: Case) -> None:
    if case.path.suffix != ".json":
        return  # the tensors that metrics.json reads
    expected, tensors = case.json(), case.companion("metrics.safetensors").tensors()
    part = expected["partseg"]
    logits, target = tensors["input/logits"], tensors["input/target"]
    predictions = [
        metrics.restrict(shape, shapenetpart.PARTS[name])
        for shape, name in zip(logits, part["categories"], strict=True)
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
        recipe.learning_rate(e, rate["base_lr"], rate["epochs"], rate["warmup"], rate["lr_min"], rate["warmup_lr_init"])
        for e in range(len(rate["lr_used_in_epoch"]))
    ]
    assert np.abs(np.array(ours) - rate["lr_used_in_epoch"]).max() < 1e-10
