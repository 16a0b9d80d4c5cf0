"""How all of our figures look: white on any page, in colours that the colour-blind tell apart.

A figure that is WIDTH wide is legible on a phone, where it is 360 pixels wide, and its letters 11.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..extras import missing

if TYPE_CHECKING: from matplotlib.figure import Figure

__all__ = ['figure', 'COLORS', 'MARKS', 'LINES', 'WIDTH']

WIDTH = 5.  # inches

# Okabe and Ito's, without yellow
COLORS = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000'
MARKS, LINES = 'os^DvPX', ('-', '--', ':')
STYLE = {'font.size': 11, 'xtick.labelsize': 11, 'ytick.labelsize': 11, 'legend.fontsize': 11,
         'axes.spines.top': False, 'axes.spines.right': False}


@contextmanager
def figure(
    width: float,  # In inches
    height: float,
    arranged: bool=True  # It finds room for its labels
) -> Iterator[Figure]:
    """A matplotlib Figure to draw on in our style, whatever the user's own is. It needs no display.

    Raises ImportError if matplotlib is not installed.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(missing('matplotlib', 'pictures need', 'study')) from None

    class Picture(Figure):  # a notebook shows a plain Figure only after pyplot was imported
        def _repr_png_(self) -> bytes:
            self.savefig(png := BytesIO(), format='png')
            return png.getvalue()

    layout: Any = 'constrained' if arranged else None
    with style.context(['default', STYLE]):
        yield (fig := Picture(figsize=(width, height), layout=layout, facecolor='white'))
        fig.draw_without_rendering()  # now, in this style; and the layout is found once
        if arranged: fig.set_layout_engine('none')
