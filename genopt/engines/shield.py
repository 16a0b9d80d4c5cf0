"""Ctrl-C waits for the end of a step, so that it leaves no parameter with half of one."""
from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ['shielded']


@contextmanager
def shielded() -> Iterator[None]:
    """Puts off the first interrupt until the block is done; a second one comes through at once.

    Python tells only the main thread of an interrupt, so elsewhere there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread(): yield; return
    usual, came = signal.getsignal(signal.SIGINT), list[tuple[int, FrameType | None]]()
    if not callable(usual): yield; return  # ignored, by the system's default, or not Python's

    def wait(number: int, frame: FrameType | None) -> None:
        if came: signal.signal(signal.SIGINT, usual)
        came.append((number, frame))
        if len(came) > 1: usual(number, frame)
    signal.signal(signal.SIGINT, wait)
    try: yield
    finally:
        if signal.getsignal(signal.SIGINT) is wait: signal.signal(signal.SIGINT, usual)
        if len(came) == 1: usual(*came[0])
