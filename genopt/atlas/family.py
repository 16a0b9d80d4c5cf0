"The family as a picture."
from __future__ import annotations

__all__ = ['picture']


def picture() -> str: return '<svg></svg>'
