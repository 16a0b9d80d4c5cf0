"""Pages of notebooks that show their mathematics without a network, as MathML.

    jupyter nbconvert --to html --config nbs/nbconvert_config.py nbs/*.ipynb
"""
import re

from latex2mathml.converter import convert
from nbconvert.preprocessors import Preprocessor

FORMULA = re.compile(r'(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|\$([^$\n]+)\$', re.S)


def with_mathml(markdown):
    "Markdown with MathML in place of LaTeX. Code stays as it is."
    def written(found):
        code, display, inline = found.groups()
        if code: return code
        if display: return convert(display.strip(), display='block').replace('\n', ' ')
        return convert(inline).replace('<math ', '<math displaystyle="true" ', 1)
    return FORMULA.sub(written, markdown)


class MathML(Preprocessor):
    "Rewrites the Markdown of cells, and of what they show."
    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type == 'markdown': cell.source = with_mathml(cell.source)
        for output in cell.get('outputs', []):
            data = output.get('data', {})
            if 'text/html' not in data and 'text/markdown' in data:
                data['text/markdown'] = with_mathml(data['text/markdown'])
        return cell, resources


c = get_config()  # noqa: F821  # Jupyter's
c.HTMLExporter.preprocessors = [MathML]
c.HTMLExporter.mathjax_url = c.HTMLExporter.require_js_url = 'data:,'  # nothing
