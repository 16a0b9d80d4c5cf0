"""Promise: `genopt.check` names a planted mistake, and finds nothing where all is right.

The mistakes are in `mistakes.py`, each in an optimizer as people write them.
"""
import json
import re
from functools import partial

import genopt
import mistakes
import numpy as np
import pytest
import torch
from genopt.checks.demands import DEMANDS
from genopt.cli import main
from genopt.twins import TWINS
from helpers import name_of
from mistakes import MISTAKES

# -- what is right ---------------------------------------------------------------------------------

@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', TWINS)
def test_torchs_class_agrees_with_its_recipe(name):
    found = genopt.check(TWINS[name].cls, name)
    assert found.agrees and not found.guesses and len(found.trials) > 8
    # torch's Adafactor divides by the number of elements
    assert [d.name for d in found.unmet] == ['it steps an empty tensor'] * (name == 'Adafactor')


@pytest.mark.parametrize('name', ['NAdam', 'Rprop', 'Adafactor'])
def test_a_recipe_agrees_with_torchs_class(name):
    genopt.assert_agrees(partial(genopt.recipe(name), compile=False), TWINS[name].cls)


@pytest.mark.parametrize('checked, against', [
    (partial(torch.optim.SGD, momentum=.9, nesterov=True, weight_decay=.1), 'sgd'),
    ('torch.optim:Adam(amsgrad=True, betas=(.8, .95))', 'torch.optim:Adam'),
    (torch.optim.AdamW, genopt.AdamW.configured(lr=.1)),
    (partial(torch.optim.RMSprop, foreach=True, centered=True), 'rmsprop'),
    (partial(genopt.Adam, betas=(.8, .9), compile=False), torch.optim.Adam),
    (mistakes.AdamLike, 'adam'), (mistakes.AdamWLike, 'adamw'),
    (mistakes.MomentumLike, 'momentum'), ('adam(eps=1e-6)', 'torch.optim:Adam')],
    ids=str)
def test_what_is_right_passes_with_other_values_too(checked, against):
    genopt.assert_agrees(checked, against)


# -- what is wrong ---------------------------------------------------------------------------------

@pytest.mark.exhaustive(4)
@pytest.mark.parametrize('cls, against, guess, values', MISTAKES, ids=name_of)
def test_a_planted_mistake_is_named(cls, against, guess, values):
    found = genopt.check(cls, against, **values)
    assert not found.ok
    if found.agrees: assert guess in [d.name for d in found.unmet]
    else:
        assert found.complete and guess in ' + '.join(found.guesses[0]), found
    assert f'\n{cls.__name__} against ' in f'\n{found}'


def test_there_are_more_than_twenty_mistakes_of_rules_and_of_handling():
    assert len(MISTAKES) > 20 and len({m[2] for m in MISTAKES}) > 20


def test_a_mistake_that_is_not_among_the_usual_ones():
    class Strange(mistakes.AdamLike):
        def move(self, p, m, v, t, group): p.sub_(group['lr'] * torch.tanh(m) * (v + 2).log())
    found = genopt.check(Strange, 'adam')
    assert not found.agrees and not found.guesses
    assert 'None of the usual mistakes' in found.text()
    assert [m.step for m in found.states] == [0] * 3


def test_a_mistake_that_explains_only_some_of_it():
    class Twofold(mistakes.AdamEpsInside):
        def load_state_dict(self, saved):
            super().load_state_dict(saved)
            for s in self.state.values(): s['exp_avg_sq'] = s['exp_avg_sq'].sin()
    found = genopt.check(Twofold, 'adam')
    assert found.guesses == [('eps is inside the root',)] and not found.complete
    assert found.why() == ['Adam does some of this, but not all, if eps is inside the root.']


def test_where_states_part_is_said():
    class Forgetful(mistakes.AdamLike):
        def rule(self, p, g, state, group):
            super().rule(p, g, state, group)
            if state['step'] == 3: state['exp_avg_sq'].zero_()
    found = genopt.check(Forgetful, 'adam')
    assert found.trials[0].parting.step == 4  # the third step has used it already
    assert [(m.ours, m.theirs, m.step) for m in found.states] == [
        ('exp_avg', 'grad_avg', 0), ('exp_avg_sq', 'sqr_avg', 3), ('step', 'count', 0)]


def test_states_are_found_by_their_values():
    class Renamed(mistakes.MomentumLike):
        def rule(self, p, g, state, group):
            super().rule(p, g, state, group)
            if 'b' in state: p.add_(1.)
            state['b'] = state['buf']
    found = genopt.check(Renamed, 'momentum')
    [state] = found.states
    assert state.theirs == 'grad_avg' and state.ours in ('buf', 'b')


def test_an_error_in_a_trial_is_a_finding():
    class Needy(mistakes.MomentumLike):
        def step(self, closure=None):
            for g in self.param_groups:
                for p in g['params']: p.grad.sum()
            return super().step(closure)
    found = genopt.check(Needy, 'momentum')
    [failed] = [t for t in found.trials if t.name == 'gradients that are missing']
    assert "AttributeError: 'NoneType' object has no attribute 'sum'" in failed.said()


def test_a_guess_is_not_complete_if_a_trial_fails():
    class Weak(mistakes.MomentumLike):
        def rule(self, p, g, state, group):
            state['n'] = state.get('n', 0) + 1
            if state['n'] == 8: raise RuntimeError('tired')
            super().rule(p, g, state, group | dict(momentum=group['momentum'] / 2))
    found = genopt.check(Weak, partial(torch.optim.SGD, momentum=.9))
    assert not found.complete and not any('exactly' in w for w in found.why())
    first = found.trials[0]
    assert first.parting.step == 2 and 'they part after step 2' in first.said()
    assert 'a later step fails with RuntimeError: tired' in first.said() and 'tired' in str(found)


def test_a_run_that_only_fails_gets_no_guess():
    at = 6
    class Broken(mistakes.MomentumLike):
        def rule(self, p, g, state, group):
            state['n'] = state.get('n', 0) + 1
            if state['n'] == at: raise RuntimeError('tired')
            super().rule(p, g, state, group)
    found = genopt.check(Broken, 'momentum')
    assert not found.agrees and not found.why() and 'usual mistakes' not in str(found)
    at = 3
    with pytest.raises(ValueError, match='Broken fails in step 3: RuntimeError: tired'):
        genopt.check(Broken, 'momentum')


# -- demands ---------------------------------------------------------------------------------------

def broken(name):
    "A class that breaks one demand of training loops."
    class Broken(mistakes.MomentumLike): pass
    def step(self, closure=None):
        if name == 'late':
            mistakes.MomentumLike.step(self)
            with torch.enable_grad(): return closure and closure()
        if name == 'closure': closure and closure(); return mistakes.MomentumLike.step(self)
        res = mistakes.MomentumLike.step(self, closure)
        for g in self.param_groups:
            if name == 'rate': g['lr'] = .01
            for p in g['params']:
                if name == 'grads': p.grad = None
                if name == 'memory': p.data = p.data.clone()
                if name == 'mode': torch.set_grad_enabled(True)
                if name == 'plain': self.state[p]['f'] = range(3)
                if name == 'frozen' and not p.requires_grad: p.mul_(.9)
        return res
    Broken.step = step
    return Broken


@pytest.mark.parametrize('name, said', [
    ('closure', '`step(closure)` does not return the loss'),
    ('late', 'a step does not use the gradients that its closure computes'),
    ('rate', 'a step overwrites the scheduled `lr`'),
    ('grads', 'a step takes away the gradient of the matrix'),
    ('memory', 'the matrix has other memory after a step'),
    ('mode', 'a step changes whether gradients are on'),
    ('plain', "['f'] is a range, which torch.load(weights_only=True) refuses"),
    ('frozen', 'a frozen parameter moves')])
def test_a_demand_that_is_not_met(name, said):
    with torch.set_grad_enabled(True): found = genopt.check(broken(name))
    assert any(said in d.why for d in found.unmet), found
    assert not found.reference and not found.trials and 'demands' in found.verdict()


def test_demands_alone():
    found = genopt.check(torch.optim.Adam)
    assert found.ok and len(found.demands) > len(DEMANDS) > 20
    assert found.verdict() == f'It meets all {len(found.demands)} demands of training loops.'


def test_what_the_reference_does_not_meet_either_is_a_note():
    found = genopt.check(torch.optim.Rprop, 'rprop')
    [note] = [d for d in found.demands if d.why]
    assert found.ok and note.is_note and 'and so it is with Rprop' in note.why


# -- a reference in NumPy --------------------------------------------------------------------------

def adam(param, grad, state, lr, betas=(.9, .999), eps=1e-8):
    t = state['t'] = state.get('t', 0) + 1
    m = state['m'] = betas[0] * state.get('m', 0.) + (1 - betas[0]) * grad
    v = state['v'] = betas[1] * state.get('v', 0.) + (1 - betas[1]) * grad**2
    return param - lr * m / (1 - betas[0]**t) / (np.sqrt(v / (1 - betas[1]**t)) + eps)


def test_a_reference_in_numpy():
    genopt.assert_agrees(torch.optim.Adam, adam, lr=.01)
    found = genopt.check(mistakes.AdamEpsInside, adam, lr=.01)
    assert found.guesses[0] == ('eps is inside the root',)  # of the recipe that does what it does
    assert all(m.step == 0 for m in found.states)


def test_a_reference_in_numpy_that_no_recipe_does():
    def odd(param, grad, state, lr): return param - lr * np.tanh(grad)
    found = genopt.check(torch.optim.SGD, odd)
    assert not found.ok and not found.guesses


def test_a_reference_that_fails_is_no_agreement():
    def tired(param, grad, state, lr):
        state['n'] = state.get('n', 0) + 1
        if state['n'] == 3: raise RuntimeError('tired')
        return param - lr * grad
    found = genopt.check(torch.optim.SGD, tired)
    assert not found.agrees and not found.why()
    assert 'step 3 fails with an error of the reference, RuntimeError: tired' in found.verdict()
    found.trials.clear()
    assert not found.agrees and found.verdict().startswith('Nothing was compared')


def momentum(param, grad, state, lr, momentum=.9):
    state['m'] = momentum * state.get('m', 0.) + grad
    return param - lr * state['m']


def test_a_reference_in_numpy_is_resumed():
    class Forgets(torch.optim.SGD):
        def load_state_dict(self, saved): super().load_state_dict({**saved, 'state': {}})
    genopt.assert_agrees(torch.optim.SGD, momentum, momentum=.9)
    failed = [t.name for t in genopt.check(Forgets, momentum, momentum=.9).trials if not t.ok]
    assert failed == ['saved, and resumed in a new optimizer']


# -- hyperparameters -------------------------------------------------------------------------------

class Beta(mistakes.AdamLike):
    "Other words, and a value that Adam has not."
    def __init__(self, params, learning_rate, beta1=.8, beta2=.95, power=2.):
        super().__init__(params, learning_rate, (beta1, beta2))
        for g in self.param_groups: g.update(learning_rate=learning_rate, power=power)


def test_words_are_matched_and_the_rest_is_said():
    found = genopt.check(Beta, 'adam')
    assert {k: found.hypers[k] for k in ('lr', 'mom', 'sqr_mom')} == dict(lr=1e-3, mom=.8,
                                                                          sqr_mom=.95)
    assert found.notes == [
        'Only Adam has eps = 1e-08: for another value, write Adam(eps=...).',
        'Only Beta has power = 2: for another value, write Beta(power=...).']
    assert not genopt.check(Beta, 'adam(eps=1e-6)').notes[1:]


def test_words_of_a_class_that_hides_them_behind_kwargs():
    class Hidden(torch.optim.AdamW):
        def __init__(self, params, **rest): super().__init__(params, **rest)
    found = genopt.check(Hidden, 'adam', weight_decay=.1)
    assert found.hypers['wd'] == .1 and found.hypers['sqr_mom'] == .999
    assert found.agrees  # its groups say that the decay is decoupled, which Adam takes


def test_words_for_an_engine_go_to_the_side_that_takes_them():
    class Counted(torch.optim.AdamW):
        seen = set()
        def step(self, closure=None):
            self.seen.add(self.param_groups[0]['foreach'])
            return super().step(closure)
    assert genopt.check(Counted, 'adamw', foreach=True).agrees and Counted.seen == {True}
    genopt.assert_agrees('adamw', mistakes.AdamWLike, compile=False)
    with pytest.raises(TypeError, match='neither AdamWLike nor sgd takes `foreach`: ') as e:
        genopt.check(mistakes.AdamWLike, sgd, foreach=True)
    assert str(e.value).endswith('there are `lr`, `betas`, `eps`, `weight_decay`')


def sgd(param, grad, state, lr): return param - lr * grad


class Needs(torch.optim.Optimizer):
    def __init__(self, params, strength): super().__init__(params, dict(strength=strength))


class Still(torch.optim.Optimizer):
    def __init__(self, params, lr=.1): super().__init__(params, dict(lr=lr))
    def step(self, closure=None): pass


@pytest.mark.parametrize('call, error, said', [
    (lambda: genopt.check(Needs, 'sgd'), TypeError,
     'Needs needs `strength`, which SGD does not have: give its value, as in Needs(strength=...)'),
    (lambda: genopt.check(torch.optim.Adam, lambda param, grad, state, rho: param), TypeError,
     '<lambda> needs `rho`, which Adam does not have: give its value'),
    (lambda: genopt.check(torch.optim.Adam, 'adam', momm=.9), TypeError,
     'neither Adam nor Adam takes `momm`: did you mean `mom`?'),
    (lambda: genopt.check(Still, 'sgd'), ValueError,
     'Still does not step: four steps with gradients have changed no parameter'),
    (lambda: genopt.check(partial(torch.optim.SGD, lr=0.), 'sgd'), ValueError, 'as its lr is 0'),
    (lambda: genopt.check(torch.optim.LBFGS, 'sgd'), ValueError,
     'LBFGS fails in its first step: TypeError'),
    (lambda: genopt.check('cautious', 'adam'), TypeError, 'but a part of one: add it to a recipe'),
    (lambda: genopt.check('adamm', 'adam'), KeyError, 'did you mean `Adam`?'),
    (lambda: genopt.check(3, 'adam'), TypeError, '3 is not an optimizer: give a class')])
def test_what_cannot_be_checked_gets_a_sentence(call, error, said):
    with pytest.raises(error, match=re.escape(said)): call()


# -- the report ------------------------------------------------------------------------------------

def test_assert_agrees_raises_the_report():
    with pytest.raises(AssertionError, match='Adam does exactly this if eps is inside the root'):
        genopt.assert_agrees(mistakes.AdamEpsInside, 'adam')


def test_a_check_leaves_torch_as_it_was():
    torch.manual_seed(7)
    before = torch.get_default_dtype(), torch.get_rng_state()
    genopt.check(torch.optim.Adam, 'adam')
    assert torch.get_default_dtype() is before[0] and torch.equal(torch.get_rng_state(), before[1])


MINE = '''
import torch
class Mine(torch.optim.Optimizer):
    def __init__(self, params, lr=.01): super().__init__(params, dict(lr=lr))
    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            for p in g['params']:
                if p.grad is not None: p.add_(p.grad, alpha=SIGN * g['lr'])
def sgd(param, grad, state, lr): return param - lr * grad
'''


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(MINE.replace('SIGN', '-1'))
    (tmp_path / 'wrong.py').write_text(MINE.replace('SIGN', '2'))
    assert main(['check', 'torch.optim:SGD(lr=0.1)', '--against', 'mine.py:sgd']) == 0
    assert 'SGD against sgd: It does what sgd does' in capsys.readouterr().out
    assert main(['check', 'wrong.py:Mine', '--against', 'mine.py:Mine', '--json', 'r.json']) == 1
    assert 'Mine against Mine: In the trial of given gradients' in capsys.readouterr().out
    data = json.loads((tmp_path / 'r.json').read_text())
    assert data['ok'] is False and data['trials'][0]['step'] == 1 and data['demands']
    assert main(['check', 'mine.py:Mine']) == 1  # its step(closure) returns nothing
    assert main(['check', 'mine.py:nothing', '--against', 'sgd']) == 1
    assert 'mine.py has no `nothing`' in capsys.readouterr().err


def test_a_report_in_other_forms():
    found = genopt.check(torch.optim.SGD, 'sgd')
    assert found.markdown().startswith('# SGD against SGD\n') and '| ✓ |' in found.markdown()
    assert '<h1>SGD against SGD</h1>' in found.html()


def odd(param, lr): return param


@pytest.mark.parametrize('args, why', [
    ((odd, 'adam'), '`?odd`? makes no optimizer, but a list: a function of arrays begins with'),
    (('adam', odd), '`?odd`? makes no optimizer, but a list: a function of arrays begins with'),
    ((genopt.average_grad, 'adam'), '`average_grad` is not an optimizer, but a part of one: add')])
def test_what_is_no_optimizer_in_python(args, why):
    with pytest.raises((TypeError, ValueError), match=why): genopt.check(*args)


def test_without_parts_there_is_no_guess():
    def mine(param, grad, state, lr):
        state['m'] = .7 * state.get('m', 0.) + grad.cumsum() .reshape(grad.shape)
        return param - lr * state['m'] * abs(param)
    found = genopt.check(torch.optim.SGD, mine)
    assert not found.ok and found.why()[0].startswith('No guess is made: mine is not made of parts')
