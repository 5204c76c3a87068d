"""The file that a header names for its voxels: a regular file in or below the header's folder.

A header comes from others, and its text must not choose which file of this machine is read and drawn. A link is no
text of a header: whoever made the folder made the link. So two layouts of links are read as well. A header and its
voxel file may both be links into one store outside the folder. And the link of a voxel file may lead into the store of
git-annex or DVC of its own data set, which keep small headers as files and large voxel files as links.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.regular_files import NO_REGULAR_FILE, is_irregular

_ANNEX = ("annex", "objects")


def require_voxel_file(header: Path, field: str, data: Path, remedy: str) -> None:
    """Refuse a voxel file that is missing, no regular file, or out of the header's folder.

    Args:
        header: the file that names it, as the user named that.
        field: of the header that names it, with its value, for messages.
        data: the voxel file; `header` itself where the voxels follow the header.
        remedy: what to do where it is missing.

    Raises:
        SegpipeError: naming header and voxel file.
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
    """Say whether a voxel file is a link in the header's folder that leads into a store, as the module describes.

    Args:
        header: the header.
        data: the voxel file, as the header names it.
        real: the same with its links followed.
        folder: of the header, with its links followed.
    """
    if not data.is_symlink() or not Path(os.path.realpath(data.parent)).is_relative_to(folder):
        return False
    return _is_in_store_of_data_set(real, folder) or (
        header.is_symlink() and _share_a_store(Path(os.path.realpath(header)), real, folder)
    )


def _share_a_store(header: Path, data: Path, folder: Path) -> bool:
    """Say whether two files lie in one folder that is not around the folder of their links."""
    try:
        common = os.path.commonpath([header.parent, data.parent])
    except ValueError:  # on two drives of Windows
        return False
    return not folder.is_relative_to(common)


def _is_in_store_of_data_set(data: Path, folder: Path) -> bool:
    """Say whether a file lies in the store of git-annex or DVC of a data set that the folder belongs to."""
    for root in (folder, *folder.parents):
        if data.is_relative_to(root / ".dvc" / "cache"):
            return True
        if data.is_relative_to(root / ".git"):
            parts = data.relative_to(root / ".git").parts
            return _ANNEX in itertools.pairwise(parts)  # also of a submodule
    return False
