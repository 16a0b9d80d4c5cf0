"A small fastai Learner on scikit-learn's digits, in float64, for the tests of fastai."
import warnings
from functools import partial

import genopt
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # fastai's imports are its own business
    import fastai.callback.schedule as fastai_schedule
    import fastai.optimizer
    from fastai.callback.all import (GradientAccumulation, GradientClip, MixedPrecision,
                                     ParamScheduler, ReduceLROnPlateau)
    from fastai.data.load import DataLoader
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy

__all__ = ['LIKE_FASTAI', 'OURS', 'THEIRS', 'GradientAccumulation', 'GradientClip', 'Learner',
           'MixedPrecision', 'ParamScheduler', 'ReduceLROnPlateau', 'close', 'fastai',
           'fastai_schedule', 'learner', 'quiet', 'split', 'train', 'weights']

quiet = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),  # fastai's own
         pytest.mark.filterwarnings('ignore:CUDA is not available.*:UserWarning')]

LIKE_FASTAI = dict(sqr_mom=.99, eps=1e-5, wd=.01)  # its defaults for Adam
OURS = partial(genopt.Adam, decouple_wd=True, **LIKE_FASTAI)
THEIRS = fastai.optimizer.Adam

images, labels = load_digits(return_X_y=True)
ROWS = [(torch.tensor(image / 16), int(label)) for image, label in zip(images[:480], labels)]


def split(model): return [list(child.parameters()) for child in model]


def layer(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())


def learner(opt_func, path='.', width=24, **kwargs):
    "The same data, in the same order, and the same model for every optimizer."
    torch.manual_seed(0)
    model = nn.Sequential(layer(64, width), layer(width, 16), nn.Linear(16, 10)).double()
    dls = DataLoaders(DataLoader(ROWS[:400], bs=50), DataLoader(ROWS[400:], bs=80))
    return Learner(dls, model, CrossEntropyLossFlat(), opt_func, path=path, metrics=accuracy,
                   **{'splitter': split, **kwargs})


def train(opt_func, fit, **kwargs):
    "The Learner after `fit(learner)`, which prints nothing."
    learn = learner(opt_func, **kwargs)
    with learn.no_bar(), learn.no_logging(): fit(learn)
    return learn


def weights(learn):
    return [v.clone() for v in learn.model.state_dict().values() if v.is_floating_point()]


def close(a, b, tol=1e-9):
    return all(torch.allclose(x, y, rtol=tol, atol=tol) for x, y in zip(a, b, strict=True))
