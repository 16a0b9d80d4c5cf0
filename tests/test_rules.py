"""Promise: the general rules that the catalogue needed hold for everyone's parts.

Totals over all parameters, gates, state that begins with a hyperparameter, and torch's words that
mean two things.
"""
import pickle

import genopt
import pytest
import torch
from genopt import (Composition, ContractError, Optimizer, PartError, average_grad, gate,
                    momentum_step, scalar, sgd_step, stat, step, step_count, total, transform)
from helpers import engines


def param(*values, **kwargs):
    p = torch.nn.Parameter(torch.tensor(values, **kwargs)); p.grad = torch.ones_like(p)
    return p


@total
def grad_sum(grad): return grad.sum()

@total
def avg_sum(grad_avg): return grad_avg.sum()

@scalar
def share(all=grad_sum, averages=avg_sum, *, scale=1.): return scale * (all + 10 * averages)

@step
def shared_step(grad, share=share): return -share * grad

@gate
def every_third(count): return count % 3 == 0


# -- totals ----------------------------------------------------------------------------------------

@engines
def test_a_total_of_what_a_stat_remembers(compile):
    "It sees the stat's new value of all parameters before any moves, and updates no stat twice."
    ps = [param(0., 0.), param(0.)]
    opt = Optimizer(ps, [average_grad, shared_step], mom=.5, compile=compile)
    opt.step()
    for p in ps:
        assert torch.equal(p, -(3 + 10 * 1.5) * torch.ones_like(p))
        assert torch.equal(opt.state[p]['grad_avg'], .5 * torch.ones_like(p))
    ps[1].grad = None  # then it has no part
    opt.step()
    assert ps[0][0].item() == -18 - (2 + 10 * 1.5)


def test_totals_of_several_dtypes_and_of_the_pure_function():
    ps = [param(0., 0., dtype=torch.bfloat16), param(0., dtype=torch.float64), param(0j)]
    Optimizer(ps, [average_grad, shared_step], mom=.5).step()
    assert ps[1].item() == -(4 + 20.)
    assert ps[0][0].item() == -24  # a complex one has its gradient 1 + 0j
    c = Composition([average_grad, shared_step])
    state = c.init(ps[1])
    numbers = c.numbers(state, dict(mom=.5, scale=1., grad_sum=2., avg_sum=1.))
    change, _ = c.update(torch.zeros(2), torch.ones(2), c.init(torch.zeros(2)), numbers)
    assert torch.equal(change, torch.full((2,), -12.))
    with pytest.raises(TypeError,
                       match='`grad_sum` is missing: give a number for each of mom, scale, '
                             'grad_sum, avg_sum'):
        c.numbers(state, dict(mom=.5, scale=1.))


def test_totals_of_groups_that_do_not_go_together():
    @total
    def grad_sum(grad): return 2 * grad.sum()
    other = step(lambda grad, all=grad_sum: -all * grad)
    with pytest.raises(ContractError,
                       match='two groups have different totals called `grad_sum`: rename one'):
        Optimizer([dict(params=[param(0.)], parts=parts) for parts in ([average_grad, shared_step],
                                                                       [other])])
    a = [*genopt.skip_nonfinite, genopt.clip_by_global_norm, sgd_step]
    b = [genopt.clip_by_global_norm, *genopt.skip_nonfinite, sgd_step]
    with pytest.raises(ContractError,
                       match='two groups have .* and other totals in different orders: give'):
        Optimizer([dict(params=[param(0.)], parts=a), dict(params=[param(0.)], parts=b)], lr=.1)


def test_a_total_under_maximize():
    p = param(0.)
    Optimizer([p], [average_grad, shared_step], mom=.5, maximize=True).step()
    assert p.item() == -(1 + 5.)  # all of it sees −g


def test_totals_are_renamed_copied_and_pickled():
    named = grad_sum.rename(grad_sum='total_sum')
    assert named.out == 'total_sum' and pickle.loads(pickle.dumps(named)) == named
    assert named != grad_sum
    assert grad_sum(torch.ones(3)).item() == 3
    p = param(0.)
    opt = (genopt.AdamW + genopt.clip_by_global_norm)([p])
    import copy
    copy.deepcopy(opt).step(); pickle.loads(pickle.dumps(opt)).step()


@pytest.mark.parametrize('make, why', [
    (lambda: total(lambda update: update.sum()),
     'a total is taken before any parameter moves: it cannot read `update` or `new_param`'),
    (lambda: gate(lambda grad: True),
     'a gate runs on plain numbers and cannot read `grad`, which is a tensor: read a @total of it'),
    (lambda: transform(lambda grad: grad, needs='vector'),
     "@transform(needs='vector'): give 'real' or 'matrix'"),
    (lambda: stat(lambda x, grad: x, sparse='row'), "@stat(sparse='row'): give 'rows' or 'dense'")])
def test_what_cannot_be_a_part(make, why):
    with pytest.raises(ContractError) as e: make()
    assert str(e.value).endswith(why)


# What looks at a tensor's shape, what no kernel has, and what is not itself alone
TOTALS = dict(mean=lambda grad: grad.square().sum() / grad.numel(),
              by_rows=lambda grad: grad.norm(dim=-1).sum() * len(grad),
              median=lambda grad: grad.median(),
              item=lambda grad: grad.new_tensor(grad.sum().item()),
              placed=lambda grad, place: grad.sum() * place,
              pairs=lambda grad: (grad.reshape(-1, 1) * grad.reshape(1, -1)).sum(),
              product=lambda grad: (grad.reshape(-1, 1) @ grad.reshape(1, -1)).sum())


@engines
@pytest.mark.filterwarnings('ignore:.*, not compiled')
@pytest.mark.parametrize('name', TOTALS)
def test_a_total_is_of_each_tensor_as_it_is(name, compile):
    summed = total(TOTALS[name])
    @step
    def summed_step(grad, all=summed, *, lr): return lr * all + 0 * grad
    ps = [param(*[[.5 + i + j for i in range(2)] for j in range(n)]) for n in (3, 7)]
    for p in ps: p.grad = p.detach().clone()
    want = sum(summed(p.grad, place=i) if name == 'placed' else summed(p.grad)
               for i, p in enumerate(ps))
    Optimizer(ps, [summed_step], lr=1., compile=compile).step()
    for p in ps: torch.testing.assert_close(p.detach() - p.grad, want.expand(p.shape))


@engines
def test_pairs_of_elements_are_all_pairs(compile):
    @transform(whole=True)
    def pairs(grad): return (grad[:, None] * grad).sum(1)
    p = param(1., 2., 3.); p.grad = p.detach().clone()
    opt = Optimizer([p], [pairs, sgd_step], lr=1., compile=compile)
    opt.step()
    assert p.tolist() == [1 - 6, 2 - 12, 3 - 18]


def test_a_total_that_is_no_number():
    @total
    def row_sums(grad): return grad.sum(0)
    @step
    def by_rows(grad, rows=row_sums, *, lr): return -lr * rows * grad
    with pytest.raises(PartError,
                       match=r'`row_sums` returned a tensor of shape \(4,\): a total returns a '
                             r'tensor of one number'):
        Optimizer([param(1., 2.)], [by_rows], lr=.1)


def test_a_total_that_fails_names_the_parameter():
    @total
    def picky(grad):
        if grad.shape == (3,): raise RuntimeError('three')
        return grad.sum()
    @step
    def picky_step(grad, all=picky, *, lr): return -lr * all * grad
    with pytest.raises(PartError,
                       match=r'`picky` failed: RuntimeError: three \(on `b` \(shape \(3,\)'):
        Optimizer([('a', param(1.)), ('b', param(1., 2., 3.))], [picky_step], lr=.1).step()


@engines
def test_a_composition_without_any_number_moves(compile):
    @step
    def fixed_step(grad): return -.5 * grad
    p = param(0.)
    Optimizer([p], [fixed_step], compile=compile).step()
    assert p.item() == -.5


# -- gates -----------------------------------------------------------------------------------------

@engines
def test_a_gate(compile):
    "What stands before it has happened, and nothing else."
    p = param(0.)
    opt = Optimizer([p], [step_count, every_third, average_grad, momentum_step], lr=1., mom=.5,
                    compile=compile)
    seen = []
    for _ in range(7):
        opt.step()
        seen.append((opt.state[p]['count'].item(), p.item(), opt.state[p]['grad_avg'].item()))
    assert seen == [(1, 0., 0.), (2, 0., 0.), (3, -.5, .5), (4, -.5, .5), (5, -.5, .5),
                    (6, -1.25, .75),
                    (7, -1.25, .75)]


def test_parts_behind_a_gate_are_tried_too():
    @step
    def forgetful(grad, *, lr): -lr * grad
    with pytest.raises(PartError, match='`forgetful` returned None'):
        Optimizer([param(0.)], [step_count, every_third, forgetful], lr=1.)


def test_a_gate_that_never_opens_is_the_users_business():
    @gate
    def never(count): return False
    p = param(0.)
    opt = Optimizer([p], [step_count, never, sgd_step], lr=1.); opt.step()
    assert p.item() == 0 and opt.state[p]['count'] == 1


# -- state that begins with a hyperparameter -------------------------------------------------------

@stat(init=lambda param, *, begin=2.: torch.full_like(param, begin))
def kept(kept, grad): return kept + grad

@stat(init=lambda *, lr: lr)
def first_lr(first_lr): return first_lr

@step
def kept_step(kept, first_lr, *, lr): return -first_lr * kept


@engines
def test_state_begins_with_a_hyperparameter(compile):
    p, q = param(0.), param(0.)
    opt = Optimizer([dict(params=[p]), dict(params=[q], lr=.5, begin=7.)],
                    [kept, first_lr, kept_step], lr=1.,
                    compile=compile)
    for g in opt.param_groups: g['lr'] *= 2
    opt.step()
    assert (p.item(), q.item()) == (-2 * 3., -1 * 8.)  # it begins with the lr of the first step
    for g in opt.param_groups: g['lr'] *= 10
    opt.step()
    assert p.item() == -6 - 2 * 4. and opt.state[p]['first_lr'] == 2.
    assert Composition([kept, first_lr, kept_step]).init(p, dict(lr=3., begin=1.))['first_lr'] == 3.


def test_state_that_begins_with_nothing():
    with pytest.raises(TypeError, match=r'state begins with `begin`: give it, init\(param, hypers'):
        Composition([kept, first_lr, kept_step]).init(param(0.))
    @stat(init=lambda *, lr: torch.ones(2))
    def odd(odd): return odd
    with pytest.raises(PartError,
                       match='`odd`: its init returned tensor.*: as it does not read `param`, it '
                             'returns a number'):
        Optimizer([param(0.)], [odd, sgd_step], lr=1.)
    assert first_lr.rename(lr='rate').hypers == {'rate': genopt.contract.REQUIRED}


# -- a step that can be switched off ---------------------------------------------------------------

@engines
def test_decay_of_zero_leaves_even_infinity_alone(compile):
    p = param(float('inf'), 1.); p.grad = torch.zeros(2)
    opt = genopt.AdamW([p], lr=.1, wd=0., compile=compile); opt.step()
    assert torch.equal(p, torch.tensor([float('inf'), 1.]))


# -- torch's words that mean two things, or are two numbers ----------------------------------------

def test_alpha_is_rmsprops_decay_and_asgds_power():
    a, r = genopt.ASGD([param(0.)], alpha=.6), genopt.RMSprop([param(0.)], alpha=.8)
    assert a.param_groups[0]['power'] == a.param_groups[0]['alpha'] == .6
    assert 'sqr_mom' not in dict(a.param_groups[0])
    assert r.param_groups[0]['sqr_mom'] == r.param_groups[0]['alpha'] == .8
    a.param_groups[0]['alpha'] = .7
    assert a.param_groups[0]['power'] == .7
    lion = genopt.Lion([param(0.)], betas=(.8, .9))
    group = lion.param_groups[0]
    assert group['betas'] == (.8, .9) and (group['mom'], group['avg_mom']) == (.8, .9)


@pytest.mark.parametrize('recipe, words', [(genopt.SGD, ['alpha', 'betas']),
    (genopt.Adam, ['rho', 'alpha', 'momentum']), (genopt.RMSprop, ['rho', 'betas']),
    (genopt.ASGD, ['rho', 'sqr_mom']), (genopt.Lion, ['rho', 'alpha', 'momentum']),
    (genopt.Adadelta, ['alpha']), (genopt.AdamW + genopt.lookahead, ['alpha', 'rho']),
    (genopt.QHAdam, ['alpha'])],
    ids=lambda o: getattr(o, '__name__', ''))
def test_a_recipe_answers_to_no_other_words(recipe, words):
    for word in words:
        value = (.5, .5) if word == 'betas' else .5
        with pytest.raises(TypeError, match=f'no part takes `{word}`: '):
            recipe([param(0.)], lr=.1, **{word: value})
        assert word not in recipe.__doc__.split('(torch: ')[-1]


def test_a_recipe_answers_to_its_authors_words():
    group = genopt.AdEMAMix([param(0.)], betas=(.8, .9, .99), alpha=3.).param_groups[0]
    assert (group['mom'], group['sqr_mom'], group['slow_mom'], group['slow_weight']) == (.8, .9,
                                                                                         .99, 3.)
    group = genopt.Adan([param(0.)], betas=(.8, .7, .99)).param_groups[0]
    assert (group['mom'], group['diff_mom'], group['sqr_mom']) == (.8, .7, .99)
    assert group['betas'] == (.8, .7, .99)
    group = genopt.Adadelta([param(0.)], rho=.8).param_groups[0]
    assert group['sqr_mom'] == group['rho'] == .8 and 'rho' in {*group}


def test_a_recipe_of_ones_own_has_words_of_its_own():
    @genopt.recipe(lr=.1, mom=.5, keep='mom')
    def Mine(rho=True): return (average_grad, momentum_step) if rho else (sgd_step,)
    opt = Mine([param(0.)], keep=.7, rho=True)
    assert opt.param_groups[0]['mom'] == opt.param_groups[0]['keep'] == .7
    assert opt.param_groups[0]['rho'] is True
    with pytest.raises(ContractError, match='no part takes `nothing`'):
        @genopt.recipe(lr=.1, keep='nothing')
        def Other(): return sgd_step,


def test_words_for_two_numbers():
    f = genopt.Adafactor([param(0.)], eps=(None, .01), d=2.)
    assert (f.param_groups[0]['eps'], f.param_groups[0]['min_scale'],
            f.param_groups[0]['max_rms']) == (0., .01, 2.)
    r = genopt.Rprop([param(0.)], etas=(.4, 1.3), step_sizes=(1e-5, 10.))
    assert r.param_groups[0]['etas'] == (.4, 1.3) and r.param_groups[0]['max_step'] == 10.
    for kwargs, why in ((dict(etas=.5),
                         '`etas` = 0.5: give 2 numbers, for `eta_minus` and `eta_plus`'),
                        (dict(etas=(.5, torch.tensor(1.2))),
                         'give 2 numbers or 2 tensors, not a mixture'),
                        (dict(etas=(1.5, 1.2)),
                         '`eta_minus` = 1.5 is out of range: it must be at least 0 and below 1')):
        with pytest.raises(ValueError) as e: genopt.Rprop([param(0.)], **kwargs)
        assert why in str(e.value)
    with pytest.raises(ValueError,
                       match='`beta2_decay` = 0.8 is out of range: it must be at most 0'):
        genopt.Adafactor([param(0.)], beta2_decay=.8)
    with pytest.raises(ValueError, match="`adjust_lr_fn` = 'moon': give one of"):
        genopt.Muon([param([0.])], adjust_lr_fn='moon')


def test_our_own_names_mean_one_thing():
    with pytest.raises(TypeError, match='no part takes `sqr_mom`'): genopt.ASGD([param(0.)],
                                                                                sqr_mom=.5)
    with pytest.raises(TypeError, match='`avg_mom` is given twice'):
        genopt.Lion([param(0.)], betas=(.9, .99), avg_mom=.5)


def test_whole_numbers():
    for make in (lambda: genopt.Muon([param([0.])], ns_steps=2.5),
                 lambda: (genopt.SGD + genopt.lookahead)([param(0.)], sync_every=2.5)):
        with pytest.raises(ValueError, match='= 2.5: give a whole number'): make()


def test_a_decay_that_is_added_has_its_own_default():
    assert (genopt.Adam + genopt.weight_decay)([param(0.)]).param_groups[0]['wd'] == .01
    assert (genopt.AdamW + genopt.independent_decay)([param(0.)]).param_groups[0]['wd'] == 1e-5


def test_a_decay_without_a_default():
    @step(switch='wd')
    def my_decay(param, *, wd): return -wd * param
    assert (genopt.AdamW + my_decay)([param(0.)], wd=.2).param_groups[0]['wd'] == .2
    assert (genopt.AdamW + my_decay).parts()[-1] == my_decay


def test_an_option_that_torch_has_and_a_recipe_does_not():
    with pytest.raises(TypeError, match='no part takes `amsgrad`: '): genopt.NAdam([param(0.)],
                                                                                   amsgrad=True)
    with pytest.raises(TypeError, match='no part takes `centered`: '): genopt.Adagrad([param(0.)],
                                                                                      centered=True)
