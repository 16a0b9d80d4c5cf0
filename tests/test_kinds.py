"Promise: a kind of part is one class, which everything else takes as it is."
import inspect
import re

import genopt
import pytest
import torch
from genopt import Composition, Optimizer, kinds, sgd_step, weight_decay
from genopt.part import Part
from three_engines import each_engine, run_by

SEVEN = [getattr(kinds, name) for name in kinds.__all__ if inspect.isclass(getattr(kinds, name))
       and issubclass(getattr(kinds, name), Part)]


def test_the_table_is_the_classes():
    "A line for each, in order; and each has its decorator, which the package exports."
    listed = re.findall(r'^\| `@(\w+)`', kinds.__doc__, re.M)
    assert listed == [kind.kind for kind in SEVEN] and len(listed) == 7
    for kind in SEVEN: assert getattr(genopt, kind.kind) is getattr(kinds, kind.kind)


@pytest.mark.parametrize('kind', SEVEN, ids=lambda k: k.kind)
def test_a_decorator_takes_the_options_of_its_class(kind):
    decorate = getattr(kinds, kind.kind)
    assert decorate.__doc__ == kind.__doc__
    assert [*inspect.signature(decorate).parameters] == ['fn', *kind.options]
    with pytest.raises(genopt.ContractError, match=f'^@{kind.kind} has no option `hole`: '):
        decorate(hole=True)(lambda grad: grad)


class Factor(Part):
    "An eighth kind: what the update is multiplied by."
    kind, options, template, place = 'factor', ('switch',), 'param', kinds.Place.UPDATE

    def result_name(self): return 'update'
    def put(self, env, out): env['update'] = env['update'] * out
    def nothing(self, env): return torch.ones_like(env['param'])
    def wanted(self, env): return 'what the update is multiplied by'


factor = kinds.decorator(Factor)

@factor
def down_the_gradient(grad, update): return (grad * update < 0).to(grad)

@factor(switch='cut')
def shortened(update, *, cut=.5): return torch.full_like(update, 1 - cut)


@pytest.mark.parametrize('cut', [0., .25])
@each_engine
def test_an_eighth_kind_works_in_every_engine(engine, cut):
    parts = [genopt.average_grad, genopt.momentum_step, down_the_gradient, shortened]
    p, m = torch.nn.Parameter(torch.arange(1., 5.)), torch.zeros(4)
    opt = run_by(engine, Optimizer, [p], parts=parts, lr=.1, mom=.9, cut=cut)
    for sign in (1., -1.):
        before, p.grad = p.detach().clone(), sign * torch.tensor([1., 2., -3., 4.])
        opt.step()
        m = m.lerp(p.grad, 1 - .9)
        want = before + -.1 * m * (p.grad * m > 0) * (1 - cut)
        assert torch.allclose(p, want, rtol=1e-6, atol=0)


def test_an_eighth_kind_is_placed_checked_explained_and_renamed():
    recipe = genopt.AdamW + shortened
    assert [q.label for q in recipe.parts()][-2:] == ['shortened', 'weight_decay']
    assert 'shortened' in str(recipe.explain()) and ' factor ' in str(recipe.explain())
    assert repr(shortened.rename(cut='less')) == (
        'shortened[cut=less](update, *, less=0.5): a factor')
    none = factor(lambda update: None)
    with pytest.raises(genopt.PartError, match='returned None: a factor returns what the update'):
        Optimizer([torch.nn.Parameter(torch.ones(3))], [sgd_step, none], lr=.1)
    with pytest.raises(genopt.ContractError, match='there is none before the first step'):
        Composition([shortened, sgd_step, weight_decay])
