"""Weights files as an attacker would write them."""

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch._utils import _rebuild_tensor_v2


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def tensor_of(storage: torch.Tensor, size: Any, stride: Any, offset: Any = 0, hooks: Any = None) -> Call:
    """Return an object that pickles as a tensor of any size on the storage of another tensor."""
    hooks = OrderedDict() if hooks is None else hooks
    return Call(_rebuild_tensor_v2, storage._typed_storage(), offset, size, stride, False, hooks)


def write_archive(path: Path, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip archive; every name gets the prefix `archive/`."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return path


def records_of(path: Path) -> dict[str, bytes]:
    """Return the records of a PyTorch file."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist() if "/." not in name}
