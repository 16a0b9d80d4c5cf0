"""The parts: pure functions, each of one idea, that every recipe shares.

In all of them tensors are positional, of the parameter's shape; numbers are keywords.
"""
from .scalars import debias, keep
from .stats import average_grad, average_sqr_grad, dampened_momentum, max_sqr_grad, momentum_buffer, step_count
from .steps import adam_step, momentum_step, nesterov_step, sgd_step, weight_decay
from .transforms import centered_rms_scale, l2_reg, rms_scale

__all__ = ['l2_reg', 'rms_scale', 'centered_rms_scale',
           'average_grad', 'momentum_buffer', 'dampened_momentum', 'average_sqr_grad', 'max_sqr_grad', 'step_count',
           'debias', 'keep',
           'sgd_step', 'momentum_step', 'nesterov_step', 'weight_decay', 'adam_step']
