"""Promise: a step is a kernel wherever it can be, without a word about it; `compile` and torch's
words for engines choose another way; and an optimizer says how its last step was done.
"""
import os
import subprocess
import sys
import warnings

import genopt
import pytest
import torch
from genopt import Optimizer, PartError, sgd_step, step, step_count, transform
from genopt.engines import plain
from genopt.engines.compiled import Compiled
from helpers import copiers, param, random, random_step
from torch import nn

MODES = None, True, False
modes = pytest.mark.parametrize('compile', MODES)


@transform(whole=True)
def sort_grad(grad): return grad.flatten().sort().values.reshape(grad.shape)

@step
def bessel_step(grad, *, lr):
    return -lr * torch.special.bessel_j0(grad)


def two_params(): return [nn.Parameter(random(i, (4, 3), torch.float64)) for i in range(2)]


def engine_of(opt):
    "What an optimizer of one group says of its engine: `explain()` says the same as `print`."
    line = str(opt).splitlines()[-2].strip()
    explained = f'engine {line.removeprefix("engine: ")}'  # there its lines are wrapped
    assert ' '.join(explained.split()) in ' '.join(str(opt.explain()).split())
    return line


def stepped(make, ps=None, **kwargs):
    opt = make(ps or two_params(), lr=.1, **kwargs)
    random_step(opt)
    return opt


@pytest.fixture
def no_compiler(monkeypatch, no_kernels):
    monkeypatch.setenv('CC', '/nowhere/cc')
    return '$CC is `/nowhere/cc`, and there is no such program, or it cannot be run'


# -- the choice ------------------------------------------------------------------------------------

@modes
def test_each_mode_makes_torchs_steps(compile):
    ours, theirs = two_params(), two_params()
    opt, twin = genopt.Adam(ours, lr=.1, compile=compile), torch.optim.Adam(theirs, lr=.1)
    for i in range(5): random_step(opt, i); random_step(twin, i)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    assert opt.compile is compile


def test_the_default_and_true_are_kernels_and_false_is_the_plain_engine():
    for make in genopt.AdamW, lambda ps, **kw: Optimizer(ps, genopt.AdamW.parts(), **kw):
        assert engine_of(stepped(make)) == 'kernel: 4 of 4 parts'
        assert engine_of(stepped(make, compile=True)) == 'kernel: 4 of 4 parts'
        opt = stepped(make, compile=False)
        assert engine_of(opt) == 'engine: plain' and opt.engine is plain.run


@pytest.mark.parametrize('variable, mode', [('', None), ('0', False), ('1', True)])
def test_a_variable_is_the_default_of_a_process(variable, mode, monkeypatch):
    monkeypatch.setenv('GENOPT_COMPILE', variable)
    assert genopt.SGD([param()]).compile is mode
    assert genopt.SGD([param()], fused=None).compile is mode
    for given in True, False:
        assert genopt.SGD([param()], compile=given).compile is given
        assert genopt.SGD([param()], fused=given).compile is given


def test_a_variable_with_another_value_is_an_error(monkeypatch):
    monkeypatch.setenv('GENOPT_COMPILE', 'yes')
    with pytest.raises(ValueError, match=r"^\$GENOPT_COMPILE is 'yes': set it to 1 .* or to 0 .*$"):
        genopt.SGD([param()])
    assert genopt.SGD([param()], compile=False).compile is False


SCRIPT = """
import genopt, torch
p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
opt = genopt.SGD([p], lr=.1); opt.step()
print(opt)
"""


@pytest.mark.parametrize('variable, said', [('0', 'engine: plain'), ('1', 'kernel: 2 of 2 parts')])
def test_a_process_is_started_with_the_variable(variable, said):
    done = subprocess.run([sys.executable, '-W', 'error', '-c', SCRIPT], text=True,
                          env={**os.environ, 'GENOPT_COMPILE': variable}, capture_output=True)
    assert f'\n    {said}\n' in done.stdout and not done.stderr


@pytest.mark.parametrize('words, mode', [
    (dict(fused=True), True), (dict(fused=False), False), (dict(fused=None), None),
    (dict(foreach=True), None), (dict(foreach=False), None), (dict(foreach=None), None),
    (dict(fused=True, foreach=False), True),
    (dict(capturable=False, differentiable=False), None),
    (dict(fused=True, compile=False), False), (dict(fused=False, compile=True), True),
    (dict(fused=True, compile=None), True)], ids=str)
def test_torchs_words_mean_a_mode_and_compile_is_the_last_word(words, mode):
    opt = stepped(genopt.Adam, **words)
    assert opt.compile is mode
    assert engine_of(opt) == ('engine: plain' if mode is False else 'kernel: 4 of 4 parts')
    assert not {*words} & {*opt.param_groups[0]} and not {*words} & {*opt.defaults}


@pytest.mark.parametrize('word, advice', [
    ('capturable', 'leave it out; for a CUDA graph, call `launch()` in it, and `advance()` before '
                   'each replay'),
    ('differentiable', 'leave it out; to differentiate through a step, call `Composition.update`, '
                       'which is a pure function')])
def test_what_no_engine_does_is_refused_with_what_to_do(word, advice):
    with pytest.raises(TypeError) as e: genopt.Adam([param()], **{word: True})
    assert str(e.value) == f'`{word}`: {advice}'
    genopt.Adam([param()], **{word: None})


@pytest.mark.parametrize('word', ['compile', 'fused', 'foreach', 'capturable', 'differentiable'])
@pytest.mark.parametrize('value', ['yes', 1, 0., torch.tensor(True)], ids=repr)
def test_other_values_are_refused(word, value):
    with pytest.raises(TypeError, match=f'^`{word}` = .*: give True, False or None$'):
        genopt.Adam([param()], **{word: value})


# -- what cannot be compiled -----------------------------------------------------------------------

@pytest.mark.parametrize('compile', [None, False])
def test_a_part_that_cannot_be_compiled_is_no_error_by_default(compile):
    p = param(3, value=0., grad=1.)
    opt = Optimizer([p], [bessel_step], lr=.5, compile=compile)
    opt.add_param_group({'params': [param()]})
    opt.step()
    torch.testing.assert_close(p.detach(), -.5 * torch.special.bessel_j0(p.grad))


def test_but_it_is_one_with_true_when_the_optimizer_is_made():
    said = (r'^`bessel_step` cannot be compiled \(test_defaults.py, line '
            f'{bessel_step.fn.__code__.co_firstlineno + 2}'
            r'\): there is no C for `aten.special_bessel_j0.default` of float64$')
    with pytest.raises(PartError, match=said):
        Optimizer([param()], [bessel_step], lr=.1, compile=True)
    with pytest.raises(PartError, match=said):
        Optimizer([param()], [bessel_step], lr=.1, fused=True)
    opt = Optimizer([dict(params=[param()], parts=[sgd_step])], lr=.1, compile=True)
    with pytest.raises(PartError, match=said):
        opt.add_param_group({'params': [param()], 'parts': [bessel_step]})
    assert len(opt.param_groups) == 1


def test_true_takes_what_says_that_it_is_whole():
    opt = stepped(genopt.SGD + sort_grad, compile=True)
    assert engine_of(opt).startswith('kernel: 2 of 3 parts; ')


def test_without_a_compiler_the_default_is_silent_and_says_so_when_asked(no_compiler):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        opt = stepped(genopt.AdamW)
    assert engine_of(opt) == f'eager engine: {no_compiler}'


def test_without_a_compiler_true_warns_once(no_compiler):
    ps, twins = two_params(), two_params()
    with pytest.warns(RuntimeWarning) as told:
        opt = stepped(genopt.AdamW, ps, compile=True)
        random_step(opt, 1)
    assert [str(w.message) for w in told] == [
        'average_grad → average_sqr_grad → step_count → adam_step → weight_decay runs in the eager '
        f'engine, not compiled: {no_compiler}']
    assert told[0].filename.endswith('helpers.py')  # which called `step`
    assert engine_of(opt) == f'eager engine: {no_compiler}'
    twin = torch.optim.AdamW(twins, lr=.1)
    for i in range(2): random_step(twin, i)
    torch.testing.assert_close(ps, twins, rtol=1e-12, atol=0)


def test_without_a_compiler_false_does_not_miss_it(no_compiler):
    assert engine_of(stepped(genopt.AdamW, compile=False)) == 'engine: plain'


# -- what is said of the last step -----------------------------------------------------------------

@pytest.mark.parametrize('compile', [None, True])
def test_before_the_first_step_nothing_is_claimed(compile):
    assert engine_of(genopt.Adam([param()], compile=compile)) == 'engine: chosen in the first step'


def test_parts_that_run_as_they_are_are_named_with_the_reason():
    said = 'kernel: 2 of 3 parts; `sort_grad` runs as it is: `sort` has no place in a loop'
    assert engine_of(stepped(genopt.SGD + sort_grad)) == said
    @step
    def root_step(grad, count, *, lr): return -lr * grad / float(count) ** .5
    said = engine_of(stepped(Optimizer, parts=[step_count, root_step]))
    assert said.startswith('kernel: 0 of 1 parts; `root_step` runs as it is: it asks for the value')


class Sharded(torch.Tensor): "In place of a DTensor, which needs a process group."


GAPS = 'their elements lie in memory with gaps, or in another order than their state\'s'


def strided(): return nn.Parameter(random(0, (3, 8), torch.float64)[:, ::2])


def shared():
    a = param(4)
    return a, nn.Parameter(a.detach()[1:3])


@pytest.mark.parametrize('ps, how_many, why', [
    ([strided()], '', GAPS),
    ([param(), strided()], ' for 1 of 2 parameters', GAPS),
    ([param(), nn.Parameter(torch.ones(3).as_subclass(Sharded))], ' for 1 of 2 parameters',
     'they are not plain tensors'),
    ([param(), *shared()], ' for 2 of 3 parameters', 'they share memory')],
    ids=['all', 'strided', 'sharded', 'shared'])
@pytest.mark.parametrize('compile', [None, True])
def test_parameters_that_no_kernel_takes_are_counted_with_the_reason(ps, how_many, why, compile):
    before = [p.detach().clone() for p in ps]
    opt = genopt.SGD(ps, lr=.5, compile=compile)
    for p in ps: p.grad = torch.ones_like(p)
    opt.step()
    kernel = 'kernel: 2 of 2 parts; ' if how_many else ''
    assert engine_of(opt) == f'{kernel}eager engine{how_many}: {why}'
    assert all((p != x).all() for p, x in zip(ps, before))


def test_each_group_has_its_own_line():
    a, b = two_params()
    opt = genopt.SGD([dict(params=[a]), dict(params=[b], mom=.9)], lr=.1)
    a.grad = torch.ones_like(a)
    opt.step()
    lines = [line.strip() for line in str(opt).splitlines()]
    assert lines[4] == 'kernel: 2 of 2 parts'
    assert lines[8] == 'engine: none, as no parameter had a gradient'
    assert [s.engines for s in opt.explain().sections] == [
        [('kernel: 2 of 2 parts',)], [('none, as no parameter had a gradient',)]]
    both = genopt.SGD([dict(params=[a]), dict(params=[b])], lr=.1)
    both.step()
    assert ('engine\n    group 0  kernel: 2 of 2 parts\n'
            '    group 1  none, as no parameter had a gradient') in str(both.explain())
    b.grad = torch.ones_like(b)
    both.step()
    assert engine_of(both) == 'kernel: 2 of 2 parts'


def test_it_is_the_last_step_that_is_told():
    p = param(3, 4, grad=1.)
    opt = genopt.SGD([p], lr=.1)
    opt.step()
    assert engine_of(opt) == 'kernel: 2 of 2 parts'
    p.data = torch.ones(3, 8, dtype=torch.float64)[:, ::2]
    opt.step()
    assert engine_of(opt) == f'eager engine: {GAPS}'


def test_an_engine_of_ones_own_is_told():
    def run(works): plain.run(works)
    opt = genopt.SGD([param(grad=1.)], lr=.1)
    opt.engine = run
    assert engine_of(opt) == 'engine: test_defaults'


def test_a_recipe_and_a_list_of_parts_have_no_engine_yet():
    assert '\nengine\n' not in str(genopt.AdamW.explain())
    assert '\nengine\n' not in str(genopt.explain([sgd_step], lr=.1))


# -- copies ----------------------------------------------------------------------------------------

@modes
@copiers
def test_a_copy_keeps_the_mode_and_has_an_engine_of_its_own(copier, compile):
    opt = stepped(genopt.Adam, compile=compile)
    copied = copier(opt)
    assert copied.compile is compile
    assert engine_of(copied) == engine_of(genopt.Adam([param()], compile=compile))
    random_step(opt, 1); random_step(copied, 1)
    assert engine_of(copied) == engine_of(opt)
    for ours, theirs in zip(opt.param_groups[0]['params'], copied.param_groups[0]['params']):
        assert torch.equal(ours, theirs)
    if compile is not False: assert copied.engine is not opt.engine
    if compile is not False: assert isinstance(copied.engine, Compiled)


@copiers
def test_a_copy_keeps_the_mode_that_the_process_had_when_it_was_made(copier, monkeypatch):
    monkeypatch.setenv('GENOPT_COMPILE', '0')
    opt = stepped(genopt.Adam)
    monkeypatch.setenv('GENOPT_COMPILE', '1')
    assert copier(opt).compile is False


@modes
def test_a_checkpoint_does_not_carry_the_mode(compile):
    saved = stepped(genopt.Adam, compile=compile).state_dict()
    assert 'compile' not in saved and 'compile' not in saved['param_groups'][0]
    for mode in MODES:
        opt = genopt.Adam(two_params(), compile=mode)
        opt.load_state_dict(saved)
        random_step(opt)
        assert opt.compile is mode
