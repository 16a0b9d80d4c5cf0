"Where kernels run: each device has its kind of them."
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch

from .cuda import Cuda
from .launches import Launches
from .loop import Loops
from .nvidia import machine_of
from .passes import Column
from .tape import Tape
from .toolchain import Kernel

__all__ = ['AnyKernel', 'is_launched_on', 'kernel_on']

AnyKernel: TypeAlias = Kernel | Launches


def kernel_on(device: torch.device, tape: Tape, columns: Sequence[Column],
              sizes: Mapping[int, int]={}) -> AnyKernel:
    """The kernel of a tape for a device. Raises NoKernel, with the reason.

    `sizes` has axes of a few elements, for which the compiler is told how many.
    """
    if device.type == 'cpu': return Kernel(Loops(tape, columns, sizes).source())
    return Launches(Cuda(tape, columns, sizes), machine_of(device))


def is_launched_on(device: torch.device) -> bool:
    "True if kernels for it are `Launches`."
    return device.type == 'cuda' and not torch.version.hip
