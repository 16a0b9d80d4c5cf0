"""Rules that need no schedule: they train near an average of where they go, and evaluate it.

`opt.eval()` puts the average in the parameters' place, and `opt.train()` puts them back.
"""
from ..parts import (average_sqr_grad, scale_by_debiased_rms, schedule_free, sgd_step, step_count,
                     warm_lr, weight_decay)
from ..recipe import recipe


def _schedule_free(step, decay_at_z):
    "A step and decay, both with a warm-up. Decay is at y, as is the authors' default, or at z."
    decay = weight_decay.rename(param='prev_base_param') if decay_at_z else weight_decay
    parts = step, decay, *schedule_free[1:]
    return [p.fed(lr=warm_lr) if 'lr' in p.hypers else p for p in parts]


@recipe(lr=1., wd=0., momentum='interp', warmup_steps='warmup')
def ScheduleFreeSGD(decay_at_z=False):
    """SGD with gradients between its iterates and their average, which replaces a schedule
    (Defazio et al., arXiv:2405.15682)."""
    return step_count, *_schedule_free(sgd_step, decay_at_z)


SCALED = step_count, average_sqr_grad, scale_by_debiased_rms


@recipe(lr=2.5e-3, wd=0., betas='interp sqr_mom', warmup_steps='warmup')
def ScheduleFreeAdamW(decay_at_z=False):
    """AdamW whose first average is of iterates, with gradients near it; no schedule is needed
    (Defazio et al., arXiv:2405.15682)."""
    return *SCALED, *_schedule_free(sgd_step, decay_at_z)
