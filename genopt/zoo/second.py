"""Steps with a second gradient: from another point, as SAM's; or of second order, fed by the loop.

`opt.step(closure)` makes both halves of SAM's step. For the others, call `opt.feed(hess=...)`
before `opt.step()` where `opt.awaits('hess')`: `genopt.hutchinson` and
`genopt.gauss_newton_bartlett` estimate the Hessian's diagonal.
"""
from ..parts import (adam_step, adaptive_sam, average_grad, average_sqr_grad, hess, sam,
                     sophia_step, step_count, weight_decay)
from ..recipe import recipe
from .friends import SGD

AVERAGE_HESS = average_grad.rename(grad_avg='hess_avg', grad='hess', mom='hess_mom')


@recipe(lr=0.1, mom=0.9)
def SAM(adaptive=False):
    """Momentum along the gradient at the top of a climb of length ρ; `recipe + sam` for others
    (Foret et al., arXiv:2010.01412; adaptive: Kwon et al., arXiv:2102.11600).

    `asam_eta` is the η of the latter, whose code scales nothing but weights: 0.01 is added to each.
    """
    return *(adaptive_sam if adaptive else sam), *SGD.parts(mom=.9)


@recipe(lr=1e-4, mom=0.965, hess_mom=0.99, hess_scale=0.04, eps=1e-15, wd=0.1,
        betas='mom hess_mom', rho='hess_scale')
def Sophia():
    """Momentum over the Hessian's diagonal, clipped to a sign; fed B·∇L̂², by Gauss–Newton–Bartlett
    (Liu et al., arXiv:2305.14342, SophiaG with the defaults of their code).

    Their code keeps the average of ∇L̂² and multiplies it by ρ·B in the step; here B is in what is
    fed, as in the paper, so ρ is γ. Their loop first measures before step k, and the paper, as
    here, before step 1. The paper has γ = 0.05, β₁ = 0.96 and ε = 1e-12.
    """
    return step_count, hess, average_grad, AVERAGE_HESS, sophia_step, weight_decay


@recipe(lr=1e-4, mom=0.96, hess_mom=0.99, hess_scale=0.01, eps=1e-12, wd=0.1,
        betas='mom hess_mom', gamma='hess_scale')
def SophiaH():
    """Sophia with a diagonal that Hutchinson's method estimates, which may be negative
    (Liu et al., arXiv:2305.14342, SophiaH)."""
    return Sophia.parts()


@recipe(lr=0.15, eps=1e-4, wd=0., hess_every=1)
def AdaHessian():
    """Adam over the root mean square of the Hessian's diagonal, by Hutchinson
    (Yao et al., arXiv:2006.00719; for convolutions, they feed its mean over each kernel)."""
    squares = average_sqr_grad.rename(grad='hess')
    return average_grad, step_count, hess, squares, adam_step, weight_decay
