"""Records the program that made a result: package versions and commit."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

_PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "nibabel", "SimpleITK", "pydicom")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def commit(folder: Path | None = None) -> str | None:
    """Return the git commit of a package's checkout, with `-dirty` if tracked files differ.

    None outside a checkout, and for a package that is merely installed below one, as in a virtual environment.

    Args:
        folder: folder of the package; None: segpipe's.
    """
    package = folder or Path(__file__).parent
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        return _git(package, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
