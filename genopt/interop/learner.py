"A fastai callback for rules whose weights to evaluate are not those that train."
from __future__ import annotations

from fastai.callback.core import Callback

__all__ = ['EvaluateAverage']


class EvaluateAverage(Callback):  # type: ignore[misc]
    """Validates with the weights that `opt.eval()` puts in the parameters' place.

        >>> learn = Learner(dls, model, opt_func=genopt.ScheduleFreeAdamW, cbs=EvaluateAverage())

    Raises AttributeError when a fit begins, if the optimizer has no such weights. `learn.save`
    keeps the weights that train; `with learn.opt.swapped(): learn.export()` writes the average.
    """
    def before_fit(self) -> None:
        if self.opt is not None: self.opt.train()  # an interrupted validation may have left it

    def before_validate(self) -> None:
        if self.opt is not None: self.opt.eval()

    def after_validate(self) -> None:
        if self.opt is not None: self.opt.train()

    after_fit = after_validate
