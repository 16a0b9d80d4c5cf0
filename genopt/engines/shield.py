"Ctrl-C waits for the end of a step, so that it leaves no parameter with half of one."
from __future__ import annotations

import signal
import threading
# `signal` itself takes 10 µs to make enums of what these return
from _signal import getsignal, signal as set_handler  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

__all__ = ['exposed', 'shielded']

SIGINT = int(signal.SIGINT)

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

# Of the main thread, which alone is told of an interrupt: the handler for now, the usual one, and
# the interrupts that came
_shields: list[tuple[Handler, Handler, list[tuple[int, FrameType | None]]]] = []


@contextmanager
def shielded() -> Iterator[None]:
    "Puts off the first interrupt until the block is done; a second one comes through at once."
    usual, came = getsignal(SIGINT), list[tuple[int, FrameType | None]]()
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield  # elsewhere nobody is told; and it may be ignored, or not Python's
        return

    def wait(number: int, frame: FrameType | None) -> None:
        if came: set_handler(SIGINT, usual)
        came.append((number, frame))
        if len(came) > 1: usual(number, frame)
    _shields.append((wait, usual, came))
    set_handler(SIGINT, wait)
    try: yield
    finally:
        _shields.pop()
        now = set_handler(SIGINT, usual)
        if now is not wait: set_handler(SIGINT, now)  # somebody has put another one there
        if len(came) == 1: usual(*came[0])


@contextmanager
def exposed() -> Iterator[None]:
    "Lets interrupts through within a shielded block, for slow work that changes no tensor."
    if not _shields or threading.current_thread() is not threading.main_thread():
        yield
        return
    wait, usual, came = _shields[-1]
    if getsignal(SIGINT) is not wait:
        yield  # somebody has put another one there, and it is told at once
        return
    set_handler(SIGINT, usual)
    try:
        if came: usual(*came.pop())
        yield
    finally: set_handler(SIGINT, wait)
