"""Promise: the groups that people write by hand every time are right, say what they decided, and
work as one optimizer."""
import pytest
import torch
from genopt import AdamW, Muon, Optimizer, SGD, layer_lrs, no_decay, route
from helpers import assert_close, engines
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.lin = nn.LayerNorm(n), nn.Linear(n, n)
    def forward(self, x): return x + self.lin(self.norm(x)).tanh()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList([Block(6) for _ in range(2)])
        self.head = nn.Linear(6, 3)
    def forward(self, x):
        x = self.embed(x)
        for b in self.blocks: x = b(x)
        return self.head(x.mean(1))


@pytest.fixture
def model(): torch.manual_seed(0); return Model()


def names(group): return [n for n, _ in group['params']]


def test_no_decay(model):
    groups = no_decay(model)
    assert names(groups[0]) == ['embed.weight', 'blocks.0.lin.weight',
                                'blocks.1.lin.weight', 'head.weight']
    assert all(p.dim() < 2 for _, p in groups[1]['params']) and groups[1]['wd'] == 0.
    opt = AdamW(groups, lr=.1, wd=.5)
    assert [g['wd'] for g in opt.param_groups] == [.5, 0.]
    assert opt.param_groups[1]['param_names'][0] == 'blocks.0.norm.weight'
    for p in model.parameters(): p.grad = torch.zeros_like(p)
    before = {n: p.clone() for n, p in model.named_parameters()}
    opt.step()
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) == (n not in names(groups[0])) or not p.any()


def test_torchs_spelling(model):
    assert [g['wd'] for g in no_decay(model, weight_decay=.3)] == [.3, 0.]


def test_layers(model):
    groups = layer_lrs(model, lr=1., factor=.5, wd=.1)
    assert groups.labels == ['embed', 'blocks.0', 'blocks.1', 'head']
    assert [g['lr'] for g in groups] == [.125, .25, .5, 1.]
    assert all(g['wd'] == .1 for g in groups)
    mine = layer_lrs(model, lr=1., factor=.5, layers=['embed', 'blocks', 'head'])
    assert [g['lr'] for g in mine] == [.25, .5, 1.] and len(mine[1]['params']) == 8


def test_route(model):
    groups = route(model, {'hidden matrices': dict(parts=Muon, lr=.02, wd=0.),
                           'rest': dict(parts=AdamW, lr=3e-3)})
    assert names(groups[0]) == ['blocks.0.lin.weight', 'blocks.1.lin.weight']
    assert {'embed.weight', 'head.weight', 'blocks.0.norm.weight'} <= {*names(groups[1])}
    assert len(names(groups[0])) + len(names(groups[1])) == len(list(model.parameters()))
    fine = route(model, {'embeddings': dict(lr=1.), 'heads': dict(lr=2.), 'norms': dict(wd=0.),
                         'blocks.*.weight': dict(lr=3.),
                         (lambda name, p, module: isinstance(module, nn.Linear)): dict(lr=4.)})
    assert [len(g['params']) for g in fine] == [1, 1, 4, 2, 3] and names(fine[4])[-1] == 'head.bias'


@engines
def test_muon_and_adamw_in_one_optimizer(compile):
    "As torch's two, with a scheduler, saved and resumed; one step, one state_dict."
    def scheduled(opt): return CosineAnnealingLR(opt, 10)
    def begin(): torch.manual_seed(0); return Model()
    def ours_of(model): return Optimizer(route(model, rules), compile=compile)
    rules = {'hidden matrices': dict(parts=Muon, lr=.02, wd=.1),
             'rest': dict(parts=AdamW, lr=3e-3, wd=.01)}
    model, other = begin(), begin()
    matrices, rest = ([p for _, p in group['params']] for group in route(other, rules))
    opt, twins = ours_of(model), [torch.optim.Muon(matrices, lr=.02, weight_decay=.1),
                                  torch.optim.AdamW(rest, lr=3e-3, weight_decay=.01)]
    sched, scheds = scheduled(opt), [*map(scheduled, twins)]
    x, y = torch.arange(20).view(5, 4) % 11, torch.arange(5) % 3
    for step in range(10):
        if step == 5:  # everything goes on in another optimizer
            saved = opt.state_dict(), sched.state_dict()
            opt = ours_of(model); sched = scheduled(opt)
            opt.load_state_dict(saved[0]); sched.load_state_dict(saved[1])
        for net, opts in (model, [opt]), (other, twins):
            net.zero_grad(); nn.functional.cross_entropy(net(x), y).backward()
            for o in opts: o.step()
        for s in (sched, *scheds): s.step()
    assert_close(model.parameters(), other.parameters(), rtol=1e-5, atol=1e-6)


def test_they_say_what_they_decided(model):
    text = str(route(model,
                     {'hidden matrices': dict(parts=Muon, lr=.02), 'rest': dict(parts=AdamW)}))
    assert text.splitlines()[:4] == ['hidden matrices: parts=Muon, lr=0.02',
                                     '  blocks.0.lin.weight  (6, 6)',
                                     '  blocks.1.lin.weight  (6, 6)', 'rest: parts=AdamW']
    assert len(text.splitlines()) == 2 + len(list(model.parameters()))


def test_shared_and_frozen_parameters(model):
    model.head = nn.Linear(6, 11, bias=False)
    model.head.weight = model.embed.weight
    model.blocks[0].requires_grad_(False)
    groups = route(model,
                   {'hidden matrices': dict(parts=SGD, lr=.1), 'rest': dict(parts=SGD, lr=.1)})
    assert names(groups[0]) == ['blocks.1.lin.weight']
    assert sum('embed' in n or 'head' in n for g in groups for n in names(g)) == 1


@pytest.mark.parametrize('make, error, why', [
    (lambda m: route(m, {'hidden matrices': {}}), ValueError,
     "no rule catches `embed.weight` (shape (11, 6)): add one, such as 'rest', as the last"),
    (lambda m: route(m, {'rest': {}, 'norms': {}}), ValueError,
     'rule `norms` catches no parameter: leave it out, or put it before those that catch '
     'its parameters'),
    (lambda m: route(m, {'hiden matrices': {}, 'rest': {}}), ValueError,
     'rule `hiden matrices` catches no parameter: did you mean `hidden matrices`?'),
    (lambda m: route(m, {'rest': Muon}), TypeError,
     'rule `rest` gets Muon: give a dict, such as dict(parts=Muon)'),
    (lambda m: route(m, {3: {}}), TypeError,
     'a rule is a word, a pattern for names or a function, not 3'),
    (lambda m: route(m, {'rest': dict(params=[])}), TypeError,
     'rule `rest`: its `params` are those that it catches'),
    (lambda m: layer_lrs(m, lr='x'), TypeError, "`lr` = 'x': give a number, not a str"),
    (lambda m: layer_lrs(m, lr=1., layers='embed'), TypeError,
     "layers = 'embed': give a list of names, ['embed']"),
    (lambda m: route(m, [Muon]), TypeError,
     'rules are a dict, from which parameters to their group, not ['),
    (lambda m: no_decay(m.parameters()), TypeError,
     'give the model itself, an nn.Module with named parameters, and not a generator'),
    (lambda m: no_decay(nn.ReLU()), ValueError, 'ReLU has no parameters that require a gradient'),
    (lambda m: layer_lrs(m, lr=1., factor=2.), ValueError,
     '`factor` = 2.0 is out of range: it must be above 0 and at most 1'),
    (lambda m: layer_lrs(m, lr=1., layers=['embed', 'blocks']), ValueError,
     '`head.weight` is in none of the layers embed, blocks'),
    (lambda m: layer_lrs(m, lr=1., layers=['embed', 'blocks', 'head', 'tail']), ValueError,
     'layer `tail` has no parameters that require'),
    (lambda m: Optimizer(route(m, {'rest': dict(parts=Muon)}), lr=.1), ValueError,
     'group 0: `blocks.0.norm.weight` (shape (6,), float32): `orthogonalize` takes matrices, and '
     'this has 1 dimension: give it to a group with other parts (see `create` and `route`)')])
def test_what_is_wrong(model, make, error, why):
    with pytest.raises(error) as e: make(model)
    assert str(e.value).startswith(why)


def test_an_output_in_the_middle_is_no_head():
    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.ModuleList(
                [nn.ModuleDict({'output': nn.Linear(4, 4), 'fc_out': nn.Linear(4, 4)})])
            self.lm_head = nn.Linear(4, 9)
    groups = route(Bert(), {'hidden matrices': {}, 'rest': {}})
    assert names(groups[0]) == ['layer.0.output.weight', 'layer.0.fc_out.weight']
