"""Promise: whatever torch.optim's own tests ask of its classes, genopt's recipes do too, and refuse
what those refuse.

`optim_db` is torch's list of configurations for its own tests. LBFGS is not made of parts, and
`foreach`, `fused`, `capturable` and `differentiable` choose how torch runs a rule: those are
refused with what to use instead.
"""
import re
from functools import partial

import genopt
import pytest
import torch
from helpers import copy_values, difference, engines, random, random_param, verified
from torch import nn

common = pytest.importorskip('torch.testing._internal.common_optimizers')
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db  # noqa: E402

INFOS = [i for i in optim_db if i.optim_cls is not torch.optim.LBFGS]
ENGINE = {'foreach', 'fused', 'capturable', 'differentiable'}


def tolerance(info):
    "1e-11; 1e-6 where torch keeps float32 scalars: NAdam's mu_product, ASGD's eta and mu."
    return 1e-6 if info.optim_cls in (torch.optim.NAdam, torch.optim.ASGD) else 1e-11


def precise(kwargs):
    """With a learning rate in double precision: given a float32 one, torch reckons `1 - lr *
    weight_decay` in float32."""
    return {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}


def recipe_of(info): return getattr(genopt, info.optim_cls.__name__)


CONFIGS = [(info, precise(i.kwargs), i.desc) for info in INFOS
           for i in info.optim_inputs_func('cpu', torch.float64)]
names = [f'{info.optim_cls.__name__}: {desc}' for info, _, desc in CONFIGS]


def shapes(info):
    if info.optim_cls.__name__ == 'Muon': return [(5, 7), (7, 3), (4, 4)]
    return [(5, 7), (7,), (2, 3, 4), (1, 3)] + [()] * (info.optim_cls is not torch.optim.SparseAdam)


def make_params(info, dtype):
    return [random_param(i, s, dtype) for i, s in enumerate(shapes(info))]


def set_grads(info, params, step):
    for i, p in enumerate(params):
        p.grad = random(1000 * (step + 1) + i, p.shape, p.dtype)
        if info.only_supports_sparse_grads:
            p.grad[random(77 * step + i, p.shape[:1], torch.float64) < 0] = 0
            p.grad = p.grad.to_sparse(1)


def go(info, steps, *pairs):
    "Steps of optimizers, each with its parameters."
    for step in steps:
        for params, opt in pairs: set_grads(info, params, step); opt.step()


def assert_agree(info, kwargs, dtype, steps, **engine):
    "Returns the largest difference."
    ours, theirs = make_params(info, dtype), make_params(info, dtype)
    opt, other = recipe_of(info)(ours, **kwargs, **engine), info.optim_cls(theirs, **kwargs)
    worst = 0.
    for step in range(steps):
        go(info, [step], (ours, opt), (theirs, other))
        worst = max(worst, d := difference(ours, theirs))
        assert d <= tolerance(info), f'step {step + 1}'
    return worst


@pytest.mark.exhaustive(5)
@pytest.mark.parametrize('info, kwargs, desc', CONFIGS, ids=names)
@engines
def test_every_configuration(info, kwargs, desc, compile):
    assert not ENGINE & {*kwargs}
    worst = assert_agree(info, kwargs, torch.float64, 100, compile=compile)
    verified(info.optim_cls.__name__, info.optim_cls, 100, worst)


COMPLEX = {name: config for name, config in zip(names, CONFIGS)
           if config[0].supports_complex and config[0].optim_cls is not torch.optim.SparseAdam}


@pytest.mark.parametrize('info, kwargs, desc', COMPLEX.values(), ids=COMPLEX)
def test_complex_parameters(info, kwargs, desc):
    assert_agree(info, kwargs, torch.complex128, 20)


@pytest.mark.filterwarnings('ignore:Sparse invariant checks')  # torch's own Adagrad
@pytest.mark.parametrize('info',
                         [i for i in INFOS if i.supports_sparse or i.only_supports_sparse_grads],
                         ids=lambda i: i.optim_cls.__name__)
def test_sparse_gradients(info):
    for kwargs in [info.metadata_for_sparse[0],
                   *([dict(momentum=.9)] if info.optim_cls is torch.optim.SGD else [])]:
        ours, theirs = (nn.Embedding(20, 5, sparse=True, dtype=torch.float64) for _ in 'ab')
        theirs.load_state_dict(ours.state_dict())
        opt = recipe_of(info)(ours.parameters(), **kwargs)
        other = info.optim_cls(theirs.parameters(), **kwargs)
        for step in range(30):
            at = torch.randint(20, (6,), generator=torch.Generator().manual_seed(step))
            for model, o in ((ours, opt), (theirs, other)):
                o.zero_grad(); (model(at) ** 2).sum().backward(); o.step()
            assert difference([ours.weight], [theirs.weight]) <= 1e-11, step


def assert_state_goes_over(info, kwargs, dtype):
    "From torch to ours, and back to torch."
    ours, theirs, again = (make_params(info, dtype) for _ in range(3))
    opt = recipe_of(info)(ours, **kwargs)
    other, back = (info.optim_cls(params, **kwargs) for params in (theirs, again))
    go(info, range(7), (theirs, other))
    copy_values(theirs, ours)
    opt.load_state_dict(other.state_dict())
    go(info, range(7, 20), (theirs, other), (ours, opt))
    assert difference(ours, theirs) <= tolerance(info)
    copy_values(ours, again)
    back.load_state_dict(genopt.to_torch(opt))
    mine, its = back.state_dict(), other.state_dict()
    for a, b in zip(mine['param_groups'], its['param_groups'], strict=True):
        assert {**a, **dict.fromkeys(ENGINE)} == {**b, **dict.fromkeys(ENGINE)}
    assert {i: {*e} for i, e in mine['state'].items()} == {i: {*e} for i, e in its['state'].items()}
    go(info, range(20, 30), (theirs, other), (again, back))
    assert difference(again, theirs) <= tolerance(info)


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('info, kwargs, desc', CONFIGS, ids=names)
def test_state_comes_from_torch_and_goes_back(info, kwargs, desc):
    assert_state_goes_over(info, kwargs, torch.float64)


@pytest.mark.parametrize('info, kwargs, desc', COMPLEX.values(), ids=COMPLEX)
def test_complex_state_comes_from_torch_and_goes_back(info, kwargs, desc):
    assert_state_goes_over(info, kwargs, torch.complex128)


def test_torchs_state_of_another_class_is_refused():
    p = nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)
    saved = torch.optim.Adam([p]); saved.step()
    with pytest.raises(ValueError, match='torch.optim.RAdam has no `amsgrad`, so another '
                                         'optimizer made its group 0'):
        genopt.RAdam([p]).load_state_dict(saved.state_dict())


ERRORS = [(info, e) for info in INFOS for e in info.optim_error_inputs_func('cpu', torch.float64)]
# What torch calls wrong is refused here in words of our own
OTHERS = {UserWarning: ValueError}


@pytest.mark.parametrize('info, error', ERRORS,
                         ids=[f'{i.optim_cls.__name__}: {e.optimizer_error_input.desc}'
                              for i, e in ERRORS])
def test_every_error(info, error):
    given = error.optimizer_error_input
    if {'foreach', 'fused'} & {*given.kwargs}: pytest.skip('these are taken together, too')
    params = given.params if given.params is not None else [nn.Parameter(
        random(0, (1, 1), torch.float64))]
    accepted = (error.error_type,
                OTHERS.get(error.error_type, TypeError if ENGINE & {*given.kwargs} else ValueError))
    with pytest.raises(accepted) as e:
        opt = recipe_of(info)(params, **given.kwargs)
        if error.error_on == OptimizerErrorEnum.STEP_ERROR: opt.step()
    sentence = str(e.value)
    assert len(sentence) > 20 and '\n' not in sentence


@pytest.mark.parametrize('info', INFOS, ids=lambda i: i.optim_cls.__name__)
@pytest.mark.parametrize('word', sorted(ENGINE))
def test_words_for_the_engine_are_taken_or_refused_with_what_to_use_instead(info, word):
    advice = {'capturable': 'leave it out', 'differentiable': 'Composition.update'}.get(word)
    make = partial(recipe_of(info), make_params(info, torch.float64))
    for value in (False, None):
        assert make(**{word: value}).compile is (value if word == 'fused' else None)
    if advice:
        with pytest.raises(TypeError, match=f'`{word}`: .*{re.escape(advice)}'):
            make(**{word: True})
    else: assert make(**{word: True}).compile is (True if word == 'fused' else None)


@pytest.mark.parametrize('info', INFOS, ids=lambda i: i.optim_cls.__name__)
def test_every_option_and_default_is_torchs(info):
    "Those that its signature has, under torch's own names."
    params = make_params(info, torch.float64)
    opt, other = recipe_of(info)(params), info.optim_cls(params)
    wanted = {k: v for k, v in other.param_groups[0].items() if k not in ENGINE | {'params'}}
    for k, v in wanted.items():
        # 0 stands for torch's None
        if (info.optim_cls, k) == (torch.optim.Adafactor, 'eps'): v = 0.
        # it is what AdamW is
        if k == 'decoupled_weight_decay' and info.optim_cls is torch.optim.AdamW: continue
        assert opt.param_groups[0][k] == v, k
