"The recipes, by family: the four friends first."
from .friends import SGD, Adam, AdamW, Momentum, RMSprop

__all__ = ['SGD', 'Momentum', 'RMSprop', 'Adam', 'AdamW']
