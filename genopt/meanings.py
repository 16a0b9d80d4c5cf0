"The meanings of names, in words: of stats, scalars, tensors and all that parts read."
from __future__ import annotations

from .contract import EVALUATED
from .part import Part

__all__ = ['MEANINGS', 'meaning']

# By the name, or by the part that makes it; anything else has the part's name
MEANINGS = dict(
    param='parameters', new_param='parameters after the step', grad='gradient of the loss',
    raw_grad='the gradient as it came', update='change of the parameters',
    place='place of the parameter among all', count='number of the step',
    rows='number of rows', columns='number of columns',
    grad_avg='average of gradients', sqr_avg='average of squared gradients',
    momentum_buffer='sum of gradients, each a share of the next',
    dampened_momentum_buffer='sum of gradients, each a share of the next',
    max_sqr_avg='largest average so far', sqr_sum='sum of squared gradients',
    grad_sum='sum of gradients', grad_max='decaying maximum of gradients',
    delta_avg='average of squared changes', diff_avg='average of changes of the gradient',
    fast_avg='fast sum of gradients', slow_avg='slow average of gradients',
    scaled_avg='sum of scaled gradients', sqr_norm="average of the gradient's squared norm",
    row_avg='average of squares, by row', column_avg='average of squares, by column',
    step_size='step size of each element', mom_product='product of all μ so far',
    eta='learning rate of the next step', first_param='parameters at the beginning',
    last_grad='gradient of the last step', param_avg='average of the parameters',
    slow_param='slow parameters', skipped='how many steps were skipped',
    average_sqr_surprise='average of squared surprises',
    nadam_mom='decay of the average, at this step', next_nadam_mom='the same, at the next step',
    rectifier='how far to trust v', final_sma_length='how many gradients v is of, in the end',
    sma_length='how many gradients v is of', relative_lr='step, relative to the parameters',
    lower_lr='least learning rate', upper_lr='largest learning rate',
    grown_mom='decay of the slow average, as it grows',
    grown_weight='weight of the slow average, as it grows',
    sqr_grad_norm='squared norm of all gradients', last_sqr_norm='the same, for the next step',
    share_of_mean='share of the newest in a mean', sync='1 on the steps that synchronize, else 0',
    share_of_new='share of a new square', share_of_grad='share of a new gradient',
    nonfinite_count='how many elements are not finite', noise_size='standard deviation of noise',
    surprise='what the average did not expect', new_share='share of a new square',
    eps_so_far='what ε adds up to in an average', share_of_square='share of a new square',
    surprise_rows='average of squared surprises, by row',
    surprise_columns='average of squared surprises, by column',
    sqr_bound='bound of the sum of squares',
    row_max='largest bound of each row', column_max='largest bound of each column',
    inner_max='largest bounds in the dimensions between',
    average_sqr_block='average of squares, of all elements',
    average_sqr_by_row='average of squares, by row',
    left_avg='average of g·gᵀ', right_avg='average of gᵀ·g', left_sum='sum of g·gᵀ',
    right_sum='sum of gᵀ·g', left_root='inverse root of L', right_root='inverse root of R',
    left_basis='eigenvectors of L', right_basis='eigenvectors of R',
    left_factor='factor that whitens rows', right_factor='factor that whitens columns',
    column_factor='directions among columns', projection='directions of the shorter side',
    low_avg='average of gradients, in these directions',
    low_sqr_avg='average of their squares', limited_norm='norm that may not grow fast',
    projected='gradient in these directions', scaled_low='step of Adam in these directions',
    power_turn='factors of average and gradient', probe='random numbers',
    balanced='both factors, with equal largest elements',
    whitened='whitened gradient, and what it is compared with',
    **{'balanced 1': 'factor that whitens rows, balanced',
       'balanced 2': 'factor that whitens columns, balanced',
       'whitened 1': 'whitened gradient', 'whitened 2': 'what that is compared with',
       'power_turn 1': 'directions among rows', 'power_turn 2': 'what lies along them'},
    update_share='share of steps in which factors learn', learning='1 where factors learn, else 0',
    balancing='1 where factors are balanced, else 0', waited='steps since factors learned',
    base_param='base parameters, which take the steps', lr_max='largest learning rate so far',
    weight_sum='sum of weights in the average', warm_lr='learning rate, as it grows',
    weight_of_base='weight of this step in the average',
    share_of_base='share of this step in the average',
    grok_avg='slow part of the gradient', error='what signs have left out',
    may_spike='1 on the steps on which spikes are clipped, else 0',
    goes_on='0 on the steps on which averages begin anew, else 1',
    regrown='share of a step, which grows after a reset', warm_ema='decay of the average, so far',
    slow_ema='decay of the average, so far', power_ema='decay of the average, so far',
    d='bound of the distance to a solution', d_max='largest distance that was found',
    prodigy_distance='the distance as this step finds it', faded_sum='sum of rated gradients',
    gain='how far they lead away from the beginning', first_norm='norm of the first gradient',
    adam_distance='the distance as this step finds it',
    sgd_distance='the distance as this step finds it',
    sqr_norm_sum='sum of squared norms of gradients', rate_of_d='learning rate times distance',
    debiased_lr='learning rate, debiased', eps_of_d='ε in units of the distance',
    dog_lr='distance over gradients', sqr_distance='squared distance from the beginning',
    sqr_param_norm='squared norm of all parameters', absolute_sum='sum of all |s|',
    sqr_sum_norm='squared norm of s', prodigy_progress='how far gradients lead away',
    adam_progress='how far gradients agree with s', sgd_progress='how far gradients agree with s',
    hess="the Hessian's diagonal, fed by the loop", hess_avg="average of the Hessian's diagonal",
    loss='the loss, fed by the loop', climbs='1 in a climb, 0 in the step from its top',
    start_param='parameters where the climb begins',
    sqr_slope='squared norm of all gradients', sqr_scaled_slope='squared norm of all (|θ| + ηₐ)·g',
    climb_size='length of a climb over the norm',
    scaled_climb_size='length of a climb over the norm',
    **{EVALUATED: 'parameters to evaluate'})


def meaning(name: str, part: Part | None=None) -> str:
    "What a name stands for, which `part` makes; '' if only the part's author can say."
    if name.startswith('matrix '): return 'a matrix'
    by = part.__name__ if part else name
    base, _, number = name.rpartition(' ')
    if number.isdigit():  # one of several tensors
        return MEANINGS.get(f'{by} {number}') or f'{meaning(base, part)}, number {number}'
    return MEANINGS.get(by) or MEANINGS.get(name) or (by.replace('_', ' ') if part else '')
