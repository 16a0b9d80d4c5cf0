"A story makes parameters, given what makes an optimizer; each optimizer must make the same of it."
from functools import partial

import genopt
import torch


def torchs(cls=torch.optim.Adam): return partial(cls, foreach=False)


def tell(story, *makes):
    "What each makes of it is what the first one does."
    want, *got = [[p.detach().clone() for p in story(make)] for make in makes]
    for g in got: torch.testing.assert_close(g, want, rtol=1e-5, atol=1e-6)


def tell_in_three(story, ours=genopt.Adam, twin=torch.optim.Adam):
    "Of torch's, the eager and the compiled one."
    tell(story, torchs(twin), ours, partial(ours, compile=True))
