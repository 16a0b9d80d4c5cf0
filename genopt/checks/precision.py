"Demands that are measured against another run: other dtypes, and complex numbers."
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .outcome import Met
from .runs import Feed, gap, sentence
from .sides import Side
from .trials import Stage

__all__ = ['low_precision', 'with_complex']

STEPS = 4
SHARES = {torch.float32: 1e-3, torch.bfloat16: .1}  # of the way that may be wrong


def _way(side: Side, feed: Feed, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    "Where some steps lead: the first and the last value of each parameter."
    stage = Stage(side, feed.names, feed.sparse, dtype)
    first = {k: p.detach().clone() for k, p in stage.params.items()}
    stage.make()
    for i in range(STEPS): stage.step(i)
    return {k: (first[k], p.detach()) for k, p in stage.params.items()}


def low_precision(side: Side, feed: Feed) -> Iterator[Met]:
    "In each dtype it goes where it goes in float64, within some rounding errors."
    exact = _way(side, feed, torch.float64)
    for dtype, share in SHARES.items():
        name = f'in {str(dtype).removeprefix("torch.")} it goes where it goes in float64'
        try: yield Met(name, _too_far(_way(side, feed, dtype), exact, share))
        except Exception as e: yield Met(name, sentence(e))


def _too_far(found: dict[str, tuple[Tensor, Tensor]], exact: dict[str, tuple[Tensor, Tensor]],
             share: float) -> str:
    for k, (_, last) in found.items():
        begin, end = exact[k]
        rounding = 2 * STEPS * torch.finfo(last.dtype).eps * end.norm()
        allowed = share * (end - begin).norm() + rounding
        far = (last.double() - end).norm()
        if not far <= allowed:
            return (f'after {STEPS} steps the {k} is {far:.1e} from where it should be, and '
                    f'rounding explains {allowed:.1e}')
    return ''


def with_complex(mine: Side, reference: Side, feed: Feed) -> Iterator[Met]:
    "Complex parameters, if the reference takes them. Few optimizers do, so it is a note."
    if reference.is_formula or feed.sparse: return
    try: want = _way(reference, feed, torch.complex128)
    except Exception: return
    name, why = 'complex parameters go where those of the reference go', ''
    try:
        got = _way(mine, feed, torch.complex128)
        if any(gap(torch.view_as_real(got[k][1]), torch.view_as_real(want[k][1])) > 1e-12
               for k in want): why = 'they do not, which matters only to models that have some'
    except Exception as e: why = sentence(e)
    yield Met(name, why, is_note=True)
