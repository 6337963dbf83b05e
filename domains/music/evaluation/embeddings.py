"""What hears sounds for an evaluation: VGGish, PANNs and CLAP from the user's files, or our own spectral embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.music.evaluation import panns, spectral, vggish
from domains.music.types import Wave
from suite.errors import InputError, first_line

Floats = NDArray[np.floating]


class Embedder(Protocol):
    """Embeddings of sounds.

    Attributes:
        name: for reports. key: of its figures. rate: Hz that waves are wanted at, mono.
    """

    name: str
    key: str
    rate: int

    def embed(self, wave: Wave) -> Floats:
        """(windows, dim) of a wave (1, samples)."""
        ...

    def classify(self, wave: Wave) -> Floats | None:
        """Logits (classes,) of a wave; None where it knows no classes."""
        ...

    def agreement(self, wave: Wave, caption: str) -> float | None:
        """Cosine of a wave and a sentence; None where it reads none."""
        ...


class _Hearing:
    """What an embedder does not do."""

    def classify(self, wave: Wave) -> Floats | None:
        return None

    def agreement(self, wave: Wave, caption: str) -> float | None:
        return None


class Spectral(_Hearing):
    """Ours; see `spectral`."""

    name, key, rate = spectral.NAME, "spectral", spectral.RATE

    def embed(self, wave: Wave) -> Floats:
        return spectral.embed(wave, self.rate)


class VGGish(_Hearing):
    """FAD's: a file of torchvggish's names (`vggish-10086976.pth`) or safetensors of the same."""

    name, key, rate = "VGGish", "vggish", vggish.RATE

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.network = _loaded(vggish.VGGish, _tensors(path), path, lambda name: name).to(device)
        self.device = device

    @torch.inference_mode()
    def embed(self, wave: Wave) -> Floats:
        return self.network(vggish.examples(wave).to(self.device)).cpu().numpy()


class Panns(_Hearing):
    """FD's and KL's: a released file of CNN14 (`Cnn14_16k_mAP=0.438.pth`, `Cnn14_mAP=0.431.pth`)."""

    key = "panns"

    def __init__(self, path: Path, device: str = "cpu") -> None:
        tensors = _tensors(path)
        window = tensors.get("spectrogram_extractor.stft.conv_real.weight")
        front = None if window is None else panns.front_of(window.shape[-1])
        if front is None:
            raise InputError(f"{path}: holds no CNN14 of PANNs for 16 or 32 kHz; give e.g. Cnn14_16k_mAP=0.438.pth")
        self.rate, self.name, self.device = front.rate, f"PANNs CNN14 {front.rate // 1000} kHz", device
        self.network = _loaded(lambda: panns.Cnn14(front), tensors, path, panns.renamed).to(device)

    def embed(self, wave: Wave) -> Floats:
        return self._heard(wave)[0]

    def classify(self, wave: Wave) -> Floats | None:
        return self._heard(wave)[1][0]

    @torch.inference_mode()
    def _heard(self, wave: Wave) -> tuple[Floats, Floats]:
        least = 32 * self.network.front.hop  # what five halvings leave one frame of
        mono = torch.from_numpy(np.ascontiguousarray(wave.mean(0, keepdims=True)))
        if mono.shape[1] < least:
            mono = torch.nn.functional.pad(mono, (0, least - mono.shape[1]))
        embedding, logits = self.network(mono.to(self.device))
        return embedding.cpu().numpy(), logits.cpu().numpy()


class Clap(_Hearing):
    """Text consistency: a folder of CLAP as transformers saves it, e.g. `laion/larger_clap_music`."""

    key = "clap"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from transformers import ClapModel, ClapProcessor

        try:
            self.processor: Any = ClapProcessor.from_pretrained(folder)
            self.network: Any = ClapModel.from_pretrained(folder).eval().to(device)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{folder}: holds no CLAP that transformers reads ({first_line(error)})") from error
        # The rate it was trained at, whatever the recording's: at another one it hears something else.
        self.rate, self.device = int(self.processor.feature_extractor.sampling_rate), device
        self.name, self._texts = f"CLAP {folder.name}", dict[str, Tensor]()

    def embed(self, wave: Wave) -> Floats:
        return self._heard(wave).cpu().numpy()

    @torch.inference_mode()
    def agreement(self, wave: Wave, caption: str) -> float | None:
        if caption not in self._texts:
            read = self.processor(text=[caption], return_tensors="pt", padding=True).to(self.device)
            self._texts[caption] = _pooled(self.network.get_text_features(**read))
        return float(torch.nn.functional.cosine_similarity(self._heard(wave), self._texts[caption])[0])

    @torch.inference_mode()
    def _heard(self, wave: Wave) -> Tensor:
        heard = self.processor(audio=[wave.mean(0)], sampling_rate=self.rate, return_tensors="pt").to(self.device)
        return _pooled(self.network.get_audio_features(**heard))


def _pooled(found: Any) -> Tensor:
    """Features (1, dim), which transformers gives bare or in an output, by version."""
    return found if isinstance(found, Tensor) else found.pooler_output


_FROM_FILES: Mapping[str, Callable[[Path, str], Embedder]] = {"vggish": VGGish, "panns": Panns, "clap": Clap}


def open_embedder(reference: str, device: str = "cpu") -> Embedder:
    """An embedder by its reference.

    Args:
        reference: `spectral`; or `vggish:FILE`, `panns:FILE`, `clap:FOLDER`.

    Raises:
        InputError: it names nothing, or the file is something else.
    """
    kind, _, where = reference.partition(":")
    if kind == "spectral" and not where:
        return Spectral()
    if kind not in _FROM_FILES or not where:
        ways = ", ".join([*(f"{name}:PATH" for name in _FROM_FILES), "spectral (ours, no file needed)"])
        raise InputError(f"embedding {reference!r}: give {ways}")
    path = Path(where).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; the weights of {kind} are the user's to get")
    return _FROM_FILES[kind](path, device)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, pickled ones without running anything in them."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises whatever its bytes say
        raise InputError(f"{path}: holds no weights that can be read safely ({first_line(error)})") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no named weights")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _loaded(make: Callable[[], Any], tensors: Mapping[str, Tensor], path: Path, name_of: Callable[[str], str]) -> Any:
    with torch.device("meta"):  # weights that are replaced need not be drawn
        network = make()
    own = network.state_dict()
    found = {renamed: value for name, value in tensors.items() if (renamed := name_of(name)) in own}
    lacking = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    if lacking:
        raise InputError(f"{path}: lacks {len(lacking)} tensors of {type(network).__name__}, e.g. {lacking[0]}")
    other: Sequence[str] = [name for name, value in found.items() if value.shape != own[name].shape]
    if other:
        shapes = f"{tuple(found[other[0]].shape)}, not {tuple(own[other[0]].shape)}"
        raise InputError(f"{path}: {other[0]} has the shape {shapes}; it is no {type(network).__name__}")
    counters = {name: torch.zeros((), dtype=torch.long) for name in own if name not in found}
    network.load_state_dict({**counters, **{name: value.float() for name, value in found.items()}}, assign=True)
    return network.eval()
