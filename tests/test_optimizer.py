"Promise: an Optimizer is a torch.optim.Optimizer, and whatever takes one takes ours."
import copy
import inspect
import pickle

import genopt
import pytest
import torch
from genopt import (Optimizer, average_grad, average_sqr_grad,
                    l2_reg, momentum_step, sgd_step, stat, step, step_count, weight_decay)
from helpers import (copiers, dtypes, each_case, param, params_of_every_kind, set_grads,
                     two_groups)
from torch import nn


# -- parameters and groups -------------------------------------------------------------------------

def test_every_form_of_parameters():
    w, b = param(2, 2), param()
    forms = {'a list': [w, b], 'a generator': (q for q in (w, b)),
             'dicts': [dict(params=[w]), dict(params=b)], 'names': [('w', w), ('b', b)],
             'dicts with names': [dict(params=[('w', w)]), dict(params=[('b', b)])],
             'lists of lists': [[w], [b]], 'generators': [iter([w]), iter([b])],
             'tuple of lists': ([w], [b])}
    for name, params in forms.items():
        opt = genopt.SGD(params, lr=.1)
        assert [q for g in opt.param_groups for q in g['params']] == [w, b], name
        assert len(opt.param_groups) == (1 if name in ('a list', 'a generator', 'names')
                                         else 2), name
        names = [n for g in opt.param_groups for n in g.get('param_names', ())]
        assert names == (['w', 'b'] if 'names' in name else []), name
    from fastcore.foundation import L
    assert len(genopt.SGD(L(L(w), L(b)), lr=.1).param_groups) == 2


def test_the_callers_dicts_are_not_written_to():
    groups = [dict(params=(q for q in [param()]), lr=.1)]
    genopt.SGD(groups)
    assert set(groups[0]) == {'params', 'lr'}


def test_groups_have_their_own_hyperparameters_options_and_parts():
    a, b, c, d = (param(value=0., grad=1.) for _ in range(4))
    opt = genopt.SGD([dict(params=[a]), dict(params=[b], lr=1.),
                      dict(params=[c], momentum=.5, nesterov=True),
                      dict(params=[d], parts=[average_grad, momentum_step], mom=.75)], lr=.1)
    opt.step()
    assert [x[0].item() for x in (a, b, c, d)] == pytest.approx([-.1, -1., -.1 * 1.5, -.1 * .25])
    assert [len(opt.state[x]) for x in (a, b, c, d)] == [0, 0, 1, 1]
    opt.add_param_group(dict(params=[e := param(value=0., grad=1.)], maximize=True))
    opt.step()
    assert e[0].item() == pytest.approx(.1)


def test_parts_only_in_groups():
    m, v = param(3, 3, grad=1.), param(grad=1.)
    opt = Optimizer([dict(params=[m], parts=[sgd_step]),
                     dict(params=[v], parts=genopt.Adam, amsgrad=True)], lr=.1)
    assert 'max_sqr_avg' in opt.param_groups[1].composition.stats
    opt.step()
    assert torch.allclose(m, torch.full((3, 3), .9).double())
    assert torch.allclose(v, torch.full((2,), .9).double())
    with pytest.raises(TypeError, match='group 2 has no parts'):
        opt.add_param_group(dict(params=[param()]))


# -- hyperparameters: two spellings, one value -----------------------------------------------------

def test_both_spellings():
    a = genopt.Adam([param()], lr=.1, betas=(.8, .9), weight_decay=.3)
    b = genopt.Adam([param()], lr=.1, mom=.8, sqr_mom=.9, wd=.3)
    for opt in (a, b):
        group = opt.param_groups[0]
        assert group['betas'] == (.8, .9) and group['mom'] == .8 and group['sqr_mom'] == .9
        assert group['weight_decay'] == group['wd'] == .3
        assert 'betas' in group and 'betas' in opt.defaults and 'momentum' not in opt.defaults
        assert 'dampening' not in group and 'momentum' not in group
        theirs = {*torch.optim.Adam([param()]).param_groups[0]}
        assert theirs - {*group} <= {'foreach', 'fused', 'capturable', 'differentiable'}
        # what is iterated over is one name for each: torch's
        assert not {'mom', 'sqr_mom', 'wd'} & {*group}
    group['betas'] = (.5, .6); group['weight_decay'] = 0
    assert (group['mom'], group['sqr_mom'], group['wd']) == (.5, .6, 0)
    group.update(mom=.7); assert group.get('betas') == (.7, .6) and group.get('dampening') is None
    assert group.setdefault('betas', (.1, .1)) == (.7, .6)


def test_positional_lr_and_numpy_numbers():
    import numpy as np
    opt = genopt.SGD([param()], np.float64(.5))
    opt.param_groups[0]['lr'] = np.float32(.25)
    assert type(opt.param_groups[0]['lr']) is float and opt.param_groups[0]['lr'] == .25


def test_lr_as_a_tensor():
    a, b = param(grad=1.), param(grad=1.)
    lr = torch.tensor(.1, dtype=torch.float64)
    opt, other = genopt.Adam([a], lr=lr), genopt.Adam([b], lr=.1)
    opt.step(); other.step()
    assert torch.equal(a, b)
    lr.fill_(.5); other.param_groups[0]['lr'] = .5
    opt.step(); other.step()
    assert torch.equal(a, b)
    other = genopt.Adam([c := param(grad=1.)], lr=torch.tensor([.1], dtype=torch.float64))
    other.step()
    assert torch.allclose(c, param(value=.9))


# -- the step --------------------------------------------------------------------------------------

def test_counts_are_per_parameter_and_skip_missing_gradients():
    ps = params_of_every_kind()
    opt = genopt.Adam(ps.items())
    for i in range(30): set_grads(ps, i); opt.step()
    assert not opt.state.get(ps.pop('frozen'))
    counts = {k: opt.state[q]['count'].item() for k, q in ps.items()}
    assert counts.pop('sometimes') == 20 and counts.pop('late') == 20 and {*counts.values()} == {30}


def test_state_is_made_on_the_first_step_or_when_asked():
    a, b = param(grad=1.), param()
    opt = genopt.Adam([a, b])
    assert not opt.state
    opt.step(); assert set(opt.state) == {a}
    opt.init_state()
    assert set(opt.state[b]) == {'grad_avg', 'sqr_avg', 'count'}
    assert opt.state[b]['count'] == 0 and opt.state[a]['count'] == 1


def test_closure_runs_once_with_gradients_enabled():
    w, calls = param(), []
    opt = genopt.SGD([w], lr=.1)
    def closure():
        calls.append(torch.is_grad_enabled()); opt.zero_grad()
        loss = (w ** 2).sum(); loss.backward()
        return loss
    with torch.no_grad(): assert opt.step(closure).item() == 2.
    assert calls == [True] and torch.allclose(w, torch.full((2,), .8).double())


def test_hooks_fire_once():
    opt, fired = genopt.Adam([param(grad=1.)]), []
    opt.register_step_pre_hook(lambda *a: fired.append('pre'))
    opt.register_step_post_hook(lambda *a: fired.append('post'))
    opt.register_state_dict_pre_hook(lambda o: fired.append('save'))
    opt.register_state_dict_post_hook(lambda o, sd: fired.append('saved'))
    opt.register_load_state_dict_pre_hook(lambda o, sd: fired.append('load'))
    opt.register_load_state_dict_post_hook(lambda o: fired.append('loaded'))
    opt.step(); opt.load_state_dict(opt.state_dict())
    assert fired == ['pre', 'post', 'save', 'saved', 'load', 'loaded']


def test_step_is_an_ordinary_method():
    opt = genopt.Adam([param(grad=1.)])
    assert inspect.ismethod(opt.step) and opt.step.__func__ is Optimizer.step
    assert opt.step.__self__ is opt
    assert list(inspect.signature(opt.step).parameters) == ['closure']


@each_case
@dtypes(torch.float64, torch.bfloat16, torch.complex64)
def test_gradients_are_not_written_to(recipe, twin, kwargs, dtype):
    ps = params_of_every_kind(dtype)
    opt = recipe(ps.items(), **kwargs)
    for i in range(3):
        set_grads(ps, i)
        before = {k: (q.grad.clone(), q.grad._version) for k, q in ps.items() if q.grad is not None}
        opt.step()
        for k, (g, version) in before.items():
            assert torch.equal(ps[k].grad, g) and ps[k].grad._version == version


def test_layout_of_parameters_is_kept():
    ps = params_of_every_kind()
    strides = {k: q.stride() for k, q in ps.items()}
    opt = genopt.Adam(ps.items())
    set_grads(ps, 20); opt.step()
    assert {k: q.stride() for k, q in ps.items()} == strides
    assert opt.state[ps['conv']]['grad_avg'].is_contiguous(memory_format=torch.channels_last)


def test_several_dtypes_in_one_optimizer():
    dtypes = [torch.float64, torch.float32, torch.bfloat16,
              torch.float16, torch.complex64, torch.complex128, torch.float8_e4m3fn]
    ps = [nn.Parameter(torch.ones(3, dtype=torch.float32).to(d)) for d in dtypes]
    for q in ps: q.grad = torch.full((3,), .5).to(q.dtype)
    opt = genopt.Adam(ps, lr=.25); opt.step()
    for q in ps:
        assert torch.allclose(q.detach().to(torch.complex128),
                              torch.tensor(.75, dtype=torch.complex128), atol=1e-3), q
        assert opt.state[q]['grad_avg'].dtype == q.dtype


def test_several_devices_in_one_optimizer():
    a, b = param(grad=1.), nn.Parameter(torch.zeros(3, device='meta'))
    b.grad = torch.zeros(3, device='meta')
    opt = genopt.Adam([a, b], lr=.1); opt.step()
    assert opt.state[a]['grad_avg'].device.type == 'cpu'
    assert opt.state[b]['grad_avg'].device.type == 'meta'
    opt.load_state_dict(opt.state_dict())
    assert opt.state[b]['grad_avg'].device.type == 'meta'
    assert torch.allclose(a, torch.full((2,), .9).double())


def test_a_gradient_with_a_graph_and_a_conjugate_one():
    w = param(); w.grad = (param() * 2)
    z = nn.Parameter(torch.ones(2, dtype=torch.complex64)); z.grad = torch.full((2,), 1 + 2j).conj()
    genopt.SGD([w, z], lr=.1).step()
    assert torch.allclose(w, torch.full((2,), .8).double()) and w.grad_fn is None
    assert torch.allclose(z, torch.full((2,), .9 + .2j))


@stat(init=torch.clone)
def last_param(old_param, param): return param

@stat
def last_grad(old_grad, grad): return grad

@stat
def average_before(older_avg, prev_grad_avg): return prev_grad_avg


def test_a_stat_that_returns_what_it_read_holds_its_own_copy():
    w = param(value=1., grad=2.)
    opt = Optimizer([w], [last_param, last_grad, average_grad, average_before, sgd_step],
                    lr=.1, mom=.5)
    opt.step()
    w.grad.zero_(); w.grad += 4.
    opt.step()
    state = {k: v[0].item() for k, v in opt.state[w].items()}
    assert state == pytest.approx(dict(old_param=.8, old_grad=4., grad_avg=2.5, older_avg=1.))
    w.grad.zero_(); w.detach().zero_()
    assert {k: v[0].item() for k, v in opt.state[w].items()} == state


def test_nothing_to_do():
    w = param(value=3.)
    opt = genopt.Adam([w], wd=.1)
    opt.step(); opt.zero_grad(); opt.step()
    assert (w == 3).all() and not opt.state


# -- copies ----------------------------------------------------------------------------------------

@copiers
def test_copies_keep_the_composition(copier):
    ps = params_of_every_kind()
    opt = genopt.Adam(two_groups(ps, lr=.1, amsgrad=True), wd=.1, maximize=True)
    set_grads(ps, 20); opt.step()
    torch.optim.lr_scheduler.StepLR(opt, 1)  # replaces opt.step
    twin = copier(opt)
    assert [g.summary() for g in twin.param_groups] == [g.summary() for g in opt.param_groups]
    assert twin.recipe is genopt.Adam
    names = [n for g in twin.param_groups for n in g['param_names']]
    qs = dict(zip(names, [q for g in twin.param_groups for q in g['params']]))
    qs = {k: qs[k] for k in ps}
    for i in range(21, 24): set_grads(ps, i); set_grads(qs, i); opt.step(); twin.step()
    for k in ps: assert torch.equal(ps[k], qs[k]) and ps[k] is not qs[k]
    twin.add_param_group(dict(params=[('more', param())], betas=(.5, .6)))
    assert twin.param_groups[2]['wd'] == .1 and twin.param_groups[2]['maximize']
    assert twin.defaults['betas'] == opt.defaults['betas']


def test_pickle_of_a_local_part_says_what_to_do():
    @step
    def local(grad, *, lr): return -lr * grad
    opt = Optimizer([param()], [local], lr=.1)
    with pytest.raises(pickle.PicklingError, match='`local` cannot be found as .* by another '
                       'process: define it at the top of a module, under its own name'):
        pickle.dumps(opt)
    copy.deepcopy(opt)


# -- what people see -------------------------------------------------------------------------------

def test_reprs():
    assert repr(average_grad) == 'average_grad(grad_avg, grad, *, mom=0.9): a stat'
    assert repr(genopt.adam_step) == (
        'adam_step(grad_avg, sqr_avg, bias=debias, sqr_bias=debias[mom=sqr_mom], *, lr, '
        'eps=1e-08): a step')
    assert repr(genopt.AdamW) == ('AdamW(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, '
                                  'eps=1e-08, wd=0.01, amsgrad=False, maximize=False, '
                                  'compile=None)\n  average_grad → average_sqr_grad → '
                                  'step_count → adam_step → weight_decay')
    opt = genopt.AdamW([dict(params=[param(300, 5), param()]),
                        dict(params=[param()], wd=0, maximize=True)])
    assert repr(opt) == '''AdamW(
  group 0: 2 parameters, 1,502 elements
    average_grad → average_sqr_grad → step_count → adam_step → weight_decay
    lr=0.001, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.01
    engine: chosen in the first step
  group 1: 1 parameter, 2 elements
    average_grad → average_sqr_grad → step_count → adam_step → weight_decay
    lr=0.001, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0, maximize
    engine: chosen in the first step
)'''
    opt = Optimizer([param()], [sgd_step], lr=torch.tensor(.1))
    assert repr(opt).startswith('Optimizer(\n  group 0: 1 parameter, 2 elements\n    sgd_step\n '
                                '   lr=0.1')


def test_help_shows_the_idea_and_the_signature():
    assert 'arXiv:1412.6980' in genopt.Adam.__doc__
    assert 'sqr_mom=0.999' in str(inspect.signature(genopt.Adam))
    assert str(inspect.signature(average_grad)) == '(grad_avg, grad, *, mom=0.9)'


def test_everything_public_is_documented():
    for name in genopt.__all__: assert getattr(genopt, name).__doc__, name


def test_options_of_a_recipe_choose_parts():
    assert genopt.AdamW.parts() == (*genopt.Adam.parts()[1:], weight_decay)
    assert genopt.AdamW.parts() == genopt.Adam.parts(decoupled_weight_decay=True)
    assert genopt.Adam.parts() == (l2_reg, average_grad,
                                   average_sqr_grad, step_count, genopt.adam_step)
    with pytest.raises(TypeError, match='no part takes `amsgradd`: did you mean `amsgrad`?'):
        genopt.Adam.parts(amsgradd=True)
