"Values that a training loop feeds: `opt.feed(hess=...)`, `opt.feed(loss=...)`."
from ..given import given


@given
def hess(count, *, hess_every=10):
    """The Hessian's diagonal, or an estimate of it: due on every k-th step, from the first one on
    (Liu et al., arXiv:2305.14342, algorithm 3)."""
    return (count - 1) % hess_every == 0


@given(number=True)
def loss():
    "The loss at this step. `step(closure)` gives it by itself."
