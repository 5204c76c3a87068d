"""Check the voxel file that a header names: it must be a regular file in or below the header's folder.

Headers come from other people, and the text of a header must not choose any file of this machine to read. Links are
safer than text, since the owner of the folder made them. So two layouts of links are allowed. First, header and voxel
file may both be links into one store outside the folder. Second, a voxel file may be a link into the git-annex or DVC
store of its data set, since both keep small headers as files and large voxel files as links.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import NO_REGULAR_FILE, is_irregular

_ANNEX = ("annex", "objects")


def require_voxel_file(header: Path, field: str, data: Path, remedy: str) -> None:
    """Refuse a voxel file that is missing, irregular, or outside the header's folder.

    Args:
        header: the header file, by the path that the user gave.
        field: field of the header with the voxel file's name, and its value, for messages.
        data: the voxel file; `header` itself where the voxels follow the header.
        remedy: advice for a missing file.

    Raises:
        SegpipeError: with header and voxel file.
    """
    if data == header:
        return
    try:
        folder, real = Path(os.path.realpath(header.parent)), Path(os.path.realpath(data))
        if not (real.is_relative_to(folder) or _is_linked_from_store(header, data, real, folder)):
            raise SegpipeError(
                f"{header}: {field} leads to {real}: a voxel file must lie in or below the folder of its header, "
                f"{folder}; copy the voxel file there and give its name in the header"
            )
        if is_irregular(data):
            raise SegpipeError(f"{header}: its voxel file {data.name} {NO_REGULAR_FILE}")
    except FileNotFoundError as error:
        raise SegpipeError(
            f"{header}: its voxel file {data.name} is missing in {data.parent}; {remedy}"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SegpipeError(
            f"{header}: its voxel file {data.name} cannot be read ({reason}); check the path and the permissions"
        ) from error


def _is_linked_from_store(header: Path, data: Path, real: Path, folder: Path) -> bool:
    """Return whether a voxel file is a link in the header's folder into a store, see the module.

    Args:
        header: the header.
        data: the voxel file, by the name in the header.
        real: `data` with links followed.
        folder: of the header, with links followed.
    """
    if not data.is_symlink() or not Path(os.path.realpath(data.parent)).is_relative_to(folder):
        return False
    return _is_in_store_of_data_set(real, folder) or (
        header.is_symlink() and _share_a_store(Path(os.path.realpath(header)), real, folder)
    )


def _share_a_store(header: Path, data: Path, folder: Path) -> bool:
    """Return whether two files have a common folder that does not contain the folder of their links."""
    try:
        common = os.path.commonpath([header.parent, data.parent])
    except ValueError:  # on two drives of Windows
        return False
    return not folder.is_relative_to(common)


def _is_in_store_of_data_set(data: Path, folder: Path) -> bool:
    """Return whether a file is in the git-annex or DVC store of the data set that contains the folder."""
    for root in (folder, *folder.parents):
        if data.is_relative_to(root / ".dvc" / "cache"):
            return True
        if data.is_relative_to(root / ".git"):
            parts = data.relative_to(root / ".git").parts
            return _ANNEX in itertools.pairwise(parts)  # also of a submodule
    return False
