"A headless Chromium, and what a page of the atlas must pass in it."
import shutil
from contextlib import contextmanager
from pathlib import Path

NAMES = 'chromium', 'chromium-browser', 'google-chrome'
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PHONE, DESKTOP = 360, 1280


@contextmanager
def chromium():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


def opened(browser, address, width=DESKTOP, theme='light', motion='reduce'):
    "A page, and a list of what goes wrong in it, now and later."
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=theme,
                                  reduced_motion=motion)
    tab, said = context.new_page(), []
    def note(bad, text): said.extend([text] if bad else [])
    tab.on('console', lambda m: note(m.type in ('error', 'warning'), m.text))
    tab.on('pageerror', lambda e: note(True, str(e)))
    tab.on('request', lambda r: note(not r.url.startswith(('file:', 'data:')), r.url))
    visit(tab, address)
    return tab, said


def visit(tab, address):
    "Goes to another page, and waits for its playground."
    tab.goto(address)
    if tab.locator('.playground, #composer, #comparison').count():
        tab.locator('.playground canvas').first.wait_for()


def faults(tab, *rules):
    "What is too wide for the window, and what axe finds that is serious, by some rules or all."
    import axe_core_python
    options = dict(resultTypes=['violations'], **(dict(runOnly=rules) if rules else {}))
    wide = tab.evaluate('document.documentElement.scrollWidth - innerWidth')
    tab.evaluate((Path(axe_core_python.__file__).parent/'axe.min.js').read_text(encoding='utf-8'))
    found = tab.evaluate('options => axe.run(document, options)', options)['violations']
    return [f'{wide} pixels too wide'] * (wide > 0) + [
        f'{v["id"]}: {v["nodes"][0]["html"][:200]} {v["nodes"][0].get("failureSummary", "")}'
        for v in found if v['impact'] in ('serious', 'critical')]
