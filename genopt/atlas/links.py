"""Links between the pages of a folder: each must lead to a file, and to a place in it.

    >>> broken(Path('atlas'))
    []
"""
from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ['broken']


class Page(HTMLParser):
    "The links of a page, and the names of its places."
    def __init__(self, text: str):
        super().__init__()
        self.links, self.places = list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ('href', 'src') and value: self.links.append(value)
            if name in ('id', 'name') and value: self.places.add(value)


def broken(folder: Path) -> list[str]:
    "Each link within the folder that leads nowhere, with its page."
    pages = {str(p.relative_to(folder)): Page(p.read_text(encoding='utf-8'))
             for p in sorted(folder.rglob('*.html'))}
    return [f'{name} → {link}' for name, page in pages.items()
            for link in dict.fromkeys(page.links) if not _leads(link, name, pages, folder)]


def _leads(link: str, name: str, pages: dict[str, Page], folder: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc: return True
    path = os.path.normpath(os.path.join(os.path.dirname(name), unquote(parts.path)))
    target = path if parts.path else name
    if target not in pages: return (folder/target).is_file() and not parts.fragment
    is_state = Path(target).stem in STATEFUL  # what stands after the # is for its script
    return not parts.fragment or is_state or unquote(parts.fragment) in pages[target].places


STATEFUL = 'compare', 'compose'
