"Transforms: what is done to the gradient before anything remembers it or steps along it."
from ..part import transform

__all__ = ['l2_reg', 'rms_scale', 'centered_rms_scale']


@transform(switch='wd')
def l2_reg(grad, param, *, wd=0.):
    "g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖²."
    return grad + wd * param


@transform
def rms_scale(grad, sqr_avg, *, eps=1e-8):
    "g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e)."
    return grad / (sqr_avg.sqrt() + eps)


@transform
def centered_rms_scale(grad, grad_avg, sqr_avg, *, eps=1e-8):
    "g ← g / (√(v − m²) + ε): in units of its standard deviation (Graves, arXiv:1308.0850, eq. 38–41; ε as in torch)."
    return grad / (sqr_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt() + eps)
