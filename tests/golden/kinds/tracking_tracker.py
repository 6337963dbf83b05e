"""The whole tracker against the authors' code: training forward, steps with a carried state, positions, key names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from domains.tracking.inference.decode import decode
from domains.tracking.inference.memory import template_frames
from domains.tracking.inference.session import SessionSettings, TrackingSession
from domains.tracking.model import attachments, bases
from domains.tracking.model.dinov2 import Sizes, resized_positions
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack, Step
from domains.tracking.official import keys
from domains.tracking.types import MemoryPolicy, TrackedBox
from suite.adapters.section import AdapterSection
from tests.golden.registry import Case, kind


def tracker_of(tensors: dict[str, Tensor], config: dict[str, Any]) -> SpmTrack:
    """The tracker of a case, its weights through the key map of the converter."""
    patch = config["patch"]
    settings = TrackerSettings(
        template_size=patch * config["template_feat_size"][0],
        search_size=patch * config["search_feat_size"][0],
        patch=patch,
        window_penalty=config["window_penalty"],
    )
    ffn: Any = "mlp" if config["ffn"] == "mlp" else "swiglu"
    sizes = Sizes(config["depth"], config["embed_dim"], config["num_heads"], ffn, patch, config["search_feat_size"][0])
    state = {key.removeprefix("weights/"): value for key, value in tensors.items() if key.startswith("weights/")}
    trained = {name: value for name, value in state.items() if _trains(name)}
    model = SpmTrack(sizes, settings)
    bases.load_backbone(model, bases.backbone_state(_frozen(state, trained), "the case"))
    adapter = {"preset": "spmtrack", "r": config["r"], "alpha": config["alpha"], "num_experts": config["expert_nums"]}
    attached: Any = attachments.attach_section(model, AdapterSection.of(adapter, attachments.PRESETS))
    keys.load_trained(attached, trained, "the case")
    return attached.eval()


def _trains(name: str) -> bool:
    return ".tmoe." in name or name.startswith((*keys.EMBEDDINGS, "head."))


def _frozen(state: dict[str, Tensor], trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """The live module's frozen copies as a DINOv2's tensors: query, key and value in one, without `.linear`."""
    plain = {name.replace(".linear.", "."): value for name, value in state.items() if name not in trained}
    for name in [name for name in plain if ".qkv.q." in name]:
        parts = [plain.pop(name.replace(".qkv.q.", f".qkv.{part}.")) for part in "qkv"]
        plain[name.replace(".qkv.q.", ".qkv.")] = torch.cat(parts)
    return plain


def _inputs(tensors: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
    templates = [tensors[f"input/z_{number}"].float() for number in range(3)]
    masks = [tensors[f"input/z_{number}_feat_mask"] for number in range(3)]
    return templates, masks, {name: tensors[f"input/{name}"].float() for name in ("x_0", "x_1")}


def _check_tracker(case: Case, tolerance: float) -> None:
    tensors, config = case.tensors(), case.config
    close: dict[str, float] = {"atol": tolerance, "rtol": 0.0}
    positions = tensors["input/vit_pos_embed"][:, 1:]
    side = config["search_feat_size"][0]
    torch.testing.assert_close(resized_positions(positions, side), tensors["output/pos_embed"], **close)
    model = tracker_of(tensors, config)
    templates, masks, crops = _inputs(tensors)
    for frame, step in enumerate(model(templates, masks, [crops["x_0"], crops["x_1"]])):
        torch.testing.assert_close(step.scores, tensors[f"output/train_score_map_{frame}"], **close)
        torch.testing.assert_close(step.boxes, tensors[f"output/train_boxes_{frame}"], **close)
    if "output/s0_boxes" in tensors:
        _check_steps(model, tensors, config, close)


@torch.inference_mode()
def _check_steps(model: SpmTrack, tensors: dict[str, Tensor], config: dict[str, Any], close: dict[str, float]) -> None:
    """Each object's state goes from step to step with it, whoever shares the batch."""
    templates, masks, crops = _inputs(tensors)
    embedded = torch.cat([model.embed_template(*pair) for pair in zip(templates, masks, strict=True)], 1)
    states = {number: model.fresh_state(1)[0] for number in (0, 1)}
    for name, objects, source in config["steps"]:
        crop = crops[source.split()[0]][objects]
        step = model.search(embedded[objects], crop, torch.stack([states[number] for number in objects]))
        _check_step(step, name, tensors, close)
        decoded = decode(step.scores, step.boxes, model.settings.search_size, config["window_penalty"])
        torch.testing.assert_close(decoded.boxes, tensors[f"output/{name}_decoded_box"], atol=1e-3, rtol=0.0)
        torch.testing.assert_close(decoded.scores, tensors[f"output/{name}_decoded_conf"], **close)
        for row, number in enumerate(objects):
            states[number] = step.state[row]
            torch.testing.assert_close(states[number], tensors[f"output/{name}_state_token_{number}"], **close)
    fresh = model.search(embedded, crops["x_1"], model.fresh_state(2))
    assert (fresh.scores - tensors["output/s1_score_map"]).abs().max() > 0.01, "the state makes no difference"


def _check_step(step: Step, name: str, tensors: dict[str, Tensor], close: dict[str, float]) -> None:
    torch.testing.assert_close(step.scores, tensors[f"output/{name}_score_map"], **close)
    torch.testing.assert_close(step.boxes, tensors[f"output/{name}_boxes"], **close)


@kind("tracking/tracker_mlp")
def tracker_mlp(case: Case) -> None:
    _check_tracker(case, 1e-5)


@kind("tracking/tracker_swiglu")
def tracker_swiglu(case: Case) -> None:
    _check_tracker(case, 5e-5)


@kind("tracking/keys")
def released_keys(case: Case) -> None:
    """A fresh B exports exactly these tensors, and a file of exactly these becomes a B."""
    rows = {row["key"]: (tuple(map(int, filter(None, row["shape"].split(",")))), row["dtype"]) for row in case.rows()}
    with torch.device("meta"):
        model = SpmTrack(Sizes(), TrackerSettings())
        attached = attachments.attach_section(model, AdapterSection.of({"preset": "spmtrack"}, attachments.PRESETS))
    ours = keys.trained(attached)
    exported = keys.to_released(ours, keys.scales("tmoe", 64.0, False))
    assert {name: (tuple(value.shape), str(value.dtype)[6:]) for name, value in exported.items()} == rows
    assert re.fullmatch(r"track_query|query_embed", next(iter(exported)))
    back = keys.from_released({name: torch.empty(shape, device="meta") for name, (shape, _) in rows.items()})
    assert {name: value.shape for name, value in back.items()} == {name: value.shape for name, value in ours.items()}


@kind("tracking/sequence")
def sequence(case: Case) -> None:
    """The loop over a clip by both policies: boxes, confidences, templates and states; together and one by one."""
    tensors, config = case.tensors(), case.config
    frames = tensors["input/frames_uint8"].numpy()
    first = [tuple(map(float, (*box[:2], *(box[2:] - box[:2])))) for box in tensors["input/init_boxes_xyxy"].numpy()]
    model = tracker_of(tensors, config)
    policies: dict[str, MemoryPolicy] = {"default": "segments", "lasot_b": "thirds"}
    for name, policy in policies.items():
        tracker = replace(model.settings, memory_policy=policy, window_penalty=config["window_penalty"])
        table = tensors[f"output/{name}.memory_indices_from_t4"].tolist()
        assert [list(template_frames(policy, number)) for number in range(4, 4 + len(table))] == table
        for together in ([0, 1], [0], [1]):
            session = TrackingSession(model, tracker, SessionSettings(exact=True))
            for number in together:
                session.add(str(number), frames[0], first[number])
            found = [session.track(frame) for frame in frames[1:]]
            for number in together:
                _check_track([one[str(number)] for one in found], tensors, name, number)
                state = session.objects[str(number)].state
                torch.testing.assert_close(state, tensors[f"output/{name}.final_state_{number}"], atol=1e-4, rtol=0.0)


def _check_track(found: list[TrackedBox], tensors: dict[str, Tensor], name: str, number: int) -> None:
    boxes = torch.tensor([one.box for one in found], dtype=torch.float64)  # (frames, 4), x, y, w, h
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    torch.testing.assert_close(corners, tensors[f"output/{name}.boxes_{number}"], atol=0.01, rtol=0.0)
    scores = torch.tensor([one.score for one in found], dtype=torch.float64)
    torch.testing.assert_close(scores, tensors[f"output/{name}.conf_{number}"], atol=1e-4, rtol=0.0)
