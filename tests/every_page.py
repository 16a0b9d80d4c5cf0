"""Looks at every page of an atlas, in light and dark, at a phone's width.

    python tests/every_page.py DIR
"""
import sys
from pathlib import Path

from browser import PHONE, chromium, faults, opened


def main(folder):
    pages, bad = sorted(folder.rglob('*.html')), 0
    with chromium() as browser:
        for page in pages:
            for theme in ('light', 'dark'):
                tab, said = opened(browser, page.resolve().as_uri(), PHONE, theme)
                for fault in [*said, *faults(tab)]:
                    print(f'{page.relative_to(folder)} ({theme}): {fault}')
                    bad += 1
                tab.context.close()
    print(f'{len(pages)} pages, {bad} faults')
    return bad > 0


if __name__ == '__main__': sys.exit(main(Path(sys.argv[1])))
