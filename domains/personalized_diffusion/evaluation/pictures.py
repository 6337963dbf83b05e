"""What an evaluation is about: pictures found in folders or drawn with an adapter, and the photos beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.personalized_diffusion.data import photos, world
from domains.personalized_diffusion.data.dreambooth import Protocol, is_protocol, parse_protocol
from domains.personalized_diffusion.data.prompts import Prompt, read_prompts, without_token
from domains.personalized_diffusion.evaluation import folders
from domains.personalized_diffusion.evaluation.folders import Drawn, PictureSource, Prompts
from domains.personalized_diffusion.types import PromptQuery
from suite.errors import InputError
from suite.files import read_text

if TYPE_CHECKING:
    from domains.personalized_diffusion.predict import Personalizer

PHOTOS, HELD_OUT = 8, 1
"""The embedded default's held-out photos: how many, and the seed that training never draws."""


@dataclass(frozen=True)
class Asked:
    """Everything that is scored.

    Attributes:
        drawn: generated pictures. real: photos by subject.
        base: reference of the base that drew them, empty for folders.
        provenance: what a report says of how they came about.
    """

    drawn: list[Drawn]
    real: Mapping[str, Sequence[PictureSource]]
    base: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Which adapter draws, on what; `frozen` switches it off."""

    adapter: str = "tiny"
    base: str | None = None
    frozen: bool = False
    device: str = "auto"
    dtype: str = "auto"


def of_folders(
    generated: Path, real: Path | None, prompts: Path | None, *, images: int, token: str, keep_token: bool
) -> Asked:
    """Pictures that lie in folders already.

    Raises:
        InputError: pictures, photos or prompts are missing or not of the format.
    """
    if real is None:
        raise InputError("--real is missing: the folder of the subjects' real photos")
    if keep_token and not token and prompts is not None:
        raise InputError("--keep-token needs --token, the word that stood in the prompts")
    asked = None if prompts is None else read_list(prompts)
    drawn = folders.read_generated(generated, asked, images=images, token=token, keep_token=keep_token)
    names = list(folders.by_subject(drawn))
    notices: tuple[str, ...] = ()
    if asked is None and not token and not keep_token:
        notices = ("CLIP-T reads the prompts as they stand; --token WORD takes the trigger out of them",)
    if isinstance(asked, Protocol) and len(names) < len(asked.classes):
        notices = (f"{len(names)} of the protocol's {len(asked.classes)} subjects",)
    return Asked(drawn, folders.read_real(real, names), notices=notices)


def prior_of(prior: Path | None, asked: Asked) -> Mapping[str, Sequence[PictureSource]] | None:
    """Pictures of each subject's class alone, for PRES."""
    return None if prior is None else folders.read_real(prior, list(folders.by_subject(asked.drawn)))


def read_list(path: Path) -> Prompts:
    """DreamBooth's prompts file, or one prompt a line.

    Raises:
        InputError: it cannot be read, or a line is wrong.
    """
    text = read_text(path, encoding=None) if path.is_file() else ""
    if is_protocol(text):
        return parse_protocol(text, str(path))
    return [prompt.text for prompt in _usable(path)]


def _usable(inputs: Any, **settings: Any) -> list[Prompt]:
    found = list(read_prompts(inputs, **settings))
    for prompt in found:
        if prompt.error is not None:
            raise InputError(f"{prompt.source}: {prompt.error}")
    return found


def of_adapter(
    choice: Choice,
    real: Path | None,
    prompts: Path | None,
    *,
    subject: str | None = None,
    keep_token: bool = False,
    settings: Mapping[str, Any],
) -> Asked:
    """Pictures drawn now, `settings["images"]` of each prompt.

    Args:
        real: the subject's photos; the embedded default has its own held-out ones.
        prompts: DreamBooth's prompts, or a file of one a line; the embedded default has its own.
        settings: fields of `PromptQuery`; `strength` is one number.

    Raises:
        InputError: photos or prompts are missing, or a prompt cannot be drawn.
    """
    from domains.personalized_diffusion.predict import Personalizer

    check_asked(real, prompts, settings)
    personalizer = Personalizer.from_pretrained(choice.adapter, choice.base, choice.device, choice.dtype)
    photographs, words = held_out(personalizer, real, prompts)
    trigger = personalizer.trigger
    asked = _usable(words, trigger=trigger, subject=subject)
    name = subject or (asked[0].subject or trigger.noun or "subject")
    drawn = draw(personalizer, asked, name, frozen=choice.frozen, keep_token=keep_token, settings=settings)
    used = {"adapter": "none (frozen base)" if choice.frozen else choice.adapter, "base": personalizer.base.id}
    return Asked(drawn, {name: photographs}, personalizer.base.id, used | _given(settings))


def check_asked(real: Path | None, prompts: Path | None, settings: Mapping[str, Any]) -> None:
    """What can be told to be wrong before a base is loaded, or adapters are trained.

    Raises:
        InputError: there are no such photos or prompts, or pictures cannot be drawn so.
    """
    given = _given(settings)
    PromptQuery(**{**given, "strength": (given.get("strength", 1.0),)})
    if real is not None:
        photos.list_photos(real)
    if prompts is not None:
        read_list(prompts)


def held_out(personalizer: Personalizer, real: Path | None, prompts: Path | None) -> tuple[list[PictureSource], Any]:
    """Photos that the pictures stand against, and the inputs that are drawn; the embedded default has its own.

    Raises:
        InputError: they are not given, and the adapter is none of the embedded default's.
    """
    own = personalizer.trigger.noun in world.SUBJECTS and personalizer.base.family == "tiny"
    if real is None and not own:
        raise InputError("--real is missing: the folder of the subject's real photos")
    if prompts is None and not own:
        raise InputError("--prompts is missing: DreamBooth's prompts_and_classes.txt, or a file of one prompt a line")
    if real is None:
        taken = world.subject_photos(personalizer.trigger.noun, PHOTOS, HELD_OUT)
        # In the order of the prompts below: a column of a comparison is one scene.
        taken.sort(key=lambda one: world.SCENES.index(one.scene))
        photographs: list[PictureSource] = [*map(world.draw, taken)]
    else:
        photographs = [photo.path for photo in photos.list_photos(real)]
    words = personalizer.trigger.phrase
    return photographs, prompts or [f"a {words} {scene}" for scene in world.SCENES]


def draw(
    personalizer: Personalizer,
    prompts: Sequence[Prompt],
    subject: str,
    *,
    frozen: bool = False,
    keep_token: bool = False,
    settings: Mapping[str, Any],
) -> list[Drawn]:
    """Each prompt's pictures, with what CLIP-T compares them with.

    Raises:
        InputError: a prompt cannot be drawn.
    """
    given = _given(settings)
    strength = 0.0 if frozen else given.pop("strength", 1.0)
    drawn = []
    for index, result in enumerate(personalizer.draw(prompts, **{**given, "strength": (strength,)})):
        if result.error is not None:
            raise InputError(f"{result.source}: {result.error}")
        text = result.prompt if keep_token else without_token(result.prompt, personalizer.trigger.token)
        drawn.append(Drawn(subject, index, text, tuple(result.images)))
    return drawn


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
