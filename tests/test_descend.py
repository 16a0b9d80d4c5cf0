"Promise: paths are what recipes do on a surface, and pictures of them are true and legible."
import sys

import genopt
import matplotlib.style
import numpy as np
import pytest
import torch
from genopt import Adam, AdamW, PartError, average_grad, cautious, momentum_step, sgd_step, step
from genopt.cli import main
from genopt.study.maps import Path, animate, map_bounds, plot_paths
from genopt.study.paths import LRS, descend
from genopt.study.surfaces import SURFACES, Surface
from matplotlib.text import Text
from PIL import Image

EACH = pytest.mark.parametrize('surface', SURFACES.values(), ids=SURFACES)


def slope(surface, *point):
    p = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(surface(p), p)[0]


def curvature(surface, *point):
    p = torch.tensor(point, dtype=torch.float64)
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(surface, p))


# -- surfaces --------------------------------------------------------------------------------------

@pytest.mark.parametrize('name, point, height, gradient', [
    ('valley', (2., -1.), 17., (2., -30.)), ('noisy_bowl', (2., -1.), 3.5, (2., -3.)),
    ('saddle', (1., 2.), 2.75, (1., 6.)), ('rosenbrock', (-1.2, 1.), 24.2, (-215.6, -88.)),
    ('beale', (0., 0.), 14.203125, (-12.75, 0.)), ('beale', (1., 1.), 14.203125, (0., 27.75))])
def test_heights_and_slopes(name, point, height, gradient):
    "Computed by hand, or well known."
    surface, p = SURFACES[name], torch.tensor(point, dtype=torch.float64)
    assert surface(p).item() == pytest.approx(height)
    assert slope(surface, *point).tolist() == pytest.approx(gradient)


@EACH
def test_the_minima_are_minima(surface):
    assert surface.minima
    for m in surface.minima:
        assert slope(surface, *m).abs().max() < 1e-12 and curvature(surface, *m).min() > 0
        assert surface(torch.tensor(m, dtype=torch.float64)) == 0 and surface.distance(*m) == 0
    for x, (low, high) in zip((*zip(*surface.minima, surface.start),), surface.bounds, strict=True):
        assert low < min(x) and max(x) < high
    assert surface.distance(*surface.start) > 1


def test_curvatures():
    assert slope(SURFACES['saddle'], 0., 0.).tolist() == [0., 0.]
    assert curvature(SURFACES['saddle'], 0., 0.).tolist() == pytest.approx([-1., 1.])
    assert curvature(SURFACES['valley'], 3., 1.).tolist() == pytest.approx([1., 30.])


# -- paths -----------------------------------------------------------------------------------------

def test_sgd_in_the_valley_is_in_closed_form():
    path = descend('sgd', 'valley', (-9., 2.), steps=100, lr=.05)
    k, decays = np.arange(101)[:, None], 1 - .05 * np.array([1., 30.])
    assert path.points.shape == (101, 2) and path.points.dtype == np.float64
    assert np.allclose(path.points, decays**k * [-9., 2.], rtol=1e-12, atol=0)
    assert np.allclose(path.losses, (path.points**2 @ [1., 30.]) / 2, rtol=1e-12, atol=0)
    assert path.distance == pytest.approx(np.hypot(*path.points[-1])) and not path.diverged


def test_momentum_is_the_loop_by_hand():
    x, v, points = np.array([-1.5, -.5]), np.zeros(2), []
    for _ in range(100):
        points.append(x)
        g = np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0]**2), 200 * (x[1] - x[0]**2)])
        v = .8 * v + g
        x = x - 5e-4 * v
    path = descend('momentum', 'rosenbrock', steps=100, lr=5e-4, mom=.8)
    assert np.abs(path.points[:100] - points).max() < 1e-12
    assert path.hypers['lr'] == 5e-4 and path.hypers['mom'] == .8
    assert path.label == 'Momentum (lr=0.0005, mom=0.8)'


@EACH
def test_paths_begin_at_the_surfaces_start_and_go_down(surface):
    path = descend('adam', surface, steps=30, lr=2e-4)
    assert not path.diverged and path.losses[-1] < path.losses[0] and len(path.points) == 31
    assert tuple(path.points[0]) == surface.start and path.surface is surface


def test_noise_is_of_the_slope_and_has_a_seed():
    paths = [descend('sgd', 'noisy_bowl', steps=400, lr=.01, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(paths[0].points, paths[1].points)
    assert not np.array_equal(paths[0].points, paths[2].points)
    before, after = paths[0].points[:-1], paths[0].points[1:]
    noise = (before - after) / .01 - before * [1., 3.]
    assert np.abs(noise.mean(0)).max() < .2 and np.abs(noise.std(0) - 1).max() < .1
    assert np.allclose(paths[0].losses, paths[0].points**2 @ [.5, 1.5])  # the height has none


def test_without_lr_the_best_of_some_is_taken():
    best = descend('sgd', 'valley', steps=50)
    losses = {lr: descend('sgd', 'valley', steps=50, lr=lr).losses for lr in LRS}
    assert best.hypers['lr'] == min((lr for lr in LRS if len(losses[lr]) == 51),
                                    key=lambda lr: losses[lr][-5:].mean())
    assert best.hypers['lr'] == .05 and 'lr=0.05' in best.label
    assert LRS[0] == 1e-4 and LRS[-1] == 5. and len(LRS) == 15


def test_a_recipe_without_lr():
    @step
    def fixed_step(grad): return -.5 * grad
    path = descend([fixed_step], 'noisy_bowl', steps=3)
    assert path.label == path.name == 'fixed_step' and 'lr' not in path.hypers


def test_recipes_and_lists_and_functions():
    def cone(x, y): return (x**2 + y**2).sqrt()
    parts = descend([average_grad, momentum_step], cone, (3., 4.), steps=5, lr=.1, mom=.5)
    assert parts.name == 'average_grad → momentum_step' and parts.surface.name == 'cone'
    assert parts.distance is None
    assert parts.losses[0] == 5.
    assert parts.points[1] == pytest.approx([3 - .1 * .5 * .6, 4 - .1 * .5 * .8])
    with torch.no_grad():
        added = descend(AdamW + cautious, lambda x, y: x**2 + y**2, [1, 2], steps=3, lr=.1, wd=.5)
    assert added.name == 'AdamW + cautious' and added.hypers['wd'] == .5
    assert added.surface.name == 'f'
    named = descend(Adam, Surface('cone', cone, start=(3., 4.), minima=((0., 0.),)), lr=.1,
                    amsgrad=True, steps=5)
    assert named.hypers['amsgrad'] is True and named.distance < 5
    assert 'max_sqr_avg' not in named.hypers


def test_repr():
    assert repr(descend('sgd', 'valley', steps=2, lr=.1)) == (
        'SGD (lr=0.1) on valley: from (-9, 2) with loss 100 to (-7.29, 8) in 2 steps: '
        'loss 987, 10.8 from the minimum')
    assert repr(descend('sgd', lambda x, y: x + y, (1, 2), steps=2, lr=.1)) == (
        'SGD (lr=0.1) on f: from (1, 2) with loss 3 to (0.8, 1.8) in 2 steps: loss 2.6')


@pytest.mark.parametrize('function, lr',
                         [('rosenbrock', .1), ('valley', 5.), (lambda x, y: (x + y).sqrt(), 2.),
                                          (lambda x, y: (-x).exp() + y**2, 1e300)])
def test_what_leaves_for_infinity_stops(function, lr):
    path = descend('sgd', function, (1., 2.) if callable(function) else None, lr=lr)
    assert path.diverged and 1 <= len(path.points) < 201 and len(path.losses) == len(path.points)
    assert np.isfinite(path.points).all() and np.isfinite(path.losses).all()
    assert repr(path).endswith(f'diverged in step {len(path.points)}')


# -- what is wrong ---------------------------------------------------------------------------------

@pytest.mark.parametrize('args, error, sentence', [
    (('adm',), KeyError, 'there is no recipe or part `adm`: did you mean `Adam`?'),
    (('sgd', 'rosenbrok'), KeyError, 'there is no surface `rosenbrok`: did you mean `rosenbrock`?'),
    (('sgd', 'beale', (1., 2., 3.)), ValueError,
     '`start` = (1.0, 2.0, 3.0): give two finite numbers, as in (1., 2.)'),
    (('sgd', 'beale', (1., float('inf'))), ValueError,
     '`start` = (1.0, inf): give two finite numbers, as in (1., 2.)'),
    (('sgd', 'beale', 7), ValueError, '`start` = 7: give two finite numbers, as in (1., 2.)'),
    (('sgd', lambda x, y: x), ValueError, '`f` has no start: give one, as in start=(1., 2.)'),
    (('sgd', 'beale', None, 0), ValueError, '`steps` = 0: give at least 1'),
    (('sgd', lambda x, y: 3., (1, 2)), TypeError,
     '`f` returned 3.0: return a tensor of one number, made of x and y'),
    (('sgd', lambda x, y: torch.stack([x, y]), (1, 2)), TypeError,
     '`f` returned a tensor of shape (2,): return a tensor of one number, made of x and y'),
    (('sgd', lambda x, y: torch.tensor(x.item()), (1, 2)), TypeError,
     '`f` has no gradient: compute it from x and y with torch\'s functions'),
    (('sgd', lambda x, y: (x + y).log(), (-1, -2)), ValueError,
     '`f` is nan at (-1.0, -2.0): start elsewhere')])
def test_errors(args, error, sentence):
    with pytest.raises(error) as e: descend(*args)
    assert e.value.args[0].startswith(sentence)


def test_errors_of_the_optimizer_are_its_own():
    with pytest.raises(ValueError, match='`orthogonalize` takes matrices'): descend('muon')
    with pytest.raises(TypeError, match='no part takes `momm`: did you mean `mom`'):
        descend('adam', momm=.9)
    @step
    def forgetful(grad, *, lr): -lr * grad
    with pytest.raises(PartError, match='`forgetful` returned None'): descend([forgetful])


def test_errors_of_pictures():
    a, b = descend('sgd', 'beale', steps=1, lr=.1), descend('sgd', 'valley', steps=1, lr=.1)
    with pytest.raises(ValueError, match='on `beale` and on `valley`'): plot_paths([a, b])
    with pytest.raises(ValueError, match='there are no paths: give at least one'): animate([])


# -- pictures --------------------------------------------------------------------------------------

def pixels(path):
    "Each frame of an image, and how long the last one stays."
    with Image.open(path) as image:
        frames = []
        for i in range(getattr(image, 'n_frames', 1)):
            image.seek(i)
            frames.append(np.array(image.convert('RGBA'), int))
        return frames, image.info.get('duration')


@pytest.mark.parametrize('surface', [SURFACES['valley'], SURFACES['beale']], ids=lambda s: s.name)
def test_a_picture_is_true(surface):
    paths = [descend(r, surface, steps=30, lr=1e-4) for r in ('sgd', 'momentum', 'adam')]
    fig = plot_paths(iter(paths))
    where, fall = fig.axes
    assert where.get_xlim() == surface.bounds[0] and where.get_ylim() == surface.bounds[1]
    trails = [line for line in where.lines if line.get_linestyle() == '-']
    for p, trail, curve in zip(paths, trails, fall.lines, strict=True):
        assert np.array_equal(np.transpose(trail.get_data()), p.points)
        assert np.array_equal(curve.get_ydata(), p.losses)
        assert trail.get_color() == curve.get_color()
    assert len({c.get_color() for c in fall.lines}) == 3
    assert len({c.get_marker() for c in fall.lines}) == 3
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ['start', 'minimum',
                                                                  *(p.label for p in paths)]
    assert fig.get_suptitle().replace('\n', ' ').startswith(surface.title)
    assert (where.get_xlabel(), where.get_ylabel()) == ('x', 'y')
    assert (fall.get_xlabel(), fall.get_ylabel()) == ('step', 'loss')


def test_contours_are_of_the_surface():
    "On a function that vmap takes, and on one that looks at its values."
    def bowl(x, y): return x**2 + y**2 - 4
    def branching(x, y): return x**2 + y**2 - 4 if x > -9 else x - x + float('nan')
    for f in bowl, branching:
        where, fall = plot_paths([descend('sgd', f, (-8., 3.), steps=30, lr=.1)]).axes
        for contours in where.collections:
            for level, path in zip(contours.levels, contours.get_paths()):
                if len(path.vertices) and not contours.filled:
                    radii = np.hypot(*path.vertices.T)
                    assert radii == pytest.approx(np.full(len(radii), level**.5), abs=.05)
        assert fall.get_yscale() == 'log'
        assert fall.get_ylabel().startswith('loss +')  # it is negative somewhere


def test_a_path_that_diverges_stays_in_its_frame():
    paths = [descend('sgd', lr=.02), descend('adam', lr=.1)]
    fig = plot_paths(paths)
    assert fig.axes[0].get_xlim() == (-2., 2.) and fig.axes[1].get_ylim()[1] < 1e10
    assert fig.legends[0].get_texts()[2].get_text() == 'SGD (lr=0.02), diverged in step 3'
    far = descend('sgd', lambda x, y: x**2 + y**2, (3., 1.), lr=9.)  # alone, and with no bounds
    assert map_bounds([far]) == ((2., 4.), (0., 2.))


def test_a_start_outside_of_the_bounds_is_seen():
    assert map_bounds([descend('sgd', 'valley', (20., 1.), steps=3, lr=.01)]) == ((-10., 20.),
                                                                                  (-3.5, 3.5))


@pytest.mark.parametrize('function, contours', [(lambda x, y: 0 * x + 3, 0),
                                                (lambda x, y: 0 * y + (x > 1), 0)])
def test_functions_of_few_heights_have_no_contours(function, contours):
    path = descend('sgd', function, (1., 2.), steps=3, lr=.1)
    where, fall = plot_paths([path]).axes
    assert len(where.collections) == contours and fall.get_yscale() == 'linear'
    assert (path.points == [1., 2.]).all()


def test_legible_on_a_phone():
    "Where a picture is 360 pixels wide, no letter is smaller than 11 of them, and none is cut."
    for surface in SURFACES:
        fig = plot_paths([descend(r, surface, steps=3, lr=1e-3) for r in ('sgd', 'adam')])
        texts = [t for t in fig.findobj(Text) if t.get_text() and t.get_visible()
                 and not any(t in axis.get_offset_text().findobj() for ax in fig.axes
                             for axis in (ax.xaxis, ax.yaxis))]
        assert min(t.get_fontsize() for t in texts) / 72 * 360 / fig.get_figwidth() >= 11
        boxes = [t.get_window_extent() for t in fig.legends[0].get_texts()]
        assert max(b.x1 for b in boxes) < fig.bbox.width


def test_an_animation_is_a_small_file(tmp_path):
    paths = [descend(r, lr=lr) for r, lr in (('momentum', 5e-4), ('rmsprop', .2), ('adam', .5))]
    animate(paths).save(tmp_path/'paths.gif', writer='pillow')
    assert (tmp_path/'paths.gif').stat().st_size < 400_000


def test_many_paths_are_told_apart():
    names = [f'{n} of a long name' for n in range(9)]
    paths = [descend('sgd', steps=3, lr=1e-4)] * 9
    paths = [Path(n, p.surface, p.points, p.losses, {}, n, False) for n, p in zip(names, paths)]
    fig = plot_paths(paths)
    looks = {(c.get_color(), c.get_linestyle()) for c in fig.axes[1].lines}
    legend, whole = fig.legends[0].get_window_extent(), fig.bbox
    assert len(looks) == 9
    assert legend.x0 >= 0 and legend.x1 <= whole.x1 and legend.y1 <= fig.axes[0].get_tightbbox().y0


def test_white_under_a_dark_style(tmp_path):
    path = descend('sgd', 'valley', steps=3, lr=.01)
    with matplotlib.style.context('dark_background'):
        plot_paths([path]).savefig(tmp_path/'dark.png')
    plot_paths([path]).savefig(tmp_path/'light.png')
    (dark,), (light,) = (pixels(tmp_path/f'{n}.png')[0] for n in ('dark', 'light'))
    assert np.array_equal(dark, light) and (dark[0, 0] == 255).all() and (dark[..., 3] == 255).all()


def test_an_animation_moves_and_ends_as_the_picture(tmp_path):
    paths = [descend(r, steps=12, lr=1e-3) for r in ('sgd', 'adam')]
    animate(paths, frames=6).save(tmp_path/'paths.gif', writer='pillow')
    frames, rest = pixels(tmp_path/'paths.gif')
    assert len(frames) == 6 and rest > 500
    assert all((a != b).any() for a, b in zip(frames, frames[1:]))
    plot_paths(paths).savefig(tmp_path/'paths.png', dpi=100)
    (still,), _ = pixels(tmp_path/'paths.png')
    assert frames[-1].shape == still.shape and np.abs(frames[-1] - still).mean() < 3
    assert np.abs(frames[0] - still).mean() > np.abs(frames[-1] - still).mean()


def test_notebooks_show_pictures_and_films():
    path = descend('sgd', steps=3, lr=1e-3)
    assert plot_paths([path])._repr_png_().startswith(b'\x89PNG')
    assert '<img' in animate([path], frames=2)._repr_html_()
    assert genopt.descend is descend and genopt.plot_paths is plot_paths


# -- the command -----------------------------------------------------------------------------------

def fails(capsys, *argv):
    assert main(['descend', *map(str, argv)]) == 1
    err = capsys.readouterr().err
    assert err.startswith('descend: ') and err.count('\n') == 1  # one sentence, no traceback
    return err[len('descend: '):-1]


@pytest.mark.parametrize('suffix, begins', [('png', b'\x89PNG'), ('svg', b'<?xml'),
                                            ('pdf', b'%PDF'), ('gif', b'GIF8')])
def test_the_command(suffix, begins, tmp_path, capsys):
    out = tmp_path/'deep'/f'paths.{suffix}'
    assert main(['descend', 'adam', 'sgd', '--on', 'valley', '--steps', '5', '--lr', '.5,.01',
                 '--start=-5,1', '--out',
                 str(out)]) == 0
    first, second, wrote = capsys.readouterr().out.splitlines()
    path = descend('adam', 'valley', (-5, 1), steps=5, lr=.5)
    assert first == f'Adam (lr=0.5)  {path.end}'
    assert second.startswith('SGD (lr=0.01)  loss ') and wrote == f'wrote {out}'
    assert out.read_bytes().startswith(begins)
    if suffix in ('png', 'gif'):
        frames, _ = pixels(out)
        assert min(frames[0].shape[:2]) > 300 and len(frames) == (1 if suffix == 'png' else 6)


def test_the_command_finds_a_learning_rate(tmp_path, capsys):
    argv = ['descend', 'sgd', '--on', 'noisy_bowl', '--steps', '20', '--seed', '3', '--out',
            str(tmp_path/'a.png')]
    assert main(argv) == 0
    best = descend('sgd', 'noisy_bowl', steps=20, seed=3)
    assert capsys.readouterr().out.splitlines()[0] == f'{best.label}  {best.end}'


@pytest.mark.parametrize('argv, sentence', [
    (['adm'], 'there is no recipe or part `adm`: did you mean `Adam`?'),
    (['adam', '--on', 'beal'], 'there is no surface `beal`: did you mean `beale`?'),
    (['adam', '--steps', 0], '`steps` = 0: give at least 1'),
    (['adam', '--start', '1'], '--start 1: give 2 numbers'),
    (['adam', '--start=a,b'], '--start a,b: give numbers, with commas between'),
    (['adam', '--start=nan,1'], '`start` = [nan, 1.0]: give two finite numbers, as in (1., 2.)'),
    (['adam', 'sgd', '--lr', '1,2,3'], '--lr 1,2,3: give 1 or 2 numbers'),
    (['adam', '--lr', 'fast'], '--lr fast: give numbers, with commas between'),
    (['adam', '--lr', '-1'], '`lr` = -1 is out of range: it must be at least 0'),
    (['adam', '--out', 'a.jpeg'], 'a.jpeg: give a name that ends in .png, .svg, .pdf or .gif'),
    (['adam', '--lr', '.1', '--steps', 1, '--out', '/proc/genopt/a.png'],
     'cannot write /proc/genopt/a.png: No such file or directory')])
def test_what_the_command_says(argv, sentence, capsys):
    assert fails(capsys, *argv).startswith(sentence)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /dev/full')
@pytest.mark.parametrize('suffix', ['png', 'gif'])
def test_a_full_disk(suffix, tmp_path, capsys):
    (out := tmp_path/f'a.{suffix}').symlink_to('/dev/full')
    sentence = fails(capsys, 'sgd', '--lr', '.001', '--steps', 1, '--out', out)
    assert sentence == f'cannot write {out}: No space left on device'


def test_without_matplotlib(tmp_path, capsys, monkeypatch):
    for name in [n for n in sys.modules if n.split('.')[0] == 'matplotlib']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    path = descend([sgd_step], steps=1, lr=.001)  # paths go without
    sentence = ('matplotlib is not installed, and pictures need it: '
                'pip install "genopt-torch[study]"')
    for draw in path.plot, lambda: animate([path]):
        with pytest.raises(ImportError) as e: draw()
        assert str(e.value) == sentence
    assert fails(capsys, 'sgd', '--lr', '.001', '--steps', 1, '--out', tmp_path/'a.png') == sentence
    assert not (tmp_path/'a.png').exists()


def test_the_help_names_every_surface(capsys):
    with pytest.raises(SystemExit): main(['descend', '--help'])
    out = capsys.readouterr().out
    assert all(name in out for name in SURFACES) and f'best of {len(LRS)}' in ' '.join(out.split())
