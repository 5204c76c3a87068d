"""Opens a converted network from the cache, or converts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from segpipe.inference.engines.engine import CannotComputeError, EngineJob
from segpipe.inference.engines.names import FLOAT32, TENSORRT, engine_versions


def cache_key(job: EngineJob, engine: str, precision: str = FLOAT32) -> dict[str, Any]:
    """Return what a converted network depends on.

    The file is in float32 whatever precision it is computed in; but TensorRT makes one for a precision, batch and card.
    """
    key = {
        "engine": engine,
        "network": job.identity,
        "window": list(job.example.shape),
        "precision": FLOAT32,
        "versions": engine_versions(engine),
    }
    if engine != TENSORRT:
        return key
    card = torch.cuda.get_device_name(job.example.device)
    return {**key, "precision": precision, "batch": job.at_once, "card": card}


def kept_files(
    job: EngineJob,
    engine: str,
    convert: Callable[[], dict[str, bytes]],
    opened: Callable[[dict[str, bytes]], Any],
    refusals: tuple[type[Exception], ...],
    precision: str = FLOAT32,
) -> Any:
    """Return an opened network: of the cached files, or of newly converted ones where these are missing or damaged.

    Args:
        job: network and windows.
        engine: its name.
        convert: returns name -> bytes of the converted network.
        opened: opens these files.
        refusals: exceptions by which the engine refuses a network or a file.
        precision: see `cache_key`.

    Raises:
        CannotComputeError: the network cannot be converted, or its files cannot be opened.
    """
    unreadable: tuple[type[Exception], ...] = (*refusals, KeyError)
    key = cache_key(job, engine, precision)
    files = job.cache.files(key)
    if files is not None:
        try:
            return opened(files)
        except unreadable:
            job.cache.forget(key)
    try:
        files = convert()
        program = opened(files)
    except refusals as error:
        raise CannotComputeError(f"the network cannot be converted ({_reason(error)})") from error
    job.cache.keep(key, files)
    return program


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
