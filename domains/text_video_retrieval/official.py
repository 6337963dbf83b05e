"""The authors' checkpoints <-> ours: a whole model under OpenAI's names, with 51 tensors that TempMe trained.

`best.pth` is the state of everything, `clip.` before each name. What was trained has `TVPt` in its name:
`...attn.TVPt_LoRA_a` (r, D) and `..._b` (3 D, r) of each attention, and `...TVPt_Video_Positional_embedding`
(1, F, 1, D) of each merge layer of the image tower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from domains.text_video_retrieval.model import attachments, bases
from domains.text_video_retrieval.model.manifest import Stated
from domains.text_video_retrieval.model.schedule import Schedule
from suite import adapters, hub
from suite.adapters.section import AdapterSection
from suite.clip import names
from suite.errors import InputError
from suite.hub import pretrained, weights

PREFIX, TRAINED = "clip.", "TVPt"
_LORA = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.TVPt_LoRA_([ab])")
_POSITION = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.TVPt_Video_Positional_embedding")


def convert(
    source: Path,
    out: Path,
    *,
    merge_layer: str | None = None,
    merge_frame_num: str | None = None,
    merge_token_proportion: str | None = None,
    tome_r: int | None = None,
    max_words: int = 32,
    untied: bool = False,
) -> None:
    """Turn the authors' `best.pth` into an adapter folder; its frozen CLIP is left to the base that the adapter names.

    The file does not say how it merged: what is left out is the published schedule of its backbone and frames.

    Args:
        source: the file. out: an existing, empty folder.
        merge_layer, merge_frame_num, merge_token_proportion, tome_r: as the authors' command had them.
        max_words: tokens of a sentence.
        untied: write a LoRA for each of query, key and value, which plain peft reads, instead of one for the three.

    Raises:
        InputError: the file is none of TempMe's, or tensors are missing or of another shape.
    """
    state = plain(weights.read(source), str(source))
    given = {
        "merge_layer": merge_layer,
        "merge_frame_num": merge_frame_num,
        "merge_token_proportion": merge_token_proportion,
        "tome_r": tome_r,
    }
    schedule, frames = schedule_of(state, {key: value for key, value in given.items() if value is not None})
    frozen = {name: value for name, value in state.items() if TRAINED not in name}
    patch = frozen["visual.conv1.weight"].shape[-1]
    with TemporaryDirectory() as folder:
        clip = CLIPModel(config_of(frozen))
        found = clip.load_state_dict(names.to_huggingface(frozen), strict=False)
        if lacking := [name for name in found.missing_keys if not name.endswith("position_ids")]:
            raise InputError(f"{source}: lacks {lacking[0]} of a CLIP; give a whole best.pth")
        with pretrained.bars_for_people():
            clip.save_pretrained(folder)
        rank = next(value.shape[0] for name, value in state.items() if name.endswith("LoRA_a"))
        preset = {"preset": "lora", "r": rank, "lora_alpha": rank} if untied else {"preset": "tempme", "r": rank}
        section = AdapterSection.of(preset, attachments.PRESETS)
        model = attachments.attach_section(bases.load_folder(folder, schedule, frames), section)
        if untied:
            state = load_untied(model, state)
        load_trained(model, state, str(source))
        stated = Stated(frames=frames, words=max_words, schedule=schedule, selected_on="test")
        base = f"hf:openai/clip-vit-base-patch{patch}"
        adapters.save(model, out, base=base, extra=stated.to_dict())


def export(source: Path, out: Path, *, base: Path | None = None) -> None:
    """Write an adapter as the file that the authors' code loads, `best.pth`, with its base in it.

    Args:
        source: the adapter's folder. out: an existing, empty folder.
        base: folder of its base; the one that the adapter names where it is left out.

    Raises:
        InputError: the base is not at hand, or the adapter is no TempMe.
    """
    manifest = adapters.read_manifest(source)
    stated = Stated.from_dict(manifest["domain"], source)
    if base is None:
        base = hub.resolve(manifest["base"]["reference"] or "", bases.DOMAIN, kind="base")
    model = adapters.load(bases.load_folder(base, stated.schedule, stated.frames), source)
    torch.save(full_state(model), out / "best.pth")


def plain(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """OpenAI's names without the authors' prefixes.

    Raises:
        InputError: nothing of TempMe is in it.
    """
    stripped = {name.removeprefix("module.").removeprefix(PREFIX): value for name, value in state.items()}
    if not any(_LORA.fullmatch(name) for name in stripped):
        raise InputError(f"{where}: holds no TVPt_LoRA of TempMe; give its best.pth")
    return {name: value.float() if value.is_floating_point() else value for name, value in stripped.items()}


def trained_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by the authors' names, without their prefix."""
    found: dict[str, nn.Parameter] = {}
    for module, layer in adapters.layers(model, "tied_lora"):
        number = module.split("layers.")[1].split(".")[0]
        start = "visual." if module.startswith("vision_model") else ""
        for name in ("A", "B"):
            key = f"{start}transformer.resblocks.{number}.attn.TVPt_LoRA_{name.lower()}"
            [adapter] = layer.present()
            found[key] = layer.tensor(name, adapter)
    tower: Any = model
    for place, layer in enumerate(tower.vision_model.encoder.layers):
        if (position := layer._parameters.get("temporal_position")) is not None:
            found[f"visual.transformer.resblocks.{place}.TVPt_Video_Positional_embedding"] = position
    return found


def load_trained(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put what the authors trained into a model with TempMe's adapter.

    Raises:
        InputError: tensors are missing, unknown or of another shape; nothing is changed then.
    """
    own = trained_tensors(model)
    given = {name: value for name, value in state.items() if TRAINED in name}
    wrong = [f"missing {name}" for name in own if name not in given]
    wrong += [f"unexpected {name}" for name in given if name not in own]
    wrong += [
        f"{name} is {tuple(given[name].shape)}, the model's {tuple(own[name].shape)} (its second number is F_l, the "
        "clips that enter the layer)"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if wrong:
        raise InputError(f"{where} does not fit the schedule: {'; '.join(wrong[:3])}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(given[name])
    adapters.refresh(model)


@torch.no_grad()
def load_untied(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the authors' LoRA into one for each of query, key and value: A three times, B by thirds; return the rest."""
    left = dict(state)
    for module, layer in adapters.layers(model, "lora"):
        number, part = module.split("layers.")[1].split(".")[0], module.rpartition(".")[2]
        start = "visual." if module.startswith("vision_model") else ""
        key = f"{start}transformer.resblocks.{number}.attn.TVPt_LoRA_"
        [adapter] = layer.lora_A
        thirds = state[f"{key}b"].chunk(len(attachments.PARTS))  # (3 D, r) -> three of (D, r), in this order
        layer.lora_A[adapter].weight.copy_(state[f"{key}a"])
        layer.lora_B[adapter].weight.copy_(thirds[attachments.PARTS.index(part)])
        left = {name: value for name, value in left.items() if not name.startswith(key)}
    return left


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """Everything under the authors' names, trained tensors in their own places."""
    frozen = {
        name: value
        for name, value in adapters.merged_state(model).items()
        if "temporal_position" not in name and not name.endswith("position_ids")
    }
    trained = {name: parameter.detach().clone() for name, parameter in trained_tensors(model).items()}
    return {f"{PREFIX}{name}": value for name, value in {**names.to_openai(frozen), **trained}.items()}


def schedule_of(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[Schedule, int]:
    """The schedule and the number of frames that temporal positions tell, the rest being the published one's."""
    held = {int(found[1]): value.shape[1] for name, value in state.items() if (found := _POSITION.fullmatch(name))}
    layers, clips = sorted(held), [held[layer] for layer in sorted(held)]
    patches = state["visual.positional_embedding"].shape[0] - 1
    preset = dict(Schedule.of({"preset": "vit-b-16" if patches > 100 else "vit-b-32"}).to_dict())
    if layers:
        joins = [before // after for before, after in zip(clips, [*clips[1:], 1], strict=True)]
        preset |= {"merge_layer": layers, "merge_frame_num": joins}
    return Schedule.of({**preset, "frame_pos": bool(layers), **given}), clips[0] if clips else 12


def config_of(state: Mapping[str, Tensor]) -> CLIPConfig:
    """The architecture that the shapes of OpenAI's tensors tell, with heads of 64 as everywhere in CLIP."""
    width, patch = state["visual.conv1.weight"].shape[0], state["visual.conv1.weight"].shape[-1]
    side = patch * round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    words, text = state["token_embedding.weight"].shape

    def layers(start: str) -> int:
        return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})

    def tower(width: int, start: str) -> dict[str, int]:
        heads = max(1, width // 64)
        count = layers(start)
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": count}
        return {**sizes, "num_attention_heads": heads}

    length = state["positional_embedding"].shape[0]
    ids = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return CLIPConfig(
        text_config={
            **tower(text, "transformer.resblocks."),
            "vocab_size": words,
            "max_position_embeddings": length,
            **ids,
        },
        vision_config={**tower(width, "visual.transformer.resblocks."), "image_size": side, "patch_size": patch},
        projection_dim=state["text_projection"].shape[1],
    )
