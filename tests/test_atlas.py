"Promise: the atlas is a site that one can walk around in, without a server and without a network."
import json
import re
import subprocess
import sys

import atlas_site
import genopt
import pytest
import torch
from browser import CHROMIUM, DESKTOP, PHONE, chromium, faults, opened
from genopt.atlas.links import broken
from genopt.atlas.pages import recipe_pages
from genopt.catalogue import every_part
from genopt.cli import main
from sampled import everything

pytest.importorskip('sphinx')
browser_needed = pytest.mark.skipif(not CHROMIUM, reason='chromium is not installed')

PAGES = ['index', 'optimizers', 'parts', 'compare', 'compose', 'recipes/adam', 'recipes/muon',
         'recipes/adafactor', 'parts/adam_step', 'parts/orthogonalize', 'learn',
         'nbs/1_adam_and_friends', 'docs/recipes', 'docs/catalogue', 'reference/optimizer',
         'README', 'search']
LIMIT = 8e6  # bytes


def built(folder):
    subprocess.run([sys.executable, '-m', 'genopt', 'atlas', '--out', folder], check=True,
                   capture_output=True)
    return folder


@pytest.fixture(scope='session')
def site():
    "The site: see `atlas_site`."
    return atlas_site.finished()


@pytest.fixture(scope='session')
def browser():
    with chromium() as found: yield found


@pytest.fixture
def visit(site, browser):
    "Opens a page. At the end, nothing may have gone wrong in it."
    tabs = []
    def visit(page, width=DESKTOP, theme='light', motion='reduce'):
        name, *place = page.split('#')
        address = '#'.join([(site/name).as_uri(), *place])
        tabs.append(opened(browser, address, width, theme, motion))
        return tabs[-1][0]
    yield visit
    for tab, _ in tabs: tab.context.close()
    assert [text for _, said in tabs for text in said] == []


# -- files -----------------------------------------------------------------------------------------

def test_every_link_leads_somewhere(site): assert broken(site) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path/'a.html').write_text('<a href="b.html">b</a><a href="#x">x</a><p id="y">'
                                   '<a href="#y">y</a>')
    assert broken(tmp_path) == ['a.html → b.html', 'a.html → #x']


def test_it_is_small(site):
    assert sum(p.stat().st_size for p in site.rglob('*') if p.is_file()) < LIMIT


def test_every_recipe_and_part_has_a_page(site):
    for name in genopt.zoo.__all__: assert (site/f'recipes/{name.lower()}.html').is_file()
    for part in every_part(): assert (site/f'parts/{part.__name__}.html').is_file()


def test_a_page_without_a_playground_says_why(site):
    for page in recipe_pages():
        text = (site/f'recipes/{page.file}.html').read_text()
        assert ('class="playground"' in text) == page.moves
        why = re.findall(r'<p class="still">There is no playground here, as the part <code>.+?</p>',
                         text)
        assert len(why) == (not page.moves), page.name


@pytest.mark.skipif(not everything, reason='it takes minutes: GENOPT_WHOLE=1 asks for it')
def test_two_builds_are_the_same(site, tmp_path):
    built(tmp_path/'again')
    files = {p.relative_to(site): p.read_bytes() for p in site.rglob('*') if p.is_file()}
    again = {p.relative_to(tmp_path/'again'): p.read_bytes()
             for p in (tmp_path/'again').rglob('*') if p.is_file()}
    assert {*files} == {*again}
    assert [p for p in files if files[p] != again[p]] == []


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path/'mine.txt').write_text('mine')
    assert main(['atlas', '--out', str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f'atlas: {tmp_path} has other files in it: give a new folder, or an empty one\n')
    assert [p.name for p in tmp_path.iterdir()] == ['mine.txt']
    assert main(['atlas', '--out', str(tmp_path/'mine.txt')]) == 1


# -- every page ------------------------------------------------------------------------------------

@pytest.mark.exhaustive(2)
@browser_needed
@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('page', PAGES)
def test_a_page_is_accessible_and_fits(visit, page, theme):
    "Axe finds nothing serious, and nothing overflows at 360 pixels."
    assert faults(visit(f'{page}.html', PHONE, theme)) == []


@browser_needed
def test_search_finds(visit):
    tab = visit('search.html')
    tab.fill('.sidebar-search >> nth=0', 'orthogonalize')
    tab.press('.sidebar-search >> nth=0', 'Enter')
    for found in ('orthogonalize', 'Muon'):
        tab.get_by_role('link', name=found, exact=True).first.wait_for()


# -- the playground --------------------------------------------------------------------------------

PLAYGROUND = 'document.querySelector(".playground").playground'


def points(tab, run=0):
    return tab.evaluate(f'{PLAYGROUND}.runs[{run}].path.points')


@browser_needed
def test_a_slider_moves_a_path(visit):
    tab = visit('recipes/adam.html')
    before = points(tab)
    slider = tab.locator('input[data-hyper=mom]')
    for _ in range(40): slider.press('ArrowLeft')
    assert points(tab) != before
    assert 'Adam' in tab.locator('.playground .summary >> nth=0').text_content()


@browser_needed
def test_every_slider_of_every_recipe_is_there(visit):
    "And each changes the value that its path is made with."
    for name in ('SGD', 'Adam', 'Muon', 'AdEMAMix', 'Rprop', 'Adafactor'):
        tab = visit(f'recipes/{name.lower()}.html')
        shown = {*tab.eval_on_selector_all('.playground [data-hyper]',
                                           'all => all.map(x => x.dataset.hyper)')}
        recipe = genopt.recipe(name)
        numbers = {k for k, v in recipe.options.items() if isinstance(v, (bool, int, float))}
        assert {*recipe.rule().composition.hypers, *numbers} <= shown, name


@browser_needed
def test_the_path_is_that_of_descend(visit):
    "On the page, Adam walks as `genopt.descend` says, with the learning rate that it finds best."
    tab = visit('recipes/adam.html')
    path = genopt.descend('adam', 'rosenbrock')
    ours = torch.tensor(points(tab), dtype=torch.float64)
    assert (ours - torch.from_numpy(path.points)).abs().max() < 1e-9


@browser_needed
def test_an_identity_overlays_two_paths(visit):
    "The buttons beside the sliders: each puts one path on the other."
    for name in genopt.zoo.__all__:
        tab = visit(f'recipes/{name.lower()}.html')
        buttons = tab.locator('.identities button')
        for i in range(buttons.count()):
            buttons.nth(i).click()
            a, b = points(tab), points(tab, 1)
            assert len(a) == len(b), buttons.nth(i).text_content()
            far = max(abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q))
            assert far < 1e-6 * max(abs(x) for p in a for x in p), buttons.nth(i).text_content()


@browser_needed
def test_the_start_follows_a_click(visit):
    tab = visit('index.html')
    box = tab.locator('canvas.map').bounding_box()
    tab.mouse.click(box['x'] + .25 * box['width'], box['y'] + .25 * box['height'])
    x, y = points(tab)[0]
    assert abs(x + 1) < .05 and abs(y - 2) < .05


@browser_needed
def test_another_surface_and_the_heat_map(visit):
    tab = visit('recipes/momentum.html')
    tab.locator('.playground select >> nth=0').select_option('valley')
    assert points(tab)[0] == [-9, 2]
    tab.locator('.heatmap summary').click()
    tab.locator('.heatmap .summary').filter(has_text='comes furthest').wait_for()
    before = points(tab)
    tab.locator('canvas.heat').click(position=dict(x=20, y=20))
    assert points(tab) != before


# -- comparing and composing -----------------------------------------------------------------------

def plainly(sentence): return sentence.replace('−', '-').replace('e-0', 'e-')


@browser_needed
def test_compare_says_what_python_says(visit):
    for names in (['RMSprop', 'Adam', 'AdamW'], ['Momentum', 'Adam', 'Lion'], ['SGD', 'Adafactor']):
        tab = visit(f'compare.html#{",".join(names)}')
        said = tab.locator('#comparison > div > ul > li').all_text_contents()
        wanted = genopt.compare(*names)
        formulas = {i.text for i in wanted.identities()}  # their letters are shown as formulas
        plain = [s for s in wanted.sentences() if s.split(':')[0].rstrip('.') not in formulas]
        assert [*map(plainly, plain)] == [s for s in map(plainly, said) if s in map(plainly, plain)]
        rest = [s for s in map(plainly, said) if s not in map(plainly, plain)]
        assert len(rest) == len(wanted.sentences()) - len(plain) + len(names)  # and the chips
    tab.locator('#comparison > .bar select').select_option('Lion')
    assert 'Lion' in tab.locator('#comparison thead').text_content()


def composed(tab): return tab.evaluate('document.getElementById("composer").composed()')


@browser_needed
def test_the_composer_composes(visit):
    tab = visit('compose.html#AdamW')
    assert tab.locator('.message').text_content() == 'This is AdamW.'
    tab.locator('#composer select >> nth=2').select_option('cautious')
    assert composed(tab) == [p.label for p in (genopt.AdamW + genopt.cautious).parts()]
    assert tab.locator('.message').text_content() == 'This is AdamW with cautious.'
    tab.get_by_label('Take average_grad away').click()
    said = tab.locator('.message').text_content()
    assert said == ('`adam_step` reads `grad_avg`: add a stat that keeps it, such as '
                    '`average_grad`, before it.')


@browser_needed
@pytest.mark.parametrize('name', ['Adam', 'AggMo', 'Lion', 'ASGD', 'Muon', 'AdEMAMix'])
def test_the_code_to_copy_runs(visit, name):
    "It makes an optimizer of the parts on the page, with the values of the sliders."
    tab = visit(f'compose.html#{name}')
    code = tab.locator('#composer pre').text_content()
    names = dict(model=torch.nn.Linear(3, 2, bias=False))
    exec(code, names)
    assert names['opt'].param_groups[0]['parts'] == composed(tab)


@browser_needed
def test_a_composition_of_ones_own_by_keyboard(visit):
    "From SGD to momentum, with no mouse."
    tab = visit('compose.html#SGD')
    tab.locator('#composer select >> nth=1').focus()
    tab.locator('#composer select >> nth=1').select_option('momentum_buffer')
    tab.get_by_label('Take sgd_step away').press('Enter')
    tab.locator('#composer select >> nth=1').select_option('momentum_step')
    assert tab.locator('.message').text_content() == 'This is Momentum.'


@browser_needed
def test_it_is_drawn_soon(visit):
    "From disk. As a rule in under 100 ms; here with room for a busy machine."
    tab = visit('parts/adam_step.html')
    tab.wait_for_timeout(500)
    paint = tab.evaluate('performance.getEntriesByName("first-contentful-paint")[0].startTime')
    assert paint < 1000


def test_the_playground_needs_no_python(site):
    "All that it knows is in one file."
    text = (site/'_static/playground.js').read_text()
    facts = json.loads(re.search(r'genopt.facts = (\{.*\});\n', text)[1])
    assert {*facts['recipes']} == {*genopt.zoo.__all__}


@browser_needed
def test_paths_move_unless_they_should_not(visit):
    moving, still = (visit('index.html', motion=m) for m in ('no-preference', 'reduce'))
    moving.wait_for_timeout(2200)  # longer than a path takes
    def picture(tab): return tab.locator('.playground canvas').first.evaluate('c => c.toDataURL()')
    assert picture(moving) == picture(still)
