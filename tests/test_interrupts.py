"""Promise: Ctrl-C leaves no half of a step. It comes at one line after another; and at any moment,
from a thread."""
from __future__ import annotations

import copy
import os
import random as python_random
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import genopt
import pytest
import torch
from genopt import scalar, step
from genopt.averages import is_swapped
from helpers import engines, param, random, random_param

HERE = str(Path(genopt.__file__).parent)
SHAPES = (3,), (40, 30), (), (9000,), (2, 3, 4)
CLIPPED = genopt.SGD + genopt.clip_by_global_norm
makers = pytest.mark.parametrize('make', [
    lambda ps: genopt.AdamW(ps, lr=.1), lambda ps: genopt.AdamW(ps, lr=.1, compile=True),
    lambda ps: (genopt.NAdam + genopt.average_param)(ps, lr=.1, compile=True),
    lambda ps: CLIPPED([ps[:2], ps[2:]], lr=[.1, .2], momentum=.9)],
    ids=['eager', 'compiled', 'average', 'total'])
pytestmark = pytest.mark.skipif(threading.current_thread() is not threading.main_thread(),
                                reason='only the main thread is interrupted')


@pytest.fixture(autouse=True)
def pythons_own_handler():
    "The one that raises KeyboardInterrupt."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, before)
    assert left is signal.default_int_handler, 'a handler was left behind'


def interrupted(fn, line: int=-1) -> int:
    """Calls `fn`, interrupted at one of the lines that genopt runs. How many there were, if it came
    to its end."""
    seen = 0
    def each(frame, event, arg):
        nonlocal seen
        if event == 'line':
            seen += 1
            if seen - 1 == line: signal.raise_signal(signal.SIGINT)
        return each
    def trace(frame, event, arg): return each if frame.f_code.co_filename.startswith(HERE) else None
    before = sys.gettrace()
    sys.settrace(trace)
    try: fn()
    except KeyboardInterrupt: return 0
    finally: sys.settrace(before)
    return seen


def begin(make, steps=0):
    opt = make([random_param(i, shape) for i, shape in enumerate(SHAPES)])
    for _ in range(steps): next_step(opt)
    return opt


def copied(opt):
    res = copy.deepcopy(opt)
    res.steps_done = getattr(opt, 'steps_done', 0)
    return res


def every_line(call, start):
    """Calls `call` with copies of `start`, interrupted at one line after another. Yields the line,
    and the copy."""
    # it may be a few more, or less
    for _ in range(2): end = interrupted(partial(call, copied(start))) - 20
    for line in sorted({*range(0, end, max(1, end // 100)), *range(max(0, end), end + 40)}):
        opt, dropped = copied(start), []
        with pytest.MonkeyPatch.context() as patch:
            # Python drops one in a weakref's callback
            patch.setattr(sys, 'unraisablehook', dropped.append)
            lines = interrupted(partial(call, opt), line)
        if not lines: yield line, opt
        assert lines <= line or dropped, f'the interrupt at line {line} of {lines} is lost'
        assert not modes(), f'interrupted at line {line}'


def modes():
    "The modes of torch's that are on."
    stacks = torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()
    return [*filter(None, stacks), *['no gradients'] * (not torch.is_grad_enabled())]


def params(opt): return [p for g in opt.param_groups for p in g['params']]


def set_grads(opt, k):
    for i, p in enumerate(params(opt)): p.grad = random(100 * k + i, p.shape, p.dtype)


def next_step(opt):
    opt.steps_done = getattr(opt, 'steps_done', 0) + 1
    set_grads(opt, opt.steps_done)
    opt.step()


def snapshot(opt):
    "All that a step moves. A state that has begun and not moved is as good as none."
    res = [p.detach().clone() for p in params(opt)]
    for g in opt.param_groups:
        for p in g['params']:
            for k, part in g.composition.stats.items():
                v = opt.state[p][k] if k in opt.state[p] else part.start(p)
                res.append(torch.as_tensor(v).clone())
    return res


def are_equal(a, b):
    return all(torch.equal(x.double(), y.double()) for x, y in zip(a, b, strict=True))


# -- steps -----------------------------------------------------------------------------------------

@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('begun', [0, 2], ids=['first', 'third'])
@makers
def test_a_step_that_is_interrupted_at_any_line_is_done_or_not_begun(make, begun):
    start, twin = begin(make, begun), begin(make, begun)
    old = snapshot(twin); next_step(twin); new = snapshot(twin); next_step(twin)
    later = snapshot(twin)
    done = []
    for line, opt in every_line(next_step, start):
        now = snapshot(opt)
        assert are_equal(now, old) or are_equal(now, new), f'interrupted at line {line}'
        done.append(are_equal(now, new))
        opt.steps_done = begun + done[-1]
        while opt.steps_done < begun + 2: next_step(opt)
        assert are_equal(snapshot(opt), later)
    # what comes late is put off until it is done
    assert done == sorted(done) and any(done) and not all(done)


class Interrupter:
    "A thread that sends one interrupt after each call of `soon`."
    def __init__(self, within: float):
        self.within, self.draw = within, python_random.Random(0)
        self.wanted, self.sent, self.over = threading.Event(), threading.Event(), False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.wanted.wait() and not self.over:
            self.wanted.clear()
            time.sleep(self.draw.uniform(0, self.within))
            os.kill(os.getpid(), signal.SIGINT)
            self.sent.set()

    def soon(self): self.sent.clear(); self.wanted.set()

    def __enter__(self): return self
    def __exit__(self, *args):
        self.over = True
        self.wanted.set(); self.thread.join()


@makers
def test_a_step_that_is_interrupted_at_any_moment(make):
    opt, twin = begin(make, 1), begin(make, 1)
    inside, caught, total = False, 0, 0
    def handler(number, frame):
        if inside: raise KeyboardInterrupt
    usual = signal.signal(signal.SIGINT, handler)
    start = time.perf_counter(); next_step(opt); next_step(twin)
    try:
        with Interrupter(2 * (time.perf_counter() - start)) as thread:
            for i in range(60):
                set_grads(opt, i); set_grads(twin, i)
                thread.soon()
                try:
                    inside = True
                    while not thread.sent.is_set(): opt.step()
                    inside = False
                except KeyboardInterrupt: inside = False; caught += 1
                thread.sent.wait()
                now = snapshot(opt)
                total += next(k for k in range(10_000)
                              if are_equal(now, snapshot(twin)) or twin.step())
                assert signal.getsignal(signal.SIGINT) is handler and not modes()
    finally: signal.signal(signal.SIGINT, usual)
    assert caught > 10 and total > 10
    next_step(opt); next_step(twin)
    assert are_equal(snapshot(opt), snapshot(twin))


ring = {'on': 0, 'reached': []}


@scalar
def bell(*, lr):
    "Rings as often as it is told to. It runs in plain Python, in any engine."
    times, ring['on'] = ring['on'], 0
    for _ in range(times): signal.raise_signal(signal.SIGINT)
    ring['reached'].append(times)
    return 0.


@step
def ringing_step(grad, bell=bell, *, lr): return -lr * grad + bell


@engines
def test_a_second_interrupt_comes_through_at_once(compile):
    p = param(3)
    opt = genopt.Optimizer([p], [ringing_step], lr=.25, compile=compile)
    p.grad = torch.zeros_like(p)
    opt.step()  # an interrupt does not wait for a compiler
    p.grad = torch.ones_like(p)
    ring.update(on=1, reached=[])
    with pytest.raises(KeyboardInterrupt): opt.step()
    assert ring['reached'] == [1] and (p == .75).all()  # when the step was done
    ring.update(on=2, reached=[])
    with pytest.raises(KeyboardInterrupt): opt.step()
    assert not ring['reached'] and (p == .75).all()     # where it was
    opt.step(); assert (p == .5).all()


@engines
@pytest.mark.parametrize('raises', [False, True])
def test_a_handler_of_the_users_own_is_called_once_after_the_step(raises, compile):
    p = param(3)
    opt = genopt.Optimizer([p], [ringing_step], lr=.25, compile=compile)
    p.grad, seen = torch.zeros_like(p), []
    opt.step()  # an interrupt does not wait for a compiler
    p.grad = torch.ones_like(p)
    def mine(number, frame):
        seen.append((number, frame is not None, p[0].item()))
        if raises: raise ZeroDivisionError
    usual = signal.signal(signal.SIGINT, mine)
    try:
        for i in range(2):
            ring.update(on=1, reached=[])
            try: opt.step(); assert not raises
            except ZeroDivisionError: assert raises
            assert seen[i:] == [(signal.SIGINT, True, .75 - .25 * i)]
            assert signal.getsignal(signal.SIGINT) is mine
        opt.step(); assert len(seen) == 2
    finally: signal.signal(signal.SIGINT, usual)


def test_a_handler_that_is_set_within_a_step_stays():
    p = param(3); p.grad = torch.ones_like(p)
    def other(number, frame): pass
    @scalar
    def setter(*, lr): signal.signal(signal.SIGINT, other) if ring['on'] else None; return 0.
    @step
    def setting_step(grad, setter=setter, *, lr): return -lr * grad + setter
    opt = genopt.Optimizer([p], [setting_step], lr=.25)
    ring['on'] = 1; opt.step(); ring['on'] = 0
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is other


def test_an_interrupt_that_is_ignored_stays_ignored():
    p = param(3); opt = genopt.Optimizer([p], [ringing_step], lr=.25)
    p.grad = torch.ones_like(p)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try: ring.update(on=3, reached=[]); opt.step()
    finally: assert signal.signal(signal.SIGINT, usual) is signal.SIG_IGN
    assert ring['reached'] == [3] and (p == .75).all()


def test_in_another_thread_nothing_is_touched():
    p, seen = param(3), []
    @scalar
    def look(*, lr): seen.append(signal.getsignal(signal.SIGINT)); return 0.
    @step
    def looking_step(grad, look=look, *, lr): return -lr * grad + look
    opt = genopt.Optimizer([p], [looking_step], lr=.25); p.grad = torch.ones_like(p)
    seen.clear(); opt.step()
    assert signal.default_int_handler not in seen  # in the main thread the interrupt would wait
    seen.clear()
    def work():
        opt.step()
        with torch.no_grad(): opt.load_state_dict(opt.state_dict())
    thread = threading.Thread(target=work); thread.start(); thread.join()
    assert seen and {*seen} == {signal.default_int_handler} and (p == .5).all()


@engines
def test_an_interrupt_in_a_closure_comes_at_once(compile):
    p = param(3); opt = genopt.SGD([p], lr=.25, compile=compile); reached = []
    def closure():
        p.grad = torch.ones_like(p)
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
    with pytest.raises(KeyboardInterrupt): opt.step(closure)
    assert not reached and (p == 1).all()


def test_a_step_that_fails_gives_the_handler_back():
    p = param(3); opt = genopt.Adam([p]); p.grad = torch.ones_like(p); opt.step()
    opt.state[p]['grad_avg'] = torch.ones(7)
    with pytest.raises(genopt.PartError): opt.step()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- averages of the weights -----------------------------------------------------------------------

def weights(opt): return [p.detach().clone() for p in params(opt)]


def averaging(ps): return (genopt.SGD + genopt.average_param)(ps, lr=.1)


def averages(opt): return [opt.state[p]['param_avg'].clone() for p in params(opt)]


def test_a_swap_that_is_interrupted_at_any_line_loses_no_weights():
    start = begin(averaging, 3); old, new = weights(start), averages(start)
    assert not are_equal(old, new)
    for line, opt in every_line(lambda opt: opt.swap(), start):
        for way in 'there', 'back':
            if way == 'back': interrupted(opt.swap, line)
            assert are_equal(weights(opt), new if is_swapped(opt.state.values())
                             else old), f'interrupted at line {line}'
            if not is_swapped(opt.state.values()): opt.swap()
        if is_swapped(opt.state.values()): opt.swap()
        assert are_equal(weights(opt), old) and are_equal(averages(opt), new)
        next_step(opt)


def test_an_evaluation_that_is_interrupted_at_any_line_ends_with_the_weights():
    start = begin(averaging, 3); old, new = weights(start), averages(start)
    def evaluate(opt):
        with opt.swapped(): seen.append(are_equal(weights(opt), new))
    seen = []
    for line, opt in every_line(evaluate, start):
        assert are_equal(weights(opt),
                         old) and not is_swapped(opt.state.values()), f'interrupted at line {line}'
        next_step(opt)
    assert all(seen) and len(seen) > 20


# -- checkpoints -----------------------------------------------------------------------------------

@makers
def test_a_checkpoint_is_loaded_whole_or_not_at_all(make):
    start, other = begin(make, 1), begin(make, 3)
    for g in other.param_groups: g['lr'] = .7
    saved, old, new, done = copy.deepcopy(other.state_dict()), flat(start), flat(other), 0
    for line, opt in every_line(lambda opt: opt.load_state_dict(saved), start):
        now = flat(opt)
        assert are_equal(now, old) or are_equal(now, new), f'interrupted at line {line}'
        done += are_equal(now, new)
        next_step(opt)
    assert done


def flat(opt):
    "Its state and its rates."
    return [*snapshot(opt)[len(params(opt)):], torch.tensor([g['lr'] for g in opt.param_groups])]


@pytest.mark.skipif(os.name != 'posix', reason='the compiler is a shell script')
def test_an_interrupt_does_not_wait_for_a_compiler_that_hangs(tmp_path, monkeypatch):
    compiler = tmp_path / 'cc'; compiler.write_text('#!/bin/sh\nsleep 40\n'); compiler.chmod(0o755)
    monkeypatch.setenv('CC', str(compiler))
    monkeypatch.setenv('GENOPT_CACHE', str(tmp_path / 'cache'))
    @genopt.step
    def unheard_of_step(grad, *, lr): return -lr * grad * 1.375
    p = param(3); p.grad = torch.ones_like(p)
    opt = genopt.Optimizer([p], [unheard_of_step], lr=.1, compile=True)
    usual, start = signal.getsignal(signal.SIGINT), time.monotonic()
    threading.Timer(.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt): opt.step()
    assert time.monotonic() - start < 20 and (p == 1).all()
    assert signal.getsignal(signal.SIGINT) is usual
