"""Golden cases of deepfake detection (LayerNorm-tuned CLIP, GenD, DeepfakeBench)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from domains.deepfake import metrics
from domains.deepfake.data import alignment, selection
from domains.deepfake.data.datasets import frame_lists
from domains.deepfake.data.frame_set import shuffled, video_ids
from domains.deepfake.model import attachments, bases, losses
from domains.deepfake.model.interpolation import between, slerp
from domains.deepfake.official import convert
from domains.deepfake.official.keys import PREFIXES, PROJECTION, Layout, is_norm, released, state_of
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.clip.pictures import Preprocessing
from tests.golden.registry import Case, kind


def close(ours: Tensor | np.ndarray, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(torch.as_tensor(ours).detach(), theirs, rtol=0, atol=tolerance, check_dtype=False)


@kind("deepfake/clip_preprocess")
def clip_preprocess(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    prepare = Preprocessing(config["crop"], tuple(config["mean"]), tuple(config["std"]), cut="transformers")
    pictures = [name for name in tensors if name.startswith("input/")]
    for name in pictures:
        wanted = tensors[f"output/pixel_values{name.removeprefix('input/img')}"]
        close(prepare(tensors[name].numpy()), wanted, 1e-5)
        close(prepare.batch([tensors[name].numpy()])[0], wanted, 1e-5)


@kind("deepfake/face_align")
def face_align(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    for number, sizes in enumerate(config["cases"]):
        picture = tensors[f"input/c{number}_image_rgb"].numpy()
        landmarks = tensors[f"input/c{number}_landmarks"].numpy()
        # DeepfakeBench's predictor gives whole pixels.
        whole = tensors[f"input/c{number}_landmarks_int"].numpy()
        cut = {
            "deepfakebench": alignment.align(picture, whole, size=sizes["res"], scale=sizes["scale"]),
            "gend_fixed": alignment.align(picture, landmarks, "gend", size=sizes["res"], scale=sizes["scale"]),
            "gend_auto": alignment.align(picture, landmarks, "gend", size=None, scale=sizes["scale"]),
        }
        for name, crop in cut.items():
            wanted = tensors[f"output/c{number}_{name}"].numpy()
            matrix = tensors[f"output/c{number}_matrix_{name}"].numpy()
            tolerance = 1e-3 if name == "deepfakebench" else 1e-2
            np.testing.assert_allclose(crop.matrix, matrix, rtol=tolerance, atol=tolerance)
            assert crop.pixels.shape == wanted.shape
            assert np.abs(crop.pixels.astype(float) - wanted).mean() <= 2


@kind("deepfake/frame_selection")
def frame_selection(case: Case) -> None:
    golden = case.json()
    for sample in golden["at_least"]:
        assert list(selection.farthest_first(sample["total"])) == sample["order_all"]
    for sample in golden["fixed_num_frames"]:
        assert selection.evenly(sample["total"], sample["num"]) == sample["indices"]


@kind("deepfake/dataset_listing")
def dataset_listing(case: Case) -> None:
    golden = case.json()
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        # The released code lists paths below the folder that it is run in.
        patch.chdir(scratch)
        for name, frames in golden["list_files"].items():
            for path in (Path(name), *map(Path, frames)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            Path(name).write_text("\n".join(frames) + "\n", encoding="utf-8")
        for wanted in golden["results"]:
            found = frame_lists.read([Path(name) for name in golden["list_files"]], wanted["limit_files"])
            found = shuffled(found) if wanted["shuffle"] else found
            assert [frame.path for frame in found.frames] == wanted["files"]
            assert found.labels.tolist() == wanted["labels"]
            assert found.sources() == wanted["source2uid"]
            assert [frame.identity for frame in found.frames] == wanted["identity"]
            assert [video_ids(frame.path)[0] for frame in found.frames] == wanted["video"]


@kind("deepfake/losses_slerp")
def losses_slerp(case: Case) -> None:
    tensors = case.tensors()
    for number, sizes in enumerate(case.config["cases"]):
        labels = tensors[f"input/c{number}_labels"]
        for name, term in (
            ("uniformity", lambda z: losses.uniformity(z, sizes["t"])),  # noqa: B023
            ("alignment", lambda z: losses.alignment(z, labels, sizes["alpha"])),  # noqa: B023
        ):
            embeddings = tensors[f"input/c{number}_emb"].clone().requires_grad_()
            value = term(embeddings)
            close(value, tensors[f"output/c{number}_{name}"], 1e-5)
            # Without a pair of equal labels the term is a constant.
            [gradient] = torch.autograd.grad(value, embeddings) if value.requires_grad else [0 * embeddings]
            close(gradient, tensors[f"output/c{number}_grad_{name}"], 1e-5)
    first, second, t = (tensors[f"input/slerp_{name}"] for name in ("A", "B", "t"))
    # Two opposite vectors: every direction between them is as good.
    told = [row for row in range(len(first)) if row != 4]
    for name, share in (("slerp", t), ("slerp_half", 0.5), ("slerp_extrapolate", 2 * t - 0.5)):
        wanted = tensors[f"output/{name}"]
        found = slerp(first, second, share)
        close(found[told], wanted[told], 1e-5)
        assert not bool(found.isnan().any())


@kind("deepfake/ln_tuned_clip")
def ln_tuned_clip(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    state = {name.removeprefix("weights/"): t for name, t in tensors.items() if name.startswith("weights/")}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch.save({"state_dict": state, "hyper_parameters": {"head": config["head"]}}, folder / "model.ckpt")
        (folder / "adapter").mkdir()
        convert(folder / "model.ckpt", folder / "adapter", heads=config["vision"]["num_attention_heads"])
        model, plain = (
            adapters.load(bases.of_folder(folder / "adapter" / "base", head), folder / "adapter", trainable=True).eval()
            for head in (config["head"], "linear")
        )
    pixels, labels = tensors["input/pixel_values"], tensors["input/labels"]
    features = model.features(pixels)
    scored = model.classify(features)
    close(features, tensors["output/features"], 1e-5)
    close(scored.logits, tensors["output/logits"], 1e-5)
    close(scored.logits.softmax(1), tensors["output/probs"], 1e-5)
    close(scored.embeddings, tensors["output/embeddings"], 1e-5)
    close(plain(pixels), tensors["output/logits_head_linear"], 1e-5)

    asked = config["loss"]
    weights = losses.LossWeights(asked["ce"], asked["uniformity"], asked["alignment"], asked["label_smoothing"])
    terms = losses.combine(scored.logits, scored.embeddings, labels, weights)
    parts = (terms.ce_labels, weights.uniformity * terms.uniformity, weights.alignment_labels * terms.alignment_labels)
    close(torch.stack(parts), tensors["output/loss_terms"], 1e-5)
    close(terms.total, tensors["output/loss_total"], 1e-5)
    terms.total.backward()
    gradients = {_official(name): p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert set(gradients) == set(config["trainable"])
    for name, gradient in gradients.items():
        assert gradient is not None
        close(gradient, tensors[f"output/grad/{name}"], 1e-4)

    low, high = config["slerp_range"]
    with torch.no_grad():
        with _drawing(tensors, (0, 1)):
            mixed = between(features, labels, (low, high))
        close(mixed, tensors["output/features_slerp"], 1e-5)
        close(model.classify(mixed).logits, tensors["output/logits_slerp"], 1e-5)
        with _drawing(tensors, (2,)):
            mixed = between(features, tensors["input/labels_single_fake"], (low, high))
        close(mixed, tensors["output/features_slerp_single_fake"], 1e-5)


@kind("deepfake/metrics")
def figures(case: Case) -> None:
    golden = case.json()
    files, labels, scores = golden["files"], np.array(golden["labels"]), np.array(golden["p_fake"])
    videos, means, video_labels = metrics.by_video(files, scores, labels)
    assert len(videos) == len(golden["video_labels"]) and video_labels.tolist() == golden["video_labels"]
    np.testing.assert_allclose(means, golden["video_p_fake_in_first_seen_order"], rtol=0, atol=1e-6)
    found = metrics.report(files, scores, labels)
    for level, own in (("frame", (scores, labels)), ("video", (means, video_labels))):
        ours, wanted = found[level], golden[level]
        assert ours["eer"] == pytest.approx(wanted["eer"], abs=1e-4)
        assert metrics.confusion(*own).tolist() == wanted["confusion"]
        for name, theirs in _NAMES.items():
            assert ours[name] == pytest.approx(wanted[theirs], abs=1e-6), (level, name)
    for name, wanted in golden["deepfakebench"].items():
        tolerance = 1e-4 if name.endswith("eer") else 1e-6
        assert found["deepfakebench"][name] == pytest.approx(wanted, abs=tolerance), name
    frame, gend = found["frame"], golden["gend"]
    assert frame["eer"] == pytest.approx(gend["eer"], abs=1e-4)
    assert frame["eer_threshold"] == pytest.approx(gend["eer_threshold"], abs=1e-6)
    rates = [frame[f"tpr_at_fpr_{percent}"] for percent in (1, 5, 10)]
    assert rates == pytest.approx(gend["tpr_at_fpr_1_5_10"], abs=1e-6)


_NAMES = {
    "auroc": "auroc",
    "map": "mAP_macro_two_classes",
    "ap_fake": "AP_fake_only",
    "accuracy": "acc",
    "balanced_accuracy": "balanced_acc",
    "macro_f1": "f1_macro",
}


@kind("deepfake/keys")
def keys(case: Case) -> None:
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", {**sizes, "patch_size": 14})
        tower = {n: t for n, t in model.vision_model.state_dict().items() if not n.endswith("position_ids")}
        trained = attachments.attach_section(model, AdapterSection.of({"preset": "clip-ln-slerp"}, attachments.PRESETS))
        projection = torch.empty(768, 1024)
    norms = {name: tensor for name, tensor in tower.items() if is_norm(name)}
    head = {"weight": torch.empty(2, 1024, device="meta"), "bias": torch.empty(2, device="meta")}
    learning = [name for name, p in trained.named_parameters() if p.requires_grad]
    layouts: dict[str, Layout] = {"keys": "p1", "keys_gend_hf": "gend"}
    for table, layout in layouts.items():
        rows = [row for row in case.rows() if row["table"] == table]
        ours = state_of(tower, norms, head, layout)
        if layout == "gend":
            ours[PROJECTION] = projection
        theirs = {row["key"]: json.loads(row["shape"]) for row in rows}
        assert {name: list(tensor.shape) for name, tensor in ours.items()} == theirs
        assert {row["dtype"] for row in rows} == {"float32"}
        assert {row["key"] for row in rows if row["trainable"] == "1"} == {_official(n, layout) for n in learning}
        # The way back: every name is known, none is left over.
        again = released({name: torch.empty(shape, device="meta") for name, shape in theirs.items()}, table)
        assert again.layout == layout and set(again.tower) == set(tower) and set(again.head) == set(head)
        assert set(again.before) == (set(norms) if layout == "p1" else set())


def _official(name: str, layout: Layout = "p1") -> str:
    """What a released checkpoint calls a parameter of ours that trains."""
    if not name.startswith("vision_model."):
        return f"model.linear.{name.rpartition('.')[2]}"
    norm, _, rest = name.removeprefix("vision_model.").partition(".ln_tuning_layers.")
    part = rest.rpartition(".")[2]
    return f"{PREFIXES[layout]}{norm}.{'ln_tuning_layers.default.' if layout == 'p1' else ''}{part}"


@contextmanager
def _drawing(tensors: dict[str, Tensor], numbers: Sequence[int]) -> Iterator[None]:
    """Permutations and shares of the way are those of the case, in the order in which classes draw them."""
    with (
        mock.patch("torch.randperm", side_effect=[tensors[f"input/slerp_perm{n}"] for n in numbers]),
        mock.patch("torch.rand", side_effect=[tensors[f"input/slerp_t{n}"] for n in numbers]),
    ):
        yield
