"""Cases into batches: cached, seeded by epoch and case; a failure is a message, not a worker's traceback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch.distributed as dist
from monai.data import CacheDataset, DataLoader, list_data_collate
from torch.utils.data import DistributedSampler, Sampler

from segpipe.dataset.given_records import case_name
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError, segpipe_cause


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
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[..., Any],
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        super().__init__(
            data=[{"case": case_name(record), **record} for record in data],
            transform=transform,
            cache_rate=1.0 if cache else 0.0,
            runtime_cache=True,
            progress=False,
        )
        self.seed = seed

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
        self.transform.set_random_state(seed=_sample_seed(self.seed, epoch, self._name(case)))
        try:
            return super()._transform(case)
        except Exception as error:
            failure = self._failure(case, error)
            if failure is None:
                raise
            return failure

    def _name(self, case: int) -> str:
        return str(self.data[case]["case"] or case)

    def _failure(self, case: int, error: Exception) -> CaseFailure | None:
        """Return the case and message of the SegpipeError behind an error; None for a defect of the program."""
        cause = segpipe_cause(error)
        return None if cause is None else CaseFailure(f"{self._name(case)}: {cause}")


def _sample_seed(seed: int, epoch: int, case: str) -> int:
    """Return a 32-bit seed, a hash of all three, so that the samples of neighbouring epochs are independent."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{case}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


class EpochSampler(DistributedSampler[Any]):
    """A sampler of shuffled case indices that contain their epoch, for `CaseDataset`; split over the ranks.

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
        size, epoch = len(self.dataset), self.epoch  # type: ignore[arg-type]
        for repeat in range(self.repeats):
            self.epoch = epoch * self.repeats + repeat
            indices = list(super().__iter__())
            first, self.epoch = self.epoch * size, epoch
            yield from (first + case for case in indices)

    def __len__(self) -> int:
        """Return the number of indices of this rank in an epoch."""
        return super().__len__() * self.repeats


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
