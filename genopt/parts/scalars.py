"Scalars: numbers that several parameters share, computed once per step in plain Python."
import math

from ..kinds import scalar


@scalar
def debias(count, *, mom):
    """1 − β₁ᵗ: the weight of t gradients in an average that began at 0
    (Kingma & Ba, arXiv:1412.6980, section 3)."""
    return 1 - mom**count


@scalar
def share_of_grad(count, *, dampening=0.):
    """1 − τ: how much of a gradient enters a dampened buffer; all of it on the first step, as in
    torch."""
    return 1 - dampening if count > 1 else 1.


@scalar
def past(count):
    "0 on a parameter's first step, when there is no gradient before this one, and 1 later."
    return 0. if count == 1 else 1.


@scalar
def share_of_new(count, *, sqr_mom):
    "1 on a parameter's first step, so that an average begins with what it sees, and 1 − β₂ later."
    return 1. if count == 1 else 1 - sqr_mom


@scalar
def annealed_lr(count, *, lr, lr_decay=0.):
    "η / (1 + (t − 1)·ζ)"
    return lr / (1 + (count - 1) * lr_decay)


@scalar
def relative_lr(count, *, lr):
    """min(η, 1/√t): a step as a share of the parameter's own size
    (Shazeer & Stern, arXiv:1804.04235, section 8)."""
    return min(lr, count**-.5)


@scalar
def share_of_square(count, *, beta2_decay=-0.8):
    """tᶜ: the share of a new square, which falls with time
    (Shazeer & Stern, arXiv:1804.04235, section 7.2)."""
    return count**beta2_decay


@scalar
def nadam_mom(count, *, mom, momentum_decay=0.004):
    "β₁·(1 − 0.96^(t·ψ)/2): a decay that grows to β₁ (Dozat, ICLR workshop 2016)."
    return mom * (1 - .5 * .96**(count * momentum_decay))


@scalar
def next_nadam_mom(count, *, mom, momentum_decay=0.004):
    "The same for the step after this one."
    return mom * (1 - .5 * .96**((count + 1) * momentum_decay))


@scalar
def final_sma_length(*, sqr_mom):
    """ρ∞ = 2/(1 − β₂) − 1: how many gradients the average square is of, in the end
    (Liu et al., arXiv:1908.03265)."""
    return 2 / (1 - sqr_mom) - 1


@scalar
def sma_length(count, final=final_sma_length, *, sqr_mom):
    "ρₜ = ρ∞ − 2·t·β₂ᵗ/(1 − β₂ᵗ): how many it is of by now."
    return final - 2 * count * sqr_mom**count / (1 - sqr_mom**count)


@scalar
def rectifier(now=sma_length, end=final_sma_length):
    """r: how far to trust the average square; 0 while its variance has no bound
    (Liu et al., arXiv:1908.03265, alg. 2)."""
    return math.sqrt((now - 4) * (now - 2) * end / ((end - 4) * (end - 2) * now)) if now > 5 else 0.


@scalar
def grown_weight(count, *, slow_weight, warmup=0):
    """α·min(t/T, 1): the slow average's weight, grown over T steps
    (Pagliardini et al., arXiv:2409.03137)."""
    return slow_weight * min(count / warmup, 1) if warmup else slow_weight


@scalar
def grown_mom(count, *, mom, slow_mom, warmup=0):
    "β₃, its half-life grown evenly from β₁'s over T steps; from 0, β₃^(T/t) (arXiv:2409.03137)."
    if count >= warmup: return slow_mom
    part = count / warmup
    if not (mom and slow_mom): return slow_mom**(1 / part)
    a, b = math.log(mom), math.log(slow_mom)
    return min(math.exp(a * b / ((1 - part) * b + part * a)), slow_mom)


@scalar
def lower_lr(count, *, final_lr=0.1, bound_rate=1e-3):
    """η*·(1 − 1/(γ·t + 1)): grows to η*
    (Luo et al., arXiv:1902.09843, as in their code, whose bounds also follow η)."""
    return final_lr * (1 - 1 / (bound_rate * count + 1))


@scalar
def upper_lr(count, *, final_lr=0.1, bound_rate=1e-3):
    """η*·(1 + 1/(γ·t)): falls to η*. To let the bounds follow a schedule of η, schedule `final_lr`
    too."""
    if bound_rate < 1e-30: return math.inf  # float32 has no number as large
    return final_lr * (1 + 1 / (bound_rate * count))


def real_power(base, power):
    "Its value; 0 where that is too large for a number, or complex, as a negative base's."
    try: value = base**power
    except (OverflowError, ZeroDivisionError): return 0.
    return 0. if isinstance(value, complex) else value


@scalar
def root_lr(count, *, lr):
    "η·√t: the weight of a gradient in a sum, if later ones are to count more."
    return lr * count**.5


@scalar
def share_of_mean(count, *, t0=0.):
    "1 / max(1, t − t₀): the share of the newest in the mean of all since t₀."
    return 1 / max(1, count - t0)
