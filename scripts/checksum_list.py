"""Reads a list of checksums as `sha256sum` writes it, for the scripts that make manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segpipe.dataset import Case
from segpipe.errors import SegpipeError

OPTION_HELP = "checksums of the files to list under test, below a folder with the manifest's name"


@dataclass(frozen=True)
class Sum:
    """One line of a list of checksums: path below the data set's folder, and the file's SHA-256."""

    path: str
    sha256: str


def sums_below(path: Path, folder: str) -> list[Sum]:
    """Read a list, and return the files below a folder, by path.

    Raises:
        SegpipeError: the list cannot be read, or names no file below the folder.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SegpipeError(
            f"{path}: cannot be read ({error.strerror}); give the list of checksums"
        ) from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    below = [
        (digest, PurePosixPath(name)) for digest, name in pairs if PurePosixPath(name).parts[0] == folder
    ]
    if not below:
        raise SegpipeError(f"{path}: names no file below {folder}; give the list that came with the data")
    sums = [Sum(name.relative_to(folder).as_posix(), digest) for digest, name in below]
    return sorted(sums, key=lambda one: one.path)


def listed_cases(cases: Sequence[Case], sums: Sequence[Sum], where: Path) -> tuple[Case, ...]:
    """Return cases with the checksums of their files, each of which a list names.

    A file beside a case's own with the same stem, such as the voxels of a MetaImage header, is the case's.

    Args:
        cases: without checksums.
        sums: of all their files, and of no other.
        where: path of the list, for the message.

    Raises:
        SegpipeError: a file of a case is not listed, or a listed file is no case's.
    """
    listed = {one.path: one.sha256 for one in sums}
    used: set[str] = set()
    found = []
    for case in cases:
        named = [*case.images, *([case.label] if case.label else [])]
        stems = {PurePosixPath(name).with_suffix("") for name in named}
        files = {name for name in listed if name in named or PurePosixPath(name).with_suffix("") in stems}
        missing = sorted(set(named) - files)
        if missing:
            raise SegpipeError(
                f"{where}: does not list {', '.join(missing)} of {case.case}; complete the list"
            )
        used |= files
        found.append(replace(case, sha256={name: listed[name] for name in sorted(files)}))
    unused = sorted(set(listed) - used)
    if unused:
        raise SegpipeError(
            f"{where}: lists {unused[0]} and {len(unused) - 1} more, which are no case's files"
        )
    return tuple(found)
