"""Ways in which tensors change between two steps.

Each is called with a parameter (the second of its group), its optimizer, which is torch's or
genopt's, and the `Field` in which its tensors lie.
"""
from __future__ import annotations

import copy

import torch
from helpers import random
from tales import put_state
from three_engines import tensors
from torch import Tensor, nn


# -- what the changes are made of ------------------------------------------------------------------

def of_all(fn):
    "The same done to a parameter and its state."
    def change(p, opt, field):
        p.data = fn(p.data)
        for v in tensors(opt, p): v.data = fn(v.data)
    return change


def of_param(fn):
    def change(p, opt, field): p.data = fn(p.data)
    return change


def of_state(fn, which=slice(None)):
    def change(p, opt, field):
        for v in tensors(opt, p)[which]: v.data = fn(v.data)
    return change


def replaced(fn, which=slice(None)):
    "Other tensors in the state."
    def change(p, opt, field):
        names = [k for k, v in opt.state[p].items() if isinstance(v, Tensor) and v.dim()]
        for k in names[which]: opt.state[p][k] = fn(opt.state[p][k])
    return change


def of_params(fn):
    "Of the group's list of parameters."
    def change(p, opt, field): fn(opt.param_groups[0]['params'])
    return change


FIRST, SECOND = slice(1), slice(1, 2)  # of the tensors in a state


class Marked(Tensor): "A subclass that changes nothing."
class MarkedParameter(nn.Parameter): "And one of parameters."


# -- in the same memory ----------------------------------------------------------------------------

def grown(x):
    "Twice as many rows, from the same address on: what comes in was free."
    res = x.as_strided((2 * x.shape[0], x.shape[1]), x.stride(), x.storage_offset())
    res[x.shape[0]:] = .5
    return res


def resized(rows):
    def change(p, opt, field):
        for t in (p.requires_grad_(False), *tensors(opt, p)):
            old = t.shape[0]
            t.resize_(rows, t.shape[1])[old:] = .5
        p.requires_grad_()
    return change


IN_PLACE = {
    'rows are cut': of_all(lambda x: x[:5]),
    'rows are cut off in front': of_all(lambda x: x[5:]),
    'columns are cut': of_all(lambda x: x[:, :7]),
    'every second row is left': of_all(lambda x: x[::2]),
    'one row is left': of_all(lambda x: x[:1]),
    'nothing is left': of_all(lambda x: x[:0]),
    'rows are cut, and not in the state': of_param(lambda x: x[:5]),
    'rows are cut, in the state alone': of_state(lambda x: x[:5]),
    'rows are cut, in one state alone': of_state(lambda x: x[:5], FIRST),
    'grown': of_all(grown),
    'grown, and not in the state': of_param(grown),
    'resized to fewer rows': resized(5),
    'resized to more rows': resized(40),
    'turned': of_all(lambda x: x.t()),
    'turned, and not in the state': of_param(lambda x: x.t()),
    'expanded': of_all(lambda x: x[:1].expand_as(x)),
    'expanded, and not in the state': of_param(lambda x: x[:1].expand_as(x)),
    'flattened': of_all(lambda x: x.view(-1)),
    'flattened, and not in the state': of_param(lambda x: x.view(-1)),
    'viewed to another shape': of_all(lambda x: x.view(x.shape[1], x.shape[0])),
    'viewed, and not in the state': of_param(lambda x: x.view(x.shape[1], x.shape[0])),
    'one more dimension': of_all(lambda x: x.unsqueeze(1)),
    'negated by a mark': of_param(torch._neg_view),
    'a state is negated by a mark': replaced(torch._neg_view, FIRST),
}


# -- in other memory -------------------------------------------------------------------------------

def set_to_other_memory(p, opt, field):
    with torch.no_grad():
        for t in (p, *tensors(opt, p)): t.set_(field.put(t.detach()))


def emptied_and_filled(p, opt, field):
    saved = p.detach().clone()
    p.data = saved.clone()
    p.untyped_storage().resize_(0)
    p.untyped_storage().resize_(saved.nbytes)
    p.data.copy_(saved)


def moved(p, opt, field):
    p.data = field.put(p.data)
    put_state(opt, p, field)


ELSEWHERE = {
    'moved': moved,
    'set to other memory': set_to_other_memory,
    'storage emptied and filled': emptied_and_filled,
    'rows are picked': of_all(lambda x: x[torch.tensor([3, 1, 4, 1, 5])]),
    'grown, in new memory': of_all(lambda x: torch.cat([x, x])),
    'turned in memory alone': of_all(lambda x: x.t().contiguous().t()),
    'the parameter alone is turned in memory': of_param(lambda x: x.t().contiguous().t()),
    'the state alone is turned in memory': of_state(lambda x: x.t().contiguous().t()),
    'with gaps': of_param(lambda x: torch.stack([x, x], -1)[..., 0]),
    'doubled precision': of_all(torch.Tensor.double),
}


# -- the state -------------------------------------------------------------------------------------

def reloaded(p, opt, field): opt.load_state_dict(copy.deepcopy(opt.state_dict()))


def count_apart(p, opt, field): opt.state[p]['count' if 'count' in opt.state[p] else 'step'] += 1


def made_again(p, opt, field):
    "At the same address, with other strides, and perhaps with the same `id`."
    state = opt.state[p]
    for k in [k for k, v in state.items() if v.dim()]:
        place, values = state[k].storage_offset(), state.pop(k).clone()
        state[k] = field.memory.as_strided(values.shape, (1, len(values)), place).copy_(values)


def exchanged_states(p, opt, field):
    a = opt.param_groups[0]['params'][0]
    opt.state[a], opt.state[p] = opt.state[p], opt.state[a]


STATE = {
    'state that is replaced': replaced(torch.clone),
    'made again at the same address': made_again,
    'a state with other strides': replaced(lambda v: torch.stack([v, v], -1)[..., 0]),
    'a state of another shape': replaced(lambda v: v.new_zeros(7, 3)),
    'a state of fewer elements': replaced(lambda v: v[:1, :1].clone(), FIRST),
    'a state of one number': replaced(torch.sum, SECOND),
    'a state that is expanded': replaced(lambda v: v[:1].clone().expand_as(v), FIRST),
    'a state in double precision': replaced(torch.Tensor.double, SECOND),
    'a state of whole numbers': replaced(torch.Tensor.int, FIRST),
    'a state without numbers': replaced(lambda v: v.to('meta'), SECOND),
    'a state that is sparse': replaced(torch.Tensor.to_sparse, SECOND),
    'a state of a subclass': replaced(lambda v: v.as_subclass(Marked)),
    'a state that is a parameter': replaced(nn.Parameter),
    'states that are exchanged': exchanged_states,
    'state that is removed': lambda p, opt, field: opt.state.clear(),
    'the state of one is removed': lambda p, opt, field: opt.state.pop(p),
    'a count of its own': count_apart,
    'reloaded': reloaded,
}


# -- parameters and groups -------------------------------------------------------------------------

def again(p, opt, field):
    "Other objects over the same memory."
    q = opt.param_groups[0]['params'][1] = nn.Parameter(p.detach())
    opt.state[q] = {k: v.detach() for k, v in opt.state.pop(p).items()}


def subclassed(p, opt, field): p.__class__ = MarkedParameter
def tied(p, opt, field): p.data = opt.param_groups[0]['params'][0].data


def exchanged(p, opt, field):
    a = opt.param_groups[0]['params'][0]
    a.data, p.data = p.data, a.data


def a_group_of_its_own(p, opt, field):
    opt.add_param_group({'params': [opt.param_groups[0]['params'].pop(1)], 'lr': .05})


def groups_in_another_order(p, opt, field):
    a_group_of_its_own(p, opt, field)
    opt.param_groups.reverse()


def new(dtype): return nn.Parameter(random(99, (9,), dtype))
def added(p, opt, field): opt.add_param_group({'params': [new(p.dtype)]})


GROUPS = {
    'other objects': again,
    'a subclass': subclassed,
    'data of a subclass': of_param(lambda x: x.as_subclass(Marked)),
    'memory that is exchanged': exchanged,
    'tied': tied,
    'in another order': of_params(list.reverse),
    'taken out': of_params(lambda ps: ps.pop(1)),
    'the first is taken out': of_params(lambda ps: ps.pop(0)),
    'a new one in front': of_params(lambda ps: ps.insert(0, new(ps[0].dtype))),
    'a group of its own': a_group_of_its_own,
    'groups in another order': groups_in_another_order,
    'a group is added': added,
}


# -- what torch refuses, and genopt does -----------------------------------------------------------

def one_is_removed(p, opt, field): del opt.state[p][[*opt.state[p]][1]]


def half_as_long(x):
    "Of the same shape, at the same address, in another dtype."
    res = x.view(torch.float32).view(-1)[:x.numel()].view(x.shape)
    return res.copy_(x.clone())


BEYOND_TORCH = {
    'one state is removed': one_is_removed,
    'the parameter alone in double precision': of_param(torch.Tensor.double),
    'the state alone in double precision': of_state(torch.Tensor.double),
    'the state alone in half precision': of_state(torch.Tensor.bfloat16),
}

WAYS = IN_PLACE | ELSEWHERE | STATE | GROUPS
