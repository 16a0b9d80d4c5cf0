"""Promise: a group's `view` lets parts see each parameter as matrices, on every engine.

What a rule makes of the pieces is what it makes of parameters that are these pieces.
"""
import copy

import genopt
import pytest
import torch
from genopt import Adafactor, AdamW, LAMB, Muon, NorMuon, Optimizer, Scion
from genopt.view import View
from helpers import difference, each_recipe, engines, param, pickled, random, through_a_file
from torch import nn

CONV = 'o ... -> o (...)'
# name -> a parameter's shape, its view, and its pieces by hand
VIEWS = {'convolution': ((4, 3, 2, 2), CONV, lambda x: [x.flatten(1)]),
         'one-dimensional convolution': ((4, 3, 5), CONV, lambda x: [x.flatten(1)]),
         'q·k·v': ((6, 4), '(n=3 d) i -> n d i', lambda x: x.chunk(3)),
         'fewer heads for k and v': ((8, 4), '(d=4+2+2) i -> d i', lambda x: x.split([4, 2, 2])),
         'heads of q·k·v': ((12, 4), '(n=3 h=2 d) i -> n h d i', lambda x: x.chunk(6)),
         'heads by columns': ((4, 6), 'o (h=2 d) -> h o d', lambda x: x.chunk(2, 1)),
         'experts': ((3, 4, 5), 'e o i -> e o i', lambda x: x.unbind()),
         'gate and up of experts': ((2, 6, 3), 'e (n=2 o) i -> e n o i',
                                    lambda x: [y for e in x for y in e.chunk(2)]),
         'a row for each input': ((4, 6), 'i o -> o i', lambda x: [x.T]),
         'q·k·v with a row for each input': ((4, 6), 'i (n=3 o) -> n o i',
                                             lambda x: [y.T for y in x.chunk(3, 1)])}
views = pytest.mark.parametrize('shape, view, cut', VIEWS.values(), ids=VIEWS)
RULES = [Muon, LAMB, Adafactor, AdamW, NorMuon, Scion, AdamW + genopt.clip_by_global_norm]


def go(opt, ps, steps, cut=None):
    "Steps along gradients of parameters; or of their pieces, which `cut` makes."
    for t in steps:
        for i, p in enumerate(ps if cut is None else [ps]):
            if cut is None: p.grad = random(50 * t + i, p.shape, p.dtype)
            else:
                whole = random(50 * t, opt.shape, torch.float64)
                for q, g in zip(p, cut(whole)): q.grad = g.clone()
        opt.step()


def seen(shape, dtype=torch.float64, seed=9): return nn.Parameter(random(seed, shape, dtype))


@pytest.mark.exhaustive(3)
@views
@pytest.mark.parametrize('recipe', RULES, ids=lambda r: r.__name__)
@engines
def test_a_piece_is_stepped_as_a_parameter(recipe, shape, view, cut, compile):
    w = seen(shape)
    alone = [nn.Parameter(x.clone(memory_format=torch.contiguous_format)) for x in cut(w.detach())]
    opt, other = recipe([dict(params=[w], view=view)], compile=compile), recipe(alone)
    other.shape = shape
    for t in range(6):
        go(opt, [w], [t]); go(other, alone, [t], cut)
        assert difference(cut(w.detach()), alone) <= 1e-12, f'step {t + 1}'


@views
def test_pieces_are_views(shape, view, cut):
    w = random(0, shape, torch.float64)
    found = genopt.pieces.pieces(View(view), w)
    assert not found.copies
    assert [m.data_ptr() for m in found.tensors] == [m.data_ptr() for m in cut(w)]
    assert all(map(torch.equal, found.tensors, cut(w)))
    assert View(view).shapes(shape) == [m.shape for m in cut(w)]


@engines
def test_a_convolution_in_channels_last_is_copied_there_and_back(compile):
    w = seen((4, 3, 2, 2))
    v = nn.Parameter(w.detach().clone(memory_format=torch.channels_last))
    opts = [NorMuon([dict(params=[p], view=CONV)], compile=compile) for p in (w, v)]
    for opt, p in zip(opts, (w, v)): go(opt, [p], range(4))
    assert difference([v], [w]) <= 1e-12 and not v.is_contiguous()
    assert difference([opts[1].state[v]['grad_avg']], [opts[0].state[w]['grad_avg']]) <= 1e-12


def test_matrices_of_one_shape_are_one_product(monkeypatch):
    "Of several parameters, on both fast engines."
    sizes = []
    def product(x, a, b, **numbers):
        sizes.append(len(x) if x.dim() > 2 else 1)
        return numbers['beta'] * x + numbers['alpha'] * (a @ b)
    for view in '(n=3 h=2 d) i -> n h d i', 'i (n=3 h=2 d) -> n h d i':  # compiled, and eager
        shape = (12, 4) if view[0] == '(' else (4, 12)
        ps = [seen(shape, seed=i) for i in range(2)]
        opt = Muon([dict(params=ps, view=view)], ns_steps=1)
        with monkeypatch.context() as m:
            m.setattr(torch, 'baddbmm', product)
            sizes.clear(); go(opt, ps, [0])
        assert sizes == [12, 12]
        assert ('eager' in str(opt)) == (view[0] == 'i')


# -- state -----------------------------------------------------------------------------------------

def test_state_lies_as_its_parameter_or_is_a_stack():
    w, u = seen((6, 4)), seen((6, 4))
    opt = Adafactor([dict(params=[w], view='(n=3 d) i -> n d i'),
                     dict(params=[u], view='(d=4+2) i -> d i')])
    go(opt, [w, u], [0])
    assert {k: tuple(v.shape) for k, v in opt.state[w].items()} == dict(
        row_avg=(3, 2, 1), column_avg=(3, 1, 4), count=())
    assert opt.state[u]['row_avg'].shape == (6,) and opt.state[u]['column_avg'].shape == (2, 1, 4)
    assert opt.state[w]['count'] == 1
    averaged = (Muon + genopt.average_param)([dict(params=[w], view='(n=3 d) i -> n d i')])
    averaged.init_state()
    assert torch.equal(averaged.state[w]['param_avg'], w)


@views
@engines
def test_it_is_saved_and_resumed(shape, view, cut, compile):
    w, v = seen(shape), seen(shape)
    make = lambda p: Adafactor([dict(params=[('w', p)], view=view)], compile=compile)
    opt, other = make(w), make(v)
    go(opt, [w], range(3))
    with torch.no_grad(): v.copy_(w)
    saved = through_a_file(opt.state_dict())
    assert saved['param_groups'][0]['view'] == view
    other.load_state_dict(saved)
    third = make(seen(shape))
    assert third.load_by_name(saved).taken == ['w']
    for p, o in ((w, opt), (v, other)): go(o, [p], range(3, 6))
    assert torch.equal(w, v)
    for new in (copy.deepcopy(opt), pickled(opt)): assert new.param_groups[0]['view'] == view


def test_another_view_is_refused_in_a_checkpoint():
    make = lambda **kw: Muon([dict(params=[('w', seen((6, 4)))], **kw)])
    opt = make(view='(n=3 d) i -> n d i'); opt.init_state()
    with pytest.raises(ValueError, match=r"its group 0 was saved with view='\(n=3 d\) i -> n d i', "
                                         'and here it has none: make the group with the view'):
        make().load_state_dict(opt.state_dict())
    other = make(view='(h=2 d) i -> h d i')
    with pytest.raises(ValueError, match=r"here it has view='\(h=2 d\) i -> h d i'"):
        other.load_state_dict(opt.state_dict())
    loaded = other.load_by_name(opt.state_dict())  # its state lies as the parameter does
    assert loaded.taken == ['w'] and loaded.groups == {0: "it had view='(n=3 d) i -> n d i'"}
    plain = make(); plain.init_state()
    opt.load_state_dict(plain.state_dict())  # torch's have none, so none is taken for ours
    assert opt.param_groups[0]['view'] == '(n=3 d) i -> n d i'


def test_a_view_stays():
    opt = Muon([seen((6, 4))], view='(n=3 d) i -> n d i')
    group = opt.param_groups[0]
    group['view'] = '(n=3 d) i -> n d i'
    with pytest.raises(KeyError, match='the `view` of a group is chosen when it is made'):
        group['view'] = 'o i -> o i'
    with pytest.raises(KeyError, match='`view` cannot be removed'): del group['view']
    opt.param_groups[0] = dict(group)  # as other code may
    go(opt, group['params'], [0])
    assert opt.groups()[0]['view'] == '(n=3 d) i -> n d i'


# -- surgery, watching, explaining -----------------------------------------------------------------

@engines
def test_edits_follow_where_state_lies_as_the_parameter(compile):
    w = seen((6, 3, 2, 2))
    opt = Muon([dict(params=[('w', w)], view=CONV)], compile=compile)
    go(opt, [w], [0])
    before = opt.state[w]['grad_avg'].clone()
    opt.prune(w, [0])
    assert torch.equal(opt.state[w]['grad_avg'], before[1:])
    go(opt, [w], [1])
    opt.append('w', torch.zeros(2, 3, 2, 2, dtype=torch.float64)); go(opt, [w], [2])
    assert w.shape == (7, 3, 2, 2)


def test_edits_that_cannot_follow_are_refused():
    w = seen((6, 4))
    opt = Muon([dict(params=[w], view='(n=3 d) i -> n d i')])
    go(opt, [w], [0])
    with pytest.raises(ValueError, match='would no longer fit .*: a dimension of 5 cannot be'):
        opt.prune(w, [0])
    factored = Adafactor([dict(params=[w], view=CONV)]); go(factored, [w], [0])
    with pytest.raises(ValueError, match='`row_avg` of .* cannot follow'): factored.prune(w, [0])
    assert w.shape == (6, 4)
    factored.replace(w, seen((5, 4)), fresh=True)
    with pytest.raises(ValueError, match='does not fit'): opt.replace(w, seen((5, 4)), fresh=True)
    assert opt.to(torch.float32).state[w]['grad_avg'].dtype == torch.float32
    assert factored.to(torch.float32) is factored


@engines
def test_watching_sees_each_piece(compile):
    w, u = seen((6, 4)), seen((4, 2, 2))
    opt = Optimizer([dict(params=[('w', w)], view='(n=3 d) i -> n d i', parts=Muon, lr=.1),
                     dict(params=[('u', u)], view=CONV, parts=LAMB, lr=.1)], compile=compile)
    seen_by = opt.watch(1)
    go(opt, [w, u], [0])
    assert {r['param']: r['group'] for r in seen_by.rows} == {
        'w, piece 1': 0, 'w, piece 2': 0, 'w, piece 3': 0, 'u': 1}
    norms = [r['grad_norm'] for r in seen_by.rows]
    assert norms == pytest.approx([m.norm().item() for m in (*w.grad.chunk(3), u.grad)])
    assert 'no gradient' not in str(seen_by)


def test_it_is_explained_and_printed():
    opt = Optimizer([dict(params=[seen((6, 4))], view='(n=3 d) i -> n d i', parts=Adafactor),
                     dict(params=[seen((6, 4))], parts=Adafactor)])
    assert "view='(n=3 d) i -> n d i'" in str(opt)
    text = str(opt.explain())
    assert "group 0, view='(n=3 d) i -> n d i'" in text and 'group 1' in text


# -- errors ----------------------------------------------------------------------------------------

@pytest.mark.parametrize('view, why', [
    ('o i', 'it needs one arrow'),
    ('o i -> o', '`i` must stand once on each side'),
    ('(o i -> o i', 'its brackets do not match'),
    ('o-1 i -> i o-1', '`o-1` is not the name of a dimension'),
    ('o ... -> o (...) o', '`o` must stand once on each side'),
    ('(o ...) -> o (...)', 'on the left `...` stands for dimensions of their own'),
    ('o -> o', 'the right needs rows and columns'),
    ('(h d=1+2) i -> h d i', 'of all sizes one may be a sum, that of a whole dimension')])
def test_a_pattern_that_cannot_be_read(view, why):
    with pytest.raises(ValueError) as e: Muon([dict(params=[seen((6, 4))], view=view)])
    assert str(e.value) == (f"view={view!r}: {why}: write it as in view='o ... -> o (...)' or "
                            "view='(h=12 d) i -> h d i'")


def test_what_is_not_a_text():
    with pytest.raises(TypeError, match='view=3 is not a text'):
        Muon([dict(params=[seen((6, 4))], view=3)])


@pytest.mark.parametrize('view, shape, why', [
    ('o i h w -> o (i h w)', (6, 4), 'it has 2 dimensions, and the pattern 4'),
    (CONV, (), 'it has 0 dimensions, and the pattern at least 1'),
    ('(h=4 d) i -> h d i', (6, 4), 'a dimension of 6 cannot be (h d) with h = 4'),
    ('(h d) i -> h d i', (6, 4), 'give the size of `h` or of `d`, as in h=2'),
    ('(d=2+3) i -> d i', (6, 4), 'dimension 0 has 6 elements, and not 5')])
def test_a_shape_that_does_not_fit(view, shape, why):
    for recipe in (Muon, AdamW):
        with pytest.raises(ValueError) as e:
            recipe([dict(params=[('w', seen(shape))], view=view)])
        assert str(e.value) == (
            f'group 0: `w` (shape {shape}, float64) does not fit view={view!r}: {why}: correct it, '
            'or give this parameter to another group')


def test_a_matrix_rule_given_something_else():
    with pytest.raises(ValueError) as e: Muon([('conv', seen((4, 3, 2, 2)))])
    assert str(e.value) == (
        'group 0: `conv` (shape (4, 3, 2, 2), float64): `orthogonalize` takes matrices, and this '
        "has 4 dimensions: say how it is one, as in view='o ... -> o (...)' of a convolution, or "
        'give it to a group with other parts (see `create` and `route`)')
    with pytest.raises(ValueError, match='parameter 0 of group 0 .* has 1 dimension: give it to a '
                                         'group with other parts'): Muon([seen((4,))])


def test_a_sparse_gradient():
    w = nn.Parameter(torch.zeros(6, 4))
    opt = LAMB([dict(params=[('w', w)], view='(n=3 d) i -> n d i')])
    w.grad = torch.ones(6, 4).to_sparse(1)
    with pytest.raises(TypeError, match='`w` .* has a sparse gradient, which cannot be seen'):
        opt.step()


def test_an_error_in_a_part_names_the_parameter_and_the_piece():
    @genopt.transform(needs='matrix')
    def fails(grad): return grad / (1 // (grad[0, 0] != 7).item())
    w = nn.Parameter(torch.zeros(6, 4))
    opt = Optimizer([dict(params=[('w', w)], view='(n=3 d) i -> n d i')], [fails, genopt.sgd_step],
                    lr=.1)
    w.grad = torch.ones(6, 4).index_fill(0, torch.tensor([2]), 7.)
    with pytest.raises(genopt.PartError, match='on `w` .*, piece 2 of 3'): opt.step()


@each_recipe
def test_every_recipe_takes_one(recipe):
    "It steps a convolution as it steps the matrix."
    w, m = param(4, 3, 2, 2), param(4, 12)
    opt, other = recipe([w], view=CONV), recipe([m])
    for t in range(3):
        g = random(t, (4, 12), torch.float64)
        w.grad, m.grad = g.view(4, 3, 2, 2), g
        opt.step(); other.step()
    assert difference([w.flatten(1)], [m]) <= 1e-12


def test_a_view_of_the_constructor_is_for_groups_that_come_later_too():
    view = '(n=3 d) i -> n d i'
    opt = pickled(genopt.Muon([param(6, 3)], view=view))
    opt.add_param_group(dict(params=[param(6, 3)]))
    opt.add_param_group(dict(params=[param(6, 3)], view='o i -> o i'))
    assert [g.view.text for g in opt.groups()] == [view, view, 'o i -> o i']


def test_shapes_of_state_depend_on_the_numbers_of_a_group():
    "Pieces of one shape, of which the first have no bases."
    p, q = param(15, 5), param(15, 5)
    opt = genopt.SOAP([dict(params=[p], max_dim=2), dict(params=[q])], view='(n=3 d) i -> n d i')
    for x in (p, q): x.grad = torch.ones_like(x)
    opt.step(); opt.step()
    assert [opt.state[x]['left_basis'].shape for x in (p, q)] == [(3, 0, 0), (15, 5)]
