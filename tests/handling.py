"""What people do to an optimizer, its parameters, groups and state between two steps: each action
is called with a world and the same random numbers, in genopt's and in torch's.
"""
import copy
import inspect
import pickle
import warnings
from collections import defaultdict

import genopt
import torch
from genopt.twins import twin
from helpers import through_a_file
from torch import nn
from torch.optim import lr_scheduler

SHAPES = [(5, 7), (7,), (), (0, 3), (4, 3, 2, 2), (6, 4), (7,), (5, 7), (1,), (2, 3)]
VALUES = dict(lr=[.1, .01, 0., 1], weight_decay=[0., .1, 0], momentum=[0., .9, .5],
              betas=[(.8, .99), (0., .9), (.9, .999)], eps=[1e-8, 1e-4], alpha=[.9, .99],
              dampening=[0., .5], nesterov=[True, False],
              amsgrad=[True, False], centered=[True, False],
              lr_decay=[0., .1], rho=[.9, .8], momentum_decay=[.004, .1],
              maximize=[True, False], decoupled_weight_decay=[True, False])


class World:
    "An optimizer, its parameters, and what else there is around it."
    def __init__(self, make, recipe, kwargs, rng, ours):
        self.recipe, self.ours, self.scheduler, self.steps = recipe, ours, None, 0
        self.names = twin(recipe).names  # of stats, ours -> torch's
        self.make = lambda groups: make(groups, **kwargs)
        self.notes = self.other = None
        self.params = [self.param(rng) for _ in range(rng.randint(1, 4))]
        named, cut = rng.random() < .2, rng.randint(0, len(self.params) - 1)
        items = [(f'p{i}', p) for i, p in enumerate(self.params)] if named else self.params
        self.named = named
        groups = [{'params': ps} for ps in (items[:cut], items[cut:]) if ps]
        if rng.random() < .5: groups[-1]['lr'] = .02
        self.opt = self.make(groups if len(groups) > 1 or rng.random() < .5 else items)

    def param(self, rng, shape=None):
        shape = shape or (rng.choice(SHAPES) if rng.random() > .02
                          else rng.choice([(400, 350), (131_073,)]))
        x = noise(rng, shape)
        how = rng.choice(['plain', 'plain', 'turned', 'strided', 'last'])
        if how == 'turned' and x.dim() > 1: x = x.transpose(0, 1).contiguous().transpose(0, 1)
        if how == 'strided' and x.dim(): x = torch.stack([x, x], -1)[..., 0]
        if how == 'last' and x.dim() == 4: x = x.to(memory_format=torch.channels_last)
        return nn.Parameter(x)

    def pick(self, rng): return rng.choice(self.params)
    def state(self, p): return self.opt.state.get(p, {})
    def group(self, rng): return rng.choice(self.opt.param_groups)
    def key(self, theirs):
        return {t: o for o, t in self.names.items()}.get(theirs, theirs) if self.ours else theirs

    def place(self, p):
        return next((g['params'], i) for g in self.opt.param_groups
                    for i, q in enumerate(g['params']) if q is p)


def noise(rng, shape):
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    return torch.randn(shape, generator=draw, dtype=torch.float64)


# -- what people do: each is called with a world and the same random numbers in both ---------------

def set_word(w, rng):
    g = w.group(rng)
    words = [k for k in VALUES if k in inspect.signature(twin(w.recipe).cls).parameters]
    k = rng.choice(words); v = rng.choice(VALUES[k])
    along = g.get('nesterov') or g.get('dampening')
    # refused without it
    if k in ('nesterov', 'dampening') and not g['momentum'] or k == 'momentum' and along: return
    if k == 'lr' and rng.random() < .2: v = torch.tensor(.03, dtype=torch.float64)
    if rng.random() < .5: g[k] = v
    else: g.update({k: v})

def note_in_group(w, rng): w.group(rng)['layer_id'] = rng.randint(0, 9)

def plain_groups(w, rng):
    if rng.random() < .5: w.opt.param_groups = [{**g} for g in w.opt.param_groups]
    else:
        i = rng.randrange(len(w.opt.param_groups))
        w.opt.param_groups[i] = {**w.opt.param_groups[i], **rng.choice([{}, {'lr': .03}])}

def add_group(w, rng):
    if rng.random() < .5: w.opt.defaults['lr'] = rng.choice([.07, .001])
    p, w.scheduler = w.param(rng), None
    w.params.append(p)
    items = [(f'p{len(w.params)}', p)] if w.named else rng.choice([[p], p])
    own = rng.choice([{}, {'lr': .03}, {'weight_decay': .01}])
    w.opt.add_param_group({'params': items, **(own if w.recipe != genopt.Rprop else {})})

def remove_group(w, rng):
    if len(w.opt.param_groups) < 2: return
    i = rng.randrange(len(w.opt.param_groups))
    gone = [id(p) for p in w.opt.param_groups[i]['params']]
    w.opt.param_groups.pop(i)
    w.scheduler = None  # torch's expects as many groups as there were
    w.params = [p for p in w.params if id(p) not in gone]

def swap_groups(w, rng): w.opt.param_groups.reverse()

def move_param(w, rng):
    "From one group to another."
    if len(w.opt.param_groups) < 2 or w.named: return
    p = w.pick(rng)
    params, i = w.place(p)
    to = w.group(rng)['params']
    del params[i]
    to.append(p)

def data_replaced(w, rng):
    p = w.pick(rng); p.grad = None
    how = rng.choice(['clone', 'turned', 'strided', 'view', 'other', 'contiguous'])
    if how == 'clone': p.data = p.data.clone()
    if how == 'turned' and p.dim() > 1:
        p.data = p.data.transpose(0, -1).contiguous().transpose(0, -1)
    if how == 'strided': p.data = torch.stack([p.data, p.data], -1)[..., 0]
    if how == 'view': p.data = p.data.view_as(p.data)
    if how == 'other': p.data = p.data * 2
    if how == 'contiguous': p.data = p.data.contiguous()

def transposed(w, rng):
    "Another shape at the same address, and the state too."
    p = w.pick(rng); p.grad = None
    if p.dim() < 2: return
    state = w.state(p)
    for k, v in state.items():
        if isinstance(v, torch.Tensor) and v.shape == p.shape: state[k] = v.transpose(0, 1)
    p.data = p.data.transpose(0, 1)

def cut(w, rng):
    p = w.pick(rng); p.grad = None
    if not p.dim() or len(p) < 2: return
    n, state = rng.randint(1, len(p) - 1), w.state(p)
    for k, v in state.items():
        if isinstance(v, torch.Tensor) and v.shape == p.shape: state[k] = v[:n]
    p.data = p.data[:n]

def grown(w, rng):
    p = w.pick(rng); p.grad = None
    if not p.dim(): return
    more, state = noise(rng, p.shape), w.state(p)
    for k, v in state.items():
        if isinstance(v, torch.Tensor) and v.shape == p.shape:
            state[k] = torch.cat([v, torch.zeros_like(v)])
    p.data = torch.cat([p.data, more])

def replaced(w, rng):
    "Another Parameter in the group, with the state."
    p = w.pick(rng)
    params, i = w.place(p)
    q = params[i] = nn.Parameter(p.detach().clone())
    if p in w.opt.state and rng.random() < .8: w.opt.state[q] = w.opt.state.pop(p)
    w.params = [q if x is p else x for x in w.params]

def forget(w, rng):
    p, how = w.pick(rng), rng.choice(['pop', 'clear', 'new', 'empty', 'one'])
    if how == 'pop': w.opt.state.pop(p, None)
    if how == 'clear': w.opt.state.clear()
    if how == 'new': w.opt.state = defaultdict(dict)
    if how == 'empty': w.opt.state[p] = {}
    if how == 'one' and p in w.opt.state: w.opt.state[p].clear()

def zeroed(w, rng):
    "Every tensor, or only those of the parameter's shape."
    # other counts in torch
    p, every = w.pick(rng), rng.random() < .3 and w.recipe not in (genopt.SGD, genopt.ASGD)
    for v in w.state(p).values():
        if isinstance(v, torch.Tensor) and (every or v.dim()): v.zero_()

def cloned(w, rng):
    for s in w.opt.state.values():
        for k, v in s.items():
            if isinstance(v, torch.Tensor): s[k] = v.clone()

def torchs_words(w, rng):
    "Averages written by hand under torch's names, where torch has them."
    p, x = w.pick(rng), rng.random()
    if not w.ours:
        w.notes = [k for k, v in w.state(p).items()
                   if isinstance(v, torch.Tensor) and v.dim() and k in w.names.values()]
    for k in w.notes or (): w.opt.state[p][k] = torch.full_like(p, x).detach()

def scaled(w, rng):
    "A tensor of the state multiplied in place."
    p = w.pick(rng)
    for v in w.state(p).values():
        if isinstance(v, torch.Tensor) and v.dim(): v.mul_(.5)

def foreign(w, rng):
    p = w.pick(rng)
    if w.state(p): w.opt.state[p]['mine'] = rng.choice([3, 'words', torch.ones(2), None])

def of_all(w, rng): w.opt.state['everywhere'] = {'round': 3}

def reloaded(w, rng):
    saved = w.opt.state_dict()
    if rng.random() < .5: saved = through_a_file(saved)
    w.opt.load_state_dict(saved)

def into_a_fresh_one(w, rng):
    saved = through_a_file(w.opt.state_dict()) if rng.random() < .5 else w.opt.state_dict()
    fresh = {id(p): nn.Parameter(p.detach().clone(), p.requires_grad)
             for g in w.opt.param_groups for p in g['params']}
    groups = [[fresh[id(p)] for p in g['params']] for g in w.opt.param_groups]
    if not all(groups): return
    if w.named: groups = [[*zip(g['param_names'], ps)] for g, ps in zip(w.opt.param_groups, groups)]
    w.opt = w.make([{'params': g} for g in groups])
    w.opt.load_state_dict(saved)
    w.params, w.scheduler = [fresh.get(id(p), p) for p in w.params], None

def copied(w, rng):
    both = w.params, w.opt
    w.params, w.opt = pickle.loads(pickle.dumps(both)) if rng.random() < .5 else copy.deepcopy(both)
    w.scheduler = None

def frozen(w, rng): w.pick(rng).requires_grad_(rng.random() < .3)
def zero_grad(w, rng): w.opt.zero_grad(rng.random() < .5)

def shared(w, rng):
    a, b = w.pick(rng), w.pick(rng)
    if a.shape == b.shape: b.grad, b.data = None, a.data

def schedule(w, rng):
    kind = rng.choice(['steps', 'cycle', 'lambda'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if kind == 'steps': w.scheduler = lr_scheduler.StepLR(w.opt, 2, .5)
        if kind == 'lambda': w.scheduler = lr_scheduler.LambdaLR(w.opt, lambda i: 1 / (1 + i))
        if kind == 'cycle':
            moms = any(k in g for g in w.opt.param_groups[:1] for k in ('momentum', 'betas'))
            w.scheduler = lr_scheduler.OneCycleLR(w.opt, .1, total_steps=99, cycle_momentum=moms)

def init_state(w, rng):
    if w.ours: w.opt.init_state()

def setstate(w, rng):
    state, groups = {'state': defaultdict(dict)}, {'param_groups': w.opt.param_groups}
    w.opt.__setstate__(rng.choice([state, {**state, **groups}, {'state': w.opt.state, **groups}]))

def from_torch(w, rng):
    "What torch's twin has, as it is."
    if not w.ours: w.notes = copy.deepcopy(w.opt.state_dict())
    elif w.notes: w.opt.load_state_dict(w.notes)

def to_torch(w, rng):
    if w.ours: w.other.opt.load_state_dict(genopt.to_torch(w.opt))

def looked_at(w, rng): repr(w.opt), w.opt.state_dict()
def default_dtype(w, rng): torch.set_default_dtype(rng.choice([torch.float32, torch.float64]))
def threads(w, rng): torch.set_num_threads(rng.choice([1, 2]))
def nothing(w, rng): pass

ACTIONS = [set_word, set_word, note_in_group, plain_groups, add_group, remove_group, swap_groups,
           move_param, data_replaced, data_replaced, transposed,
           cut, grown, replaced, forget, zeroed,
           cloned, torchs_words, scaled, foreign, of_all,
           reloaded, into_a_fresh_one, copied, frozen,
           zero_grad, shared, schedule, init_state, setstate, from_torch, to_torch,
           looked_at, default_dtype, threads, nothing]


def step(w, rng):
    set_grads(w, rng)
    meta, closure = rng.random() < .1 and w.ours, rng.random() < .1
    if meta: torch.set_default_device('meta')
    try: w.opt.step(*[lambda: 1.] * closure)
    finally:
        if meta: torch.set_default_device(None)
    w.steps += 1
    if w.scheduler: w.scheduler.step()

def set_grads(w, rng):
    for p in w.params:
        how = rng.choice(['none', 'zeros', 'turned', 'expanded',
                          'twice', 'own', 'stay', 'negative'] + ['new'] * 8)
        scale, g = rng.choice([1., 1., 1e-3]), noise(rng, p.shape)
        if not p.requires_grad and how != 'new': how = 'none'
        if how == 'stay' and p.grad is not None: continue
        if how == 'zeros': g.zero_()
        if how == 'turned' and p.dim() > 1: g = g.transpose(0, 1).contiguous().transpose(0, 1)
        if how == 'expanded': g = noise(rng, p.shape[-1:]).expand(p.shape)
        if how == 'negative': g = torch._neg_view(g)
        if how == 'twice':
            g = next((q.grad for q in w.params if q.grad is not None
                      and q.shape == p.shape and q.grad.data_ptr() != q.data_ptr()), g)
        if how == 'own' and not decoupled(w, p): g = p.data
        p.grad = None if how == 'none' else g if how != 'new' else g * scale


def decoupled(w, p):
    """True where torch may have changed the parameter already when it reads a gradient that is the
    same."""
    return w.recipe in (genopt.AdamW, genopt.Adam, genopt.NAdam, genopt.RAdam, genopt.ASGD)
