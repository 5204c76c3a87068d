"""Cases into batches: cached, seeded by epoch and case; a failure is a message, not a worker's traceback."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from monai.data import (
    CacheDataset,
    DataLoader,
    MetaTensor,
    get_track_meta,
    list_data_collate,
    set_track_meta,
)
from monai.transforms import (
    Orientation,
    Orientationd,
    RandomizableTrait,
    ResampleToMatch,
    ResampleToMatchd,
    Spacing,
    Spacingd,
    SpatialResample,
    SpatialResampled,
    Transform,
)
from torch.utils.data import DistributedSampler, Sampler

from segpipe.dataset.given_records import case_name
from segpipe.dataset.progress import with_progress
from segpipe.dataset.seeding import TransformSeeds
from segpipe.errors import SegpipeError, segpipe_cause

_READ_GRIDS = (
    *(Spacing, Spacingd, Orientation, Orientationd, SpatialResample, SpatialResampled),
    *(ResampleToMatch, ResampleToMatchd),
)


@dataclass(frozen=True)
class CaseFailure:
    """The failure to load a case, as a value, since an exception in a loader worker would print its traceback."""

    message: str


class CaseDataset(CacheDataset):  # type: ignore[misc]  # MONAI is untyped
    """A MONAI CacheDataset whose random transforms depend on (seed, epoch, case) alone.

    An index contains its epoch: index = epoch * len(dataset) + case, as `EpochSampler` yields it; an index below
    len(dataset) is epoch 0. So number of workers, rank, order and resume do not change a sample. The deterministic
    transforms run once a case; their results stay in memory.

    Args:
        data: one record a case, with the case id under `case`; without it, the name of the image's file.
        transform: MONAI's `Compose`; the result before the first random transform is cached.
        seed: of the experiment.
        cache: False reads every file each time, for data that one run reads once.
        track_meta: False: the results of the deterministic transforms are kept without metadata, and the random
            transforms get and return plain tensors. MONAI otherwise spends several times as long on an image's
            metadata as on a flip of a small image. Only for random transforms that read no metadata: a `Spacingd`
            among them would take each spacing for 1.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[..., Any],
        seed: int = 0,
        cache: bool = True,
        track_meta: bool = True,
    ) -> None:
        super().__init__(
            data=[{"case": case_name(record), **record} for record in data],
            transform=transform,
            cache_rate=1.0 if cache else 0.0,
            runtime_cache=True,
            progress=False,
        )
        self.seed = seed
        self.track_meta = track_meta
        if not track_meta:
            self._refuse_readers_of_grids()
        self._seeds = TransformSeeds(transform)

    def fill_cache(self) -> None:
        """Load the cases that are not yet in memory, with a progress bar.

        Call this before the loader workers fork, so that they share the cache.

        Raises:
            SegpipeError: a case cannot be loaded.
        """
        missing = [i for i in range(self.cache_num) if self._cache[i] is None]
        if not missing:
            return
        for i in with_progress(missing, "Loading cases"):
            try:
                self._cache[i] = self._load_cache_item(i)
            except Exception as error:
                failure = self._failure(i, error)
                if failure is None:
                    raise
                raise SegpipeError(failure.message) from error

    def _transform(self, index: int) -> Any:
        epoch, case = divmod(index, len(self.data))
        self._seeds.set(_sample_seed(self.seed, epoch, self._name(case)))
        try:
            return self._sample(case)
        except Exception as error:
            failure = self._failure(case, error)
            if failure is None:
                raise
            return failure

    def _sample(self, case: int) -> Any:
        if self.track_meta:
            return super()._transform(case)
        kept = self._cache[case] if case < self.cache_num else None
        if kept is None:
            kept = self._load_cache_item(case)
            if case < self.cache_num:
                self._cache[case] = kept
        if self._first_random is None:
            return kept
        with _without_metadata():
            return self.transform(_copied(kept), start=self._first_random)

    @cached_property
    def _first_random(self) -> int | None:
        """Place of the first transform that MONAI's CacheDataset computes anew for each sample."""
        first: int | None = self.transform.get_index_of_first(
            lambda transform: isinstance(transform, RandomizableTrait) or not isinstance(transform, Transform)
        )
        return first

    def _refuse_readers_of_grids(self) -> None:
        for step in self.transform.transforms[self._first_random :] if self._first_random is not None else ():
            for inner in _steps_in(step):
                if isinstance(inner, _READ_GRIDS):
                    raise SegpipeError(
                        f"{type(inner).__name__} stands behind the first random transform and reads the spacing, "
                        "which track_meta: false drops; move it before the random transforms, or set track_meta: true "
                        "of train#dataset"
                    )

    def _load_cache_item(self, idx: int) -> Any:
        item = super()._load_cache_item(idx)
        return item if self.track_meta else _plain(item)

    def _name(self, case: int) -> str:
        return str(self.data[case]["case"] or case)

    def _failure(self, case: int, error: Exception) -> CaseFailure | None:
        """Return the case and message of the SegpipeError behind an error; None for a defect of the program."""
        cause = segpipe_cause(error)
        return None if cause is None else CaseFailure(f"{self._name(case)}: {cause}")


def _plain(item: Any) -> Any:
    """Return a record whose images are tensors without metadata."""
    if not isinstance(item, Mapping):
        return item
    return {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in item.items()}


def _copied(item: Any) -> Any:
    """Return a copy that random transforms may change; torch's own deep copy of a tensor takes three times as long."""
    if not isinstance(item, Mapping):
        return deepcopy(item)
    return {
        key: value.clone() if isinstance(value, torch.Tensor) else deepcopy(value)
        for key, value in item.items()
    }


def _steps_in(step: Any) -> Iterator[Any]:
    """Yield a transform and all that it consists of, such as those of a OneOf."""
    yield step
    for inner in getattr(step, "transforms", ()):
        yield from _steps_in(inner)


@contextmanager
def _without_metadata() -> Iterator[None]:
    """Let MONAI's transforms make tensors without metadata."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)


def _sample_seed(seed: int, epoch: int, case: str) -> int:
    """Return a 32-bit seed, a hash of all three, so that the samples of neighbouring epochs are independent."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{case}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


class EpochSampler(DistributedSampler[Any]):
    """A sampler of shuffled case indices that contain their epoch, for `CaseDataset`; split over the ranks.

    The batches of all ranks in a step are together the batch of one process whose batch is as large as theirs. Where
    the ranks do not divide the samples, the epoch's first ones come again at its end.

    It is a DistributedSampler for one process too, because MONAI's trainer calls `set_epoch` on every
    DistributedSampler.

    Args:
        dataset: of the cases.
        seed: of the experiment.
        repeats: samples of each case per epoch, each with other random transforms.

    Attributes:
        skip: number of indices to leave out at the beginning of the next epoch, because a resumed run has already
            trained on them.
    """

    def __init__(self, dataset: CaseDataset, seed: int = 0, repeats: int = 1) -> None:
        self.repeats = repeats
        self.skip = 0
        several = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,
            num_replicas=dist.get_world_size() if several else 1,
            rank=dist.get_rank() if several else 0,
            shuffle=True,
            seed=seed,
        )

    def __iter__(self) -> Iterator[int]:
        """Yield `epoch * len(dataset) + case` for this rank's cases of this epoch; a repeat counts as an epoch."""
        skip, self.skip = self.skip, 0
        yield from islice(self._indices(), skip, None)

    def _indices(self) -> Iterator[int]:
        order = self._order()
        missing = len(self) * self.num_replicas - len(order)  # so that every rank has as many steps
        yield from (order + order[:missing])[self.rank :: self.num_replicas]

    def _order(self) -> list[int]:
        """Return the indices of all ranks; those of a step of all ranks stand together."""
        size = len(self.dataset)  # type: ignore[arg-type]
        order: list[int] = []
        for repeat in range(self.repeats):
            epoch = self.epoch * self.repeats + repeat
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order += [epoch * size + case for case in torch.randperm(size, generator=generator).tolist()]
        return order

    def __len__(self) -> int:
        """Return the number of indices of this rank in an epoch."""
        return math.ceil(len(self.dataset) * self.repeats / self.num_replicas)  # type: ignore[arg-type]


class ShareSampler(Sampler[int]):
    """A sampler of this rank's share of the cases, in order and without repeats, so that metrics count a case once."""

    def __init__(self, dataset: CaseDataset) -> None:
        several = dist.is_available() and dist.is_initialized()
        step, first = (dist.get_world_size(), dist.get_rank()) if several else (1, 0)
        self.indices = range(first, len(dataset), step)

    def __iter__(self) -> Iterator[int]:
        """Yield case indices."""
        return iter(self.indices)

    def __len__(self) -> int:
        """Return the number of cases of this rank."""
        return len(self.indices)


class CaseLoader(DataLoader):  # type: ignore[misc]  # MONAI is untyped
    """A MONAI DataLoader that raises the SegpipeError of a case that cannot be loaded.

    Args:
        dataset: its cache is filled before the first worker starts.
        **kwargs: of MONAI's DataLoader.
    """

    def __init__(self, dataset: CaseDataset, **kwargs: Any) -> None:
        super().__init__(dataset, collate_fn=_collate, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        """Yield batches.

        Raises:
            SegpipeError: a case cannot be loaded; the message names the case.
        """
        self.dataset.fill_cache()
        for batch in super().__iter__():
            if isinstance(batch, CaseFailure):
                raise SegpipeError(batch.message)
            yield batch


def _collate(samples: list[Any]) -> Any:
    """Return MONAI's batch of the samples, or the first failure among them."""
    for sample in samples:
        if isinstance(sample, CaseFailure):
            return sample
    return list_data_collate(samples)
