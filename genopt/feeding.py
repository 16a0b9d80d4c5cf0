"""What a loop feeds an optimizer before a step: a second gradient, or a number such as the loss.

    >>> opt = genopt.AdaHessian(model.parameters())
    >>> loss = model(torch.ones(2, 4)).square().mean()
    >>> opt.feed(hess=genopt.hutchinson(loss, params))
    >>> opt.step()
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from .composition import Composition
from .contract import PartError
from .converting import stored
from .engines.work import Work
from .given import Given
from .group import Group
from .hypers import did_you_mean, plain
from .kinds import Gate
from .numbers import read, read_all
from .part import Part

__all__ = ['Feeding', 'asks_again', 'first_half']

Fed = dict[Tensor, Tensor] | float


class Feeding:
    "The part of an Optimizer that takes values from the loop. They hold for one step."
    state: Any

    def groups(self) -> list[Group]: raise NotImplementedError

    def feed(self, **values: Any) -> None:
        """Takes values for the next step, by the names that the parts read.

        Of tensors, give one for each parameter, in order or in a dict, whose keys are parameters or
        their names. A parameter without a gradient needs none. Raises KeyError for another name,
        and TypeError or ValueError for a value that does not fit; then nothing has changed. With
        `maximize`, feed what belongs to the objective's negative.
        """
        given = {k: p for g in self.groups() for k, p in g.composition.given.items()}
        for k in values:
            if k not in given:
                raise KeyError(f'no part reads a value `{k}` from the loop: '
                               + did_you_mean(k, given))
        new = {k: _number(k, v) if given[k].is_number else self._tensors(k, v)
               for k, v in values.items()}
        self._fed().update(new)

    def awaits(self, name: str) -> bool:
        """True if the next step needs `feed` with this name.

        A gate that depends on the gradients is taken to be open. Raises KeyError for a name that no
        part reads.
        """
        groups = [g for g in self.groups() if name in g.composition.given]
        if not groups: self.feed(**{name: None})
        return any(name in _ahead(g.composition, known, g.numbers())[0]
                   for g in groups for known in self._numbers(g))

    def _numbers(self, group: Group) -> list[dict[str, Any]]:
        "What is known of a group's parameters before a step, of those that have not begun too."
        c, stats, values = group.composition, group.composition.stats, group.numbers()
        places = {p: i for i, p in enumerate(p for g in self.groups() for p in g['params'])}
        found = dict[Any, dict[str, Any]]()
        for p in group['params']:
            known = self.state.get(p, {})
            numbers = {f'prev_{k}': read(known[k]) if k in known else stats[k].start(p, values)
                       for k in c.number_stats} | c.numbers_of(p, places[p])
            found[tuple(numbers.values())] = numbers
        return [*found.values()]

    def _fed(self) -> dict[str, Fed]:
        found: dict[str, Fed] = vars(self).setdefault('_values', {})  # it is not in every pickle
        return found

    def _tensors(self, name: str, values: Any) -> dict[Tensor, Tensor]:
        "A tensor for each parameter that has one. Raises TypeError or ValueError."
        groups = self.groups()
        params = [p for g in groups for p in g['params']]
        if isinstance(values, Mapping):
            names = {n: p for g in groups for n, p in zip(g.get('param_names') or (), g['params'])}
            pairs = [(_known(name, k, names, params), v) for k, v in values.items()]
        elif isinstance(values, Iterable) and not isinstance(values, Tensor):
            listed = [*values]
            if len(listed) != len(params):
                raise ValueError(f'feed({name}=...): {len(listed)} tensors for {len(params)} '
                                 'parameters: give one for each, in order, or a dict by parameter')
            pairs = [*zip(params, listed)]
        else:
            raise TypeError(f'feed({name}=...) is a {type(values).__name__}: give a list with a '
                            'tensor for each parameter, or a dict by parameter')
        described = {p: g.describe(p) for g in groups for p in g['params']}
        return {p: _fitting(name, v, p, described[p]) for p, v in pairs if v is not None}

    # -- in a step ---------------------------------------------------------------------------------

    def _take_fed(self, works: Sequence[Work], *loss: Any) -> bool:
        """Hands each work what it reads. True if a gate that says `again` is closed.

        Raises RuntimeError for a value that is due and is not there. What was fed is used up.
        """
        if not any(w.composition.given or asks_again(w.composition) for w in works): return False
        fed, again = self._fed(), False
        if loss and 'loss' not in fed and any(_reads_loss(w.composition) for w in works):
            fed['loss'] = _number('loss', loss[0])
        for work in works: again |= _take(work, fed)
        fed.clear()
        return again


    def _end_half(self) -> list[Tensor]:
        """After a step that a gate ended which asks for another one: those that took part in it.

        For the others, what stands before the gate begins anew, as they were not there.
        """
        there = list[Tensor]()
        for g in self.groups():
            c = g.composition
            if not asks_again(c): continue
            early = first_half(c)
            for p in g['params']:
                if p.grad is not None: there.append(p)
                for k in early if p.grad is None and p in self.state else ():
                    for n, v in stored(k, g.start(k, p), p, g).items(): self.state[p][n].copy_(v)
        return there


def _take(work: Work, fed: Mapping[str, Fed]) -> bool:
    "Hands a work what it reads. True if a gate of its that says `again` is closed."
    c, again, due = work.composition, False, dict[str, list[int]]()
    if not (c.given or asks_again(c)): return False
    for numbers, rows in _alike(work):
        names, gate = _ahead(c, numbers, work.hypers)
        again |= gate is not None and gate.again
        for k in names: due.setdefault(k, []).extend(rows)
    for k, part in c.given.items():
        if k in due and k not in fed: raise RuntimeError(_missing(part))
        if part.is_number: work.hypers = {**work.hypers, k: fed.get(k, 0.)}
        else: work.fed[k] = _column(work, k, fed.get(k, {}), due.get(k, ()))
    return again


def _column(work: Work, name: str, fed: Any, due: Sequence[int]) -> list[Tensor]:
    "The tensor of each parameter. Where it is not due, the gradient stands in: no part reads it."
    for i in due:
        if work.params[i] in fed: continue
        raise RuntimeError(f'{work.describe(work.params[i])} was fed no `{name}`, and this step '
                           f'reads it: give one in feed({name}=...), or clear its gradient')
    wanted = {*due}
    return [fed[p] if i in wanted else g for i, (p, g) in enumerate(zip(work.params, work.grads))]


def _alike(work: Work) -> Iterable[tuple[dict[str, Any], list[int]]]:
    "The numbers in the states, and the rows that have them."
    c, found = work.composition, dict[Any, list[int]]()
    names = [*(f'prev_{k}' for k in c.number_stats), *c.own_numbers]
    columns = [read_all(work.columns[k]) for k in c.number_stats]
    columns += [[own[k] for own in work.own] for k in c.own_numbers]
    for i, key in enumerate(zip(*columns) if names else [()] * len(work.params)):
        found.setdefault(key, []).append(i)
    return [(dict(zip(names, key)), rows) for key, rows in found.items()]


def _ahead(
    c: Composition,
    numbers: Mapping[str, Any],  # What parameters have before a step: `prev_count`, sizes
    hypers: Mapping[str, Any]
) -> tuple[list[str], Part | None]:
    """What the loop must feed before a step, and the gate that will be closed.

    What depends on totals, or on what is fed, is not known yet: such a gate counts as open.
    """
    known = {**{k: v for k, v in hypers.items() if k in c.hypers}, **numbers}
    due = list[str]()
    for part in c.ordered:
        is_known = {*part.reads, *(p.out for p in part.linked)} <= {*known}
        if isinstance(part, Given):
            if not is_known or part.is_due(known): due.append(part.out)
        elif part in c.number_parts and is_known:
            try: known[part.out] = part.run(known)
            except PartError: break  # the step says where
            if isinstance(part, Gate) and not known[part.out]: return due, part
    return due, None


def asks_again(c: Composition) -> bool: return any(p.again for p in c.gates.values())


def first_half(c: Composition) -> list[str]:
    "The stats that are tensors and stand before a gate that asks for another step."
    at = next(i for i, p in enumerate(c.ordered) if isinstance(p, Gate) and p.again)
    return [p.out for p in c.ordered[:at] if p.out in c.tensor_stats]


def _reads_loss(c: Composition) -> bool: return 'loss' in c.given and c.given['loss'].is_number


# -- values ----------------------------------------------------------------------------------------

def _number(name: str, value: Any) -> float:
    "Raises TypeError or ValueError unless it is one number."
    if value is None: raise TypeError(f'feed({name}=None): give a number')
    value = plain(name, value)
    return float(value.item() if isinstance(value, Tensor) else value)


def _known(name: str, key: Any, names: Mapping[str, Tensor], params: Sequence[Tensor]) -> Tensor:
    "The parameter with this name, or that it is. Raises KeyError."
    if isinstance(key, str) and key in names: return names[key]
    if isinstance(key, Tensor) and any(key is p for p in params): return key
    said = f'{key!r}' if isinstance(key, str) else 'a tensor'
    advice = 'give the optimizer named parameters' if not names and isinstance(key, str) else \
        'the keys are its parameters, or their names'
    raise KeyError(f'feed({name}=...): {said} is not a parameter of this optimizer: {advice}')


def _fitting(name: str, value: Any, p: Tensor, described: str) -> Tensor:
    """The tensor as parts read it, if the parameter could have such a gradient.

    Raises TypeError or ValueError.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f'feed({name}=...): {described} is given a {type(value).__name__}: give a '
                        'tensor')
    wrong = next((f'{what} {theirs}: make it {ours}' for what, theirs, ours in (
        ('layout', value.layout, p.layout), ('shape', (*value.shape,), (*p.shape,)),
        ('device', value.device, p.device)) if theirs != ours), '')
    if not wrong and (value.is_complex(), value.is_floating_point()) != (
            p.is_complex(), p.is_floating_point()):
        wrong = f'dtype {value.dtype}: make it {p.dtype}'
    if wrong: raise ValueError(f'feed({name}=...): the tensor for {described} has {wrong}')
    return value.detach().resolve_conj().resolve_neg()


def _missing(part: Part) -> str:
    what, by = 'number' if part.is_number else 'tensor for each parameter', ''
    if part.out == 'loss': by = ', or call step(closure), which gives what the closure returns'
    return (f'`{part.out}` was not fed, and this step reads it: before `step()`, call '
            f'`opt.feed({part.out}=...)` with a {what}{by}')
