"""Promise: a parameter can be replaced, join or leave in the middle of a run, and its state goes
with it, to another device or dtype too.

What people do to models is one call for each: densify and prune, another vocabulary, a new head,
adapters that are merged, a model that was moved.
"""
import copy
import re

import genopt
import pytest
import torch
from helpers import by_engines, engines, name_of, param, random
from test_surgery import F64, refused, step, weight
from torch import nn

each_engine = by_engines('plain', 'compiled')


def train(model, opt, steps):
    for i in steps:
        opt.zero_grad()
        model(random(i, (3, 4), F64)).square().sum().backward()
        opt.step()


def net(): return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def made(recipe=genopt.AdamW, compile=None, **kwargs):
    torch.manual_seed(0)
    model = net()
    return model, recipe(model.named_parameters(), compile=compile, **kwargs)


# -- replace ---------------------------------------------------------------------------------------

@engines
def test_a_copy_in_its_place_goes_on_as_the_original(compile):
    model, opt = made(compile=compile); other, same = made(compile=compile)
    opt.state[model[0].weight]['do_wd'] = same.state[other[0].weight]['do_wd'] = False
    train(model, opt, range(3)); train(other, same, range(3))
    new = copy.deepcopy(model)
    opt.replace(model, new)
    assert opt.param_groups[0]['params'] == [*new.parameters()]
    assert {*opt.state} == {*new.parameters()} and opt.state[new[0].weight]['do_wd'] is False
    del model
    train(new, opt, range(3, 6)); train(other, same, range(3, 6))
    assert all(map(torch.equal, new.parameters(), other.parameters()))


@pytest.mark.parametrize('form', ['names', 'tensors', 'one by one'])
def test_forms_of_a_replacement(form):
    model, opt = made(); train(model, opt, range(2))
    state, new = [*opt.state.values()], copy.deepcopy(model)
    if form == 'names': opt.replace(dict(new.named_parameters()))
    if form == 'tensors': opt.replace(dict(zip(model.parameters(), new.parameters())))
    if form == 'one by one':
        for name, p in new.named_parameters(): opt.replace(name, p)
    assert [opt.state[p] for p in new.parameters()] == state


def test_two_that_change_places():
    a, b = weight(), weight(1); opt = genopt.Adam([a, b]); step(opt, a, torch.ones_like(a))
    opt.replace({a: b, b: a})
    assert opt.param_groups[0]['params'] == [b, a] and [*opt.state] == [b]


def test_a_new_head():
    model, opt = made(); genopt.Schedule(opt, 10, lr=genopt.linear(.1, 0.))
    opt.state[model[2].bias]['do_wd'] = False
    train(model, opt, range(2))
    old, model[2] = model[2], nn.Linear(5, 3).double()
    refused(opt, ValueError, '`2.weight` (shape (2, 5), float64) cannot hand its state to a tensor '
            'of shape (3, 5): say fresh=True, and it begins anew, or give `rows`',
            lambda: opt.replace(old, model[2]))
    opt.replace(old, model[2], fresh=True)
    assert model[2].weight not in opt.state and opt.state[model[2].bias] == {'do_wd': False}
    train(model, opt, range(2, 4))
    assert [int(opt.state[p]['count']) for p in model.parameters()] == [4, 4, 2, 2]
    assert opt.param_groups[0]['param_names'] == [n for n, _ in model.named_parameters()]


@each_engine
def test_another_vocabulary(compile):
    "Tokens keep their state where they go; those that are new begin anew, as appended rows do."
    old, emb = nn.Embedding(5, 4).double(), nn.Embedding(6, 4).double()
    opt = genopt.Adam(old.named_parameters(), compile=compile)
    step(opt, old.weight, random(0, (5, 4), F64))
    appended = nn.Parameter(old.weight.detach().clone())
    other = genopt.Adam([appended], compile=compile); other.load_state_dict(opt.state_dict())
    with torch.no_grad(): emb.weight[[1, 2, 3]] = old.weight[[4, 0, 2]]
    opt.replace(old, emb, rows=[-1, 4, 0, 2])
    other.select(appended, [4, 0, 2]); other.append(appended, emb.weight[[0, 4, 5]])
    order = [3, 0, 1, 2, 4, 5]; other.permute(appended, order)
    for i in range(3):
        g = random(i, (6, 4), F64); step(opt, emb.weight, g); step(other, appended, g)
    assert torch.equal(emb.weight, appended)


def test_another_dtype_takes_the_state_along():
    w, new = weight(), nn.Parameter(weight().detach().float())
    opt = (genopt.Adam + genopt.average_param)([w]); step(opt, w, torch.ones_like(w))
    opt.replace(w, new)
    assert {k: v.dtype for k, v in opt.state[new].items()} == dict(
        grad_avg=torch.float32, sqr_avg=torch.float32, param_avg=torch.float32, count=torch.int64)
    step(opt, new, torch.ones_like(new))


@pytest.mark.parametrize('rows', [None, range(5)])
def test_complex_does_not_become_real(rows):
    w, new = nn.Parameter(random(0, (5, 4), torch.complex64)), param(5, 4)
    opt = genopt.Adam([w]); step(opt, w, torch.ones_like(w))
    refused(opt, ValueError, 'parameter 0 of group 0 (shape (5, 4), complex64) cannot hand its '
            'state to a real tensor, as it is complex: say fresh=True, and it begins anew',
            lambda: opt.replace(w, new, rows))
    opt.replace(w, new, fresh=True); step(opt, new, torch.ones_like(new))


def test_complex_state_of_what_has_become_real():
    w = nn.Parameter(random(0, (5, 4), torch.complex64))
    opt = genopt.Momentum([w], lr=.1); step(opt, w, torch.ones_like(w))
    w.grad, w.data = None, w.data.real.clone()
    name, = opt.state[w]
    refused(opt, ValueError, f'`{name}` is complex, and its parameter of shape (5, 4) is real: del '
            f'opt.state[param][{name!r}], and it begins anew', opt.to)
    del opt.state[w][name]
    step(opt.to(), w, torch.ones_like(w))


W = 'parameter 0 of group 0 (shape (5, 4), float64)'


@pytest.mark.parametrize('error, sentence, call', [
    (TypeError, 'replace takes an old parameter and a new one, or a dict of them',
     lambda o, w, b: o.replace(w)),
    (ValueError, '`bias` is only in one of the two modules: `add` or `remove` it, and replace the '
     'others in a dict', lambda o, w, b: o.replace(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))),
    (ValueError, 'parameter 0 of group 0 (shape (3, 4), float64) is given twice: some parameters '
     'appear in more than one parameter group, or place', lambda o, w, b: o.replace(w, b)),
    (TypeError, 'parameter 0 of group 0: an optimizer takes tensors, and this is a float',
     lambda o, w, b: o.replace(w, 1.)),
    (ValueError, f'{W} and a tensor of shape (5, 3) differ in more than their rows along dimension '
     '0: say fresh=True, and the state begins anew',
     lambda o, w, b: o.replace(w, param(5, 3), rows=range(5))),
    (ValueError, '`rows` names 5 rows, and the new tensor has 2',
     lambda o, w, b: o.replace(w, param(2, 4), rows=range(5)))])
def test_refused_replacements(error, sentence, call):
    w, b = weight(), weight(1, (3, 4)); opt = genopt.Adam([w, b]); step(opt, w, torch.ones_like(w))
    refused(opt, error, sentence, lambda: call(opt, w, b))


def test_what_the_parts_do_not_take():
    w = weight(); opt = genopt.Muon([w]); step(opt, w, torch.ones_like(w))
    sentence = ('parameter 0 of group 0 (shape (3,), float64): `orthogonalize` takes matrices, and '
                'this has 1 dimension: give it to a group with other parts (see `create` and '
                '`route`)')
    refused(opt, ValueError, sentence, lambda: opt.replace(w, weight(0, (3,)), fresh=True))
    refused(opt, ValueError, sentence, lambda: opt.add([weight(0, (3,))]))


# -- join and leave --------------------------------------------------------------------------------

@each_engine
def test_merged_adapters_leave_and_the_weight_joins(compile):
    base, a, b = weight(0, (4, 4)), weight(1, (4, 2)), weight(2, (2, 4))
    base.requires_grad_(False)
    opt = genopt.AdamW([('a', a), ('b', b)], lr=.1, compile=compile)
    for p in (a, b): p.grad = torch.ones_like(p)
    opt.step()
    with torch.no_grad(): base += a @ b
    opt.remove([a, b]); opt.add([('base', base.requires_grad_())])
    assert opt.param_groups[0]['param_names'] == ['base'] and not opt.state
    alone = nn.Parameter(base.detach().clone())
    other = genopt.AdamW([alone], lr=.1, compile=compile)
    for i in range(3):
        g = random(i, (4, 4), F64); step(opt, base, g); step(other, alone, g)
    assert torch.equal(base, alone) and (a.grad == 1).all()


def test_a_group_may_become_empty_and_fill_again():
    a, b = weight(), weight(1); opt = genopt.Adam([[a], [b]])
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, .5)
    step(opt, a, torch.ones_like(a)); sched.step()
    opt.remove(a); assert [len(g['params']) for g in opt.param_groups] == [0, 1]
    step(opt, b, torch.ones_like(b)); sched.step()
    repr(opt); opt.load_state_dict(opt.state_dict())
    opt.add([a], group=0)
    step(opt, a, torch.ones_like(a)); sched.step()
    assert opt.state[a]['count'] == 1 and opt.param_groups[0]['lr'] == pytest.approx(1e-3 / 8)


@pytest.mark.parametrize('names', [False, True])
def test_a_module_joins(names):
    model, new = net(), nn.LayerNorm(2).double()
    opt = genopt.Adam(model.named_parameters() if names else model.parameters())
    opt.add(new)
    group, = opt.param_groups
    assert group['params'] == [*model.parameters(), new.weight, new.bias]
    assert group.get('param_names', [])[4:] == ['weight', 'bias'] * names
    train(nn.Sequential(*model, new), opt, range(2))
    assert opt.state[new.weight]['count'] == 2


@pytest.mark.parametrize('sentence, call', [
    ('there is no group 2: there are 1 (to make one, use add_param_group)',
     lambda o: o.add([('c', weight())], group=2)),
    ('group 0 has names: give (name, parameter) pairs', lambda o: o.add([weight()])),
    ("a parameter of this optimizer is called 'a' already", lambda o: o.add({'a': weight()})),
    ('`b` (shape (5, 4), float64) is given twice: some parameters appear in more than one '
     'parameter group, or place', lambda o: o.add({'b': o.param_groups[0]['params'][0]}))])
def test_who_cannot_join(sentence, call):
    opt = genopt.Adam([('a', weight())])
    refused(opt, ValueError, sentence, lambda: call(opt))


# -- device and dtype ------------------------------------------------------------------------------

def kinds(entry): return {k: (v.device.type, v.dtype) for k, v in entry.items()}


@pytest.mark.parametrize('recipe', [genopt.Adam, genopt.NAdam, genopt.Rprop, genopt.ASGD,
                                    genopt.Adafactor, genopt.NovoGrad], ids=name_of)
def test_state_has_the_dtypes_with_which_it_would_begin(recipe):
    "After `model.double()`, as in an optimizer that was made then; and back."
    w = nn.Parameter(weight().detach().float()); opt = recipe([w]); step(opt, w, torch.ones_like(w))
    for dtype in (F64, torch.bfloat16):
        w.grad, w.data = None, w.data.to(dtype)
        fresh = recipe([q := nn.Parameter(w.detach().clone())]); fresh.init_state()
        assert opt.to() is opt
        assert kinds(opt.state[w]) == kinds(fresh.state[q])
        step(opt, w, torch.ones_like(w))


def test_told_where_to_go():
    w = weight(); opt = (genopt.Adam + genopt.average_param)([w]); step(opt, w, torch.ones_like(w))
    opt.state[w]['note'] = 'x'
    count, old = opt.state[w]['count'], opt.state[w]['grad_avg'].clone()
    opt.to(torch.bfloat16)
    assert opt.state[w]['grad_avg'].dtype == torch.bfloat16
    assert opt.state[w]['param_avg'].dtype == torch.float32  # as the part keeps it
    assert opt.state[w]['count'] is count
    opt.to('cpu', torch.float64); step(opt, w, torch.ones_like(w))
    assert (opt.state[w]['grad_avg'] - .9 * old - .1).abs().max() < 1e-2
    opt.to(torch.device('meta'))
    assert kinds({k: opt.state[w][k] for k in ('grad_avg', 'count')}) == dict(
        grad_avg=('meta', F64), count=('cpu', torch.int64))
    assert opt.state[w]['note'] == 'x'
    with pytest.raises(TypeError, match=re.escape('opt.to(torch.complex64): give a floating-point '
                                                  'dtype')): opt.to(torch.complex64)


def test_a_model_that_is_moved_with_its_optimizer():
    "To another device its parameters become other objects."
    model, opt = made(); train(model, opt, range(2))
    model.to('meta')
    opt.replace(dict(model.named_parameters()))
    assert {v.device.type for e in opt.state.values() for k, v in e.items()
            if k != 'count'} == {'meta'}
    train(model, opt, ())
    model.zero_grad(); model(torch.ones(3, 4, dtype=F64, device='meta')).sum().backward()
    opt.step()


def test_new_objects_by_torchs_own_switch():
    model, opt = made(); train(model, opt, range(2)); old = [*model.parameters()]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try: model.float()
    finally: torch.__future__.set_overwrite_module_params_on_conversion(False)
    opt.replace(dict(zip(old, model.parameters())))
    assert {v.dtype for e in opt.state.values() for k, v in e.items() if k != 'count'} == {
        torch.float32}


# -- a story ---------------------------------------------------------------------------------------

@each_engine
def test_densify_and_prune(compile):
    "As 3D Gaussian splatting: some points are cloned, some are pruned; each is one call."
    params = nn.ParameterDict({'means': weight(0, (8, 3)), 'scales': weight(1, (8, 2)),
                               'opacity': weight(2, (8, 1))})
    opt = genopt.Adam([dict(params=[(k, p)], lr=lr) for (k, p), lr in
                       zip(params.items(), (.1, .2, .3))], compile=compile)
    def go(i):
        for j, p in enumerate(params.values()): p.grad = random(10 * i + j, tuple(p.shape), F64)
        opt.step()
    go(0)
    clone, gone = torch.arange(8) % 3 == 0, torch.arange(11) % 4 == 1
    expected = {k: torch.cat([p, p[clone]]).detach()[~gone] for k, p in params.items()}
    averages = {k: torch.cat([a, 0 * a[clone]])[~gone] for k, p in params.items()
                for a in [opt.state[p]['grad_avg']]}
    opt.append(params, {k: p[clone] for k, p in params.items()})
    opt.prune(params, gone)
    for k, p in params.items():
        assert torch.equal(p, expected[k]) and torch.equal(opt.state[p]['grad_avg'], averages[k])
    for i in range(1, 4): go(i)
    assert all(len(p) == 8 for p in params.values())
