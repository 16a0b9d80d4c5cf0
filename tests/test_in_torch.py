"""Promise: what PyTorch has for optimizers, it has for ours: schedulers, averages, scalers, hooks,
compiled steps."""
import copy
from functools import partial
from pathlib import Path

import genopt
import pytest
import torch
from helpers import assert_close, copy_values, engines, net, param, random, random_step
from torch import nn, optim
from torch.optim import lr_scheduler as ls
from torch.optim.optimizer import (register_optimizer_step_post_hook,
                                   register_optimizer_step_pre_hook)

HOME = Path(genopt.__file__).parent
FRIENDS = [(genopt.SGD, optim.SGD),
           (partial(genopt.SGD, momentum=.9), partial(optim.SGD, momentum=.9)),
           (genopt.RMSprop, optim.RMSprop), (genopt.Adam, optim.Adam), (genopt.AdamW, optim.AdamW)]
IDS = ['SGD', 'SGD with momentum', 'RMSprop', 'Adam', 'AdamW']


def pair(ours, theirs, **kwargs):
    "A parameter in each of two groups, for ours and for torch's."
    res = []
    for make in (ours, theirs):
        ps = [param(), param(value=2.)]
        groups = [dict(params=[ps[0]]), dict(params=[ps[1]], lr=.02)]
        res.append((ps, make(groups, **{'lr': .1, **kwargs})))
    return res


# -- schedulers ------------------------------------------------------------------------------------

SCHEDULERS = {
    'LambdaLR': lambda o: ls.LambdaLR(o, lambda i: .9**i),
    'MultiplicativeLR': lambda o: ls.MultiplicativeLR(o, lambda i: .9),
    'StepLR': lambda o: ls.StepLR(o, 3, .5),
    'MultiStepLR': lambda o: ls.MultiStepLR(o, [2, 7], .5),
    'ConstantLR': lambda o: ls.ConstantLR(o, .5, 4),
    'LinearLR': lambda o: ls.LinearLR(o, .1, 1., 6),
    'ExponentialLR': lambda o: ls.ExponentialLR(o, .9),
    'PolynomialLR': lambda o: ls.PolynomialLR(o, 8, 2.),
    'CosineAnnealingLR': lambda o: ls.CosineAnnealingLR(o, 8, .001),
    'CosineAnnealingWarmRestarts': lambda o: ls.CosineAnnealingWarmRestarts(o, 4, 2),
    'CyclicLR': lambda o: ls.CyclicLR(o, [.01, .02], [.1, .2], 3, mode='triangular2'),
    'OneCycleLR': lambda o: ls.OneCycleLR(o, [.1, .2], total_steps=13),
    'ChainedScheduler': lambda o: ls.ChainedScheduler(
        [ls.ConstantLR(o, .1, 4), ls.ExponentialLR(o, .9)], o),
    'SequentialLR': lambda o: ls.SequentialLR(
        o, [ls.LinearLR(o, .1, 1., 4), ls.CosineAnnealingLR(o, 8)], [4]),
    'ReduceLROnPlateau': lambda o: ls.ReduceLROnPlateau(
        o, factor=.5, patience=1, min_lr=[.01, .001]),
    'SWALR': lambda o: optim.swa_utils.SWALR(o, [.05, .01], 4, 'cos')}


def test_every_scheduler_is_here():
    there = {k for k, v in vars(ls).items() if isinstance(v, type)
             and issubclass(v, ls.LRScheduler)}
    assert there - {'LRScheduler', '_LRScheduler'} <= {*SCHEDULERS}


@pytest.mark.parametrize('name', SCHEDULERS)
@pytest.mark.parametrize('ours, theirs', FRIENDS, ids=IDS)
# SequentialLR's own
@pytest.mark.filterwarnings('ignore:The epoch parameter in `scheduler.step.*:UserWarning')
def test_schedulers(name, ours, theirs):
    runs = [(ps, opt, SCHEDULERS[name](opt)) for ps, opt in pair(ours, theirs)]
    for i in range(12):
        for _, opt, sched in runs:
            random_step(opt, i)
            sched.step(*[1. + i // 3] if name == 'ReduceLROnPlateau' else [])
        (ps, opt, sched), (qs, twin, other) = runs
        for mine, its in zip(opt.param_groups, twin.param_groups):
            assert mine['lr'] == its['lr']
            for k in 'momentum', 'betas': assert mine.get(k) == its.get(k)
        torch.testing.assert_close(ps, qs, rtol=1e-12, atol=1e-15)
        if i == 6:  # a break: a new optimizer and a new scheduler go on
            saved = copy.deepcopy((opt.state_dict(), sched.state_dict()))
            new = pair(ours, theirs)[0]
            copy_values(ps, new[0])
            runs[0] = *new, SCHEDULERS[name](new[1])
            runs[0][1].load_state_dict(saved[0]); runs[0][2].load_state_dict(saved[1])


def test_a_scheduler_before_any_step_warns_as_torch_does():
    _, opt = pair(genopt.Adam, optim.Adam)[0]
    sched = ls.StepLR(opt, 1)
    said = r'Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`'
    with pytest.warns(UserWarning, match=said): sched.step()


# -- averages of weights, scaled gradients, autocast, clipping -------------------------------------

def loss_of(model, x, y): return nn.functional.cross_entropy(model(x), y)


def trained(make, each=lambda i, model: None, steps=8, forward=loss_of, dtype=torch.float64):
    "A small net after some steps, and its optimizer."
    model, x, y = net(dtype=dtype), random(7, (32, 1, 4, 4), dtype), torch.arange(32) % 3
    opt = make(model.parameters())
    for i in range(steps):
        opt.zero_grad()
        forward(model, x, y).backward()
        each(i, model)
        opt.step()
    return model, opt


@pytest.mark.parametrize('ours, theirs', FRIENDS, ids=IDS)
def test_clip_grad_norm(ours, theirs):
    clip = lambda i, model: nn.utils.clip_grad_norm_(model.parameters(), .1)
    (a, _), (b, _) = (trained(partial(make, lr=.01), clip) for make in (ours, theirs))
    assert_close(a.parameters(), b.parameters())


@pytest.mark.parametrize('ours, theirs', FRIENDS, ids=IDS)
def test_autocast(ours, theirs):
    def forward(model, x, y):
        with torch.autocast('cpu', dtype=torch.bfloat16): return loss_of(model, x, y)
    (a, _), (b, _) = (trained(partial(make, lr=1e-3), steps=3, forward=forward, dtype=torch.float32)
                      for make in (ours, theirs))
    assert_close(a.parameters(), b.parameters(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('avg', [optim.swa_utils.get_swa_multi_avg_fn(),
                                 optim.swa_utils.get_ema_multi_avg_fn(.9)], ids=['swa', 'ema'])
def test_swa_utils(avg):
    averaged = []
    for make in (genopt.Adam, optim.Adam):
        models = []
        def each(i, model, models=models):
            if not models: models.append(optim.swa_utils.AveragedModel(model, multi_avg_fn=avg))
            elif i > 2: models[0].update_parameters(model)
        trained(partial(make, lr=.01), each)
        averaged += models
    assert_close(*(model.parameters() for model in averaged))


@engines
def test_a_step_that_a_scaler_skips_touches_nothing(compile):
    p = param(3); opt = genopt.AdamW([p], lr=.1, compile=compile)
    q = param(3); twin = optim.AdamW([q], lr=.1)
    scalers = [torch.GradScaler('cpu', init_scale=1024.) for _ in 'pq']
    seen = []
    for i in range(6):
        for w, o, scaler in ((p, opt, scalers[0]), (q, twin, scalers[1])):
            o.zero_grad()
            loss = (w * torch.tensor([1., 2., float('inf') if i in (0, 3) else 3.])).sum()
            before = copy.deepcopy((w.detach(), dict(o.state.get(w, {}))))
            scaler.scale(loss).backward(); scaler.unscale_(o)
            nn.utils.clip_grad_norm_([w], 1.)
            scaler.step(o); scaler.update()
            if i in (0, 3):
                after = (w.detach(), dict(o.state.get(w, {})))
                assert torch.equal(before[0], after[0]) and before[1].keys() == after[1].keys()
                assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(after[1][k]))
                           for k, v in before[1].items())
        seen.append(int(opt.state.get(p, {}).get('count', 0)))
        torch.testing.assert_close(p, q)
    assert seen == [0, 1, 2, 2, 3, 4] and scalers[0].get_scale() == scalers[1].get_scale() == 256.


# -- hooks -----------------------------------------------------------------------------------------

def test_hooks_see_and_may_change_what_they_are_given():
    p = param(); opt = genopt.SGD([p], lr=.1); said = []
    def before(o, args, kwargs): said.append(('before', o is opt, args[1:], kwargs))
    def after(o, args, kwargs): said.append(('after', o is opt, args[1:], kwargs))
    handles = [opt.register_step_pre_hook(before), opt.register_step_post_hook(after)]
    p.grad = torch.ones_like(p); opt.step()
    assert [s[0] for s in said] == ['before', 'after'] and all(s[1] for s in said)
    for h in handles: h.remove()
    opt.step(); assert len(said) == 2
    def closure(): said.append('called'); return torch.tensor(1.)
    h = opt.register_step_pre_hook(lambda o, args, kwargs: ((o, closure), {}))  # new arguments
    opt.step(); assert said[-1] == 'called'
    h.remove()


def test_global_hooks():
    p, said = param(), []
    handles = [register_optimizer_step_pre_hook(lambda o, a, k: said.append('before')),
               register_optimizer_step_post_hook(lambda o, a, k: said.append('after'))]
    opt = genopt.Adam([p]); opt.step()
    for h in handles: h.remove()
    opt.step(); assert said == ['before', 'after']


def test_state_dict_hooks_may_change_what_is_saved_and_loaded():
    opt = genopt.Adam([param(grad=1.)]); opt.step()
    said = []
    opt.register_state_dict_pre_hook(lambda o: said.append(1))
    opt.register_state_dict_post_hook(lambda o, d: {**d, 'note': 7})
    def without_note(o, d): return {k: v for k, v in d.items() if k != 'note'}
    opt.register_load_state_dict_pre_hook(without_note)
    opt.register_load_state_dict_post_hook(lambda o: said.append(2))
    saved = opt.state_dict(); assert saved['note'] == 7
    opt.load_state_dict(saved); assert said == [1, 2]
    opt.register_state_dict_post_hook(lambda o, d: {**d, 'first': 1}, prepend=True)
    assert [*opt.state_dict()][-2:] == ['first', 'note']


def test_an_optimizer_for_each_parameter_in_the_backward_pass():
    models = []
    for make in (genopt.Adam, optim.Adam):
        model = net(); opts = {p: make([p], lr=.01) for p in model.parameters()}
        def step(p, opts=opts): opts[p].step(); opts[p].zero_grad()
        for p in model.parameters(): p.register_post_accumulate_grad_hook(step)
        for i in range(5):
            loss_of(model, random(i, (8, 1, 4, 4), torch.float64), torch.arange(8) % 3).backward()
        assert all(p.grad is None for p in model.parameters())
        models.append(model)
    assert_close(*(model.parameters() for model in models))


@pytest.mark.skipif(not hasattr(optim, 'swap_in_optimizer_params_and_state'),
                    reason='newer than this torch')
@engines
def test_other_parameters_and_state_for_a_while(compile):
    model, opt = trained(partial(genopt.Adam, lr=.01, compile=compile))
    before = copy.deepcopy((opt.state_dict(), [*model.parameters()]))
    others = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    state = copy.deepcopy(opt.state_dict()); state['param_groups'][0]['lr'] = .5
    twin = optim.Adam([copy.deepcopy(p) for p in model.parameters()], lr=.01)
    twin.load_state_dict(genopt.to_torch(opt)); twin.param_groups[0]['lr'] = .5
    with optim.swap_in_optimizer_params_and_state(opt, others, state):
        for i, (p, q) in enumerate(zip(others.values(), twin.param_groups[0]['params'])):
            p.grad = q.grad = random(i, p.shape, p.dtype)
        assert opt.param_groups[0]['lr'] == .5
        opt.step(); twin.step()
    torch.testing.assert_close([p.detach() for p in others.values()],
                               [p.detach() for p in twin.param_groups[0]['params']],
                               rtol=1e-12, atol=1e-14)
    # written in place
    assert state['state'][0]['grad_avg'].ne(before[0]['state'][0]['grad_avg']).any()
    assert opt.state_dict()['param_groups'] == before[0]['param_groups']
    torch.testing.assert_close(opt.state_dict()['state'], before[0]['state'], rtol=0, atol=0)
    torch.testing.assert_close([*model.parameters()], before[1], rtol=0, atol=0)
    assert opt.param_groups[0]['betas'] == (.9, .999)
    assert opt.param_groups[0]['params'][0] is next(model.parameters())
    opt.param_groups[0]['lr'] = .1; opt.step()
    with pytest.raises(KeyError): opt.param_groups[0]['momm'] = .1


# -- torch.compile around a training step ----------------------------------------------------------

@engines
@pytest.mark.filterwarnings('ignore')  # torch.compile's own
def test_a_compiled_training_step_traces_no_line_of_an_optimizer(compile):
    """It does what the step does that is not compiled; and once it is warm, nothing is compiled
    anew."""
    x, traced = random(0, (32, 64), torch.float32), []
    def begin():
        torch.manual_seed(0)
        model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(3)])
        opt = genopt.Adam(model.parameters(), lr=1e-3, compile=compile)
        genopt.Schedule(opt, lr=lambda i: 1e-3 * .99**i)  # its hook runs inside, too
        def step(): opt.zero_grad(); model(x).square().mean().backward(); opt.step()
        return model, opt, step
    def backend(graph, inputs):
        traced.extend(node.stack_trace or '' for node in graph.graph.nodes)
        return graph.forward
    def frames(): return torch._dynamo.utils.counters['frames']['total']
    (model, opt, step), (other, _, by_hand) = begin(), begin()
    torch._dynamo.reset()
    inside = torch.compile(step, backend=backend)
    for i in range(15):
        inside(); by_hand()
        if i == 9: warm = frames()
    assert_close(model.parameters(), other.parameters(), rtol=1e-5, atol=1e-7)
    assert opt.param_groups[0]['lr'] == 1e-3 * .99**15 and frames() == warm
    assert traced and not any(str(HOME) in trace for trace in traced)


@pytest.mark.filterwarnings('ignore')
def test_what_an_optimizer_has_breaks_a_graph_and_works():
    model = nn.Linear(2, 2)
    opt = (genopt.AdamW + genopt.average_param)([[model.weight], [model.bias]])
    def step(x):
        opt.set_hyper('lr', .5)
        model(x).sum().backward(); opt.step(); opt.zero_grad()
        opt.load_state_dict(opt.state_dict())
        opt.swap(); opt.swap()
        opt.freeze_to(0)
        return opt.hypers[-1]['lr']
    torch._dynamo.reset()
    assert torch.compile(step)(torch.ones(1, 2)) == .5 and opt.state[model.weight]['count'] == 1
