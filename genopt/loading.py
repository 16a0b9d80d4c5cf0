"""Checkpoints: an optimizer's state and groups as torch has them, and from there back.

Everything that is loaded is checked before anything changes, in `checkpoint.py`.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .averages import refuse_swapped
from .by_name import Loaded, aligned
from .checkpoint import checked
from .converting import weight
from .engines.shield import shielded
from .group import Group
from .interop.dynamo import outside_graphs
from .interop.torch import from_torch
from .packing import pack, refusal
from .settings import Settings
from .sharding import Sharding
from .storage import HALVES

__all__ = ['Loading']


class Loading:
    "An Optimizer's methods that save and load it."
    state: Any
    param_groups: list[Any]
    recipe: Any
    sharding: Sharding
    _settings: Settings
    # The hooks that torch's methods of the same names call
    _optimizer_state_dict_pre_hooks: Any
    _optimizer_state_dict_post_hooks: Any
    _optimizer_load_state_dict_pre_hooks: Any
    _optimizer_load_state_dict_post_hooks: Any

    def groups(self) -> list[Group]: raise NotImplementedError

    @outside_graphs
    def state_dict(self) -> dict[str, Any]:
        """State and groups as torch has them: tensors, numbers, strings, lists and dicts.

        It refers to live state. Each group names its `parts`. If any parameter has a state, each
        has an entry, so that a file cut short is noticed. State of a tensor in no group is left
        out; entries under other keys are kept.
        """
        for before in self._optimizer_state_dict_pre_hooks.values(): before(self)
        groups = self.groups()
        saved = pack(groups, self.sharding.shown(groups, self.state))
        for after in self._optimizer_state_dict_post_hooks.values():
            if (changed := after(self, saved)) is not None: saved = changed
        return saved

    @outside_graphs
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a copy of a `state_dict`, made here or by the recipe's twin in torch.optim.

        Everything is checked first. Raises ValueError if it has other parts, groups or shapes or
        is incomplete, and RuntimeError while the parameters are swapped with their averages; then
        nothing has changed. State goes to its parameter's device. It keeps the dtype that it was
        saved in, unless a group says in which format it is kept.
        """
        self._load(state_dict, lambda saved, groups: (saved, None))

    @outside_graphs
    def load_by_name(self, state_dict: dict[str, Any]) -> Loaded:
        """As `load_state_dict`, by the names of parameters: what fits is taken, the rest listed.

        Both need names, from `model.named_parameters()`. Raises ValueError if nothing fits.
        """
        loaded: Loaded = self._load(state_dict, aligned)
        return loaded

    def master_weights(self) -> dict[Tensor, Tensor]:
        """The weights in float32, by parameter, with the bits that are kept beside them in state
        (`master=24` or `32`, `rounding='kahan'`); those of more than 32 bits stay as they are."""
        found = {p: weight(self.state.get(p, {}), p, g) for g in self.groups() for p in g['params']}
        return {p: x.float() if x.dtype in HALVES else x for p, x in found.items()}

    def _load(self, state_dict: Any, align: Callable[..., tuple[Any, Any]]) -> Any:
        if not isinstance(state_dict, Mapping):
            raise refusal(f'it is a {type(state_dict).__name__}, and not a dict')
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            if (changed := hook(self, state_dict)) is not None: state_dict = changed
        refuse_swapped(self.state.values(), 'load_state_dict')
        self.sharding.settle(self.groups(), self.state)
        saved, loaded = align(from_torch(state_dict, self.recipe), self.groups())
        groups, state = checked(saved, self.groups(), self.state)
        with shielded():
            self.param_groups[:], self.state = groups, state
            self.sharding.take(groups, state)
        self._settings.rules = tuple(g.rule for g in groups)
        for done in self._optimizer_load_state_dict_post_hooks.values(): done(self)
        return loaded
