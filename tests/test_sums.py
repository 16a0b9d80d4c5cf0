"""Promise: a recipe plus a modifier is a recipe, with the modifier where it works; or a sentence
says why it cannot be.
"""
import genopt
import pytest
import torch
from genopt import AdamW, ContractError, Optimizer, average_grad, momentum_step
from genopt.catalogue import choices
from genopt.links import with_links
from genopt.placing import placed
from helpers import RECIPES, each_recipe, param, pickled, random_step
from sampled import one_in
from test_gates import GATHER


@pytest.mark.exhaustive(16)
@each_recipe
@pytest.mark.parametrize('name', genopt.modifiers())
def test_every_modifier_goes_with_every_recipe(recipe, name):
    parts, base = genopt.modifiers()[name], recipe.parts()
    kept = {p.out for p in parts if p not in base} & {*recipe.rule().composition.stats}
    if kept: pytest.skip(f'it keeps {kept} already')  # ASGD has an average
    if name == 'lookahead' and 'ScheduleFree' in recipe.__name__:  # its jumps are no steps of z
        with pytest.raises(ContractError, match='put `lookahead_step` before them'): recipe + parts
        return
    new, p = recipe + parts, param(3, 3)
    opt = new([p], compile=None if one_in(5, recipe.__name__, name) else False)
    for seed in range(4): random_step(opt, seed)  # some only look in the first, or climb in it
    assert p.isfinite().all() and not torch.equal(p, param(3, 3))
    replaced = {q for q in base if q.switch and any(q.switch == p.switch for p in parts)}
    assert {*new.parts()} == {*base, *parts} - replaced | {*parts}


def test_order():
    many = AdamW + genopt.average_param + genopt.scale_by_trust_ratio + genopt.cautious
    many = many + genopt.clip_by_global_norm + genopt.centralize
    names = [p.__name__ for p in many.parts()]
    assert names == ['clip_by_global_norm', 'centralize',
                     'average_grad', 'average_sqr_grad', 'step_count', 'adam_step',
                     'cautious', 'weight_decay', 'scale_by_trust_ratio', 'average_param']
    lamb = genopt.LAMB + genopt.lazy + genopt.cautious
    assert lamb.parts()[-3:] == (genopt.cautious, genopt.weight_decay, genopt.scale_by_trust_ratio)
    guarded = AdamW + genopt.gradient_noise + genopt.skip_nonfinite
    first = [p.__name__ for p in guarded.parts()][:4]
    assert first == ['skip_count', 'finite_only', 'step_count', 'add_noise']


def totals_of(parts): return {p for p in with_links(parts) if p.kind == 'total'}


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', [*genopt.modifiers(), 'gathered'])
def test_a_recipe_keeps_the_order_that_it_wrote(name):
    """Of its tensors, and of its numbers, which run before these; but for numbers made of a total
    that the modifier reads too, which is taken where the recipe takes it."""
    extra = genopt.modifiers().get(name, GATHER)
    for parts in (parts for recipe in RECIPES for _, parts in choices(recipe)):
        try: made = placed(parts, extra)
        except genopt.ContractError: continue  # a test above says which
        shared = totals_of(parts) & totals_of(extra)
        for numbers in (False,) if shared else (True, False):
            kept = [p for p in parts if p in made and p.is_number == numbers]
            assert kept == [p for p in made if p in parts and p.is_number == numbers]


def test_a_sum_is_a_recipe():
    new = genopt.Adam + genopt.cautious
    assert new.__name__ == 'Adam + cautious'
    assert isinstance(new([param()]), genopt.Optimizer)
    assert 'amsgrad' in new.options
    assert genopt.average_param in (new + genopt.average_param).parts(amsgrad=True)
    assert pickled(new).parts() == new.parts()
    assert repr(new([param()], amsgrad=True)).startswith('Adam + cautious(')


@pytest.mark.parametrize('extra, why', [
    (AdamW, 'Adam + ... takes a part, or several in a list, not AdamW, which is a recipe'),
    (3, 'Adam + ... takes a part, or several in a list, not 3'),
    ([genopt.cautious, 'x'],
     "Adam + ... takes a part, or several in a list, not 'x'"),
    (genopt.parts.max_grad.rename(grad_max='sqr_avg'),
     'recipe `Adam + max_grad[grad_max=sqr_avg]`: `average_sqr_grad` and '
     '`max_grad[grad_max=sqr_avg]` both keep `sqr_avg`: leave one out, '
     'or give one another name, `max_grad.rename(grad_max=...)`')])
def test_what_cannot_be_added(extra, why):
    with pytest.raises(ContractError) as e: genopt.Adam + extra
    assert str(e.value) == why


@pytest.mark.parametrize('parts, why', [
    ([genopt.cautious, average_grad, momentum_step],
     '`cautious` reads `update`, and there is none before the first step: put it after one'),
    ([genopt.average_param, average_grad, momentum_step],
     '`average_param` reads `new_param`, and there is none before the first step: put '
     'it after one'),
    ([average_grad, momentum_step, genopt.average_param, genopt.weight_decay],
     '`average_param` reads `new_param` before `weight_decay` has changed the update: '
     'put it last')])
def test_a_place_where_it_cannot_work(parts, why):
    with pytest.raises(ContractError) as e: Optimizer([param()], parts, lr=.1)
    assert str(e.value) == why


def test_matrix_parts_on_what_is_no_matrix():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r'`bias` \(shape \(2,\), float32\): `orthogonalize` '
                                         r'takes matrices, and this has 1 dimension:'):
        genopt.Muon(model.named_parameters())
    with pytest.raises(ValueError,
                       match='parameter 0 of group 0 .*: `orthogonalize` takes no complex numbers'):
        genopt.Muon([torch.zeros(2, 2, dtype=torch.complex64, requires_grad=True)])
