"An optimizer with one mistake in it, to see that a check catches it."
import genopt
from helpers import param


def mistaken(mutant, recipe, kwargs, changes):
    "Makes an optimizer of a mutant's parts, with the recipe's hyperparameters but for `changes`."
    hypers = recipe([param()], **kwargs).param_groups[0].hypers() | changes
    takes = genopt.Composition(mutant()).hypers
    values = {k: v for k, v in hypers.items() if k in takes}
    return lambda params: genopt.Optimizer(params, mutant(), **values)


def swap(parts, old, new):
    "The parts with one in the place of another, under whatever names that has."
    return [new if part.fn is old.fn else part for part in parts]
