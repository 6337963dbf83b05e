"""Drawing a first box with the mouse, where there is a screen."""

from __future__ import annotations

from typing import Any

from domains.tracking.data.pictures import Pixels
from domains.tracking.types import Box
from suite.errors import InputError

_NO_SCREEN = "--select draws on a screen, and there is none here; give the box with --box x,y,w,h"


def point(frame: Pixels, title: str = "draw a box around the object, then close the window") -> Box:
    """The box that is drawn onto a frame.

    Raises:
        InputError: there is no screen, or nothing was drawn.
    """
    import matplotlib
    from matplotlib import pyplot

    if matplotlib.get_backend().lower() in ("agg", "pdf", "svg", "ps", "cairo", "template"):
        raise InputError(_NO_SCREEN)
    try:
        figure, axes = pyplot.subplots(num=title)
    except (ImportError, RuntimeError) as error:  # a backend without its window system
        raise InputError(_NO_SCREEN) from error
    try:
        selector = drawable(axes, frame)
        pyplot.show(block=True)
    finally:
        pyplot.close(figure)
    left, right, top, bottom = selector.extents
    if right - left < 1 or bottom - top < 1:
        raise InputError("no box was drawn; draw one around the object, or give it with --box x,y,w,h")
    return float(left), float(top), float(right - left), float(bottom - top)


def drawable(axes: Any, frame: Pixels) -> Any:
    """The frame in these axes, and the rectangle that the mouse draws on it."""
    from matplotlib.backend_bases import MouseButton
    from matplotlib.widgets import RectangleSelector

    axes.imshow(frame)
    axes.set_axis_off()
    return RectangleSelector(axes, lambda *_: None, useblit=False, button=[MouseButton.LEFT], interactive=True)
