"""What must not come in between: Ctrl-C waits for the end of a step, so that it leaves no parameter
with half of one, and the garbage collector for the end of a recording."""
from __future__ import annotations

import gc
import signal
# `signal` itself takes 10 µs to make enums of what these return
from _signal import getsignal, signal as set_handler  # type: ignore[import-not-found]
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident, main_thread
from types import FrameType

__all__ = ['exposed', 'shielded', 'uncollected']

SIGINT = int(signal.SIGINT)


class shielded:
    "Puts off the first interrupt until the block is done; a second one comes through at once."
    def __enter__(self) -> None:
        self.usual, self.came = getsignal(SIGINT), list[tuple[int, FrameType | None]]()
        # Elsewhere nobody is told; and it may be ignored, or not Python's
        self.is_up = callable(self.usual) and get_ident() == main_thread().ident
        if not self.is_up: return
        set_handler(SIGINT, self.wait)
        _shields.append(self)

    def __exit__(self, *_: object) -> None:
        if not self.is_up: return
        _shields.pop()
        now = set_handler(SIGINT, self.usual)
        if now != self.wait: set_handler(SIGINT, now)  # somebody has put another one there
        if len(self.came) == 1: self.usual(*self.came[0])

    def wait(self, number: int, frame: FrameType | None) -> None:
        if self.came: set_handler(SIGINT, self.usual)
        self.came.append((number, frame))
        if len(self.came) > 1: self.usual(number, frame)


@contextmanager
def exposed() -> Iterator[None]:
    "Lets interrupts through within a shielded block, for slow work that changes no tensor."
    if not _shields or get_ident() != main_thread().ident:
        yield
        return
    shield = _shields[-1]
    if getsignal(SIGINT) != shield.wait:
        yield  # somebody has put another one there, and it is told at once
        return
    set_handler(SIGINT, shield.usual)
    try:
        if shield.came: shield.usual(*shield.came.pop())
        yield
    finally: set_handler(SIGINT, shield.wait)


@contextmanager
def uncollected() -> Iterator[None]:
    "Puts off the finalizers of garbage, whose operations would be taken for those of a part."
    was_on = gc.isenabled()
    gc.disable()
    try: yield
    finally:
        if was_on: gc.enable()


_shields: list[shielded] = []  # of the main thread, which alone is told of an interrupt
