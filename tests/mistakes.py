"""Optimizers as people write them, each with one planted mistake: in the rule, or in how groups,
missing gradients and state are handled.

`MISTAKES` has, for each, the reference and a part of the guess that must name it, or of the demand
that it must fail.
"""
import torch
from torch.optim import Optimizer

MISTAKES = []


def planted(against, guess, **values):
    "A class whose check against a recipe must find this."
    def add(cls):
        MISTAKES.append((cls, against, guess, values))
        return cls
    return add


class Written(Optimizer):
    "The loop that they share: `rule` changes one parameter."
    def __init__(self, params, **defaults): super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad(): loss = closure()
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is not None: self.rule(p, p.grad, self.state[p], group)
        return loss


def moments(p, g, state, betas):
    "Adam's two averages and its count."
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
    state['step'] += 1
    state['exp_avg'].lerp_(g, 1 - betas[0])
    state['exp_avg_sq'].mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    return state['exp_avg'], state['exp_avg_sq'], state['step']


class AdamLike(Written):
    def __init__(self, params, lr=1e-3, betas=(.9, .999), eps=1e-8, weight_decay=0.):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def rule(self, p, g, state, group):
        g = self.decayed(p, g, group)
        m, v, t = moments(p, g, state, group['betas'])
        self.move(p, m, v, t, group)

    def decayed(self, p, g, group): return g + group['weight_decay'] * p

    def move(self, p, m, v, t, group):
        (b1, b2), lr, eps = group['betas'], group['lr'], group['eps']
        p.sub_(lr * m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps))


class AdamWLike(AdamLike):
    def __init__(self, params, lr=1e-3, betas=(.9, .999), eps=1e-8, weight_decay=.01):
        super().__init__(params, lr, betas, eps, weight_decay)

    def decayed(self, p, g, group):
        p.mul_(1 - group['lr'] * group['weight_decay'])
        return g


class MomentumLike(Written):
    def __init__(self, params, lr=.01, momentum=.9, weight_decay=0.):
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def rule(self, p, g, state, group):
        g = g + group['weight_decay'] * p
        if 'buf' not in state: state['buf'] = self.first(g, group)
        else: state['buf'] = group['momentum'] * state['buf'] + g
        p.sub_(group['lr'] * state['buf'])

    def first(self, g, group): return g.clone()


# -- the rule --------------------------------------------------------------------------------------

@planted('adam', 'eps is inside the root')
class AdamEpsInside(AdamLike):
    def move(self, p, m, v, t, group):
        b1, b2 = group['betas']
        p.sub_(group['lr'] * m / (1 - b1**t) / (v / (1 - b2**t) + group['eps']).sqrt())


@planted('adam', 'eps is added before the bias correction')
class AdamEpsBefore(AdamLike):
    def move(self, p, m, v, t, group):
        b1, b2 = group['betas']
        p.sub_(group['lr'] * (1 - b2**t)**.5 / (1 - b1**t) * m / (v.sqrt() + group['eps']))


@planted('adam', 'the bias corrections are left out')
class AdamUncorrected(AdamLike):
    def move(self, p, m, v, t, group): p.sub_(group['lr'] * m / (v.sqrt() + group['eps']))


@planted('adam', 'the bias correction of `sqr_avg` is left out')
class AdamHalfCorrected(AdamLike):
    def move(self, p, m, v, t, group):
        p.sub_(group['lr'] * m / (1 - group['betas'][0]**t) / (v.sqrt() + group['eps']))


@planted('adam', 'the bias correction of `grad_avg` is done twice')
class AdamCorrectedTwice(AdamLike):
    def move(self, p, m, v, t, group):
        bias = 1 - group['betas'][0]**t
        super().move(p, m / bias, v, t, group)


@planted('adam', 'the bias correction of `grad_avg` is done twice + eps is inside the root')
class AdamTwoMistakes(AdamLike):
    def move(self, p, m, v, t, group):
        b1, b2 = group['betas']
        p.sub_(group['lr'] * m / (1 - b1**t)**2 / (v / (1 - b2**t) + group['eps']).sqrt())


@planted('adam', '`mom` and `sqr_mom` are swapped')
class AdamBetasSwapped(AdamLike):
    def rule(self, p, g, state, group):
        super().rule(p, g, state, {**group, 'betas': group['betas'][::-1]})


@planted('adam', 'the count is one ahead')
class AdamWarm(AdamLike):
    "A call that was to warm a kernel up has advanced the counter."
    def move(self, p, m, v, t, group): super().move(p, m, v, t + 1, group)


@planted('adam(amsgrad=True)', '`amsgrad` is ignored')
class AMSGradForgetful(AdamLike):
    "The maximum is not kept: it is that of this step's average and itself."
    def move(self, p, m, v, t, group): super().move(p, m, torch.maximum(v, v), t, group)


@planted('adamw', 'weight decay is coupled')
class AdamWCoupled(AdamWLike):
    def decayed(self, p, g, group): return g + group['weight_decay'] * p


@planted('adamw', 'weight decay is not multiplied by the learning rate')
class AdamWIndependent(AdamWLike):
    def decayed(self, p, g, group):
        p.mul_(1 - group['weight_decay'])
        return g


@planted('adamw', 'weight decay comes after the step')
class AdamWAfter(AdamWLike):
    def decayed(self, p, g, group): return g
    def move(self, p, m, v, t, group):
        super().move(p, m, v, t, group)
        p.mul_(1 - group['lr'] * group['weight_decay'])


@planted('momentum', '`grad_avg` begins with 1 − `mom` of the first gradient')
class MomentumDamped(MomentumLike):
    def first(self, g, group): return (1 - group['momentum']) * g


@planted('momentum', '`grad_avg` is an average')
class MomentumAverage(MomentumLike):
    "The other convention."
    def rule(self, p, g, state, group):
        g = g + group['weight_decay'] * p
        buf = state.setdefault('buf', torch.zeros_like(p))
        buf.lerp_(g, 1 - group['momentum'])
        p.sub_(group['lr'] * buf)


@planted('momentum', 'the learning rate is inside `grad_avg`')
class MomentumOfSteps(MomentumLike):
    def rule(self, p, g, state, group):
        buf = state.setdefault('buf', torch.zeros_like(p))
        buf.mul_(group['momentum']).add_(group['lr'] * (g + group['weight_decay'] * p))
        p.sub_(buf)


@planted('momentum(nesterov=True)', '`nesterov` is ignored')
class NesterovPlain(MomentumLike): "It never looks ahead."


@planted('sgd(dampening=.5, mom=.9)', '`share_of_grad` takes the first step for any other')
class SGDDampedFirst(Written):
    def __init__(self, params, lr=.01, momentum=.9, dampening=.5):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening)

    def rule(self, p, g, state, group):
        buf = state.setdefault('momentum_buffer', torch.zeros_like(p))
        buf.mul_(group['momentum']).add_(g, alpha=1 - group['dampening'])
        p.sub_(group['lr'] * buf)


@planted('sgd', 'climbs where it should descend')
class SGDUphill(Written):
    def __init__(self, params, lr=.01): super().__init__(params, lr=lr)
    def rule(self, p, g, state, group): p.add_(group['lr'] * g)


@planted('rmsprop', 'eps is inside the root')
class RMSpropEpsInside(Written):
    def __init__(self, params, lr=.01, alpha=.99, eps=1e-8):
        super().__init__(params, lr=lr, alpha=alpha, eps=eps)

    def rule(self, p, g, state, group):
        v = state.setdefault('square_avg', torch.zeros_like(p))
        v.mul_(group['alpha']).addcmul_(g, g, value=1 - group['alpha'])
        p.sub_(group['lr'] * g / (v + group['eps']).sqrt())


@planted('adagrad', 'eps is inside the root')
class AdagradEpsInside(Written):
    def __init__(self, params, lr=.01, eps=1e-10): super().__init__(params, lr=lr, eps=eps)

    def rule(self, p, g, state, group):
        state['sum'] = state.get('sum', 0.) + g * g
        p.sub_(group['lr'] * g / (state['sum'] + group['eps']).sqrt())


@planted('lion', '`blend_average` reads `grad_avg` when this step has updated it')
class LionRemembersFirst(Written):
    def __init__(self, params, lr=1e-4, betas=(.9, .99), weight_decay=0.):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def rule(self, p, g, state, group):
        b1, b2 = group['betas']
        m = state.setdefault('exp_avg', torch.zeros_like(p))
        m.lerp_(g, 1 - b2)
        p.mul_(1 - group['lr'] * group['weight_decay'])
        p.sub_(group['lr'] * g.lerp(m, b1).sign())


@planted('nadam', '`next_nadam_mom` is left out')
class NAdamNow(Written):
    "The momentum of the next step is not in its last factor."
    def __init__(self, params, lr=2e-3, betas=(.9, .999), eps=1e-8, momentum_decay=4e-3):
        super().__init__(params, lr=lr, betas=betas, eps=eps, momentum_decay=momentum_decay)

    def rule(self, p, g, state, group):
        (b1, b2), psi = group['betas'], group['momentum_decay']
        m, v, t = moments(p, g, state, group['betas'])
        now = b1 * (1 - .5 * .96**(t * psi))
        state['mu_product'] = product = state.get('mu_product', 1.) * now
        size = (v / (1 - b2**t)).sqrt() + group['eps']
        p.sub_(group['lr'] * ((1 - now) / (1 - product) * g + m / (1 - product)) / size)


# -- groups, gradients and state -------------------------------------------------------------------

@planted('adam', 'stepped with the `lr` of the first one')
class AdamFirstGroup(AdamLike):
    def rule(self, p, g, state, group):
        super().rule(p, g, state, {**group, 'lr': self.param_groups[0]['lr']})


@planted('adamw', 'does not follow a schedule of `lr`', lr=.01)
class AdamWHalfScheduled(AdamWLike):
    "Its decay has the rate with which it was made."
    def decayed(self, p, g, group):
        first = group.setdefault('first_lr', group['lr'])
        p.mul_(1 - first * group['weight_decay'])
        return g


@planted('adam', 'the count is one for all parameters')
class AdamOneCount(AdamLike):
    def step(self, closure=None):
        for group in self.param_groups: group['t'] = self.param_groups[0].get('t', 0) + 1
        return super().step(closure)
    def move(self, p, m, v, t, group):
        super().move(p, m, v, self.param_groups[0]['t'], group)


@planted('adam', 'not saved: a resumed run begins at 0')
class AdamUnsavedCount(AdamLike):
    def __init__(self, params, **kwargs):
        super().__init__(params, **kwargs)
        self.t = 0
    def step(self, closure=None):
        self.t += 1
        return super().step(closure)
    def move(self, p, m, v, t, group): super().move(p, m, v, self.t, group)


@planted('adam', 'the state is lost when it is saved and loaded')
class AdamElsewhere(AdamLike):
    "Its state is in a dictionary of its own, which nobody saves."
    def __init__(self, params, lr=1e-3, betas=(.9, .999), eps=1e-8, weight_decay=0.):
        super().__init__(params, lr, betas, eps, weight_decay)
        self.own = {}
    def rule(self, p, g, state, group):
        super().rule(p, g, self.own.setdefault(p, {}), group)


@planted('momentum', 'the parameters of different groups share a state')
class MomentumByPlace(MomentumLike):
    "A parameter's state is found by its place in its group."
    def rule(self, p, g, state, group):
        place = next(i for i, q in enumerate(group['params']) if q is p)
        super().rule(p, g, self.state.setdefault(f'{place} {tuple(p.shape)}', {}), group)


@planted('adamw', 'a gradient that is missing counts as zero')
class AdamWMissing(AdamWLike):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is None: p.grad = torch.zeros_like(p)
        return super().step(closure)


@planted('adam', 'gradients are not changed', weight_decay=.1)
class AdamInPlace(AdamLike):
    "The decay is added to the gradient that the caller has."
    def decayed(self, p, g, group): return g.add_(p, alpha=group['weight_decay'])
