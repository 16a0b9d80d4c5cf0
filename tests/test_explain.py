"Promise: an optimizer explains itself, in its own words, letters and numbers, in every form."
import inspect
import re
import subprocess
import sys
from functools import partial
from itertools import combinations

import genopt
import pytest
import torch
from genopt.catalogue import choices
from genopt.cli import main
from genopt.catalogue import every_part
from genopt.study.explain import explain
from genopt.letters import LETTERS, hat, latex, letters
from genopt.links import with_links
from sampled import sampled
from torch import nn

RECIPES = [genopt.recipe(e.name) for e in genopt.recipes()]
EVERY_CHOICE = [(recipe, options) for recipe in RECIPES for options, _ in choices(recipe)]


def test_adam_in_full():
    assert genopt.Adam.explain(wd=.1).text() == ADAM


ADAM = """\
Adam: The average gradient over the root of the average square (Kingma & Ba,
arXiv:1412.6980; AMSGrad: 1904.09237).

given
    η   lr = 0.001       learning rate
    β₁  mom = 0.9        decay of the average of gradients
    β₂  sqr_mom = 0.999  decay of the average of squared gradients
    ε   eps = 1e-08      keeps a denominator away from zero
    λ   wd = 0.1         weight decay

begin with
    m ← 0
    v ← 0
for t = 1, 2, …
    g ← ∇f(θ)
    g ← g + λ·θ
    m ← β₁·m + (1 − β₁)·g
    v ← β₂·v + (1 − β₂)·g²
    m̂ = m / (1 − β₁ᵗ)
    v̂ = v / (1 − β₂ᵗ)
    θ ← θ − η·m̂ / (√v̂ + ε)

where
    θ  parameters
    g  gradient of the loss
    m  average of gradients
    v  average of squared gradients
    t  number of the step

parts
    l2_reg            transform  g ← g + λ·θ
    average_grad      stat       m ← β₁·m + (1 − β₁)·g
    average_sqr_grad  stat       v ← β₂·v + (1 − β₂)·g²
    step_count        stat       t ← t + 1
    adam_step         step       m̂ = m / (1 − β₁ᵗ)
                                 v̂ = v / (1 − β₂ᵗ)
                                 Δθ ← −η·m̂ / (√v̂ + ε)

memory in float32
    8 bytes for each element of a parameter: m 4 + v 4

sources
    debias     Kingma & Ba, arXiv:1412.6980, section 3
    adam_step  Kingma & Ba, arXiv:1412.6980, algorithm 1"""


WHOLE = {  # the last lines, as the papers have them
    'SGD': 'θ ← θ − η·g', 'Momentum': 'θ ← θ − η·m', 'RMSprop': 'θ ← θ − η·g / (√v + ε)',
    'AdamW': 'θ ← θ − η·(λ·θ + m̂ / (√v̂ + ε))', 'Adamax': 'θ ← θ − η·m̂ / u',
    'LaProp': 'θ ← θ − η·m̂',
    'Lion': 'θ ← θ − η·sign((1 − β₁)·g + β₁·mₜ₋₁)', 'AdEMAMix': 'θ ← θ − η·(m̂ + α·m₂) / (√v̂ + ε)',
    'RAdam': 'θ ← θ − η·m̂·(r·√(1 − β₂ᵗ) / (√v + ε) + [r = 0])', 'Adan': 'θ ← θ / (1 + η·λ)',
    'StableAdamW': 'θ ← θ − η·(λ·θ + m̂ / (√v̂ + ε)) / max(RMS(g / max(ε, √v̂)), 1)',
    'QHAdam': 'θ ← θ − η·((1 − ν₁)·g + ν₁·m̂) / (√(ν₂·v̂ + (1 − ν₂)·g²) + ε)',
    'NAdam': 'θ ← θ − η·((1 − μₜ)·g / (1 − Πμ) + μₜ₊₁·m / (1 − Πμ·μₜ₊₁)) / (√v̂ + ε)'}


@pytest.mark.parametrize('name', WHOLE)
def test_the_whole_update_is_as_papers_have_it(name):
    assert explain(name).sections[0].together()[-1][0] == WHOLE[name]


# -- optimizers, groups, memory --------------------------------------------------------------------

def test_an_optimizer_with_its_groups():
    ps = [nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.zeros(3)),
          nn.Parameter(torch.zeros(2))]
    opt = genopt.Optimizer([dict(params=[ps[0]], parts=genopt.Adafactor),
                            dict(params=[ps[1]], parts=genopt.AdamW),
                            dict(params=[ps[2]], parts=genopt.AdamW)], lr=.01)
    text = str(opt.explain())
    assert 'group 0\n' in text and 'groups 1, 2\n' in text
    memory = f'{(4 + 6) * 4 / 24:.3g} bytes for each element of a parameter: R {16 / 24:.3g} + C 1'
    assert memory in text
    opt.param_groups[1]['lr'] = .5
    assert 'η   lr = 0.5 ' in str(opt.explain()) and 'group 2\n' in str(opt.explain())
    one = genopt.AdamW(ps).explain()
    assert len(one.sections) == 1 and not one.sections[0].title and one.name == 'AdamW'
    with pytest.raises(TypeError, match='an optimizer has its hyperparameters'): explain(opt, lr=3)
    with pytest.raises(TypeError, match="explain takes a recipe, .* or a list of parts, not SGD"):
        explain(torch.optim.SGD(ps))
    text = str(genopt.SGD(ps, lr=torch.tensor(.25), maximize=True).explain())
    assert 'climbing: g is the gradient with its sign turned' in text and 'lr = 0.25' in text


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', [e.name for e in genopt.recipes()])
def test_memory_is_what_the_state_takes(name):
    p = nn.Parameter(torch.zeros(8, 5)); opt = genopt.recipe(name)([p])
    composition = genopt.Composition(opt.recipe.parts())
    opt.feed(**{k: [torch.ones_like(p)] for k in composition.fed})
    p.grad = torch.ones_like(p); opt.step()
    stats = composition.tensor_stats  # without numbers
    kept = [opt.state[p][k] for k in stats]
    taken = sum(v.numel() * v.element_size() for v in kept)
    assert sum(opt.explain().sections[0].memory.values()) == pytest.approx(taken / p.numel())


def test_memory_is_in_float32_whatever_the_default_is():
    torch.set_default_dtype(torch.float64)
    try: assert '8 bytes for each element of a parameter: m 4 + v 4' in explain('adam').text()
    finally: torch.set_default_dtype(torch.float32)
    assert 'memory in float32\n    none: nothing but numbers is kept' in explain('sgd').text()


@pytest.mark.parametrize('init, sentence', [
    (lambda param: param.new_zeros(param.shape[0]),
     '0.00391 bytes for each element of a parameter of 1024 × 1024'),
    (lambda param: param if param.sum() > 0 else 2 * param,
     '4 bytes for each element of a parameter'),
    (lambda param: param.new_zeros(param.shape[3]), 'the memory of memory is unknown')])
def test_memory_of_any_shape_is_said_as_far_as_it_is_known(init, sentence):
    @genopt.stat(init=init, whole=True)
    def memory(memory, grad): return memory
    assert explain([memory, genopt.sgd_step], lr=.1).sections[0].remembers() == sentence


def test_memory_that_depends_on_the_shape_says_of_what():
    said = explain('novograd').sections[0].remembers()
    assert said.startswith('4 bytes for each element of a parameter of 1024 × ')
    opt = genopt.NovoGrad([nn.Parameter(torch.zeros(2, 2))])
    said = opt.explain().sections[0].remembers()
    assert said == '5 bytes for each element of a parameter: v 1 + m 4'


def test_a_recipe_without_a_learning_rate():
    @genopt.recipe
    def Mine(nesterov=False):
        return genopt.momentum_buffer, genopt.nesterov_step if nesterov else genopt.momentum_step
    assert 'lr = must be given' in Mine.explain().text()
    assert 'lr = 0.3' in Mine.explain(lr=.3, nesterov=True).text()
    assert 'Δθ ← −η·(g + β₁·m)' in Mine.explain(nesterov=True).text()
    for call in Mine.explain, partial(explain, Mine.parts()):
        with pytest.raises(TypeError, match='no part takes `momm`: did you mean `mom`'):
            call(momm=.1)
    assert 'mom = 0.3' in explain(Mine.parts(), momentum=.3).text()
    assert 'lr = must be' in explain(Mine.parts()).text()


def test_what_a_stat_begins_with():
    def anywhere(param): return torch.randn_like(param)
    notes = {anywhere: '(begins with anywhere(param))', lambda param: 2 * param: '(from 2·θ)',
             .5: '(from 1/2)',
             lambda param: torch.randn_like(param): '(begins with a function of θ)',
             float('nan'): '(begins with nan)'}
    for init, note in notes.items():
        @genopt.stat(init=init)
        def memory(memory): return memory
        assert f'memory ← memory   {note}' in explain([memory, genopt.sgd_step]).text()


def test_sums_and_gates():
    extra = genopt.skip_nonfinite, genopt.clip_by_global_norm, genopt.lookahead
    text = sum(extra, genopt.AdamW).explain().text(120)
    for line in ('bad = Σ sum(1 − [∇f is finite])   (summed over all parameters)',
                 'only if bad = 0   (else nothing happens)',
                 'S = Σ ‖g‖²', 'g ← min(c / (√S + 1e-6), 1)·g',
                 'φ ← (1 − α·σ)·φ + α·σ·θ   (from θ)'):
        assert line in text, line
    assert 'θ ← θ + σ·(φ − θ)' in [m.text for m in
                                   sum(extra, genopt.AdamW).explain().sections[0].together()]


# -- forms -----------------------------------------------------------------------------------------

def test_forms():
    e = genopt.AdamW.explain()
    assert str(e) == e.text()
    assert e._repr_markdown_() == (e.markdown().replace('$`', '$').replace('`$', '$')
                                   .replace('```math', '$$').replace('```', '$$'))
    inside = e.latex().removeprefix('\\[\n').removesuffix('\n\\]')
    assert e._repr_latex_() == f'$${inside}$$' and inside in e.markdown()
    assert (r'\theta \leftarrow \theta - \eta \left(\lambda \theta + '
            r'\frac{\hat{m}}{\sqrt{\hat{v}} + \varepsilon}\right)') in e.latex()
    page = e._repr_html_()
    assert page.count('<math') > 12 and '<mfrac>' in page
    assert page.count('<table>') == page.count('</table>') == 3
    assert '| `adam_step` | step | `grad_avg`, `sqr_avg`' in e.markdown()


@pytest.mark.parametrize('letter, wanted',
                         [('β₁', r'\beta_{1}'), ('vₘₐₓ', r'v_{\max}'), ('Δθ', r'\Delta \theta'),
                                            ('η⁺', r'\eta^{+}'), ('mₜ₋₁', 'm_{t-1}'),
                                            ('∇f', r'\nabla f'),
                                            ('slow_thing', r'\mathrm{slow\_thing}'),
                                            ('Δ₋', r'\Delta_{-}'),
                                            ('ε', r'\varepsilon'), ('ρ∞', r'\rho_{\infty}')])
def test_letters(letter, wanted): assert latex(letter) == wanted


def assert_told_apart(parts):
    "No letter stands for two things, and a recipe's documentation uses no others."
    found = letters(parts)
    names = {k: v for k, v in found.items() if k != 'new_param'}
    assert len({*names.values()}) == len(names), [p.label for p in parts]
    return found


def test_letters_are_not_shared():
    "Nor in the lines of an explanation, where hats are added."
    for recipe, options in EVERY_CHOICE:
        section = recipe.explain(lr=.1, **options).sections[0]
        names = {k: v for k, v in section.equations.letters.items() if k != 'new_param'}
        assert len({*names.values()}) == len(names), recipe.__name__
        assert letters(recipe.parts(**options)).items() <= section.equations.letters.items()


def test_a_users_names_keep_the_letters_of_the_gradient_and_the_count():
    @genopt.stat
    def memory(m, grad, count, *, g=.5, t=.5, a=1.): return m * g + grad * t * a
    found = assert_told_apart([genopt.step_count, genopt.average_grad, memory, genopt.orthogonalize,
                               genopt.sgd_step])
    assert (found['grad'], found['count'], found['grad_avg'], found['ns_a']) == ('g', 't', 'm', 'a')
    assert (found['m'], found['g'], found['t'], found['a']) == ('m′', 'g′', 't′', 'a′')


MATH = r"(?<![A-Za-z_'’-])(?:[a-zA-Z](?![A-Za-z_'’])|Δθ|Πμ|∇f|[α-ωΔ])[₀-₉₊₋ₐₘₓₜₛ⁺⁻*∞′]*"
PROSE = {'A', 'a', 'e', 'U', 'V', 'X', 'Σ'}  # articles, 1e-3, and matrices inside of one part


def letters_in(text):
    "Those of an equation, or of a sentence."
    plain = text.replace('\N{COMBINING CIRCUMFLEX ACCENT}', '')
    return {*re.findall(MATH, re.sub(r'\(([^()]*(?:19|20)\d\d[^()]*|[^()]*arXiv[^()]*)\)', '',
                                     plain))} - PROSE


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize('name', [e.name for e in genopt.recipes()])
def test_help_has_the_letters_of_explain_and_none_means_two_things(name):
    "Of each recipe, alone, with some modifiers, and with some pairs of them."
    recipe, extra = genopt.recipe(name), genopt.modifiers().values()
    alone = ((m,) for m in extra)
    for added in [(), *sampled(alone, 8, name), *sampled(combinations(extra, 2), 8, name)]:
        try: made = sum(added, recipe)
        except genopt.ContractError: continue
        known = assert_told_apart(made.parts())
        several = (p for p in with_links(made.parts()) if p.kind == 'tensor')
        known |= {f'{p.out} {n}': known[p.out] + n for p in several for n in '₁₂'}
        for line in made.__doc__.split('\n\n')[-2].splitlines():
            assert letters_in(line.strip().split('  ', 1)[1]) <= {*known.values()}, line


@pytest.mark.parametrize('name, lines', [
    ('Lion', ['m ← β₂·m + (1 − β₂)·g', 'g ← (1 − β₁)·g + β₁·mₜ₋₁ ']),
    ('QHM', ['g ← (1 − ν₁)·g + ν₁·m ']),
    ('AdEMAMix', ['m₂ ← β₃·m₂ + (1 − β₃)·g,', 'Δθ = −η·(m̂ + α·m₂) / (√v̂ + ε),']),
    ('Adan', ['d ← β₂·d + (1 − β₂)·(g − gₜ₋₁),', 'v ← β₃·v + (1 − β₃)·(g + β₂·(g − gₜ₋₁))² ']),
    ('AggMo', ['m₁ ← β₁·m₁ + g:', 'm₂ ← β₃·m₂ + g: a sum of gradients, each β₃ times the next']),
    ('NAdamW', [f'with {hat("g")} = g / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ)']),
    ('RMSprop', ['v ← β₂·v + (1 − β₂)·g²'])])
def test_help_says_what_the_letters_of_a_renamed_part_are(name, lines):
    for line in lines: assert line in genopt.recipe(name).__doc__


def test_letters_that_modifiers_share_with_a_recipe():
    made = genopt.Muon + genopt.clip_by_norm + genopt.lookahead
    for line in 'g ← g / max(1, ‖g‖/c′)', 'every k′-th step', 'X ← aX + bXXᵀX + c(XXᵀ)²X':
        assert line in made.__doc__
    assert re.search('c′ +max_norm = 1', made.explain().text())
    assert 'k′  sync_every' in made.explain().text()
    doc = (genopt.Adafactor + genopt.clip_by_norm).__doc__
    assert 'R ← (1 − τ)·R + τ·row mean(g²)' in doc and '‖g‖/c′' in doc


def test_documentation_by_hand_has_the_same_letters():
    "A stat's documentation begins with its equation, for the letter that explain gives it."
    for p in every_part():
        written = re.match(r'(\S+) ← ', inspect.getdoc(p.fn))
        if p.kind == 'stat' and written: assert LETTERS[p.out] == written[1], p.label


# -- the command -----------------------------------------------------------------------------------

def test_the_command(tmp_path, capsys):
    assert main(['explain', 'adamw', 'wd=.1']) == 0
    assert 'λ   wd = 0.1' in capsys.readouterr().out
    for form, word in (('--latex', r'\begin{aligned}'), ('--markdown', '| part | kind |')):
        assert main(['explain', 'adam', form]) == 0 and word in capsys.readouterr().out
    assert main(['explain', 'adam', '--html', str(tmp_path / 'new' / 'adam.html')]) == 0
    page = (tmp_path / 'new' / 'adam.html').read_text(encoding='utf-8')
    assert page.startswith('<!doctype html>') and '<title>adam – genopt</title>' in page
    assert 'wrote' in capsys.readouterr().out


@pytest.mark.parametrize('args, sentence', [
    (['adm'], 'explain: there is no recipe or part `adm`: did you mean `Adam`?'),
    (['adam', 'wd'], 'explain: wd: give name=value, as in wd=0.1'),
    (['adam', 'momm=.9'], 'explain: no part takes `momm`: did you mean `mom`?'),
    (['adam', 'amsgrad=3'], 'explain: `amsgrad` = 3: give True or False'),
    (['adam', 'mom=1'], 'explain: `mom` = 1 is out of range: it must be at least 0 and below 1'),
    (['adam', '--latex', '--markdown'],
     'explain: --latex and --markdown do not go together: give one'),
    (['adam', '--html', '/dev/null/page.html'],
     'explain: cannot write /dev/null/page.html: Not a directory')])
def test_what_the_command_refuses(args, sentence, capsys):
    assert main(['explain', *args]) == 1 and capsys.readouterr().err.startswith(sentence)


def test_without_the_extra(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, 'latex2mathml.converter', None)
    e = genopt.Adam.explain()
    assert e._repr_html_() is None and '$' in e._repr_markdown_()
    with pytest.raises(ImportError, match='latex2mathml is not installed, and HTML needs it: pip'):
        e.html()
    assert main(['explain', 'adam', '--html', str(tmp_path / 'x.html')]) == 1
    assert capsys.readouterr().err.startswith('explain: latex2mathml is not installed')


def test_nothing_is_loaded_before_it_is_asked_for():
    code = ('import sys, genopt\n'
            'assert "sympy" not in sys.modules and "matplotlib" not in sys.modules\n'
            'genopt.explain\nassert "sympy" in sys.modules and "matplotlib" not in sys.modules')
    subprocess.run([sys.executable, '-c', code], check=True)
    with pytest.raises(AttributeError,
                       match="module 'genopt' has no attribute 'explian'"): _ = genopt.explian
