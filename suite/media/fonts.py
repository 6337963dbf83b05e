"""Fonts for texts in any script: the one that ships with matplotlib, then what this machine has for the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

DEFAULT = "DejaVu Sans"
_SHOWN = 12  # of the characters that no font has, in the warning


@lru_cache(maxsize=4096)
def covering(text: str) -> tuple[str, ...]:
    """The font families to write `text` in, for matplotlib, which falls back from one to the next glyph by glyph."""
    families, missing = [DEFAULT], _beyond_default(text)
    for path in _installed() if missing else ():
        if not missing:
            break
        if found := missing & _characters(path):
            # matplotlib's own list of fonts is kept from run to run, and knows none that was installed since.
            font_manager.fontManager.addfont(path)
            families.append(FontProperties(fname=path).get_name())
            missing -= found
    return tuple(dict.fromkeys(families))


def file_covering(text: str) -> str:
    """The font file that has most characters of `text`: the default one, where none has more."""
    missing = _beyond_default(text)
    best = max(_installed(), key=lambda path: len(missing & _characters(path)), default="") if missing else ""
    return best if missing & _characters(best) else font_manager.findfont(DEFAULT)


def cover(figure: Figure) -> None:
    """Give every text of a figure fonts that have its characters; warn, in one line, of those that none has."""
    nowhere: dict[str, None] = {}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        missing = _beyond_default(text.get_text())
        if missing:
            text.set_fontfamily(list(covering(text.get_text())))
            missing -= frozenset().union(*map(_characters, _installed()))
        nowhere |= dict.fromkeys(sorted(missing))
    if nowhere:
        some = "".join(list(nowhere)[:_SHOWN]) + ("…" if len(nowhere) > _SHOWN else "")
        warnings.warn(
            f"no font of this machine has {len(nowhere)} of the characters ({some}): they are boxes in the picture; "
            "install one that has, Noto Sans for instance",
            stacklevel=2,
        )


@contextmanager
def unwarned() -> Iterator[None]:
    """Without matplotlib's line for every glyph that a font lacks; `cover` says it in one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def _beyond_default(text: str) -> frozenset[str]:
    """The characters to be drawn that the default font lacks."""
    if text.isascii():
        return frozenset()
    drawn = {character for character in text if character.isprintable() and not character.isspace()}
    return frozenset(drawn) - _characters(font_manager.findfont(DEFAULT))


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """The font files of this machine, upright ones without serifs and of usual weight first."""

    def rank(path: str) -> tuple[bool, bool, bool, str]:
        name = Path(path).stem.lower()
        return "italic" in name or "oblique" in name, "bold" in name or "black" in name, "serif" in name, path

    return tuple(sorted(font_manager.findSystemFonts(), key=rank))


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[str]:
    """What a font file has glyphs for; nothing, where it cannot be read or has pictures for outlines."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
