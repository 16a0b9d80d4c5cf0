"A Lightning callback for rules whose weights to evaluate are not those that train."
from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

__all__ = ['EvaluateAverage']


class EvaluateAverage(Callback):
    """Validates with the weights that `opt.eval()` puts in the parameters' place.

        >>> trainer = Trainer(callbacks=[EvaluateAverage()])

    Raises AttributeError at the first validation if no optimizer has such weights. Lightning's
    checkpoints keep the weights that train.
    """
    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        found: list[Any] = _averaging(trainer) or trainer.optimizers[:1]  # which says why not
        for opt in found: opt.eval()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        for opt in _averaging(trainer): opt.train()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        for opt in _averaging(trainer): opt.train()


def _averaging(trainer: Trainer) -> list[Any]:
    return [opt for opt in trainer.optimizers if hasattr(opt, 'eval')]
