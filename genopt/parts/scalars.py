"Scalars: numbers that several parameters share, computed once per step in plain Python."
from ..part import scalar

__all__ = ['debias', 'keep']


@scalar
def debias(count, *, mom):
    "1 − β₁ᵗ: the weight of t gradients in an average that began at 0 (Kingma & Ba, arXiv:1412.6980, section 3)."
    return 1 - mom**count


@scalar
def keep(count, *, dampening=0.):
    "1 − τ: how much of a gradient enters a dampened buffer; all of it on the first step, as in torch."
    return 1 - dampening if count > 1 else 1.
