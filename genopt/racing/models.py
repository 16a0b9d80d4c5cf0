"Small models. They are written so that many of them can also run as one, with torch.func.vmap."
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

__all__ = ['Convolutions', 'Factors', 'MLP', 'Transformer']


class Convolutions(nn.Module):
    "Images of 8×8 to 10 classes: two convolutions with stride 2, and two linear layers."
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.hidden, self.head = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        x = relu(self.second(relu(self.first(x))))
        return self.head(relu(self.hidden(x.flatten(1))))


class MLP(nn.Module):
    "Rows of numbers to one number, through two hidden layers."
    def __init__(self, features: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, width), nn.Tanh(),
                                    nn.Linear(width, width), nn.Tanh())
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Any: return self.head(self.layers(x))[..., 0]


class Factors(nn.Module):
    "Pairs of numbers, of a user and a thing, to the product of their embeddings."
    def __init__(self, users: int, things: int, width: int):
        super().__init__()
        self.users, self.things = nn.Embedding(users, width), nn.Embedding(things, width)
        for e in self.users, self.things: nn.init.normal_(e.weight, std=.3)

    def forward(self, x: Tensor) -> Any: return (self.users(x[:, 0]) * self.things(x[:, 1])).sum(-1)


class Layer(nn.Module):
    "Attention to what came before, and a hidden layer, each added to its input."
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Any:
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
                   for y in self.attend(self.norms[0](x)).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / q.shape[-1]**.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        seen = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.mix(seen.transpose(-2, -3).flatten(-2))
        return x + self.narrow(gelu(self.widen(self.norms[1](x))))


class Transformer(nn.Module):
    "Rows of letters to the logits of the letter after each."
    def __init__(self, letters: int, window: int, width: int=32, layers: int=2):
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(window, width)
        for e in self.letters, self.places: nn.init.normal_(e.weight, std=.1)
        self.layers = nn.Sequential(*[Layer(width, 4) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)

    def forward(self, x: Tensor) -> Any:
        x = self.letters(x) + self.places.weight[:x.shape[-1]]
        return self.head(self.norm(self.layers(x)))
