"Our extension of Sphinx: mathematics as MathML, and scripts for the pages that ask for them."
from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from .formulas import mathml

__all__ = ['setup']


# What the theme does when a page has been read, such as measuring its headings, waits until the
# page has been seen.
LATER = """(add => { document.addEventListener = (type, f, ...more) => type === 'DOMContentLoaded' ?
  requestAnimationFrame(() => setTimeout(f)) : add.call(document, type, f, ...more);
})(document.addEventListener);"""


def setup(app: Sphinx) -> dict[str, Any]:
    "Called by Sphinx."
    app.add_html_math_renderer('mathml', (_inline, None), (_display, None))
    app.connect('html-page-context', _add_scripts)
    app.add_js_file(None, body=LATER, priority=0)
    return dict(parallel_read_safe=True, parallel_write_safe=True)


def _inline(writer: Any, node: nodes.Element) -> None:
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.Element) -> None:
    writer.body.append(f'<div class="formula">{mathml(node.astext().strip(), block=True)}</div>')
    raise nodes.SkipNode


def _add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any],
                 doctree: Any) -> None:
    "Scripts that a page names at its top, as in `scripts: runtime playground`."
    for name in ((context.get('meta') or {}).get('scripts') or '').split():
        app.add_js_file(f'{name}.js', loading_method='defer')
