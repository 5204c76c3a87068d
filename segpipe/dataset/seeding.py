"""Seeds the random transforms of a sample as MONAI does, without a new generator for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from monai.transforms import Compose, Randomizable
from monai.utils import MAX_SEED

_Owners = list[tuple[Randomizable, np.random.RandomState]]


class TransformSeeds:
    """Sets the random states of a chain of transforms as `Compose.set_random_state(seed)` does, to the bit.

    MONAI makes a `numpy.random.RandomState` per random transform and sample. Each asks the operating system for random
    bytes, which takes a hundred times as long as to seed an existing one. Here a generator is made once, and seeded
    again for each sample. A transform outside MONAI that has its own `set_random_state` is left to its method.

    Args:
        transform: chain of a dataset; transforms may contain others.
    """

    def __init__(self, transform: Compose) -> None:
        self.transform = transform
        self._known: dict[int, _Owners] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to objects of this process."""
        return {**self.__dict__, "_known": {}}

    def set(self, seed: int) -> None:
        """Set all random states.

        Args:
            seed: 0 to 2**32 - 1.
        """
        self._set(self.transform, seed)

    def _set(self, transform: Randomizable, seed: int) -> None:
        method = type(transform).set_random_state
        nested = method is Compose.set_random_state
        owners = self._known.get(id(transform), [])
        if owners and all(owner.R is generator for owner, generator in owners):
            for _, generator in owners:
                generator.seed(seed % MAX_SEED)
        elif nested:
            Randomizable.set_random_state(transform, seed=seed)
            self._known[id(transform)] = [(transform, transform.R)]
        else:
            transform.set_random_state(seed=seed)
            of_monai = method.__module__.startswith("monai.")
            self._known[id(transform)] = _equally_seeded(transform, seed) if of_monai else []
        if nested:
            for inner in transform.transforms:
                if isinstance(inner, Randomizable):
                    self._set(inner, int(transform.R.randint(MAX_SEED, dtype="uint32")))


def _equally_seeded(transform: Randomizable, seed: int) -> _Owners:
    """Return a transform's generators and their owners if MONAI gave each the transform's seed; else an empty list."""
    fresh = np.random.RandomState(seed % MAX_SEED)  # as MONAI's
    owners = [(owner, owner.R) for owner in _randomizable(transform)]
    return owners if all(_same_state(generator, fresh) for _, generator in owners) else []


def _randomizable(value: Any) -> Iterator[Randomizable]:
    """Yield a random transform and all random ones in its attributes, or those in a list, tuple or mapping."""
    if isinstance(value, Randomizable):
        yield value
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _randomizable(inner)


def _same_state(one: np.random.RandomState, other: np.random.RandomState) -> bool:
    first, second = one.get_state(legacy=False), other.get_state(legacy=False)
    same_keys = np.array_equal(first["state"]["key"], second["state"]["key"])
    return same_keys and first["state"]["pos"] == second["state"]["pos"]
