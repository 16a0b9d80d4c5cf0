"""Schedule-Free: a rule moves a base sequence z; gradients are taken between it and its average x.

The parameter is that point between, y = (1 − β)·z + β·x. State has z alone, as x follows from both
(Defazio et al., arXiv:2405.15682).
"""
from ..kinds import evaluation, scalar, stat, transform
from .scalars import real_power
from .stats import step_count


@scalar
def warm_lr(count, *, lr, warmup=0):
    "η·min(t/T, 1): the learning rate, grown over T steps."
    return lr * min(count / warmup, 1) if warmup else lr


@stat(init=0.)
def max_lr(lr_max, *, lr):
    "η₊ ← max(η₊, η): the largest learning rate so far."
    return max(lr_max, lr)


@scalar
def weight_of_base(count, lr_max, *, r=0., weight_lr_power=2.):
    "tʳ·η₊ᵖ: the weight of this step's z in the average."
    return count**r * real_power(lr_max, weight_lr_power)


@stat(init=0.)
def sum_weight(weight_sum, weight=weight_of_base):
    "W ← W + w: the sum of all weights so far."
    return weight_sum + weight


@scalar
def share_of_base(weight_sum, weight=weight_of_base):
    "w/W: the share of this step's z in the average, 0 before any step has a weight."
    return weight / max(weight_sum, 1e-300)  # with η = 0, none has


@stat(init=lambda param: param, decay=True)
def base_param(base_param, update):
    "z ← z + Δθ: the base sequence takes the steps of the rule."
    return base_param + update


@transform(decay=True)
def interpolate(update, param, prev_base_param, share=share_of_base, *, interp=0.9):
    """Δθ ← c·(zₜ₋₁ − θ) + (1 − β·(1 − c))·Δθ: θ stays at (1 − β)·z + β·x, with x ← x + c·(z − x)
    (Defazio et al., arXiv:2405.15682, algorithm 1)."""
    return share * (prev_base_param - param) + (1 - interp * (1 - share)) * update


@evaluation
def base_average(param, base_param, *, interp=0.9):
    "x = (θ − (1 − β)·z)/β: the average of z, which is to be evaluated."
    return (param - (1 - interp) * base_param) / interp


schedule_free = step_count, max_lr, sum_weight, base_param, interpolate, base_average
