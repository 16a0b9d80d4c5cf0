"""Looks at every page of an atlas, in light and dark, at a phone's width.

    python tests/every_page.py DIR
"""
import sys
from pathlib import Path

from browser import PHONE, chromium, faults, opened, visit


def main(folder):
    pages, found = sorted(folder.rglob('*.html')), []
    with chromium() as browser:
        for theme, rules in dict(light=[], dark=['color-contrast']).items():
            tab, said = opened(browser, 'about:blank', PHONE, theme)
            for page in pages:
                visit(tab, page.resolve().as_uri())
                found += [f'{page.relative_to(folder)} ({theme}): {fault}'
                          for fault in [*said, *faults(tab, *rules)]]
                said.clear()
    for fault in found: print(fault)
    print(f'{len(pages)} pages, {len(found)} faults')
    return bool(found)


if __name__ == '__main__': sys.exit(main(Path(sys.argv[1])))
