"Packages that only some commands and pictures need, and the sentence that says how to install one."
from __future__ import annotations

__all__ = ['missing']

DISTRIBUTION = 'genopt-torch'  # as in pyproject.toml: on PyPI, `genopt` is another project


def missing(package: str, needed: str, extra: str) -> str:
    """The sentence for a package that is not installed.

    `needed` says who needs it, as "pictures need". `extra` is one of the distribution's extras.
    """
    return f'{package} is not installed, and {needed} it: pip install "{DISTRIBUTION}[{extra}]"'
