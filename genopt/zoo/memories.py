"""The descendants of Momentum: steps along the gradient and memories of it.

They differ in which memories they keep, and in how much of each enters the step.
"""
from ..parts import (aggmo_step, asgd_lr, asgd_step, average_grad, blend_average, l2_reg,
                     mean_param, momentum_buffer, sgd_step, step_count)
from ..recipe import recipe


@recipe(lr=1e-3, mom=0.999)
def QHM():
    """Steps along a blend of the gradient and its average
    (Ma & Yarats, arXiv:1810.06801). ν = 1 is averaged momentum."""
    return l2_reg, average_grad, blend_average, sgd_step


BUFFERS = [momentum_buffer.rename(mom='fast_mom'), momentum_buffer.rename(grad_avg='fast_avg'),
           momentum_buffer.rename(grad_avg='slow_avg', mom='slow_mom')]


def _buffers(fast_mom, number):
    """So many buffers, each followed by its step. One without decay is the gradient itself.

    Raises ValueError for fewer than two.
    """
    if number < 2:
        raise ValueError(f'`buffers` = {number}: give 2 or more, as one alone is Momentum')
    more = (momentum_buffer.rename(grad_avg=f'avg_{i}', mom=f'mom_{i}')
            for i in range(len(BUFFERS) + 1, number + 1))
    for buffer in [*BUFFERS, *more][not fast_mom:number]:
        yield from (buffer, aggmo_step.rename(grad_avg=buffer.out))
    if not fast_mom: yield aggmo_step.rename(grad_avg='grad')


@recipe(lr=1e-3, mom=0.9, slow_mom=0.99, betas='fast_mom mom slow_mom mom_*buffers')
def AggMo(fast_mom=0., buffers=3):
    """Steps along the mean of three buffers with decays 0, β₁ and β₃: fast, yet damped
    (Lucas et al., arXiv:1804.00325).

    `betas` may have any number of decays, from the fastest to the slowest, and `buffers` says how
    many there are. The paper's exponential form with a = 0.1 is `betas=[1 - .1**i for i in
    range(4)]`.
    """
    return l2_reg, *_buffers(fast_mom, int(buffers))


@recipe(lr=1e-2, lambd=1e-4, t0=1e6, alpha='power')
def ASGD():
    """SGD at a falling rate, which also averages its parameters
    (Polyak & Juditsky, 1992; as in torch). See `eval`."""
    return l2_reg, step_count, asgd_lr, asgd_step, mean_param.rename(count='prev_count')
