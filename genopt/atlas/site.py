"""The site: sources that are printed from the code, and the documentation. Sphinx makes the pages.

The folder of sources has the repository's shape, so that links in the documentation lead where they
led. Its own pages are Markdown that templates fill.
"""
from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from sphinx.application import Sphinx

from .. import kinds, zoo
from ..given import Given
from . import data, family, notebooks, reference
from .pages import file_of, part_pages, recipe_pages

__all__ = ['MARK', 'STEPS', 'Broken', 'build']

MARK = '.atlas'  # a file in a folder that may be written anew
STEPS = 6
HERE = Path(__file__).parent
ROOT = HERE.parents[1]  # of the repository; an installed package has no documentation beside it
PLAYGROUND = 'runtime by_hand parts facts order descent map controls heat kin playground begin'
SECTIONS = {
    'Learn': ['nbs/*'],
    'How to': ['docs/recipes', 'docs/groups', 'docs/training', 'docs/checkpoints', 'docs/surgery',
               'docs/precision', 'docs/parts', 'docs/errors', 'docs/explain', 'docs/atlas',
               'docs/speed', 'docs/kernels', 'docs/gpu'],
    'Workbench': ['docs/workbench', 'docs/race', 'docs/watch', 'docs/check', 'docs/export'],
    'Reference': ['docs/catalogue', 'docs/identities', 'reference/*'],
    'Design': ['README', 'ARCHITECTURE', 'DECISIONS', 'docs/contributing', 'docs/verification',
               'docs/verified', 'docs/comparison', 'benchmarks/README', 'CHANGELOG']}
ABOUT = {
    'Learn': 'Notebooks, with the outputs that they were saved with.',
    'Workbench': 'From an idea to an optimizer that has been raced, checked and taken away.',
    'How to': 'Pages for those who have something to do.',
    'Reference': 'What there is, as the code says it.',
    'Design': 'How genopt is built, why it is as it is, and what was verified.'}
CONF = dict(
    project='genopt', author='', copyright='', html_title='genopt', html_theme='furo',
    language='en',
    extensions=['myst_parser', 'genopt.atlas.extension'], html_math_renderer='mathml',
    myst_enable_extensions=['dollarmath'], myst_heading_anchors=4, html_static_path=['_static'],
    html_css_files=['atlas.css'], templates_path=[str(HERE/'theme')], html_copy_source=False,
    html_show_sourcelink=False,
    html_show_copyright=False, html_use_index=False, html_permalinks_icon='#',
    html_show_search_summary=False,  # a page of a file may not read another
    pygments_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark',
    suppress_warnings=['myst.header', 'misc.highlighting_failure', 'myst.xref_missing'],
    exclude_patterns=['_static'], smartquotes=False)


class Broken(Exception): "The site cannot be made as it should. The message gives the cause."


def build(out: Path) -> Iterator[str]:
    "Makes the site in a folder. Yields what is done next, `STEPS` times. Raises Broken."
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)/'source'
        source.mkdir()
        yield 'parts as JavaScript'
        _write_scripts(source/'_static')
        yield 'documentation'
        documents = [*_documents(source)]
        yield 'notebooks'
        documents += _notebooks(source)
        yield 'reference'
        documents += _reference(source)
        yield 'pages of optimizers and parts'
        _write_pages(source, documents)
        yield 'site'
        _run_sphinx(source, out, Path(folder)/'cache')
        _shrink(out)



def _write_scripts(folder: Path) -> None:
    "The scripts of the playground as one, and those of single pages."
    shutil.copytree(HERE/'static', folder)
    for name, text in data.scripts().items(): (folder/name).write_text(text, encoding='utf-8')
    paths = [folder/f'{name}.js' for name in PLAYGROUND.split()]
    whole = ''.join(p.read_text(encoding='utf-8') for p in paths)
    for p in paths: p.unlink()
    (folder/'playground.js').write_text(whole, encoding='utf-8')


# -- the documentation -----------------------------------------------------------------------------

def _documents(source: Path) -> Iterator[str]:
    "Copies pages and pictures. Yields the pages."
    if not (ROOT/'docs').is_dir(): return
    for path in sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*'), *ROOT.glob('benchmarks/*')]):
        target = source/path.relative_to(ROOT)
        if path.suffix not in ('.md', '.png', '.gif', '.svg') : continue
        target.parent.mkdir(exist_ok=True)
        if path.suffix == '.png':
            target.with_suffix('.webp').write_bytes(notebooks.compressed(path.read_bytes()))
        elif path.suffix != '.md': shutil.copy(path, target)
        else:
            target.write_text(_relinked(path.read_text(encoding='utf-8'), path, source),
                              encoding='utf-8')
            yield str(path.relative_to(ROOT).with_suffix(''))


def _relinked(text: str, path: Path, source: Path) -> str:
    "The text with links to pages, where it has links to notebooks and to code."
    def to_page(m: re.Match[str]) -> str:
        file = (path.parent/m[1]).resolve()
        if file.suffix == '.py': _write_code(file, source)
        if file.suffix == '.png': return f']({m[1].removesuffix(".png")}.webp)'
        if file.suffix not in ('.py', '.ipynb'): return m[0]
        return f']({m[1].removesuffix(file.suffix)}.md)'
    return re.sub(r'\]\(([^():#]+\.\w+)\)', to_page, text)


def _write_code(file: Path, source: Path) -> None:
    "A page of a file of code."
    target = (source/file.relative_to(ROOT)).with_suffix('.md')
    target.parent.mkdir(parents=True, exist_ok=True)
    code = file.read_text(encoding='utf-8')
    target.write_text(f'---\norphan: true\n---\n# {file.name}\n\n``````python\n{code}``````\n',
                      encoding='utf-8')


def _notebooks(source: Path) -> list[str]:
    folder, res = source/'nbs', list[str]()
    folder.mkdir(exist_ok=True)
    for path in sorted(ROOT.glob('nbs/*.ipynb')):
        page = notebooks.written(path, folder)
        page.write_text(_relinked(page.read_text(encoding='utf-8'), path, source), encoding='utf-8')
        res.append(f'nbs/{page.stem}')
    return res


def _reference(source: Path) -> list[str]:
    (source/'reference').mkdir()
    for name, text in (pages := reference.pages()).items():
        (source/f'reference/{name}.md').write_text(text, encoding='utf-8')
    return [f'reference/{name}' for name in pages]


# -- our own pages ---------------------------------------------------------------------------------

def _write_pages(source: Path, documents: list[str]) -> None:
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE/'templates'), trim_blocks=True,
                             undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    recipes, parts = recipe_pages(), part_pages()
    env.filters['name_links'] = lambda text: _name_links(text, [p.name for p in recipes])
    env.globals |= dict(recipes=recipes, parts=parts,
                        families=_families(), kinds=_kinds(), sections=_sections(documents))
    def write(target: str, template: str, **more: Any) -> None:
        path = source/f'{target}.md'
        path.parent.mkdir(exist_ok=True)
        text = env.get_template(f'{template}.md.jinja').render(**more)
        path.write_text(re.sub(r'\n{3,}', '\n\n', text), encoding='utf-8')
    for name in ('optimizers', 'parts', 'compare', 'compose'): write(name, name)
    for title, files in _sections(documents).items():
        write(title.lower().replace(' ', '-'), 'section', title=title, about=ABOUT[title],
              files=files)
    write('index', 'index', family=Markup(family.picture()))
    for page in recipes:
        write(f'recipes/{page.file}', 'recipe', page=page, lr=f'{page.section.values["lr"]:g}')
    for part in parts: write(f'parts/{part.name}', 'part', page=part)


def _sections(documents: list[str]) -> dict[str, list[str]]:
    "The documents of each section of the contents; the last one has what is in none."
    def matches(d: str, pattern: str) -> bool:
        return d == pattern or pattern.endswith('*') and d.startswith(pattern[:-1])
    res = {caption: [d for pattern in patterns for d in documents if matches(d, pattern)]
           for caption, patterns in SECTIONS.items()}
    known = {d for found in res.values() for d in found}
    res[[*res][-1]] += [d for d in documents if d not in known]
    return {caption: found for caption, found in res.items() if found}


def _families() -> dict[str, str]:
    return {m.__name__.rsplit('.', 1)[-1]: (m.__doc__ or '').split('\n\n')[0] for m in zoo.FAMILIES}


def _kinds() -> dict[str, str]:
    "Each kind of part, and the first paragraph of what it says of itself."
    classes = (kinds.Stat, kinds.Transform, kinds.Step, kinds.Scalar, kinds.Total, kinds.Gate,
               kinds.Made, kinds.Evaluation, Given)
    return {k.kind: (k.__doc__ or '').split('\n\n')[0] for k in classes}


def _name_links(text: str, names: list[str]) -> Markup:
    "Text with links where it names recipes, from a page in a folder."
    pattern = rf'\b({"|".join(sorted(names, key=len, reverse=True))})\b'
    return Markup(re.sub(pattern, lambda m: f'<a href="../recipes/{file_of(m[1])}.html">{m[1]}</a>',
                         text))


# -- Sphinx ----------------------------------------------------------------------------------------

def _run_sphinx(source: Path, out: Path, cache: Path) -> None:
    conf = '\n'.join(f'{name} = {value!r}' for name, value in CONF.items())
    (source/'conf.py').write_text(conf, encoding='utf-8')
    said = io.StringIO()
    with contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Python's, by which its packages blame each other
        app = Sphinx(str(source), str(source), str(out), str(cache), 'html', status=None,
                     warning=said, freshenv=True)
        app.build()
    if text := said.getvalue().strip(): raise Broken(f'Sphinx says: {text}')


STYLE = re.compile(r'<link rel="stylesheet"[^>]*href="([./]*)_static/([^"?]+)[^>]*>\s*')
INLINE = re.compile(r'<style>(\s*body .*?)</style>', re.DOTALL)  # furo's, the same in all
PLAIN = re.compile('<span class="[npw]">([^<]*)</span>')  # code of no colour
NEEDLESS = ('**/*.map', '_static/*.css', '_static/styles', '_sources', '.buildinfo', '.doctrees',
            'objects.inv')


def _shrink(out: Path) -> None:
    "One file of style for all pages; and nothing that they do not need."
    index = (out/'index.html').read_text(encoding='utf-8')
    within = INLINE.findall(index)  # before the files
    files = [(out/'_static'/m[2]).read_text(encoding='utf-8') for m in STYLE.finditer(index)]
    style = '\n'.join([*within, *files])
    for path in [p for pattern in NEEDLESS for p in out.glob(pattern)]:
        if path.is_dir(): shutil.rmtree(path)
        else: path.unlink()
    (out/'_static/atlas.css').write_text(style, encoding='utf-8')
    for path in out.rglob('*.html'):
        text = path.read_text(encoding='utf-8')
        root = '../' * len(path.relative_to(out).parent.parts)
        link = f'<link rel="stylesheet" href="{root}_static/atlas.css">\n'
        for block in within: text = text.replace(f'<style>{block}</style>', '')
        text = STYLE.sub('', text).replace('</head>', f'{link}</head>', 1)
        pieces = re.split('(<pre.*?</pre>)', text, flags=re.DOTALL)
        pieces[1::2] = [PLAIN.sub(r'\1', p) for p in pieces[1::2]]
        pieces[::2] = [re.sub(r'\n\s+', '\n', p) for p in pieces[::2]]
        path.write_text(''.join(pieces), encoding='utf-8')
