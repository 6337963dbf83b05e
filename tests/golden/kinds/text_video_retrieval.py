"""Golden cases of text-to-video retrieval: TempMe's towers, loss and optimiser, and CLIP4Clip's data and metrics."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from domains.text_video_retrieval import official
from domains.text_video_retrieval.data.datamodule import mask_of
from domains.text_video_retrieval.data.frames import positions, window
from domains.text_video_retrieval.data.sources import open_pairs
from domains.text_video_retrieval.metrics import Ranks, both_ways, ranks_of
from domains.text_video_retrieval.model.adamw import AdamW, cosine_factor
from domains.text_video_retrieval.model.attachments import PARTS, attach_section
from domains.text_video_retrieval.model.schedule import Schedule, Step
from domains.text_video_retrieval.model.similarity import contrastive_loss, similarity
from domains.text_video_retrieval.model.tempme import MergingLayer, TempMe
from domains.text_video_retrieval.model.token_merging import match, merge
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.clip import names, words
from suite.clip.pictures import Preprocessing
from tests.golden.registry import Case, kind
from tests.real_data import real_data


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=tolerance)


def near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Within a share of the largest value: the case's own rounding is 1.05e-6 from float64 where values reach 4.3."""
    close(ours, theirs, tolerance * float(theirs.abs().max()))


@kind("text_video_retrieval/bipartite_merge")
def bipartite_merge(case: Case) -> None:
    tensors = case.tensors()
    for one in case.config["cases"]:
        name = f"c{one['case']}"
        x, size, metric = (tensors[f"input/{name}_{part}"] for part in ("x", "size", "metric"))
        matching = match(metric, one["r"], one["cls_num"])
        for given, suffix in ((size, ""), (None, "_nosize")):
            merged, sizes = merge(x, given, matching)
            close(merged, tensors[f"output/{name}_x{suffix}"], 1e-6)
            expected = tensors[f"output/{name}_size{suffix}"]
            close(torch.ones_like(expected) if sizes is None else sizes, expected, 1e-6)
        source = torch.eye(one["tokens"]).expand(one["batch"], -1, -1)
        gathered, counts = merge(source, torch.ones(one["batch"], one["tokens"], 1), matching)
        assert counts is not None
        assert torch.equal((gathered * counts).round(), tensors[f"output/{name}_source"])


@kind("text_video_retrieval/blocks")
def blocks(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    x, size, clipme, imgme = tensors["input/x"], tensors["input/size"], config["clipme"], config["imgme"]
    frames, tokens, classes = config["frames"], x.shape[1], config["cls_num_in"]
    joining = Step(0, frames, tokens, classes, clipme["frames_merged"], clipme["r_cross"], clipme["r_intra"])
    plain = Step(0, frames, tokens, imgme["cls_num_in"], inside=imgme["r"])
    layer = adapted_layer(tensors, config, joining, positions=frames)
    with torch.no_grad():
        normed = layer.layer_norm1(x)
        attended, keys = layer.self_attn(normed, size)
        near(attended, tensors["output/attn"], 1e-6)
        near(keys, tensors["output/attn_metric"], 1e-6)
        near(layer.self_attn(normed, None)[0], tensors["output/attn_no_size"], 1e-6)
        joined, sizes = layer(x, size)
        near(joined, tensors["output/clipme_x"], 1e-6)
        near(sizes, tensors["output/clipme_size"], 1e-6)
        assert [joining.joined, joining.left, joining.classes_left] == tensors["output/clipme_counters"].tolist()
        merged, sizes = adapted_layer(tensors, config, plain, positions=0)(x)
        near(merged, tensors["output/imgme_x"], 1e-6)
        near(sizes, tensors["output/imgme_size"], 1e-6)


def adapted_layer(tensors: dict[str, Tensor], config: dict[str, Any], step: Step, *, positions: int) -> MergingLayer:
    width, start = config["width"], "transformer.resblocks.0."
    shape = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=tensors["weights/mlp.c_fc.weight"].shape[0],
        num_attention_heads=config["heads"],
    )
    given = {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}
    frozen = names.to_huggingface({start + name: value for name, value in given.items() if "TVPt" not in name})
    plain = CLIPEncoderLayer(shape)
    plain.load_state_dict({name.split("layers.0.")[1]: value for name, value in frozen.items()})
    layer = MergingLayer(plain.requires_grad_(False), step, weighted=True, positions=positions)
    host = adapters.attach(nn.ModuleDict({"layer": layer}), "tied_lora", targets=PARTS, r=config["lora_dim"]).eval()
    _, lora = next(iter(adapters.layers(host, "tied_lora")))
    [adapter] = lora.present()
    with torch.no_grad():
        lora.tensor("A", adapter).copy_(given["attn.TVPt_LoRA_a"])
        lora.tensor("B", adapter).copy_(given["attn.TVPt_LoRA_b"])
        if positions:
            layer.temporal_position.copy_(given["TVPt_Video_Positional_embedding"])
    return layer


@kind("text_video_retrieval/video_text_full")
def video_text_full(case: Case) -> None:
    whole_model(case)


@kind("text_video_retrieval/video_two_clips_left")
def video_two_clips_left(case: Case) -> None:
    whole_model(case)


def whole_model(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = model_of(tensors, config)
    frames, mask = tensors["input/video"], tensors["input/video_mask"]
    with torch.no_grad():
        x, size = model.vision_model.pre_layrnorm(model.vision_model.embeddings(frames.flatten(0, 1))), None
        for number, layer in enumerate(model.vision_model.encoder.layers):
            x, size = layer(x, size)
            step = layer.step
            close(x, tensors[f"output/block{number}_tokens"], 1e-5)
            close(size, tensors[f"output/block{number}_size"], 1e-5)
            counters = [step.joined, step.left, step.classes_left]
            assert counters == tensors[f"output/block{number}_counters"].tolist()
    videos, texts = model(frames, mask, tensors["input/text_ids"], tensors["input/text_mask"])
    close(videos, tensors["output/video_feat"], 1e-5)
    close(texts, tensors["output/text_feat"], 1e-5)
    logits = model.logit_scale.exp() * similarity(texts, videos)
    theirs = tensors["output/sim_scaled_t2v"]
    torch.testing.assert_close(logits, theirs, rtol=1e-5, atol=1e-5)
    loss = contrastive_loss(logits).mean()
    torch.testing.assert_close(loss, tensors["output/loss"], rtol=1e-5, atol=1e-5)
    loss.backward()
    wanted = {
        name.removeprefix("output/grad/clip."): value
        for name, value in tensors.items()
        if name.startswith("output/grad/")
    }
    trained = official.trained_tensors(model)
    assert not wanted or wanted.keys() == trained.keys()
    for name, gradient in wanted.items():
        found = trained[name].grad
        assert found is not None, name
        close(found, gradient, 1e-4 * float(gradient.abs().max()))


def model_of(tensors: dict[str, Tensor], config: dict[str, Any]) -> Any:
    """The case's model, through the converter of the authors' files."""
    weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}
    state = official.plain(weights, "the case")
    frozen = {name: value for name, value in state.items() if official.TRAINED not in name}
    told: CLIPConfig = official.config_of(frozen)
    # The towers are narrower than any that OpenAI released, whose heads are 64 wide.
    told.vision_config.num_attention_heads = config["vision_heads"]
    told.text_config.num_attention_heads = config["text_heads"]
    clip = CLIPModel(told)
    clip.load_state_dict(names.to_huggingface(frozen))
    settings = {name: config[name] for name in ("merge_layer", "merge_frame_num", "merge_token_proportion", "tome_r")}
    schedule = Schedule.of({**settings, "frame_pos": config["frame_pos"], "prop_attn": config["prop_attn"]})
    section = AdapterSection.of({"preset": "tempme", "r": config["lora_dim"]}, ["tempme"])
    model = attach_section(TempMe(clip.requires_grad_(False), schedule, config["max_frames"]), section).eval()
    official.load_trained(model, state, "the case")
    return model


@kind("text_video_retrieval/adamw_cosine")
def adamw_cosine(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    parameter = nn.Parameter(tensors["input/w0"].clone())
    settings = {"betas": tuple(config["betas"]), "eps": config["eps"], "weight_decay": config["weight_decay"]}
    optimizer = AdamW([parameter], lr=config["lr"], **settings)
    schedule = LambdaLR(optimizer, cosine_factor(config["warmup_steps"], config["total_steps"]))
    for step, gradient in enumerate(tensors["input/grads"]):
        parameter.grad = gradient.clone()
        norm = clip_grad_norm_([parameter], config["clip_grad_norm"])
        close(norm, tensors["output/grad_norm"][step], 1e-6)
        assert abs(optimizer.param_groups[0]["lr"] - float(tensors["output/lr"][step])) < 1e-12
        optimizer.step()
        schedule.step()
        close(parameter.detach(), tensors["output/w"][step], 1e-6)


@kind("text_video_retrieval/transform")
def transform(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    look = Preprocessing(config["image_resolution"], tuple(config["mean"]), tuple(config["std"]))
    for number in range(len(config["sizes"])):
        close(look(tensors[f"input/img{number}"].numpy()), tensors[f"output/img{number}"], 1e-6)


@kind("text_video_retrieval/token_schedule")
def token_schedule(case: Case) -> None:
    for one in case.json()["cases"]:
        settings = {key: one[key] for key in ("merge_layer", "merge_frame_num", "merge_token_proportion", "tome_r")}
        plan = Schedule.of(settings).plan(one["frames"], one["patch_tokens_per_frame"], len(one["layers"]))
        found = [
            {
                "layer": step.layer,
                "clips": step.joined,
                "tokens_in_attention": step.attended,
                "tokens_out": step.left,
                "cls_per_clip": step.classes_left,
                "r_cross": step.across,
                "r_intra": step.inside,
            }
            for step in plan.steps
        ]
        assert found == one["layers"]
        assert plan.tokens == one["final_tokens_total"]


@kind("text_video_retrieval/frame_sampling")
def frame_sampling(case: Case) -> None:
    for one in case.json()["cases"]:
        first, last = window(one["start"], one["end"], one["num_frames"], one["fps"])
        found = positions(first, last, one["max_frames"], one["fps"], one["video_framerate"])
        if "error" in one:  # the authors' code divides by a stride of zero: every frame is a candidate instead
            assert len(found) == one["max_frames"]
            assert found == sorted(found) and found[0] == 0 and found[-1] == one["num_frames"] - 1
        else:
            assert found == one["indices"]
            assert one["mask"] == [1] * one["max_frames"]


@kind("text_video_retrieval/tokenize")
def tokenize(case: Case) -> None:
    config = case.json()["config"]
    reader = words.from_merges(real_data("text/clip_bpe_vocab_16e6.txt.gz"), config["max_words"])
    assert (reader.tokenizer.bos_token_id, reader.tokenizer.eos_token_id) == (config["sot"], config["eot"])
    for one in case.json()["cases"]:
        [ids] = reader(one["text"])
        assert ids.tolist() == one["ids"], one["text"]
        assert mask_of(ids).tolist() == one["mask"], one["text"]
        assert int(ids.argmax()) == one["eot_index"]


@kind("text_video_retrieval/msrvtt_loader")
def msrvtt_loader(case: Case) -> None:
    content = case.json()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "Videos").mkdir()
        for name, text in content["files"].items():
            (root / name).write_text(text)
        for name in dict(chain.from_iterable(subset["videos"] for subset in content["subsets"].values())):
            (root / "Videos" / f"{name}.mp4").touch()
        for split, subset in content["subsets"].items():
            found = open_pairs(f"{root}:{split}")
            assert len(found) == subset["length"]
            assert [[pair.video, pair.caption] for pair in found.pairs] == subset["sentences"], split
            videos = [[name, f"/VIDEOS/{Path(str(file)).name}"] for name, file in found.videos.items()]
            assert videos == subset["videos"], split


@kind("text_video_retrieval/metrics")
def metrics(case: Case) -> None:
    for one in case.json()["cases"]:
        {"square": square, "ties": ties, "multi_caption": several_captions}[one["kind"]](one)


THEIR_NAMES = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "R50": "R@50", "MedianR": "MdR", "MR": "MdR", "MeanR": "MnR"}


def agree(ours: dict[str, float], theirs: dict[str, Any], *, recalls: float = 1e-6) -> None:
    for name, own in THEIR_NAMES.items():
        assert abs(ours[own] - theirs[name]) <= (recalls if name.startswith("R") else 1e-6), name


def square(one: dict[str, Any]) -> None:
    scores = torch.tensor(one["sim"], dtype=torch.float64)
    figures = both_ways(scores, range(len(scores)))
    for way, theirs, matrix in (("text_to_video", "t2v", scores), ("video_to_text", "v2t", scores.T)):
        agree(figures[way], one[theirs])
        assert abs(figures[way]["R-Sum"] - one[f"{theirs}_rsum"]) < 1e-6
        ranks = ranks_of(matrix, torch.arange(len(scores)))
        assert (ranks.ranks - 1).tolist() == one[theirs]["cols"]


def ties(one: dict[str, Any]) -> None:
    """The authors count a query once for each answer that scores as its own; every query has one rank here."""
    scores = torch.tensor(one["sim"], dtype=torch.float64)
    ranks = ranks_of(scores, torch.arange(len(scores)))
    theirs = iter(one["t2v"]["cols"])
    for better, tied in zip(ranks.better.tolist(), ranks.tied.tolist(), strict=True):
        assert [next(theirs) for _ in range(int(tied))] == [better + place for place in range(int(tied))]
    assert next(theirs, None) is None
    assert len(ranks.ranks) == len(scores)
    assert ranks.ranks.tolist() == (1 + ranks.better + (ranks.tied - 1) / 2).tolist()
    assert Ranks(ranks.better, ranks.tied, "optimistic").ranks.tolist() == (1 + ranks.better).tolist()


def several_captions(one: dict[str, Any]) -> None:
    counts = one["captions_per_video"]
    scores = torch.tensor(one["sim_caption_by_video"], dtype=torch.float64)
    own = np.repeat(np.arange(len(counts)), counts).tolist()
    figures = both_ways(scores, own)
    agree(figures["text_to_video"], one["t2v"], recalls=1e-4)
    agree(figures["video_to_text"], one["v2t"], recalls=1e-4)


@kind("text_video_retrieval/keys")
def keys(case: Case) -> None:
    wanted = {
        row["key"]: ([int(size) for size in row["shape"].strip("[]").split(",") if size], row["dtype"])
        for row in case.rows()
    }
    with torch.device("meta"):
        model = attach_section(
            TempMe(CLIPModel(published()), Schedule(), 12), AdapterSection.of({"preset": "tempme"}, ["tempme"])
        )
        state = official.full_state(model)
    found = {name: (list(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in state.items()}
    assert found == wanted
    trained = official.trained_tensors(model)
    assert {f"clip.{name}" for name in trained} == {row["key"] for row in case.rows() if row["trainable"] == "1"}
    assert sum(value.numel() for value in trained.values()) == 507_648
    assert all(value.requires_grad for value in trained.values())


def published() -> CLIPConfig:
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return CLIPConfig(text_config=text, vision_config={**vision, "image_size": 224, "patch_size": 32})
