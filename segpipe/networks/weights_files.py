"""The two forms of weights on disk: PyTorch's `.pt`, and `.safetensors`."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from segpipe.errors import SegpipeError
from segpipe.files import staging_folder, write_atomically
from segpipe.networks.pickle_values import NUMBER_CODES
from segpipe.networks.state_fit import memory_of
from segpipe.networks.torch_files import ZIP, UnreadWeightsError, check_archive, check_before_1_6
from segpipe.regular_files import require_regular

PYTORCH, SAFETENSORS = ".pt", ".safetensors"
LARGEST_HEADER = 2**22
"""Bytes of the header of a `.safetensors` file: some 100 a tensor."""

_LENGTH = struct.Struct("<Q")
_NUMBERS: list[
    Any
] = [  # single numbers of NumPy, which checkpoints of trainings hold; `check_archive` checks each
    np.dtype,
    *(type(np.dtype(code)) for code in NUMBER_CODES),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
]
_DAMAGED = (  # exceptions of torch.load for bytes that are no weights
    *(
        RuntimeError,
        EOFError,
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
    ),
    struct.error,
)


def weights_file(path: Path) -> Path:
    """Return the `.pt` file of weights, or the `.safetensors` file of the same stem if only that exists.

    A bundle's configuration names `models/model.pt`; `models/model.safetensors` may replace it.

    Args:
        path: the configured path.

    Returns:
        the path of an existing file of this stem; `path` if neither exists.
    """
    other = path.with_suffix(SAFETENSORS)
    return other if path.suffix == PYTORCH and not path.exists() and other.is_file() else path


def write_state(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors atomically.

    Args:
        path: with the suffix `.safetensors` that form is written, else PyTorch's form.
        state: tensors on the CPU, each with a memory block of its own size. A tensor with two names is written once; a
            `.safetensors` file lists the left-out names, as `safetensors.torch.save_model` does.
    """
    if path.suffix != SAFETENSORS:
        write_atomically(path, lambda file: torch.save(dict(state), file))
        return
    kept: dict[Any, str] = {}
    for name, tensor in state.items():
        kept.setdefault(memory_of(tensor), name)
    left_out = {name: kept[memory_of(tensor)] for name, tensor in state.items()}
    notes = {name: kept_name for name, kept_name in left_out.items() if name != kept_name} | {"format": "pt"}
    with staging_folder(path) as folder:
        safetensors.torch.save_file(
            {name: state[name] for name in kept.values()}, folder / path.name, metadata=notes
        )


def read_state(path: Path, largest: int | None = None) -> Any:
    """Load a file of tensors and plain values; refuse a file that could run code or take unlimited memory.

    The file is checked first: everything that it describes must be in it. Then PyTorch reads it with
    `weights_only=True`.

    Args:
        path: `.pt` or `.safetensors` file; its first bytes decide which form it is.
        largest: largest number of bytes that are read into memory. None maps the file into memory instead: a tensor
            takes memory only when its values are used. A file of PyTorch before 1.6 is always read.

    Raises:
        SegpipeError: the file is missing, unreadable, cut short, too large, damaged, or holds other things than
            tensors and plain values.
    """
    try:
        if not path.exists():
            raise UnreadWeightsError("no such weights", "train first, or name the file with --weights")
        require_regular(path)
        return _read(path, largest)
    except UnreadWeightsError as error:
        raise SegpipeError(f"{path}: {error}") from error
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror or error}); check path and permissions"
        ) from error


def _read(path: Path, largest: int | None) -> Any:
    size = path.stat().st_size
    if largest is not None and size > largest:
        raise UnreadWeightsError(
            f"has {size} bytes; at most {largest} are read, which is many times the size of the network",
            "give the file that belongs to this network",
        )
    with path.open("rb") as file:
        start = file.read(_LENGTH.size + 1)
    if start[_LENGTH.size :] == b"{" and _LENGTH.unpack_from(start)[0] <= LARGEST_HEADER:
        return _read_safetensors(path, size, _LENGTH.unpack_from(start)[0])
    if path.suffix == SAFETENSORS:  # torch.load would choose the form by the suffix
        raise UnreadWeightsError(
            "is no safetensors file, or one whose header is too long; at most "
            f"{LARGEST_HEADER} bytes are read",
            "give another file, or name a PyTorch file .pt",
        )
    if start.startswith(ZIP):
        check_archive(path)
    else:
        check_before_1_6(path)
    try:
        mapped = largest is None and start.startswith(ZIP)
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UnreadWeightsError(
            f"holds more than tensors and plain values, so it is not loaded: {_first_line(error)}",
            "save a plain state_dict instead",
        ) from error
    except _DAMAGED as error:
        raise UnreadWeightsError(
            f"cannot be read as PyTorch weights: {_first_line(error)}", "fetch or save it again"
        ) from error


def _read_safetensors(path: Path, size: int, header: int) -> dict[str, torch.Tensor]:
    if _LENGTH.size + header > size:
        raise UnreadWeightsError(
            f"is cut short: its header has {header} bytes, the file {size}", "copy the file again"
        )
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise UnreadWeightsError(
            f"cannot be read as safetensors: {_first_line(error)}", "fetch or save it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unexpected end of file"])[0][:200]
