"""The places of parts in a list, which `recipe + parts` keeps in order: see `placing.py`.

Each kind of part has a place, and may have another one by its options.
"""
from __future__ import annotations

from enum import IntEnum, auto

__all__ = ['Place']


class Place(IntEnum):
    "The places of a list of parts, from its beginning to its end."
    GATES = auto()         # gates, and the parts on which they depend
    NUMBERS = auto()       # counts, and numbers made of them
    GRADIENT = auto()      # changes of the gradient
    RULE = auto()          # the recipe's own parts; stats and steps that are added
    UPDATE = auto()        # changes of the update that do not apply to decay
    DECAY = auto()         # decay that reads nothing but the parameter
    SEEING_DECAY = auto()  # steps, such as a decay, that read the update
    DECAYED = auto()       # changes of the update that apply to decay too
    WEIGHTS = auto()       # steps that read the new parameter, or a stat of it; and these stats
    AVERAGES = auto()      # stats of the new parameter that no step reads
