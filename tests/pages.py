"A page of documentation: its code, run as a reader would run it, its commands and its links."
import contextlib
import io
import re
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
SESSION = re.compile(r'^>>> (.*\n(?:\.\.\. .*\n)*)((?:(?!>>>).*\n?)*)', re.M)


class Page:
    def __init__(self, path):
        self.path = ROOT / path
        self.text = self.path.read_text(encoding='utf-8')

    def __repr__(self): return self.path.stem

    @cached_property
    def blocks(self): return re.findall(r'```python\n(.*?)```', self.text, re.S)

    @cached_property
    def commands(self): return re.findall(r'^    python -m genopt (.*)$', self.text, re.M)

    @cached_property
    def links(self):
        "What it links to in this project, without the anchors."
        return re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', self.text)

    def run(self, names):
        "Runs its blocks, top to bottom, in one namespace. A block of `>>>` lines is a session."
        for block in self.blocks:
            if block.startswith('>>>'): self.run_session(block, names)
            else: exec(compile(block, self.path.name, 'exec'), names)
        return names

    def run_session(self, block, names):
        "Runs lines of `>>>`, and compares what each one prints, or the error that it ends in."
        for code, want in SESSION.findall(block):
            code, printed = code.replace('\n... ', '\n'), io.StringIO()
            with contextlib.redirect_stdout(printed):
                try: exec(compile(code, self.path.name, 'exec'), names)
                except Exception as e: print(f'{type(e).__name__}: {e}')
            assert printed.getvalue().strip() == want.strip(), f'{self.path.name}: {code}'


README = Page('README.md')
DOCS = [Page(path.relative_to(ROOT)) for path in sorted((ROOT / 'docs').glob('*.md'))]
