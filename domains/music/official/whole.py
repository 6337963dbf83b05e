"""The verb `convert`: a MusicGen in audiocraft's files <-> a folder that transformers reads, without audiocraft."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

LANGUAGE, CODEC, RUN = "state_dict.bin", "compression_state_dict.bin", "checkpoint.th"
CLOSE = 1e-3
"""Difference of logits that two programs of one model may have."""


def convert(
    source: Path,
    *,
    out: Path,
    to: Literal["transformers", "audiocraft"] = "transformers",
    text_encoder: str = "hf:google-t5/t5-base",
    codec: str | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Make of audiocraft's files a base that everything here takes, or the way back.

    Args:
        source: folder with state_dict.bin (or checkpoint.th of a fine-tuning run) and compression_state_dict.bin; to go
            to audiocraft, the folder of a base.
        out: folder to write, all or nothing.
        to: transformers or audiocraft.
        text_encoder: reference of the T5, which audiocraft's files do not hold.
        codec: reference of an EnCodec, or of a MusicGen that has it, where compression_state_dict.bin only names one.
        check: run audiocraft's own program beside ours on both, where it is installed; logits that differ are refused.

    Raises:
        InputError: files are missing, are of something else, or a reference names nothing; with `check`, audiocraft
            cannot be imported or gives something else.
    """
    from suite.errors import InputError
    from suite.files import EXPORT, atomic_folder

    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one with {LANGUAGE}, or that of a base")
    with atomic_folder(out, EXPORT) as temporary:
        if to == "audiocraft":
            to_audiocraft(source, temporary)
        else:
            to_transformers(source, temporary, text_encoder, codec)
        told = {}
        if check:
            file, base = (temporary / LANGUAGE, source) if to == "audiocraft" else (_file(source), temporary)
            told["difference"] = _checked(file, base)
    licence = "weights of MusicGen are CC-BY-NC 4.0, whatever their format"
    lines = [str(out), *(f"audiocraft's own logits differ by {value:.1e} at most" for value in told.values()), licence]
    return {"out": str(out), "licence": licence, **told, "message": "\n".join(lines)}


def _checked(file: Path, base: Path) -> float:
    from domains.music.official import program
    from suite.errors import InputError

    found = program.difference(file, base)
    if not found < CLOSE:
        raise InputError(f"{file.name}: audiocraft's own logits differ by {found:.1e}; nothing is written")
    return found


def to_transformers(source: Path, out: Path, text_encoder: str, codec: str | None) -> None:
    """Fill the empty folder `out` with a base."""
    import torch
    from transformers import EncodecFeatureExtractor, MusicgenConfig, MusicgenForConditionalGeneration, T5EncoderModel

    from domains.music.model import bases
    from domains.music.model.musicgen import MusicGenLM
    from domains.music.official import audiocraft, shapes
    from suite import hub
    from suite.errors import InputError
    from suite.hub import weights

    state, said = _language_model(source)
    config = shapes.decoder(state, said, str(source / LANGUAGE))
    text_folder = hub.resolve(text_encoder, bases.DOMAIN, kind="base")
    text = T5EncoderModel.from_pretrained(text_folder, local_files_only=True)
    audio = _codec(source, codec)
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(
            text_encoder=text.config.to_dict(), audio_encoder=audio.config.to_dict(), decoder=config.to_dict()
        )
    )
    language = MusicGenLM.of(model)
    ours = audiocraft.language_model(state)
    weights.check_keys(set(ours), set(language.state_dict()), str(source / LANGUAGE))
    with torch.no_grad():
        for name, tensor in language.state_dict().items():
            if tensor.shape != ours[name].shape:
                raise InputError(
                    f"{source}: {name} is {tuple(ours[name].shape)}, {tuple(tensor.shape)} with {text_encoder} as text "
                    "encoder"
                )
            tensor.copy_(ours[name])
    model.text_encoder, model.audio_encoder = text, audio
    model.generation_config.update(
        max_length=30 * audio.config.frame_rate, do_sample=True, guidance_scale=3.0, pad_token_id=config.pad_token_id
    )
    dtype = state["emb.0.weight"].dtype
    model.to(dtype if dtype.is_floating_point else torch.float32).save_pretrained(out)
    bases.tokenizer(text_folder).save_pretrained(out)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=audio.config.sampling_rate).save_pretrained(out)


def to_audiocraft(source: Path, out: Path) -> None:
    """Fill the empty folder `out` with audiocraft's two files."""
    import torch
    import yaml

    from domains.music.model import bases
    from domains.music.official import audiocraft, settings

    whole = bases.load(source)
    state = {name: tensor.clone() for name, tensor in bases.language_model(whole).state_dict().items()}
    seconds = bases.window_frames(whole) / whole.audio_encoder.config.frame_rate
    theirs = audiocraft.audiocraft_language_model(state)
    _save(theirs, settings.language(whole.config, seconds), out / LANGUAGE, torch, yaml)
    codec_state = {name: tensor.clone() for name, tensor in whole.audio_encoder.state_dict().items()}
    theirs = audiocraft.audiocraft_codec(codec_state, audiocraft.upsampling(whole.audio_encoder))
    _save(theirs, settings.compression(whole.audio_encoder.config), out / CODEC, torch, yaml)


def _save(state: Mapping[str, Any], said: Mapping[str, Any], path: Path, torch: Any, yaml: Any) -> None:
    torch.save({"best_state": dict(state), "xp.cfg": yaml.safe_dump(dict(said)), "exported": True}, path)


def _language_model(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from domains.music.official import shapes
    from suite.errors import InputError
    from suite.hub import weights

    file = _file(source)
    found = weights.contents(file)
    state = found.get("best_state")
    # A run's checkpoint keeps it one level deeper.
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not state:
        raise InputError(f"{file} has no best_state; it is none of audiocraft's")
    return state, shapes.settings(found.get("xp.cfg"), str(file))


def _file(source: Path) -> Path:
    from suite.errors import InputError

    for name in (LANGUAGE, RUN):
        if (source / name).is_file():
            return source / name
    raise InputError(f"{source} has neither {LANGUAGE} nor {RUN}; it is no MusicGen of audiocraft")


def _codec(source: Path, reference: str | None) -> Any:
    from transformers import EncodecModel

    from domains.music.model import bases
    from domains.music.official import audiocraft, shapes
    from suite import hub
    from suite.errors import InputError
    from suite.hub import weights

    file = source / CODEC
    found = weights.contents(file) if file.is_file() else {}
    if isinstance(found.get("best_state"), dict):
        state = found["best_state"]
        model = EncodecModel(shapes.encodec(state, shapes.settings(found.get("xp.cfg"), str(file)), str(file)))
        ours = audiocraft.codec(state)
        weights.check_keys(set(ours), set(model.state_dict()), str(file))
        model.load_state_dict(ours)
        return model.eval()
    if reference is None:
        named = found.get("pretrained")
        what = f"{file} only names {named}" if named else f"{source} has no {CODEC}"
        raise InputError(f"{what}; give the codec's weights with --codec, e.g. --codec hf:facebook/encodec_32khz")
    folder = hub.resolve(reference, bases.DOMAIN, kind="base")
    if (folder / "config.json").is_file() and "audio_encoder" in (folder / "config.json").read_text(encoding="utf-8"):
        return bases.load(folder).audio_encoder
    return EncodecModel.from_pretrained(folder, local_files_only=True).eval()
