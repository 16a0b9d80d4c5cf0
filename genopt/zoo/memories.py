"""The descendants of Momentum: steps along the gradient and memories of it.

They differ in which memories they keep, and in how much of each enters the step.
"""
from ..parts import (aggmo_step, asgd_lr, asgd_step, average_grad, blend_average, l2_reg,
                     mean_param, momentum_buffer, sgd_step, step_count)
from ..recipe import recipe


TWO_BUFFERS = [momentum_buffer.rename(grad_avg='fast_avg'),
               momentum_buffer.rename(grad_avg='slow_avg', mom='slow_mom')]


@recipe(lr=1e-3, mom=0.999)
def QHM():
    """Steps along a blend of the gradient and its average
    (Ma & Yarats, arXiv:1810.06801). ν = 1 is averaged momentum."""
    return l2_reg, average_grad, blend_average, sgd_step


@recipe(lr=1e-3, mom=0.9, slow_mom=0.99)
def AggMo():
    """Steps along the mean of three buffers with decays 0, β₁ and β₃: fast, yet damped
    (Lucas et al., arXiv:1804.00325)."""
    return l2_reg, *TWO_BUFFERS, aggmo_step


@recipe(lr=1e-2, lambd=1e-4, t0=1e6, alpha='power')
def ASGD():
    """SGD at a falling rate, which also averages its parameters
    (Polyak & Juditsky, 1992; as in torch). See `eval`."""
    return l2_reg, step_count, asgd_lr, asgd_step, mean_param.rename(count='prev_count')
