"""Find the image files below a folder: one file an image, DICOM included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from segpipe.dataset.importing.found_cases import name_of, path_below, require_text
from segpipe.errors import SegpipeError, shown
from segpipe.volumes.folder_files import files_below, is_companion, why_no_file
from segpipe.volumes.formats import VolumeFormat, is_dicom_file, suffix_format
from segpipe.volumes.metaimage import voxel_file
from segpipe.volumes.unread_formats import unread_images

RUBBISH_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that archives, file servers and disks add, such as of thumbnails."""

_PICTURES = (VolumeFormat.PNG, VolumeFormat.JPEG)


@dataclass(frozen=True)
class ImageFiles:
    """The files below a folder, as paths with forward slashes.

    Attributes:
        folder: the searched folder.
        images: files of images that segpipe reads, sorted.
        unread: images in formats that segpipe does not read.
        ignored: all other files, without documents and tables.
    """

    folder: Path
    images: tuple[str, ...]
    unread: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def are_pictures(self) -> bool:
        """Whether there are images, and all are PNG or JPEG."""
        formats = {suffix_format(Path(image)) for image in self.images}
        return bool(formats) and all(one is not None and one[0] in _PICTURES for one in formats)

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self.images)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """File name, and file name without suffix -> paths."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            name = PurePosixPath(path).name
            for key in {name, name_of(path)}:
                paths[key].append(path)
        return paths

    @cached_property
    def _by_spelling(self) -> dict[str, list[str]]:
        """Path and file name in lower case -> paths."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            for key in {path.casefold(), PurePosixPath(path).name.casefold()}:
                paths[key].append(path)
        return paths

    @cached_property
    def _by_folder(self) -> dict[str, tuple[str, ...]]:
        """Name of a folder directly above images -> their paths."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            paths[PurePosixPath(path).parent.name].append(path)
        return {folder: tuple(held) for folder, held in paths.items()}

    def of_folder(self, name: str) -> tuple[str, ...]:
        """Return the images directly in folders of a name."""
        return self._by_folder.get(name, ())

    def nearest(self, text: str) -> str:
        """Return the image of a name but for its suffix, such as 7.png for 7.jpeg; empty where there is not one."""
        matches = self._by_name.get(name_of(text), [])
        return matches[0] if len(matches) == 1 else ""

    def has_name(self, text: str) -> bool:
        """Return whether a field ends in the name of an image, with or without suffix."""
        name = PurePosixPath(text.replace("\\", "/")).name
        return name in self._by_name or name.casefold() in self._by_spelling

    def find(self, text: str, where: str, dropped: int = 0) -> str | None:
        """Return the path of the image that a table's field names; None where there is none.

        The field is a path, or a file's name, with or without suffix, that only one image has. Upper and lower case
        differ only where two images do.

        Args:
            text: the field, not empty.
            where: place of the field, for messages.
            dropped: number of folders at the start of the field that are above `folder`.

        Raises:
            SegpipeError: several images have that name, or the path leads out of the folder.
        """
        path = "/".join(path_below(self.folder, text, where).split("/")[dropped:])
        if path in self._paths:
            return path
        matches = self._by_name.get(path) or self._by_spelling.get(path.casefold(), [])
        if len(matches) > 1:
            raise SegpipeError(
                f"{where}: {text} could be {shown(matches, ' or ')}; write the path of the image below {self.folder}"
            )
        return matches[0] if matches else None

    def dropped_folders(self, fields: Iterable[tuple[int, str]], where: str) -> int:
        """Return how many folders at the start of a table's paths are above the folder, for the most images.

        CheXpert's paths begin with the name of the data set's folder.

        Args:
            fields: line and field of the table, without empty ones.
            where: the table, for messages.

        Raises:
            SegpipeError: a path leads out of the folder.
        """
        paths = [path_below(self.folder, text, f"{where}: line {line}").split("/") for line, text in fields]
        deepest = max((len(parts) for parts in paths), default=1)
        counts = [
            sum("/".join(parts[dropped:]) in self._paths for parts in paths) for dropped in range(deepest)
        ]
        return counts.index(max(counts))


def image_files(folder: Path, *, strict: bool = True) -> ImageFiles:
    """List the image files below a folder; hidden files and folders such as `__MACOSX` do not count.

    Args:
        folder: of the data set.
        strict: refuse broken links and names that are no text; False only to look at what a folder holds.

    Raises:
        SegpipeError: a folder cannot be read; with `strict` also a file that is a broken link or cannot be opened, or a
            name that is no UTF-8 text.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in files_below(folder):
        if not RUBBISH_FOLDERS.intersection(path.relative_to(folder).parts) and not is_companion(path):
            (images if _is_image(path, strict) else others).append(path)
    unread = unread_images(others)
    named = {path for one in unread for path in (one.path, *one.voxel_files)}
    if strict:
        for path in images:
            if reason := why_no_file(path):
                raise SegpipeError(f"{path}: {reason}")
        headers = [voxel_file(path) for path in images if path.suffix.lower() == ".mhd"]
        named |= {path for path in headers if path is not None}

    def below(paths: list[Path]) -> tuple[str, ...]:
        return tuple(sorted(path.relative_to(folder).as_posix() for path in paths))

    ignored = [path for path in others if path not in named]
    listed = ImageFiles(folder, below(images), below([one.path for one in unread]), below(ignored))
    if strict:
        require_text(listed.images)
    return listed


def _is_image(path: Path, strict: bool) -> bool:
    """Return whether a file is an image by its suffix, or DICOM."""
    if suffix_format(path) is not None:
        return True
    try:
        return is_dicom_file(path)
    except SegpipeError:
        if strict:
            raise
        return False
