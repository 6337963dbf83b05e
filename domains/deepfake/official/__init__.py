"""The authors' files <-> ours, and their configurations; importing it imports no torch."""

from suite.domain import on_use

_PUBLIC = dict.fromkeys(("convert", "export", "check_frozen", "merged_tower"), "conversion")

__all__ = [*_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
