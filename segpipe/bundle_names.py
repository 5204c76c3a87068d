"""Finds a bundle by its folder or by its name: in the user's folders, and among the bundles that come with segpipe."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError, shown

VARIABLE = "SEGPIPE_BUNDLES"
"""Environment variable with folders of bundles, separated as in PATH (`os.pathsep`)."""
_METADATA = Path("configs", "metadata.json")
_PACKAGE = Path(__file__).resolve().parent
_MOST_NAMES = 8


@dataclass(frozen=True)
class NamedBundle:
    """A bundle that has a name.

    Attributes:
        name: name of its folder.
        folder: absolute path of the folder.
        shipped: whether the bundle came with segpipe.
    """

    name: str
    folder: Path
    shipped: bool


def bundle_folder(bundle: str | Path) -> Path:
    """Return the folder of a bundle.

    The first of these counts: a folder of this path; a bundle of this name in a folder of `SEGPIPE_BUNDLES`; one that
    came with segpipe. A text with a folder separator is a path. A folder without `configs/metadata.json` hides no
    bundle of its name.

    Args:
        bundle: path or name.

    Returns:
        The path as it was given, or the absolute path of a bundle that was found by name.

    Raises:
        SegpipeError: no bundle has this name, and no folder; the message has the nearest name and the folders that
            were searched.
    """
    path = Path(bundle)
    name = path.name
    if str(bundle) != name or name in ("", "..") or _is_bundle(path):
        is_dotted = path == Path(name) and str(bundle) != name  # ./NAME, which Path shortens to the name
        return path.absolute() if is_dotted else path
    for folder, _ in _folders():
        if _is_bundle(folder / name):
            return folder / name
    if os.path.lexists(path):
        return path  # its reader says what is missing in it
    raise SegpipeError(_not_found(name))


def named_bundles() -> list[NamedBundle]:
    """Return every bundle that has a name, by name; of two with the same name the one that `bundle_folder` finds."""
    found: dict[str, NamedBundle] = {}
    for folder, is_shipped in _folders():
        for path in _bundles_in(folder):
            found.setdefault(path.name, NamedBundle(path.name, path, is_shipped))
    return [found[name] for name in sorted(found)]


def searched_folders() -> list[tuple[Path, str]]:
    """Return the folders of bundles in the order of the search, each with where its path comes from."""
    return [(folder, "segpipe's own" if is_shipped else VARIABLE) for folder, is_shipped in _folders()]


def require_writable_bundle(folder: Path, what: str) -> None:
    """Refuse to change a bundle in the installed package: an update of segpipe would remove the change.

    Args:
        folder: of the bundle.
        what: what would be written, such as "weights".

    Raises:
        SegpipeError: the folder lies in the package.
    """
    if is_installed(folder):
        raise SegpipeError(
            f"{folder}: came with the installed segpipe, and an update would remove {what} written there; copy the "
            f"folder to a place of your own, and give the copy"
        )


def is_installed(folder: Path) -> bool:
    """Return whether a bundle lies in the installed package."""
    return folder.resolve().is_relative_to(_PACKAGE)


def _not_found(name: str) -> str:
    names = [one.name for one in named_bundles()]
    nearest = difflib.get_close_matches(name.casefold(), names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    searched = [
        f"{folder} ({whose}{'' if folder.is_dir() else ', no such folder'})"
        for folder, whose in searched_folders()
    ]
    unset = "" if len(searched) > 1 else f"; {VARIABLE} names no folder"
    return (
        f"{name:.80}: no folder and no bundle has this name; {hint}searched: the working folder, {', '.join(searched)}"
        f"{unset}; bundles there: {shown(names, most=_MOST_NAMES) or 'none'}; give a bundle's folder or name"
    )


def _folders() -> Iterator[tuple[Path, bool]]:
    """Yield each folder of bundles, and whether it came with segpipe."""
    for part in os.environ.get(VARIABLE, "").split(os.pathsep):
        if part.strip():
            yield Path(part).expanduser().absolute(), False
    yield _shipped_folder(), True


def _shipped_folder() -> Path:
    """Return `bundles` inside an installed package, or beside the package in a checkout."""
    installed = _PACKAGE / "bundles"
    return installed if installed.is_dir() else _PACKAGE.parent / "bundles"


def _bundles_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _is_bundle(path)]
    except OSError:
        return []  # named in SEGPIPE_BUNDLES, and not there or not readable; `searched_folders` says so


def _is_bundle(folder: Path) -> bool:
    try:
        return (folder / _METADATA).is_file()
    except (OSError, ValueError):  # no path can be so long, or hold a null byte
        return False
