"""The hooks around a step, and its line in a profile, at no cost where nobody asks for them.

torch wraps `step` of every optimizer, which takes up to 19 µs, as long as a kernel needs for ten
thousand elements. So its wrapper is called only if there is a hook or a profiler.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch.optim import optimizer as theirs

__all__ = ['after_step', 'before_step', 'with_hooks']

F = TypeVar('F', bound=Callable[..., Any])

is_profiled: Any = torch._C._autograd._profiler_enabled
_everywhere = theirs._global_optimizer_pre_hooks, theirs._global_optimizer_post_hooks


def with_hooks(step: F) -> F:
    "`step`, as torch wraps it."
    watched = torch.optim.Optimizer.profile_hook_step(step)

    @wraps(step)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = *_everywhere, self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if any(hooks) or is_profiled(): return watched(self, *args, **kwargs)
        return step(self, *args, **kwargs)
    wrapped.hooked = True  # type: ignore[attr-defined]  # so torch does not wrap it again
    return wrapped  # type: ignore[return-value]


def before_step(opt: Any) -> None:
    "Calls the hooks that come before a step, where a backward pass makes it."
    hooks = *_everywhere[0].values(), *opt._optimizer_step_pre_hooks.values()
    for hook in hooks: hook(opt, (), {})


def after_step(opt: Any) -> None:
    "Calls the hooks that come after it, and tells torch's schedulers that there was a step."
    opt._opt_called = True
    hooks = *opt._optimizer_step_post_hooks.values(), *_everywhere[1].values()
    for hook in hooks: hook(opt, (), {})
