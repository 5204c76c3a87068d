"""By which program a result was made: versions and the commit."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

_PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "nibabel", "SimpleITK", "pydicom")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def commit(folder: Path | None = None) -> str | None:
    """Return the git commit a package's folder is checked out from, with `-dirty` if tracked files differ.

    None outside a checkout, and where the package is merely installed below one (a virtual environment in
    it).

    Args:
        folder: of the package; None is segpipe's own.
    """
    own = folder or Path(__file__).parent
    try:
        _git(own, "ls-files", "--error-unmatch", "__init__.py")
        return _git(own, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
