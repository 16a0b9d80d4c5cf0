"The environment in which parts run: the values that they read, by name; and the run itself."
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from torch import Tensor

from .kinds import Gate, Made
from .part import Part

__all__ = ['Env', 'Run', 'walk', 'work_out']

Run: TypeAlias = Callable[[Part, Mapping[str, Any]], Any]


class Env(dict[str, Any]):
    """The values that parts read, by name.

    `new_param` follows from the update, a stat of which no part has run is as it was, and `place`
    may be 0.
    """
    def __missing__(self, name: str) -> Any:
        if name == 'new_param':
            return self['param'] + self['update'] if 'update' in self else self['param']
        if name == 'place': return 0
        if (last := f'prev_{name}') in self: return self[last]
        raise KeyError(name)

    @classmethod
    def of(cls, param: Tensor, grad: Tensor, state: Mapping[str, Any],
           numbers: Mapping[str, Any]) -> Env:
        "The values before the first part runs."
        env = cls()
        for k, v in state.items(): env[f'prev_{k}'] = v
        env |= numbers
        env['param'], env['grad'], env['raw_grad'] = param, grad, grad
        return env


def walk(
    parts: Iterable[Part],  # Some of a composition's `tensor_parts`, in order
    env: Env,               # Their results are added
    run: Run=Part.run,
    wanted: Collection[str]=()  # What is read after them
) -> None:
    "Runs tensor parts in order: each reads from `env`, and leaves its result there."
    parts = [*parts]
    for i, part in enumerate(parts):
        if part.switch and part.is_off(env): part.stay(env)
        elif not isinstance(part, Made) or part.out in wanted or _is_read(part, parts[i:], env):
            out = run(part, env)
            if not part.fits(out, env): raise part.bad_result(out, env)
            part.put(env, out)


def work_out(parts: Iterable[Part], env: dict[str, Any]) -> dict[str, Any]:
    """Runs parts that make numbers, in order, up to the first gate that is closed.

    Their results are added to `env`. Raises PartError.
    """
    for part in parts:
        env[part.out] = out = part.run(env)
        if type(out) not in (int, float) and not isinstance(out, (Real, Tensor)):
            raise part.bad_result(out, env)
        if not out and isinstance(part, Gate): break
    return env


def _is_read(made: Part, later: Sequence[Part], env: Env) -> bool:
    "True if a part that is not off reads a tensor, or what is made of it."
    return any(made.out in p.reads and not (p.switch and p.is_off(env))
               and (not isinstance(p, Made) or _is_read(p, later[i:], env))
               for i, p in enumerate(later))
