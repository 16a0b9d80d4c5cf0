"""Promise: an optimizer is explained as an algorithm that a reader, a terminal, a code host and TeX
can take. That it makes the optimizer's steps is a promise of `test_equations.py`.
"""
import re
import shutil
import subprocess

import genopt
import pytest
import torch
from genopt.catalogue import choices, every_part
from genopt.cli import main
from genopt.study.explain import explain
from genopt.study.report import Text
from sampled import sampled

RECIPES = [e.name for e in genopt.recipes()]
HAT = '\N{COMBINING CIRCUMFLEX ACCENT}'


def lines(what, **given):
    "The algorithm's lines, without the words around them."
    text = explain(what, **given).text()
    box = text[re.search('^(begin with|for t|in each step)', text, re.M).start():]
    return box.split('\n\n')[0].splitlines()


def everything():
    "Recipes with some of their options and with modifiers, and parts."
    for name in sampled(RECIPES, 30):
        for options, _ in sampled([*choices(genopt.recipe(name))], 1, name):
            yield genopt.recipe(name).explain(lr=.1, **options)
    bases, modifiers = (genopt.SGD, genopt.RAdam), genopt.modifiers().values()
    modified = [base + m for m in modifiers for base in bases]
    for recipe in sampled(modified, 30): yield recipe.explain()
    for part in sampled(every_part(), 60): yield explain(part)


@pytest.fixture(scope='module')
def explanations(): return [*everything()]


# -- as papers print it ----------------------------------------------------------------------------

WHOLE = {
    'Lion': ['begin with', '    m ← 0', 'for t = 1, 2, …, with λ = 0', '    g ← ∇f(θ)',
             '    θ ← θ − η·sign(β₁·m + (1 − β₁)·g)', '    m ← β₂·m + (1 − β₂)·g'],
    'NovoGrad': ['begin with', '    v ← 0', '    m ← 0', 'for t = 1, 2, …, with λ = 0',
                 '    g ← ∇f(θ)', '    if t = 1:', '        v ← ‖g‖²', '    otherwise:',
                 '        v ← β₂·v + (1 − β₂)·‖g‖²', '    m ← β₁·m + g / (√v + ε)',
                 '    θ ← θ − η·m'],
    'ADOPT': ['begin with', '    v ← 0', '    m ← 0', 'for t = 1, 2, …, with λ = 0',
              '    g ← ∇f(θ)',
              '    m ← β₁·m + (1 − β₁)·clip(g / max(ε, √v), ±(t − 1)^(1/4))',
              '    if t = 1:', '        v ← g²', '    otherwise:',
              '        v ← β₂·v + (1 − β₂)·g²', '        θ ← θ − η·m'],
    'RAdam': ['begin with', '    ρ∞ = 2 / (1 − β₂) − 1', '    m ← 0', '    v ← 0',
              'for t = 1, 2, …, with λ = 0', '    g ← ∇f(θ)', '    m ← β₁·m + (1 − β₁)·g',
              '    v ← β₂·v + (1 − β₂)·g²', '    ρₜ = ρ∞ − 2·t·β₂ᵗ / (1 − β₂ᵗ)',
              f'    m{HAT} = m / (1 − β₁ᵗ)', '    if ρₜ > 5:',
              '        r = √(ρ∞·(ρₜ − 2)·(ρₜ − 4) / (ρₜ·(ρ∞ − 2)·(ρ∞ − 4)))',
              f'        θ ← θ − η·r·√(1 − β₂ᵗ)·m{HAT} / (√v + ε)', '    otherwise:',
              f'        θ ← θ − η·m{HAT}'],
    'Adafactor': ['begin with', '    R ← 0', '    C ← 0', 'for t = 1, 2, …, with ε = 0, λ = 0',
                  '    g ← ∇f(θ)', '    τ = tᶜ', '    if θ is a matrix:',
                  '        R ← (1 − τ)·R + τ·row mean(g²)',
                  '        C ← (1 − τ)·C + τ·column mean(g²)',
                  '        g ← g / √(R·C / column mean(R))', '    otherwise:',
                  '        R ← (1 − τ)·R + τ·g²', '        g ← g/√R', '    ρ = min(1/√t, η)',
                  '    θ ← θ − ρ·g·max(ε₂, RMS(θ)) / max(RMS(g)/d, 1)'],
    'Muon': ['begin with', '    m ← 0', 'for t = 1, 2, …', '    g ← ∇f(θ)',
             '    m ← β₁·m + (1 − β₁)·g', '    g ← (1 − β₁)·g + β₁·m', '    if columns < rows:',
             '        X ← gᵀ / max(‖g‖, ε)', '    otherwise:', '        X ← g / max(‖g‖, ε)',
             '    repeat k times:', '        A = X·Xᵀ', '        X ← a·X + (b·A + c·A²)·X',
             '    if columns < rows:',
             '        θ ← θ − η·(λ·θ + √max(rows/columns, 1)·Xᵀ)', '    otherwise:',
             '        θ ← θ − η·(λ·θ + √max(rows/columns, 1)·X)'],
    'Rprop': ['begin with', '    Δ ← η', '    gₜ₋₁ ← 0', 'for t = 1, 2, …', '    g ← ∇f(θ)',
              '    Δ ← clip(η⁺·Δ, Δ₋, Δ₊)   where g·gₜ₋₁ > 0',
              '        clip(η⁻·Δ, Δ₋, Δ₊)   where g·gₜ₋₁ < 0',
              '        clip(Δ, Δ₋, Δ₊)      elsewhere', '    g ← g·[g·gₜ₋₁ ≥ 0]', '    gₜ₋₁ ← g',
              '    θ ← θ − Δ·sign(g)']}


@pytest.mark.parametrize('name', WHOLE)
def test_an_algorithm_in_full(name): assert lines(name) == WHOLE[name]


@pytest.mark.parametrize('name, begin', [('Yogi', 'v ← v₀'), ('Rprop', 'Δ ← η'),
                                         ('MADGRAD', 'θ₀ ← θ'), ('NAdam', 'Πμ ← 1'),
                                         ('ASGD', 'ηₜ₋₁ ← η'), ('ASGD', 'w ← θ')])
def test_what_each_stat_begins_with(name, begin): assert f'    {begin}' in lines(name)


def test_a_first_value_that_is_a_hyperparameter():
    assert '    v ← v₀' in lines('adagrad', initial_accumulator_value=.1)


def test_a_last_value_is_named_only_where_it_must_be():
    "That is, where one line reads both values of a stat, or what it changes."
    @genopt.transform
    def turned(grad, grad_avg, prev_grad_avg): return grad + grad_avg - prev_grad_avg
    for name in RECIPES:
        step = genopt.recipe(name).explain().sections[0].algorithm.step
        last = [s.name for s in step if s.name.startswith('prev_')]
        assert last == ['prev_left_basis', 'prev_right_basis'] * (name == 'SOAP'), name  # for m
    assert lines([genopt.average_grad, turned, genopt.sgd_step], lr=.1)[3:] == [
        '    g ← ∇f(θ)', '    mₜ₋₁ ← m', '    m ← β₁·m + (1 − β₁)·g',
        '    θ ← θ − η·(g + m − mₜ₋₁)']
    assert '    gₜ₋₁ ← ∇f' in lines('mars')  # the gradient as it came


def test_cases_that_are_known_are_not_shown():
    p, q = (genopt.Adafactor([torch.nn.Parameter(torch.ones(shape))]).explain().text()
            for shape in ((4, 3), (5,)))
    assert 'is a matrix' not in p + q and 'row mean' in p and 'row mean' not in q


def test_gates_and_totals():
    made = genopt.AdamW + genopt.skip_nonfinite + genopt.clip_by_global_norm + genopt.lookahead
    assert lines(made)[6:13] == [
        'in each step', '    g ← ∇f(θ)', '    bad = Σ sum(1 − [∇f is finite])', '    if bad > 0:',
        '        skipped ← skipped + 1', '    if bad = 0:', '        S = Σ ‖g‖²']
    assert '        t ← t + 1' in lines(made)  # a step that is skipped is not counted
    assert lines(made)[-3:] == ['        if t mod k = 0:', '            φ ← (1 − α)·φ + α·θ',
                                '            θ ← φ']


def test_every_letter_is_explained(explanations):
    "By what is given, or in the legend; and words of torch's are no mathematics."
    for e in explanations:
        for section in e.sections:
            a = section.algorithm
            for name in a.names:
                known = name in section.values or name in a.meanings or name.endswith(' hat')
                assert known or name in ('dim', 'nan'), (e.name, name)
        said = e.text().split('sources')[0]
        said = re.sub(r'(?m)^ +\S+ +\w+ = .*$', '', said)  # but for what is given
        odd = re.findall('mean_(?:row|col)|nan_to_num|e-16|e-32', said)
        assert not odd, (e.name, odd)


# -- forms -----------------------------------------------------------------------------------------

def test_no_line_is_wider_than_80(explanations):
    for e in explanations:
        for line in e.text().splitlines(): assert len(line.replace(HAT, '')) <= 80, line


def test_a_wide_terminal_shows_more():
    text, row = explain('adam').text(120), '    step_count        stat       count → count '
    assert row in text and row not in explain('adam').text()
    assert max(map(len, explain('adam').text(60).splitlines())) <= 60


def test_the_terminal_sets_the_width(monkeypatch):
    monkeypatch.setenv('COLUMNS', '64')
    assert Text().width == 80
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    assert Text().width == 64


def test_markdown_for_a_code_host(explanations):
    r"""Each formula is between $` and `$, or in a block of math, so it keeps its backslashes.

    It has none of TeX's spaces, such as \,, which become commas elsewhere.
    """
    for e in explanations:
        text = e.markdown()
        blocks = re.findall(r'```math\n(.*?)\n```', text, re.S)
        outside = re.sub(r'```math\n.*?\n```|\$`[^`]*`\$|`[^`]*`', '', text, flags=re.S)
        assert len(blocks) == len(e.sections) and '$' not in outside, e.name
        assert not re.search(r'\\[A-Za-z]', outside), e.name
        assert not re.search(r'\\[,;:!]', text), e.name


def test_latex_compiles_when_pasted(explanations, tmp_path):
    pages = [e.latex() for e in explanations]
    for page in pages: assert page.isascii(), re.findall(r'[^\x00-\x7f]', page)
    tex = next(filter(shutil.which, ('pdflatex', 'tectonic')), None)
    if tex is None: pytest.skip('there is no TeX')
    (tmp_path / 'all.tex').write_text('\n'.join([
        r'\documentclass{article}\usepackage{amsmath}\begin{document}', *pages, r'\end{document}']))
    command = [tex, *(['-interaction=nonstopmode', '-halt-on-error'] if tex == 'pdflatex' else [])]
    done = subprocess.run([*command, 'all.tex'], cwd=tmp_path, capture_output=True)
    assert not done.returncode, done.stdout.decode(errors='replace')[-2000:]


# -- parts and sums --------------------------------------------------------------------------------

def test_a_part(capsys):
    assert lines(genopt.average_grad) == ['begin with', '    m ← 0', 'in each step',
                                          '    m ← β₁·m + (1 − β₁)·g']
    text = explain('average_grad').text()
    assert 'β₁  mom = 0.9  decay of the average of gradients' in text
    assert 'used by\n    RMSprop, Adam, AdamW, QHM,' in text
    assert main(['explain', 'average_grad']) == 0 and capsys.readouterr().out == text + '\n'
    assert "wd=0.2" not in text and 'wd = 0.2' in explain('l2_reg', wd=.2).text()
    with pytest.raises(TypeError, match='no part takes `momm`: did you mean `mom`?'):
        explain('average_grad', momm=.1)


def test_a_part_has_all_its_cases():
    assert lines('grown_mom')[1:3] == ['    if t ≥ T:', '        β₃′ = β₃']
    assert '    if ε ≠ 0 and θ is a matrix:' in lines('scale_by_factored_rms')


def test_parts_that_make_no_optimizer():
    assert lines('lookahead')[-2:] == ['    φ ← (1 − α·σ)·φ + α·σ·θ', '    Δθ ← σ·(φ − θ)']
    assert 'any recipe, as in Adam + lookahead' in explain(genopt.lookahead).text()
    assert lines(genopt.skip_nonfinite)[-1] == '    only if bad = 0'


def test_a_sum(capsys):
    assert explain('adam + cautious').text() == (genopt.Adam + genopt.cautious).explain().text()
    assert main(['explain', 'adam+cautious+lookahead']) == 0
    assert capsys.readouterr().out.startswith('Adam + cautious + ')
    for name, why in (('adam + cautius', '`cautius`: did you mean `cautious`?'),
                      ('adm', 'there is no recipe or part `adm`: did you mean `Adam`?')):
        assert main(['explain', name]) == 1 and why in capsys.readouterr().err
