"Promise: what optimizers share is read off their parts, for comparisons and pictures."
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from graphlib import TopologicalSorter

import genopt
import pytest
from genopt import compare, relatives
from genopt.cli import main
from genopt.study.compare import OFF
from genopt.study.members import difference, edit, member
from matplotlib.text import Text
from PIL import Image

FRIENDS = """\
                      RMSprop  Adam   AdamW
    l2_reg            ○        ○             g ← g + λ·θ
    average_grad               ●      ●      m ← β₁·m + (1 − β₁)·g
    average_sqr_grad  ●        ●      ●      v ← β₂·v + (1 − β₂)·g²
    step_count                 ●      ●      t ← t + 1
    adam_step                  ●      ●      Δθ ← −η·m̂ / (√v̂ + ε)
    weight_decay                      ●      Δθ ← Δθ − η·λ·θ
    scale_by_rms      ●                      g ← g / (√v + ε)
    sgd_step          ●                      Δθ ← −η·g

    lr                0.01     0.001  0.001  learning rate
    mom                        0.9    0.9    decay of the average of gradients
    sqr_mom           0.99     0.999  0.999  decay of the average of squared
                                               gradients
    eps               1e-08    1e-08  1e-08  keeps a denominator away from zero
    wd                0        0      0.01   weight decay

    Shared by all: average_sqr_grad.
    Off (○) where wd = 0: l2_reg.
    Adam with β₁ = 0, without debias, is RMSprop.
    AdamW with λ = 0 is Adam.
    Adam is RMSprop without scale_by_rms and sgd_step, with average_grad,
      step_count and adam_step; lr = 0.001, not 0.01; sqr_mom = 0.999, not 0.99.
    AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0."""


def test_the_friends_in_full(): assert str(compare(genopt.RMSprop, 'adam', genopt.AdamW)) == FRIENDS


def test_forms():
    found = compare('sgd', 'adafactor', 'aggmo', 'lion', 'ademamix')
    head = '| | SGD | Adafactor | AggMo | Lion | AdEMAMix | |\n|---|:-:|'
    assert found.markdown().startswith(head)
    assert '| `average_grad` |  |  |  | mom=avg_mom | ● | $`m \\leftarrow' in found.markdown()
    names = 'grad_avg=fast_avg, grad_avg=slow_avg,mom=slow_mom'  # it has two
    assert found.cells(genopt.momentum_buffer.fn)[2] == names
    rows = [line for line in found.latex().splitlines() if re.search(r' \\\\( \\hline)?$', line)]
    assert len(rows) == len(found.parts) + 1 and r'$\bullet$' in found.latex()
    html = found._repr_html_()
    assert html.count('<math') == len(found.parts)
    assert '<li>AggMo is SGD without sgd_step, with' in html and r'$\circ$' in found.latex()
    assert found._repr_markdown_() == found.markdown().replace('$`', '$').replace('`$', '$')
    assert not found.shared()
    assert r'& Adam(decouple\_wd=True) &' in compare(partial(genopt.Adam, decouple_wd=True)).latex()


@pytest.mark.parametrize('a, b, sentence', [
    ('adam', 'adamw', 'AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0'),
    ('adamw', 'lamb', 'LAMB is AdamW with scale_by_trust_ratio; eps = 1e-06, not 1e-08'),
    ('signum', 'tiger',
     'Tiger is Signum in all its parts; lr = 0.001, not 0.0001; mom = 0.965, not 0.9; '
     'wd = 0.01, not 0'),
    ('adam', 'adam', 'Adam is Adam in all its parts'),
    ('adam', partial(genopt.Adam, amsgrad=True),
     'Adam(amsgrad=True) is Adam without adam_step, with max_sqr_grad and '
     'adam_step[sqr_avg=max_sqr_avg]'),
    ([genopt.l2_reg, genopt.average_grad, genopt.momentum_step],
     [genopt.average_grad, genopt.l2_reg, genopt.momentum_step],
     'list 0 is list 0 in another order')])
def test_edits(a, b, sentence): assert edit(member(a), member(b)) == sentence


def test_an_edit_makes_one_of_the_other():
    "Of every two recipes: what is taken away and added are exactly the differences."
    for a in genopt.recipes():
        for b in genopt.recipes():
            gone, new = difference(a.parts, b.parts)
            assert Counter(a.parts) - Counter(gone) + Counter(new) == Counter(b.parts)
            assert not {*gone} & {*new}


def test_relatives():
    found = relatives(genopt.Adam)
    assert 'AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0' in found
    assert any(s.startswith('RAdam is Adam without adam_step, with radam_step') for s in found)
    assert not any(s.startswith('Adam is') or s.startswith('SGD') for s in found)
    assert found == compare('adam').edits() and found[0] in compare('adam').text()
    first = relatives(partial(genopt.SGD, mom=.9))[0]
    assert first == 'Momentum is SGD(mom=0.9) in all its parts'
    assert any('LAMB is AdamW with scale_by_trust_ratio' in s for s in relatives('adamw'))


@pytest.mark.parametrize('name', genopt.zoo.__all__)
def test_each_has_a_relative_of_another_name(name):
    assert any(not s.startswith((f'{name} ', f'{name}(')) for s in relatives(name))


def test_what_is_shared_is_an_idea_that_is_on():
    "Not a decay that is off; and a sum and an average of gradients are one idea."
    friends = compare('sgd', 'momentum', 'rmsprop', 'adam')
    assert friends.shared() == [] and 'No part is shared by all.' in friends.text()
    assert 'Off (○) where wd = 0: l2_reg.' in friends.text()
    assert compare('sgd', partial(genopt.Adam, wd=.1)).shared() == []
    decaying = [partial(r, wd=.1) for r in (genopt.SGD, genopt.Adam)]
    assert compare(*decaying).shared() == ['l2_reg'] and OFF not in compare(*decaying).text()
    assert compare('momentum', 'adam').shared() == ['average_grad or momentum_buffer']
    assert 'momentum_buffer is average_grad times 1 / (1 − β₁): one idea.' in friends.text()


def test_identities_in_a_comparison():
    "Adam comes from Momentum and from RMSprop, and a list of one's own is recognised."
    said = compare('sgd', 'momentum', 'rmsprop', 'adam').sentences()
    assert 'Momentum with β₁ = 0 is SGD.' in said
    assert 'Adam with β₁ = 0, without debias, is RMSprop.' in said
    assert 'Adam with ε = 0, without average_sqr_grad and debias, is Momentum with learning rate ' \
           'η·(1 − β₁).' in said
    assert not any(s.startswith('Adam is SGD') for s in said)
    own = compare('sgd', [genopt.average_grad, genopt.momentum_step])
    assert 'list 2 with β₁ = 0 is SGD.' in own.sentences()


@pytest.mark.parametrize('given, error, sentence', [
    (['adamm'], KeyError, 'there is no recipe or part `adamm`: did you mean `Adam`?'),
    ([], TypeError, 'compare takes recipes: compare(RMSprop, Adam, AdamW)'),
    ([3], TypeError, 'or lists of parts, not int'),
    ([[genopt.average_grad]], genopt.ContractError, 'has no step'),
    ([partial(genopt.Adam, amsgard=True)], TypeError,
     'no part takes `amsgard`: did you mean `amsgrad`?')])
def test_what_is_refused(given, error, sentence):
    with pytest.raises(error) as e: compare(*given)
    assert sentence in e.value.args[0]


# -- pictures --------------------------------------------------------------------------------------

def test_the_family_is_a_graph():
    family = genopt.family()
    assert [n.name for n in family.nodes] == [e.name for e in genopt.recipes()]
    parents = {n.name: {e.parent for e in family.parents(n.name)} for n in family.nodes}
    assert parents['Adam'] == {'Momentum', 'RMSprop'} and parents['Lion'] >= {'Signum'}
    assert not parents['SGD'] and all(p for name, p in parents.items() if name != 'SGD')
    assert [*TopologicalSorter(parents).static_order()][0] == 'SGD'  # there is no circle
    above = {}
    for n in family.nodes:  # parents come first
        above[n.name] = parents[n.name].union(*(above[p] for p in parents[n.name]))
        assert not any(p in above[q] for p in parents[n.name] for q in parents[n.name])


def test_an_edge_says_what_it_means():
    family = genopt.family()
    for e in family.edges:
        a, b = (Counter(p.label for p in genopt.recipe(n).parts()) for n in (e.parent, e.child))
        assert a - Counter(e.gone) + Counter(e.added) == b and e.text.startswith(f'{e.child} ')
        if e.identity: assert (e.identity.recipe, e.identity.is_) == (e.child, e.parent)
    notes = {(e.child, e.parent): e.note for e in family.edges}
    assert notes['Adam', 'RMSprop'] == '= RMSprop if β₁ = 0, but for debias'
    assert notes['LAMB', 'AdamW'] == '= AdamW but for scale_by_trust_ratio'
    assert notes['SophiaH', 'Sophia'] == '= Sophia with other values' and all(notes.values())
    assert notes['SparseAdam', 'Adam'] == '+ lazy + adam_hat_step'


def test_the_family_as_text(capsys):
    text = genopt.family().text()
    assert max(map(len, text.splitlines())) <= 80
    assert '└─ Momentum  = SGD if β₁ = 0' in text and '= RMSprop if β₁ = 0' in text
    assert [re.search(r'\w+', line)[0] for line in text.splitlines()
            if re.match(r'[│ ]*(├─|└─|SGD)', line)] == [*genopt.family().places()]
    assert main(['family']) == 0 and capsys.readouterr().out == text + '\n'


def test_pictures(tmp_path):
    picture = genopt.family().plot()
    picture.savefig(tmp_path / 'family.png')
    with Image.open(tmp_path / 'family.png') as im:
        assert im.width == 500 and im.convert('RGB').getpixel((0, 0)) == (255, 255, 255)
        assert len(im.convert('RGB').getcolors(1 << 24)) > 50
    texts = picture.axes[0].texts
    assert max(t.get_window_extent().x1 for t in texts) < picture.bbox.width
    assert {e.name for e in genopt.recipes()} <= {t.get_text() for t in texts}
    axes = compare('sgd', 'adam', 'lion').plot().axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ['SGD', 'Adam', 'Lion']
    count = sum(len(genopt.recipe(n).parts()) for n in ('sgd', 'adam', 'lion'))
    assert sum(len(c.get_offsets()) for c in axes.collections) == count
    assert genopt.family()._repr_png_().startswith(b'\x89PNG')


def test_pictures_are_legible_on_a_phone():
    "Where one is 360 pixels wide, no letter is smaller than 11 of them."
    names = 'SGD', 'Momentum', 'RMSprop', 'Adam', 'AdamW', 'NAdamW', 'LAMB', 'Signum', 'Lion'
    for fig in genopt.family().plot(), compare(*names).plot():
        texts = [t for t in fig.findobj(Text) if t.get_text() and t.get_visible()]
        assert min(t.get_fontsize() for t in texts) / 72 * 360 / fig.get_figwidth() >= 11


def test_without_the_extra():
    code = ('import sys; sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None\n'
            'import genopt\n'
            'try: genopt.compare("sgd", "adam").plot()\nexcept ImportError as e: print(e)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == ('matplotlib is not installed, and pictures need it: '
                           'pip install "genopt-torch[study]"\n')


# -- commands --------------------------------------------------------------------------------------

def test_the_commands(tmp_path, capsys):
    assert main(['compare', 'rmsprop', 'adam', 'adamw']) == 0
    assert capsys.readouterr().out.strip() == FRIENDS.strip()
    assert main(['compare', 'sgd', 'adam', '--latex']) == 0
    assert r'\begin{tabular}{lccl}' in capsys.readouterr().out
    for kind in ('png', 'svg', 'pdf'):
        assert main(['compare', 'sgd', 'adam', '--picture', str(tmp_path / f'x.{kind}')]) == 0
        assert (tmp_path / f'x.{kind}').stat().st_size > 1000
    assert main(['family', '--out', str(tmp_path / 'deep' / 'f.svg')]) == 0
    assert '<svg' in (tmp_path / 'deep' / 'f.svg').read_text(encoding='utf-8')
    assert main(['compare', 'sgd', 'adam', '--html', str(tmp_path / 'x.html')]) == 0
    page = (tmp_path / 'x.html').read_text(encoding='utf-8')
    assert '<title>SGD, Adam – genopt</title>' in page and '<h1>SGD, Adam</h1>' in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert main(['explain', 'adam', '--html', str(tmp_path / 'x.html')]) == 0
    page = (tmp_path / 'x.html').read_text(encoding='utf-8')
    assert '<a href="https://arxiv.org/abs/1412.6980">arXiv:1412.6980</a>' in page
    assert 'https://arxiv.org/abs/1904.09237' in page and '– genopt</title>' in page


@pytest.mark.parametrize('args, sentence', [
    (['compare', 'sgd', 'adamm'],
     'compare: there is no recipe or part `adamm`: did you mean `Adam`? Or give a name (adam), '),
    (['compare', 'sgd', '--picture', 'x.gif'],
     'compare: x.gif: give a name that ends in .png, .svg or .pdf'),
    (['family', '--out', '/dev/null/f.png'],
     'family: cannot write /dev/null/f.png: Not a directory'),
    (['compare', 'sgd', '--html', '/proc/f.html'],
     'compare: cannot write /proc/f.html: No such file or directory')])
def test_what_the_commands_refuse(args, sentence, capsys):
    assert main(args) == 1 and capsys.readouterr().err.startswith(sentence)
