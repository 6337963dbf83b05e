"""DreamBooth's protocol: 30 subjects, their classes, 25 prompts each (Ruiz et al., arXiv 2208.12242, section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from suite.errors import InputError
from suite.files import read_text

LIVE_CLASSES = frozenset({"cat", "dog"})
"""Classes whose subjects get the live list: 10 backgrounds, 10 outfits, 5 properties."""

_HEADINGS = {"Classes": "classes", "Object Prompts": "object", "Live Subject Prompts": "live", "Prompts": "none"}
_TEMPLATE = re.compile(r"""^(['"])(?P<text>.*)\1\.format\(unique_token, class_token\),?$""")
_PUNCTUATION = {"prompt_list = [", "]", "subject_name,class"}


@dataclass(frozen=True)
class Protocol:
    """What is drawn of whom.

    Attributes:
        classes: class noun by subject, in the file's order.
        object_prompts, live_prompts: templates with the slots {0}, the token, and {1}, the class.
    """

    classes: Mapping[str, str]
    object_prompts: tuple[str, ...]
    live_prompts: tuple[str, ...]

    def is_live(self, subject: str) -> bool:
        """Whether the subject is an animal, which gets prompts of its own."""
        return self.noun(subject) in LIVE_CLASSES

    def noun(self, subject: str) -> str:
        """The class of a subject.

        Raises:
            InputError: the protocol has no such subject.
        """
        if subject not in self.classes:
            raise InputError(f"the prompts file has no subject {subject!r}; it has {', '.join(self.classes)}")
        return self.classes[subject]

    def prompts(self, subject: str, token: str = "") -> list[str]:
        """The subject's prompts in order; without a token its place stays empty: "a dog in the jungle"."""
        templates = self.live_prompts if self.is_live(subject) else self.object_prompts
        return [fill(template, token, self.noun(subject)) for template in templates]


def fill(template: str, token: str, noun: str) -> str:
    """A template's words with token and class in their slots; an empty token leaves no gap."""
    # No str.format: a file of others could reach into objects with it.
    words = re.sub(r"\{([01])\}", lambda slot: (token, noun)[int(slot[1])], template)
    return " ".join(words.split())


def is_protocol(text: str) -> bool:
    """Whether a text is DreamBooth's prompts file, by its headings."""
    lines = {line.strip() for line in text.splitlines()}
    return {"Classes", "Object Prompts", "Live Subject Prompts"} <= lines


def read_protocol(path: str | Path) -> Protocol:
    """Read DreamBooth's own `prompts_and_classes.txt`.

    Raises:
        InputError: there is no such file, or a line of it is not of the format; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such prompts file; it is prompts_and_classes.txt of github.com/google/dreambooth")
    return parse_protocol(read_text(path, encoding=None), str(path))


def parse_protocol(text: str, where: str) -> Protocol:
    """Parse the text of a prompts file called `where`.

    Raises:
        InputError: a line is not of the format, or a section is missing or empty.
    """
    section = "none"
    classes: dict[str, str] = {}
    prompts: dict[str, list[str]] = {"object": [], "live": []}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line in _HEADINGS:
            section = _HEADINGS[line]
        elif not line or line in _PUNCTUATION:
            continue
        elif section == "classes" and line.count(",") == 1:
            subject, noun = (part.strip() for part in line.split(","))
            if subject in classes:
                raise InputError(f"{where}, line {number}: subject {subject} stands there twice")
            classes[subject] = noun
        elif section in prompts and (found := _TEMPLATE.match(line)):
            prompts[section].append(found["text"])
        else:
            raise InputError(f"{where}, line {number}: {line[:60]!r} is not of DreamBooth's prompts file")
    empty = [name for name, part in {"Classes": classes, **prompts}.items() if not part]
    if empty:
        raise InputError(f"{where}: no lines under {', '.join(empty)}; it is not DreamBooth's prompts file")
    return Protocol(classes, tuple(prompts["object"]), tuple(prompts["live"]))
