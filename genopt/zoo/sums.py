"The descendants of Adagrad: steps divided by the size of all past gradients, not of recent ones."
from ..parts import (annealed_step, average_sqr_grad, first_param, l2_reg, madgrad_step,
                     scale_by_rms, scale_by_rms_ratio, sgd_step, step_count, sum_grad, sum_sqr_grad,
                     sum_weighted_sqr_grad)
from ..recipe import recipe


@recipe(lr=1e-2, eps=1e-10)
def Adagrad():
    """Steps along the gradient over the root of the sum of its squares
    (Duchi et al., JMLR 12, 2011; ε as in torch)."""
    return l2_reg, step_count, sum_sqr_grad, scale_by_rms.rename(sqr_avg='sqr_sum'), annealed_step


AVERAGE_DELTA = average_sqr_grad.rename(sqr_avg='delta_avg')


@recipe(lr=1., sqr_mom=0.9, rho='sqr_mom')
def Adadelta():
    """As RMSprop, in units of its own past steps
    (Zeiler, arXiv:1212.5701; ε inside both roots, steps without η)."""
    return l2_reg, average_sqr_grad, scale_by_rms_ratio, AVERAGE_DELTA, sgd_step


@recipe(lr=1e-2)
def MADGRAD():
    """Dual averaging over the cube root of a sum of squares
    (Defazio & Jelassi, arXiv:2101.11075; ε outside, L2 decay)."""
    return l2_reg, step_count, first_param, sum_grad, sum_weighted_sqr_grad, madgrad_step
