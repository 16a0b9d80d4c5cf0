"Promise: what optimizers share is read off their parts, for comparisons and pictures."
import re
import subprocess
import sys
from functools import partial

import genopt
import pytest
from genopt import compare, relatives
from genopt.cli import main
from genopt.study.members import difference, edit, member
from genopt.study.pictures import tree
from PIL import Image

FRIENDS = """\
                      RMSprop  Adam   AdamW
    l2_reg            ●        ●             g ← g + λ·θ
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
    Adam is RMSprop without scale_by_rms and sgd_step, with average_grad,
      step_count and adam_step; lr = 0.001, not 0.01; sqr_mom = 0.999, not 0.99.
    AdamW is Adam without l2_reg, with weight_decay; wd = 0.01, not 0."""


def test_the_friends_in_full(): assert str(compare(genopt.RMSprop, 'adam', genopt.AdamW)) == FRIENDS


def test_forms():
    found = compare('sgd', 'adafactor', 'aggmo', 'lion', 'ademamix')
    head = '| | SGD | Adafactor | AggMo | Lion | AdEMAMix | |\n|---|:-:|'
    assert found.markdown().startswith(head)
    assert '| `average_grad` |  |  |  | mom=avg_mom | ● | $`m \\leftarrow' in found.markdown()
    assert 'grad_avg=fast_avg, grad_avg=slow_avg,mom=slow_mom' in found.text()  # it has two
    rows = [line for line in found.latex().splitlines() if re.search(r' \\\\( \\hline)?$', line)]
    assert len(rows) == len(found.parts) + 1 and r'$\bullet$' in found.latex()
    html = found._repr_html_()
    assert html.count('<math') == len(found.parts)
    assert '<li>AggMo is SGD without sgd_step, with' in html
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
    from collections import Counter
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


@pytest.mark.parametrize('given, error, sentence', [
    (['adamm'], KeyError, 'there is no recipe `adamm`: did you mean `Adam`?'),
    ([], TypeError, 'compare takes recipes: compare(RMSprop, Adam, AdamW)'),
    ([3], TypeError, 'or lists of parts, not int'),
    ([[genopt.average_grad]], genopt.ContractError, 'has no step'),
    ([partial(genopt.Adam, amsgard=True)], TypeError,
     'no part takes `amsgard`: did you mean `amsgrad`?')])
def test_what_is_refused(given, error, sentence):
    with pytest.raises(error) as e: compare(*given)
    assert sentence in e.value.args[0]


# -- pictures --------------------------------------------------------------------------------------

def test_the_tree_hangs_each_from_its_nearest():
    members = [member(e.name) for e in genopt.recipes()]
    names = [m.name for m in members]
    parent = {names[c]: names[p] for c, p in tree(members).items()}
    assert len(parent) == len(members) - 1 and 'SGD' not in parent
    assert (parent['AdamW'], parent['LAMB'], parent['Tiger'],
            parent['RMSprop']) == ('Adam', 'AdamW', 'Signum', 'SGD')


def test_pictures(tmp_path):
    genopt.family().savefig(tmp_path / 'family.png')
    with Image.open(tmp_path / 'family.png') as im:
        assert im.size == (1500, 960) and im.convert('RGB').getpixel((0, 0)) == (255, 255, 255)
        assert len(im.convert('RGB').getcolors(1 << 24)) > 50
    picture = genopt.family()
    assert max(t.get_window_extent().x1 for t in picture.axes[0].texts) < picture.bbox.width
    texts = [t.get_text() for t in picture.axes[0].texts]
    assert {e.name for e in genopt.recipes()} <= {*texts} and '+ weight_decay  − l2_reg' in texts
    axes = compare('sgd', 'adam', 'lion').plot().axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ['SGD', 'Adam', 'Lion']
    count = sum(len(genopt.recipe(n).parts()) for n in ('sgd', 'adam', 'lion'))
    assert sum(len(c.get_offsets()) for c in axes.collections) == count


def test_without_the_extra():
    code = ('import sys; sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None\n'
            'import genopt\n'
            'try: genopt.family()\nexcept ImportError as e: print(e)\n')
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
    assert '<title>sgd, adam</title>' in (tmp_path / 'x.html').read_text(encoding='utf-8')


@pytest.mark.parametrize('args, sentence', [
    (['compare', 'sgd', 'adamm'], 'compare: there is no recipe `adamm`: did you mean `Adam`?'),
    (['compare', 'sgd', '--picture', 'x.gif'],
     'compare: x.gif: give a name that ends in .png, .svg or .pdf'),
    (['family', '--out', '/dev/null/f.png'],
     'family: cannot write /dev/null/f.png: Not a directory'),
    (['compare', 'sgd', '--html', '/proc/f.html'],
     'compare: cannot write /proc/f.html: No such file or directory')])
def test_what_the_commands_refuse(args, sentence, capsys):
    assert main(args) == 1 and capsys.readouterr().err.strip() == sentence
