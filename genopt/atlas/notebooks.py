"""Notebooks as Markdown: their cells, and the outputs that they were saved with.

A picture becomes a file beside the page, in few colours.
"""
from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ['compressed', 'written']

COLORS = 64  # of a picture


def written(notebook: Path, folder: Path) -> Path:
    "Writes a notebook as a page in a folder, and its pictures. Returns the page."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    page = folder/f'{notebook.stem}.md'
    blocks = [b for i, cell in enumerate(cells) for b in _cell(cell, folder/f'{notebook.stem}-{i}')]
    page.write_text('\n\n'.join(blocks) + '\n', encoding='utf-8')
    return page


def _cell(cell: dict[str, Any], name: Path) -> Iterator[str]:
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown': yield re.sub(r'\]\(#([^)]+)\)', _anchor, source)
    elif source:
        yield _fence(source, 'python')
        for i, output in enumerate(cell['outputs']):
            yield from _output(output, name.with_name(f'{name.name}-{i}.webp'), source)


def _output(output: dict[str, Any], picture: Path, source: str) -> Iterator[str]:
    "The richest form of an output."
    data = {k: ''.join(v) for k, v in output.get('data', {}).items()}
    if 'text' in output: yield _fence(''.join(output['text']), 'text')
    elif 'image/png' in data:
        picture.write_bytes(compressed(base64.b64decode(data['image/png'])))
        made_by = source.strip().splitlines()[-1].strip().replace('"', "'")
        yield f'![Picture made by {_plain(made_by)}]({picture.name})'
    elif 'text/markdown' in data: yield data['text/markdown']
    elif 'text/html' in data: yield _fence(data['text/html'], '{raw} html')
    elif 'text/plain' in data: yield _fence(data['text/plain'], 'text')


def _anchor(m: re.Match[str]) -> str:
    "A link to a heading, which Jupyter names in its own way."
    name = re.sub(r'[^\w-]', '', m[1].lower())
    return f'](#{name})'


def _fence(text: str, language: str) -> str: return f'``````{language}\n{text.rstrip()}\n``````'


def _plain(text: str) -> str:
    "Text without a meaning in Markdown."
    return ''.join(f'\\{c}' if c in r'\`*_{}[]<>()#+-!$|' else c for c in html.escape(text, False))


def compressed(png: bytes) -> bytes:
    "The picture as WebP, in few colours."
    from PIL import Image
    image = Image.open(io.BytesIO(png)).convert('RGB').quantize(COLORS, dither=Image.Dither.NONE)
    image.save(out := io.BytesIO(), format='webp', lossless=True, method=6)
    return out.getvalue()
