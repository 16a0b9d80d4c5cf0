"""Promise: one line makes an optimizer for a whole model. It finds what each parameter is, gives it
the rule and decay that the recipe's authors give it, says why, and can be overruled."""
import copy
import re
from fnmatch import fnmatchcase

import adam_mini
import genopt
import pytest
import torch
from architectures import EXPECTED, MODELS, STACKS
from genopt import AdamW, Lion, Muon, Optimizer, create, plan
from genopt.cli import main
from helpers import assert_close, copiers, each_recipe, pickled
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

architectures = pytest.mark.parametrize('name', MODELS)


def made(name):
    torch.manual_seed(0)
    return MODELS[name]()


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3))


def set_grads(model, seed):
    torch.manual_seed(seed)
    for p in model.parameters(): p.grad = torch.randn_like(p)


def tiny_step(model, *opts):
    "One step of the mean of squares, on numbers that depend on nothing."
    model.zero_grad()
    model(torch.arange(5)).square().mean().backward()
    for opt in opts: opt.step()


def expected(name, model):
    "What was written by hand for each parameter. A pattern that fits nothing is a mistake."
    patterns = {n: [p for p in EXPECTED[name] if fnmatchcase(n, p)][0]
                for n, _ in model.named_parameters()}
    assert {*patterns.values()} == {*EXPECTED[name]}
    return {n: EXPECTED[name][p] for n, p in patterns.items()}


def by_hand(name, model):
    "Groups as somebody would write them who knows the model."
    main, rest = dict(parts=Muon, lr=.02), dict(parts=AdamW, lr=3e-4, betas=(.9, .95), eps=1e-10)
    groups = {}
    for n, p in model.named_parameters():
        _, rule, decays = expected(name, model)[n]
        views = [STACKS[name, k] for k in n.split('.') if (name, k) in STACKS and rule == 'Muon']
        view = views[0] if views else ''
        key = rule, decays, view
        own = dict(main if rule == 'Muon' else rest, wd=.01 if decays else 0., params=[])
        groups.setdefault(key, own | (dict(view=view) if view else {}))['params'].append((n, p))
    return [*groups.values()]


# -- architectures ---------------------------------------------------------------------------------

@architectures
def test_what_is_decided_of_an_architecture(name):
    model = made(name)
    opt = create(model, 'muon', verbose=False)
    wanted = expected(name, model)
    found = {d.name: (d.role, d.rule, 'wd=0.01' in d.values) for d in opt.decisions}
    assert found == wanted
    for g in opt.param_groups:  # and it is what the groups have
        for n in g['param_names']:
            assert [g['lr'], g['wd']] == [.02 if wanted[n][1] == 'Muon' else 3e-4,
                                          .01 if wanted[n][2] else 0.]
            assert ('orthogonalize' in g['parts']) == (wanted[n][1] == 'Muon')
    assert sum(len(g['params']) for g in opt.param_groups) == len(wanted)


@architectures
def test_a_step_is_that_of_groups_made_by_hand(name):
    "Bit for bit, with a scheduler, and on in another optimizer from a checkpoint."
    ours, theirs = made(name), made(name)
    def begin():
        return (create(ours, 'muon', compile=False, verbose=False),
                Optimizer(by_hand(name, theirs), Muon, compile=False))
    opts = begin()
    scheds = [CosineAnnealingLR(o, 4) for o in opts]
    for i in range(4):
        if i == 2:
            saved, opts = [copy.deepcopy((o.state_dict(), s.state_dict()))
                           for o, s in zip(opts, scheds)], begin()
            scheds = [CosineAnnealingLR(o, 4) for o in opts]
            for o, s, (of_o, of_s) in zip(opts, scheds, saved):
                o.load_state_dict(of_o); s.load_state_dict(of_s)
        for model, opt, sched in zip((ours, theirs), opts, scheds):
            set_grads(model, i)
            opt.step(); sched.step()
    for (n, p), q in zip(ours.named_parameters(), theirs.parameters()): assert torch.equal(p, q), n


def test_muon_and_adamw_are_torchs():
    ours, theirs = made('Llama'), made('Llama')
    opt = create(ours, 'muon', lr=.03, wd=.2, rest=dict(lr=1e-3), verbose=False)
    groups = {}
    for n, p in theirs.named_parameters():
        groups.setdefault(expected('Llama', theirs)[n], []).append(p)
    matrices = groups.pop(('hidden matrix', 'Muon', True))
    rest = [dict(params=ps, weight_decay=.2 * decays) for (_, _, decays), ps in groups.items()]
    twins = [torch.optim.Muon(matrices, lr=.03, weight_decay=.2),
             torch.optim.AdamW(rest, lr=1e-3, betas=(.9, .95), eps=1e-10)]
    for i in range(3):
        for model, opts in (ours, [opt]), (theirs, twins):
            set_grads(model, i)
            for o in opts: o.step()
    assert_close(ours.parameters(), theirs.parameters(), rtol=1e-4, atol=1e-6)


@architectures
def test_a_recipe_for_all_parameters(name):
    model = made(name)
    opt = create(model, 'adamw', lr=.1, wd=.3, verbose=False)
    no_decay = {n for n, (_, _, decays) in expected(name, model).items() if not decays}
    assert [(g['lr'], g['wd']) for g in opt.param_groups] == [(.1, .3), (.1, 0.)]
    assert {*opt.param_groups[1]['param_names']} == no_decay and isinstance(opt, AdamW)


# -- values ----------------------------------------------------------------------------------------

def groups_of(*args, **kwargs):
    "Rule, lr and wd of each group of the tiny model."
    opt = create(tiny(), *args, verbose=False, **kwargs)
    return [('Muon' if 'orthogonalize' in g['parts'] else 'Lion' if 'sign_step' in g['parts'] else
             'AdamW', g['lr'], g['wd']) for g in opt.param_groups]


@pytest.mark.parametrize('recipe, values, groups', [
    ('muon', {}, [('Muon', .02, .01), ('AdamW', 3e-4, .01), ('AdamW', 3e-4, 0.)]),
    ('muon', dict(lr=.1), [('Muon', .1, .01), ('AdamW', 3e-4, .01), ('AdamW', 3e-4, 0.)]),
    ('muon', dict(weight_decay=.3), [('Muon', .02, .3), ('AdamW', 3e-4, .3), ('AdamW', 3e-4, 0.)]),
    ('muon(lr=.1, wd=.3)', {}, [('Muon', .1, .3), ('AdamW', 3e-4, .3), ('AdamW', 3e-4, 0.)]),
    ('muon', dict(rest=dict(lr=.5, wd=0)), [('Muon', .02, .01), ('AdamW', .5, 0.)]),
    ('muon', dict(rest='lion'), [('Muon', .02, .01), ('Lion', 1e-4, 0.)]),
    ('muon', dict(rest=dict(parts=Lion, lr=.1), wd=.3),
     [('Muon', .02, .3), ('Lion', .1, .3), ('Lion', .1, 0.)]),
    ('muon', dict(adjust_lr_fn='match_rms_adamw', lr=.1),
     [('Muon', .1, .1), ('AdamW', .1, .1), ('AdamW', .1, 0.)]),
    ("muon(adjust_lr_fn='match_rms_adamw')", dict(rest=dict(lr=.5)),
     [('Muon', 1e-3, .1), ('AdamW', .5, .1), ('AdamW', .5, 0.)]),
    ('lion(wd=.1)', {}, [('Lion', 1e-4, .1), ('Lion', 1e-4, 0.)]),
    (Muon.parts(), dict(lr=.1, wd=.1, mom=.9),
     [('Muon', .1, .1), ('AdamW', 1e-3, .1), ('AdamW', 1e-3, 0.)])], ids=range(11))
def test_rates_and_decays(recipe, values, groups): assert groups_of(recipe, **values) == groups


def test_what_is_added_to_a_recipe_holds_for_the_whole_model():
    model, other = tiny(), tiny()
    opt = create(model, 'muon + clip_by_global_norm', max_norm=1e-3, verbose=False)
    assert all('clip_by_global_norm' in g['parts'] for g in opt.param_groups)
    plain = create(other, 'muon', verbose=False)
    for _ in range(3):
        tiny_step(model, opt)
        tiny_step(other)
        nn.utils.clip_grad_norm_(other.parameters(), 1e-3)
        plain.step()
    assert_close(model.parameters(), other.parameters(), rtol=1e-3, atol=1e-6)


@each_recipe
def test_every_recipe_steps_a_whole_model(recipe):
    model = tiny()
    opt = create(model, recipe, compile=False, verbose=False)
    before = [p.clone() for p in model.parameters()]
    for _ in range(2): tiny_step(model, opt)  # ADOPT's first one only fills
    assert all(p.isfinite().all() for p in model.parameters())
    assert sum(torch.equal(p, q) for p, q in zip(model.parameters(), before)) == 0


def test_a_list_of_parts_stays_as_it_is():
    opt = create(tiny(), 'muon + cautious', verbose=False,
                 overrule={'heads': dict(parts=[genopt.sgd_step], lr=.1)})
    assert [g['parts'] for g in opt.param_groups if g['param_names'] == ['3.weight']] == [
        ['sgd_step']]


def test_a_view_of_ones_own():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
    views = {n: g.get('view') for over in (None, {
        '0.weight': 'muon', '1.weight': dict(view='o i ... -> o (... i)')})
        for g in create(model, 'muon', overrule=over, verbose=False).param_groups
        for n in g['param_names'] if 'orthogonalize' in g['parts']}
    assert views == {'0.weight': 'o ... -> o (...)', '1.weight': 'o i ... -> o (... i)'}


def test_engine_words():
    opt = create(tiny(), 'muon', maximize=True, compile=False, verbose=False)
    assert opt.compile is False and all(g['maximize'] for g in opt.param_groups)


def test_a_policy_of_ones_own():
    from genopt.policy import MATRICES, Role, policy
    own = {Role.HEAD: dict(lr=.25, wd=.5), Role.NORM: AdamW}
    @policy(takes=MATRICES, rest=Lion.configured(lr=.5), by_role=own, values=dict(lr=.125))
    @genopt.recipe(wd=.1, mom=.95)
    def Mine(): return Muon.parts()
    found = {d.name: (d.rule, d.values) for d in plan(tiny(), Mine)}
    assert found == {'0.weight': ('Lion', 'lr=0.5, wd=0'), '1.weight': ('Mine', 'lr=0.125, wd=0.1'),
                     '1.bias': ('Lion', 'lr=0.5, wd=0'), '2.weight': ('AdamW', 'lr=0.001, wd=0'),
                     '2.bias': ('AdamW', 'lr=0.001, wd=0'), '3.weight': ('Lion', 'lr=0.25, wd=0.5'),
                     '3.bias': ('Lion', 'lr=0.5, wd=0')}


# Recipe; what the roles that it does not name get; rule, and values, of some roles
POLICIES = [(recipe, rest, dict(found)) for recipe, rest, *found in [
    ('soap', 'AdamW, lr=0.003, mom=0.95, sqr_mom=0.95, wd=0.01',
     *((r, 'SOAP, lr=0.003, wd=0.01') for r in 'MXRCEHI')),
    ('shampoo', 'AdamW, lr=0.001, wd=0.01', *((r, 'Shampoo, lr=1, wd=0') for r in 'MXRCEHI')),
    ('psgdkron', 'AdamW, lr=0.0003, wd=0', *((r, 'PSGDKron, lr=0.0003, wd=0') for r in 'MXRCEHI')),
    ('dion', 'Lion, lr=0.01, mom=0.95, wd=0.01, avg_mom=0.98',
     *((r, 'Dion, lr=0.01, wd=0.01') for r in 'MXR')),
    ('galore', 'AdamW, lr=0.001, eps=1e-06, wd=0', *((r, 'GaLore, lr=0.001, wd=0') for r in 'MXR')),
    ('apollo', 'AdamW, lr=0.001, eps=1e-06, wd=0', *((r, 'APOLLO, lr=0.001, wd=0') for r in 'MXR')),
    ('mars', 'AdamW, lr=0.003, sqr_mom=0.95, wd=0.1',
     *((r, 'MARS, lr=0.003, wd=0') for r in 'MXREH')),
    ('came', 'CAME, lr=0.0002, wd=0'), ('sm3', 'SM3, lr=0.1, wd=0'),
    ('adammini', 'AdamMini, lr=0.001, wd=0',
     *((r, "AdamMini, block='tensor', lr=0.001, wd=0") for r in 'CIDNO'))]]
ROLES = dict(M='hidden matrix', X='experts', R='router', C='convolution', E='embedding', N='norm',
             H='output head', I='input convolution', D='depthwise convolution', O='other')
STILL = 'position or token', 'norm', 'bias', 'other'  # and do not decay


@pytest.mark.exhaustive(4)
@architectures
@pytest.mark.parametrize('recipe, rest, found', POLICIES, ids=[p[0] for p in POLICIES])
def test_what_authors_do_with_a_whole_model(recipe, rest, found, name):
    model, by_role = made(name), {ROLES[k]: v for k, v in found.items()}
    if name == 'ResNet' and len(found) == 3:  # that are for linear layers, and it has none but one
        with pytest.raises(ValueError, match='has nothing for .*, which is for hidden matrices'):
            create(model, recipe)
        return
    opt = create(model, recipe, verbose=False)
    for d in opt.decisions:
        wanted = by_role.get(d.role, rest)
        if d.role in STILL: wanted = re.sub(r'wd=[\d.]+', 'wd=0', wanted)
        if (recipe, d.role) == ('dion', 'output head'):  # a smaller rate, as it reads many inputs
            wanted = wanted.replace('lr=0.01', f'lr={.01 * d.shape[1]**-.5:g}')
        assert f'{d.rule}, {d.values}' == wanted, d
    set_grads(model, 0)
    before = [p.clone() for p in model.parameters()]
    for _ in range(2): opt.step()
    assert all(p.isfinite().all() for p in model.parameters())
    assert sum(torch.equal(p, q) for p, q in zip(model.parameters(), before)) == 0


def test_a_rate_is_for_all_rules_where_authors_have_one():
    rates = {r: {g['lr'] for g in create(made('GPT-2'), r, lr=.5, verbose=False).param_groups}
             for r in ('soap', 'shampoo', 'psgdkron', 'dion', 'galore', 'apollo', 'mars')}
    assert {r for r, lrs in rates.items() if lrs == {.5}} == {
        'soap', 'psgdkron', 'dion', 'galore', 'apollo'}
    assert rates['shampoo'] == {.5, 1e-3} and rates['mars'] == {.5, 3e-3}


def test_soap_of_gpt_2_says_its_table(capsys):
    opt = create(made('GPT-2'), 'soap', lr=1e-3)
    said = capsys.readouterr().out
    assert said == f'{opt.decisions}\n' and 'SOAP, lr=0.001, wd=0.01: 10 parameters, ' in said
    assert 'AdamW, lr=0.001, mom=0.95, sqr_mom=0.95, wd=0: 18 parameters, 336 elements' in said


def test_adam_mini_sees_outputs_in_rows():
    "GPT-2 stores them in columns: the average squares are one for each output."
    model = made('GPT-2')
    opt = create(model, 'adammini', verbose=False)
    set_grads(model, 0)
    opt.step()
    block = model.transformer.h[0]
    assert opt.state[block.mlp.c_fc.weight]['sqr_avg'].shape == (1, 48, 1)
    assert opt.state[block.attn.c_attn.weight]['sqr_avg'].shape == (3, 12, 1)
    assert opt.state[block.ln_1.weight]['sqr_avg'].shape == ()


def test_adam_mini_of_a_whole_model_is_its_authors():
    "Heads, outputs, norms and all, for 100 steps."
    def llama(): return made('Llama').double()
    ours, theirs = llama(), llama()
    heads = {f'*.{k}_proj.weight': dict(block='tensor', view=f'(h={n} d) i -> h d i')
             for k, n in (('q', 4), ('k', 2))}
    opt = create(ours, 'adammini', lr=.01, wd=.1, overrule=heads, verbose=False)
    other = adam_mini.Adam_mini(theirs.named_parameters(), lr=.01, weight_decay=.1, dim=16,
                                n_heads=4, n_kv_heads=2, verbose=False)
    for i in range(100):
        for model, o in (ours, opt), (theirs, other):
            set_grads(model, i)
            o.step()
    assert_close(ours.parameters(), theirs.parameters(), rtol=1e-11, atol=1e-12)


# -- overruling ------------------------------------------------------------------------------------

@pytest.mark.parametrize('overrule, changed', [
    ({'1.weight': 'adamw', '0.weight': 'muon'},
     {'1.weight': ('AdamW', .0003, .01), '0.weight': ('Muon', .02, .01)}),
    ({'*.weight': dict(lr=.5)}, {'0.weight': ('AdamW', .5, .01), '1.weight': ('Muon', .5, .01),
                                 '2.weight': ('AdamW', .5, 0.), '3.weight': ('AdamW', .5, .01)}),
    ({'heads': dict(wd=0), '3.*': Lion}, {'3.weight': ('AdamW', .0003, 0.),
                                          '3.bias': ('Lion', .0001, 0.)}),
    ({'biases': dict(wd=.5)}, {'1.bias': ('AdamW', .0003, .5), '3.bias': ('AdamW', .0003, .5)}),
    ({'embeddings': dict(parts='lion', lr=.5, betas=(.5, .6))}, {'0.weight': ('Lion', .5, 0.)}),
    ({'norms': 'lion(wd=.5)'}, {'2.weight': ('Lion', 1e-4, .5), '2.bias': ('Lion', 1e-4, .5)}),
    ({'norms': dict(parts='lion', wd=.5)}, {'2.weight': ('Lion', 1e-4, .5),
                                            '2.bias': ('Lion', 1e-4, .5)})], ids=range(7))
def test_overruling(overrule, changed):
    def what(**kwargs):
        opt = create(tiny(), 'muon', verbose=False, **kwargs)
        labels = {d.name: d.rule for d in opt.decisions}
        return {n: (labels[n], g['lr'], g['wd'])
                for g in opt.param_groups for n in g['param_names']}
    assert what(overrule=overrule) == what() | changed
    rows = {d.name: d.why for d in plan(tiny(), 'muon', overrule=overrule)}
    assert {n for n, why in rows.items() if 'overruled by `' in why} == {*changed}


def says(error, sentence): return pytest.raises(error, match='^' + re.escape(sentence) + '$')


def frozen():
    model = tiny()
    return model.requires_grad_(False)


@pytest.mark.parametrize('call, error, sentence', [
    (lambda: create(tiny().parameters(), 'muon'), TypeError,
     'give the model itself, an nn.Module with named parameters, and not a generator'),
    (lambda: create(nn.ReLU(), 'muon'), ValueError, 'ReLU has no parameters'),
    (lambda: create(frozen(), 'muon'), ValueError,
     'Sequential has nothing to train, as all of its parameters are frozen: call requires_grad_() '
     'on some'),
    (lambda: create(nn.Linear(2, 3), 'muon'), ValueError,
     'Linear has nothing for Muon, which is for hidden matrices, experts, routers and '
     'convolutions: take a recipe for all parameters, such as adamw, or give it some by '
     '`overrule`'),
    (lambda: create(tiny(), 'muon', overrule={'1.wieght': 'adamw'}), ValueError,
     'overrule: `1.wieght` fits no parameter: did you mean `1.weight`?'),
    (lambda: create(tiny(), 'muon', overrule={'hidden matrixes': 'adamw'}), ValueError,
     'overrule: `hidden matrixes` fits no parameter: did you mean `hidden matrices`?'),
    (lambda: create(tiny(), 'muon', overrule={'1.*': 'adamw', '1.bias': 'lion'}), ValueError,
     'overrule: `1.bias` fits only what another key has: put it first'),
    (lambda: create(tiny(), 'muon', overrule='1.*'), TypeError,
     'overrule is a dict, from patterns of names to what they get, and not a str'),
    (lambda: create(tiny(), 'muon', overrule={'1.bias': 'muon'}), ValueError,
     '`1.bias` (shape (6,), float32): `orthogonalize` takes matrices, and this has 1 dimension'),
    (lambda: create(tiny(), 'muon', overrule={'1.bias': 3}), TypeError,
     "overrule: `1.bias`: 3 is not a list of parts, and not a recipe of genopt's"),
    (lambda: create(tiny(), 'adamw', rest='lion'), ValueError,
     'AdamW is for all parameters, so nothing is left for `rest`: leave it out, or use `overrule` '
     'for some'),
    (lambda: create(tiny(), 'muon', momm=.9), TypeError,
     'no part takes `momm`: did you mean `mom`?'),
    (lambda: create(tiny(), 'muon', rest=dict(nesterov=True)), TypeError,
     'rest: no part takes `nesterov`: '),
    (lambda: create(tiny(), 'moun'), KeyError, 'there is no recipe or part `moun`'),
    (lambda: create(tiny().to('meta'), 'muon'), ValueError,
     '`1.weight` is on the meta device, so it has no values: call model.to_empty(device=...) and '
     'load its weights first'),
    (lambda: create(nn.Sequential(nn.LazyLinear(3)), 'muon'), ValueError,
     '`0.weight` has no shape yet, as its layer is lazy: run the model on one batch first')])
def test_what_cannot_be(call, error, sentence):
    with pytest.raises(error) as e: call()
    assert sentence in e.value.args[0]


# -- saying it -------------------------------------------------------------------------------------

TABLE = """\
Muon is for hidden matrices, experts, routers and convolutions, and AdamW for the rest.
Positions, norms, biases and others do not decay.
Muon, lr=0.02, wd=0.01: 1 parameter, 36 elements
  1.weight  6×6   hidden matrix  Linear
AdamW, lr=0.0003, sqr_mom=0.95, eps=1e-10, wd=0.01: 2 parameters, 84 elements
  0.weight  11×6  embedding      11 rows
  3.weight  3×6   output head    the last layer
AdamW, lr=0.0003, sqr_mom=0.95, eps=1e-10, wd=0: 4 parameters, 21 elements
  1.bias    6     bias           Linear
  2.weight  6     norm           LayerNorm
  2.bias    6     norm           LayerNorm
  3.bias    3     bias           Linear
"""


def test_it_says_what_it_decided(capsys):
    opt = create(tiny(), 'muon')
    printed = capsys.readouterr().out
    assert printed == f'{opt.decisions}\n' == f'{plan(tiny(), "muon")!r}\n'
    assert printed == TABLE
    create(tiny(), 'muon', verbose=False)
    assert not capsys.readouterr().out


def test_rows_that_are_alike_are_one():
    lines = str(plan(made('Llama'), 'muon')).splitlines()
    rows = [re.split('  +', line.strip())[:3] for line in lines if line.startswith(' ')]
    assert ['model.layers.*.self_attn.k_proj.weight', '2 of 8×16', 'hidden matrix'] in rows
    assert len(rows) == 12


def test_frozen_parameters_are_left_out():
    model = tiny()
    model[0].requires_grad_(False)
    opt = create(model, 'muon', verbose=False)
    assert [*opt.decisions][-1] == ('0.weight', (11, 6), 'embedding', '', '', '11 rows')
    assert str(opt.decisions).splitlines()[-2] == 'frozen, so left out: 1 parameter, 66 elements'
    assert not any(p is model[0].weight for g in opt.param_groups for p in g['params'])
    with says(ValueError, 'overrule: `embeddings` fits only frozen parameters: leave it out'):
        create(model, 'muon', overrule={'embeddings': 'lion'})


def test_a_plan_needs_no_values():
    with torch.device('meta'): model = MODELS['GPT-2']()
    assert str(plan(model, 'muon')) == str(plan(made('GPT-2'), 'muon'))


@copiers
def test_a_copy_knows_the_decisions(copier):
    opt = create(tiny(), 'muon', verbose=False)
    assert str(copier(opt).decisions) == str(opt.decisions)
    assert pickled(opt.decisions)[0] == opt.decisions[0]


MINE = """
from torch import nn
def model(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
made, number = model(), 3
def fails(size): pass
"""


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path/'mine.py').write_text(MINE)
    monkeypatch.chdir(tmp_path)
    for name in 'model', 'made':
        assert main(['plan', f'mine.py:{name}', 'muon', 'lr=0.5', 'rest=lion']) == 0
        said = capsys.readouterr().out
        assert 'Muon, lr=0.5, wd=0.01: 1 parameter, 32 elements\n  0.weight' in said
    for place, why in [('mine.py', 'mine.py: give a file or a module and a name in it, as '),
                       ('mine.py:none', 'mine.py has no `none`: name a model, or what makes one'),
                       ('mine.py:number', 'mine.py:number is a int: name a model, or what makes'),
                       ('mine.py:fails', 'mine.py:fails() fails, so name a function without '),
                       ('none.py:model', 'none.py cannot be read: ')]:
        assert main(['plan', place, 'muon']) == 1
        assert capsys.readouterr().err.startswith(f'plan: {why}')


@pytest.mark.parametrize('given', [genopt.AdamW.configured(wd=.3), dict(wd=.3),
                                   dict(parts=genopt.Lion.configured(wd=.3))], ids=str)
def test_a_decay_that_is_given_is_the_last_word(given):
    opt = genopt.create(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), 'adamw', verbose=False,
                        overrule={'biases': given})
    assert [g['wd'] for g in opt.groups()] == [.01, .3]
