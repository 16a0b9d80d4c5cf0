"""The methods of an exported class that put the weights to evaluate in the parameters' place.

It has them if a part says by a formula what these weights are.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..composition import Composition
from ..contract import SWAPPED
from ..part import Part
from .definitions import Definitions
from .stats import Beginning
from .text import call

__all__ = ['REFUSAL', 'evaluating']

REFUSAL = f"""
        if any('{SWAPPED}' in state for state in self.state.values()):
            raise RuntimeError('the average is in the place of the parameters: call train() before '
                               'step()')
"""
HEAD = f"""
    @torch.no_grad()
    def eval(self) -> None:
        "Puts the weights to evaluate in the place of the parameters, until `train`."
        for group in self.param_groups:
            for p in group['params']:
                state = self.state.get(p)
                if not state or '{SWAPPED}' in state:
                    continue
                param = wide(p)
"""
TAIL = f"""\
                state['{SWAPPED}'] = p.clone()
                p.copy_(weights)

    @torch.no_grad()
    def train(self) -> None:
        "Puts the parameters back, bit for bit."
        for p, state in self.state.items():
            if '{SWAPPED}' in state:
                p.copy_(state.pop('{SWAPPED}'))
"""


def evaluating(c: Composition, definitions: Definitions,
               beginnings: Mapping[str, Beginning]) -> Iterator[str]:
    "The two methods. The functions that they call are added to `definitions`."
    if not c.evaluation: return
    yield HEAD.rstrip()
    names = {p.out: f'number_{i}' for i, p in enumerate(c.evaluation)}
    names[c.evaluation[-1].out] = 'weights'
    for p in c.evaluation: yield _call(p, c, names, definitions.part(p), beginnings)
    yield TAIL.rstrip()


def _call(part: Part, c: Composition, names: Mapping[str, str], function: str,
          beginnings: Mapping[str, Beginning]) -> str:
    def value(name: str) -> str:
        if name in names: return names[name]
        if name in c.shared: return f"self.param_groups[0]['shared']['{name}']"
        if name in c.number_stats: return f"state['{name}']"
        if name not in c.stats: return 'param'
        return f"wide(state['{name}'])" if beginnings[name].is_float else f"state['{name}']"
    args = [*map(value, part.reads)]
    args += [f'{k}={names[n]}' if n in names else f"{k}=group['{n}']" for k, n in part.keywords]
    return call(f'{" " * 16}{names[part.out]} = {function}(', args)
