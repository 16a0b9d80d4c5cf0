"Promise: what a parameter is to its model is told from types, shapes and structure, by any writer."
from types import SimpleNamespace

import pytest
import torch
from genopt.planning.roles import roles
from torch import nn


def found(model): return {f.name: f for f in roles(model)}


def words(model): return {n: f.role.word for n, f in found(model).items()}


class Holder(nn.Module):
    "A module of a type that nobody knows, with these children, tensors and attributes."
    def __init__(self, **items):
        super().__init__()
        for k, x in items.items():
            setattr(self, k, nn.Parameter(x) if type(x) is torch.Tensor else x)


def block(n=4): return Holder(norm=nn.LayerNorm(n), lin=nn.Linear(n, n, bias=False))


# -- the output head -------------------------------------------------------------------------------

@pytest.mark.parametrize('model, heads', [
    (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5)), ['2.weight']),
    (nn.Sequential(nn.Sequential(nn.Linear(9, 5), nn.ReLU()), nn.Sequential(nn.Linear(5, 9))),
     ['1.0.weight']),
    (Holder(blocks=nn.ModuleList([block()])), []),              # the last layer is a block's
    (nn.Sequential(block(), block()), []),
    (Holder(blocks=nn.ModuleList([block(), block()]), out=nn.Linear(4, 2)), ['out.weight']),
    (Holder(first=nn.Conv2d(3, 8, 3), out=nn.Conv2d(8, 2, 1)), ['out.weight']),
    (Holder(out=nn.Linear(4, 7), lin=nn.Linear(4, 4), config=SimpleNamespace(vocab_size=7)),
     ['out.weight']),                                           # by its size, wherever it stands
    (Holder(a=nn.Linear(4, 7), b=nn.Linear(4, 7), lin=nn.Linear(4, 4), num_classes=7),
     ['a.weight', 'b.weight']),
    (nn.Embedding(3, 4), []), (nn.LSTM(3, 4), []),
    (nn.ModuleList([nn.TransformerEncoderLayer(4, 2, 8) for _ in range(2)]), [])], ids=range(11))
def test_heads(model, heads):
    assert [n for n, word in words(model).items() if word == 'heads'] == heads


@pytest.mark.parametrize('method', ['get_output_embeddings', 'get_classifier'])
@pytest.mark.parametrize('wrap', [lambda m: m, lambda m: Holder(module=m), nn.Sequential])
def test_a_model_that_names_its_head_also_inside_another(method, wrap):
    model = Holder(lin=nn.Linear(4, 4), out=nn.Linear(4, 9), last=nn.Linear(4, 4))
    setattr(model, method, lambda: model.out)
    heads = [n for n, word in words(wrap(model)).items() if word == 'heads']
    assert len(heads) == 1 and heads[0].endswith('out.weight')
    setattr(model, method, lambda: None)  # it has none
    assert 'heads' not in words(wrap(model)).values()


def test_a_tied_head():
    model = Holder(out=nn.Linear(4, 9, bias=False), emb=nn.Embedding(9, 4), lin=nn.Linear(4, 9))
    model.out.weight = model.emb.weight
    model.get_output_embeddings = lambda: model.out
    f = found(model)['out.weight']
    assert (f.role.one, f.why) == ('embedding', '9 rows, shared with emb.weight')
    model = Holder(emb=model.emb, out=model.out, get_output_embeddings=lambda: model.out)
    assert found(model)['emb.weight'].why == '9 rows, also the output head out.weight'


# -- layers ----------------------------------------------------------------------------------------

def test_convolutions():
    model = nn.Sequential(nn.Conv1d(80, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 6, 3, groups=2),
                          nn.Conv2d(6, 6, 3, groups=6), nn.ConvTranspose2d(6, 20, 2, groups=2),
                          nn.Conv2d(3, 8, 3), nn.Linear(8, 2))
    f = found(model)
    assert [f[f'{i}.weight'].role.word for i in range(7)] == [
        'input convolutions', 'convolutions', 'convolutions', 'depthwise convolutions',
        'convolutions', 'input convolutions', 'heads']
    assert [f[f'{i}.weight'].matrix for i in range(7)] == [
        (8, 240), (8, 72), (3, 36), (1, 9), (40, 3), (8, 27), (2, 8)]


def test_fused_matrices():
    model = Holder(att=nn.MultiheadAttention(4, 2), lstm=nn.LSTM(3, 4), gru=nn.GRU(3, 4),
                   rnn=nn.RNN(3, 4), qkv=nn.Linear(4, 12), gqa_qkv=nn.Linear(4, 8),
                   query_key_value=nn.Linear(4, 12), gate_up_proj=nn.Linear(4, 10),
                   out=nn.Linear(4, 3))
    pieces = {n: f.pieces for n, f in found(model).items() if f.role.word == 'hidden matrices'}
    assert pieces == {
        'att.in_proj_weight': 3, 'att.out_proj.weight': 1, 'lstm.weight_ih_l0': 4,
        'lstm.weight_hh_l0': 4, 'gru.weight_ih_l0': 3, 'gru.weight_hh_l0': 3, 'rnn.weight_ih_l0': 1,
        'rnn.weight_hh_l0': 1, 'qkv.weight': 3, 'gqa_qkv.weight': 1, 'query_key_value.weight': 1,
        'gate_up_proj.weight': 2}
    assert found(model)['lstm.weight_ih_l0'].matrix == (4, 3)


def test_experts_in_a_list_and_in_a_stack():
    listed = Holder(gate=nn.Linear(4, 3), experts=nn.ModuleList([block() for _ in range(3)]))
    stack = Holder(router=Holder(weight=torch.ones(3, 4)),
                   experts=Holder(w1_proj=torch.ones(3, 5, 4), w2_proj=torch.ones(3, 4, 5),
                                  w1_proj_bias=torch.ones(3, 5), act=nn.ReLU()))
    model = Holder(blocks=nn.ModuleList([listed, stack]), out=nn.Linear(4, 2))
    f = found(model)
    assert words(model) == {
        'blocks.0.gate.weight': 'routers', 'blocks.0.gate.bias': 'biases',
        **{f'blocks.0.experts.{i}.{k}': {'l': 'experts', 'n': 'norms'}[k[0]] for i in range(3)
           for k in ('norm.weight', 'norm.bias', 'lin.weight')},
        'blocks.1.router.weight': 'routers', 'blocks.1.experts.w1_proj': 'experts',
        'blocks.1.experts.w2_proj': 'experts', 'blocks.1.experts.w1_proj_bias': 'biases',
        'out.weight': 'heads', 'out.bias': 'biases'}
    assert f['blocks.0.experts.1.lin.weight'].why == 'Linear, of one of 3'
    assert f['blocks.1.experts.w1_proj'].why == 'Holder, 3 in a stack'


def test_experts_that_say_how_they_are_stored():
    def experts(**notes): return Holder(gate_up_proj=torch.ones(3, 4, 10), **notes)
    turned = dict(is_transposed=True)
    model = Holder(a=experts(**turned), b=experts(**turned, is_concatenated=False), c=experts(),
                   lin=nn.Linear(4, 2))
    f = [found(model)[f'{k}.gate_up_proj'] for k in 'abc']
    assert [(x.pieces, x.transposed, x.matrix) for x in f] == [
        (2, True, (5, 4)), (1, True, (10, 4)), (2, False, (2, 10))]


def test_as_many_blocks_as_classes_are_not_experts():
    model = Holder(blocks=nn.ModuleList([block() for _ in range(3)]), out=nn.Linear(4, 3))
    assert words(model)['out.weight'] == 'heads' and 'experts' not in words(model).values()


def test_tensors_that_a_module_holds_itself():
    model = Holder(emb=nn.Embedding(5, 4), a_log=torch.ones(4, 3), scale=torch.ones(4),
                   pos=torch.ones(1, 7, 4), cls=torch.ones(1, 1, 4),
                   w=Holder(weight=torch.ones(4, 4)),
                   norm=type('MyNorm', (Holder,), {})(weight=torch.ones(4)), layers=nn.ModuleList(
                       [Holder(rel=nn.Embedding(6, 2), lin=nn.Linear(4, 4))]), act=nn.PReLU(),
                   out=nn.Linear(4, 2))
    assert words(model) == {
        'a_log': 'others', 'scale': 'others', 'pos': 'positions', 'cls': 'positions',
        'emb.weight': 'embeddings', 'w.weight': 'hidden matrices', 'norm.weight': 'norms',
        'layers.0.rel.weight': 'positions', 'layers.0.lin.weight': 'hidden matrices',
        'layers.0.lin.bias': 'biases', 'act.weight': 'others', 'out.weight': 'heads',
        'out.bias': 'biases'}
    assert found(model)['a_log'].why == 'Holder is not a known type of layer'


def test_what_a_model_asks_not_to_decay():
    model = Holder(body=Holder(lin=nn.Linear(4, 4), other=nn.Linear(4, 4),
                               no_weight_decay=lambda: {'lin.weight'}), out=nn.Linear(4, 2))
    model.body.other.weight._no_weight_decay = True
    assert [n for n, f in found(model).items() if f.marked] == [
        'body.lin.weight', 'body.other.weight']
    assert found(model)['body.lin.weight'].why == 'Linear, which its model asks not to decay'


def test_a_model_in_torch_compile_is_the_same():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    assert [*words(torch.compile(model, backend='eager')).values()] == [*words(model).values()]
