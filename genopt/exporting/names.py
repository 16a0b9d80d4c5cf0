"The names in a loop: a variable for each stat and number, and expressions of what parts read."
from __future__ import annotations

from collections.abc import Mapping

from ..composition import Composition
from ..kinds import Made, Scalar, Total
from .definitions import Definitions
from .stats import Beginning

__all__ = ['LOCALS', 'Names', 'group_entry', 'stat_entry', 'state_entry']

LOCALS = ('self', 'closure', 'loss', 'again', 'group', 'p', 'state', 'param', 'grad', 'raw_grad',
          'update', 'place', 'places', 'shares', 'shared', 'last', 'rows', 'there', 'params',
          'wide', 'total', 'count_from', 'next', 'tuple')
OWN = dict(rows='len(p) if p.dim() else 1', numel='p.numel()',
           columns='p.numel() // max(len(p), 1) if p.dim() else 1')


class Names:
    "The variables of a composition, and expressions of what its parts read."
    def __init__(self,
        composition: Composition,
        definitions: Definitions,             # Whose names are taken
        beginnings: Mapping[str, Beginning],  # Of its stats that are tensors
        sparse: str                           # What a sparse gradient becomes: see `Part.sparse`
    ):
        self.composition, self.beginnings, self.sparse = composition, beginnings, sparse
        self.variables = self._variables(definitions)
        self.raw = 'grad'          # the variable of the gradient as it came
        self.kept = set[str]()     # the stats whose last value has a variable
        self.changed = set[str]()  # the last values that a part has changed

    def _variables(self, definitions: Definitions) -> dict[str, str]:
        "The variable for each stat, scalar and total: a scalar's is what its readers call it."
        c = self.composition
        taken = {*LOCALS, *definitions.functions, *definitions.constants, *definitions.imports}
        called = {link.out: name for p in reversed(c.ordered)
                  for name, link in zip(dict.fromkeys((*p.links, *p.feeds)), p.linked)}
        wanted = {k: (k, f'new_{k}') for k in c.stats}
        wanted |= {f'prev_{k}': (f'prev_{k}', f'last_{k}') for k in c.number_stats}
        for p in c.ordered:
            name = called.get(p.out, p.__name__)
            if isinstance(p, (Scalar, Total, Made)): wanted[p.out] = name, f'{name}_now'
            if p.out.startswith('prev_'): wanted[p.out] = p.out, p.out.replace('prev', 'last', 1)
        res = dict[str, str]()
        for key, (name, other) in wanted.items():
            if name in taken: name = other
            while name in taken: name += '_'
            taken.add(name)
            res[key] = name
        return res

    def value(self, name: str) -> str:
        "The expression of what a part reads."
        stat = name.removeprefix('prev_')
        if name in OWN: return OWN[name]
        if name == 'new_param': return 'param + update'
        if name == 'raw_grad': return self.raw
        if stat == name or stat not in self.composition.stats or name in self.changed:
            return self.variables.get(name, name)
        if stat in self.composition.number_stats:
            if stat in self.composition.shared: return f"last['{stat}']"
            return self.variables[name] if stat in self.kept else state_entry(stat)
        tensor = self.at(state_entry(stat))
        return f'wide({tensor})' if self.beginnings[stat].is_float else tensor

    def at(self, tensor: str) -> str: return f'{tensor}[rows]' if self.sparse == 'rows' else tensor


def group_entry(name: str) -> str: return f"group['{name}']"
def state_entry(name: str) -> str: return f"state['{name}']"


def stat_entry(composition: Composition, stat: str) -> str:
    "Where a stat is kept: some are one number for all parameters."
    return f"shared['{stat}']" if stat in composition.shared else state_entry(stat)
