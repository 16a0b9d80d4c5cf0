"Warnings that point at the line that called genopt or torch."
from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import torch

__all__ = ['warn']

INSIDE = str(Path(__file__).parent), str(Path(torch.__file__).parent), contextlib.__file__


def warn(text: str, kind: type[Warning]=UserWarning) -> None:
    "Warns about the code that called genopt."
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, level)
