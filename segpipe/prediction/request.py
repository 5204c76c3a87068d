"""What a run was asked for, as a hash of bytes: equal requests give equal outputs, and nothing is run to know it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.bundle.source import BundleSource
from segpipe.files import file_sha256, json_sha256

_LEFT_OUT = ("runs", "docs", "__pycache__")  # folders of a bundle that no output depends on
_MOST_FILES, _MOST_BYTES = 1000, 2**31
_COMPUTING = ("torch", "monai", "openvino", "onnxruntime")
_PACKAGES = (
    "monai",
    "torch",
    "pytorch-ignite",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "openvino",
)


def request_sha256(source: BundleSource, options: Mapping[str, Any]) -> str:
    """Return the hash of a run's request: the bundle's bytes, weights, overrides, options and versions.

    Two equal requests have equal recipes. The reverse does not hold: an edited comment gives another request.

    Args:
        source: the bundle, its weights and configuration.
        options: name -> value, in plain types, of those that the outputs depend on.

    Returns:
        the hash; empty where it would take long, since the bundle's folder holds large other data.
    """
    root = Path(source.root)
    files = _limited(_files_in(root))
    if files is None:
        return ""
    given = [path for one in (*source.weights, *source.configs) if (path := Path(one)).is_file()]
    beside = [record for path in given for record in sorted(path.parent.glob("*.json"))]
    content = {str(path): file_sha256(path) for path in dict.fromkeys([*files, *given, *beside])}
    return json_sha256(
        {
            "root": str(root.absolute()),
            "content": content,
            "weights": [str(path) for path in source.weights],
            "configs": [str(path) for path in source.configs],
            "settings": {name: repr(value) for name, value in source.settings.items()},
            "options": dict(options),
            "versions": [__version__, platform.python_version(), *map(_version, _PACKAGES)],
            "processor": [platform.node(), platform.machine()],
        }
    )


def computing_versions() -> dict[str, str]:
    """Return package -> version of what computes scores; equal on all machines that compute one cohort."""
    return {"segpipe": __version__, **{name: _version(name) or "not installed" for name in _COMPUTING}}


def covers(source: BundleSource, weights: Iterable[Path]) -> bool:
    """Return whether the hash of a request holds the bytes of these weights files.

    Args:
        source: as `request_sha256` takes it.
        weights: the files that the opened bundle reads.
    """
    root = Path(source.root).resolve()
    given = {Path(path).resolve() for path in source.weights}
    return all(
        path.resolve() in given
        or (path.resolve().is_relative_to(root) and not _is_left_out(path.resolve().relative_to(root).parts))
        for path in weights
    )


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a bundle that a result may depend on, in order."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left_out((name,)))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _is_left_out(parts: Sequence[str]) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in parts)


def _limited(files: Iterator[Path]) -> list[Path] | None:
    """Return the regular files; None if they are too many or too large to be read for this purpose."""
    kept: list[Path] = []
    size = 0
    for path in files:
        if not path.is_file():
            continue
        kept.append(path)
        size += path.stat().st_size
        if len(kept) > _MOST_FILES or size > _MOST_BYTES:
            return None
    return kept


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
