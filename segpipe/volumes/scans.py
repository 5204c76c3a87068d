"""Finding the scans in a folder, and where the label map of each goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.volumes.dicom_headers import holds_images, holds_labels
from segpipe.volumes.formats import KNOWN_FORMATS, VolumeFormat, is_dicom_file, suffix_format, volume_format
from segpipe.volumes.metaimage import read_metaimage_header

_COMPANION_SUFFIXES = frozenset(
    {".json", ".jsonl", ".log", ".txt", ".md", ".csv", ".tsv", ".yaml", ".yml", ".xml", ".pdf", ".html"}
    | {
        ".ini",
        ".label",
        ".ctbl",
        ".cfg",
        ".xls",
        ".xlsx",
        ".doc",
        ".docx",
        ".rtf",
        ".py",
        ".ipynb",
        ".m",
        ".sh",
        ".md5",
        ".sha256",
    }
)
_COMPANION_NAMES = frozenset(
    {"license", "licence", "readme", "changes", "dicomdir", "sha256sums", "thumbs.db"}
)
_NAMES_SHOWN = 10
IGNORED_MARK = ".segpipe-ignore"
"""A file of this name says that no scans are to be looked for in its folder and below."""


@dataclass(frozen=True)
class Scan:
    """One scan to read.

    Args:
        path: the file, or the folder of a DICOM series.
        format: its format.
        name: where it lies below the folder that was searched, with "/" and without suffix; names the case.
    """

    path: Path
    format: VolumeFormat
    name: str


def find_scans(path: str | Path, *, strict: bool = True) -> list[Scan]:
    """Find every scan in a folder and below it, or take one file as the one scan.

    A folder with DICOM images in it is one scan, named after the folder; scans of other formats beside its
    files are scans of their own. Companions are passed over: hidden files and folders; the voxel files
    that .mhd headers name; DICOM objects that are no image (structure sets, segmentations) and DICOMDIR;
    files ending in .json .jsonl .log .txt .md .csv .tsv .yaml .yml .xml .pdf .html .label .ctbl; LICENSE, README,
    CHANGES, SHA256SUMS; and folders that hold a file `.segpipe-ignore`, such as those of `segpipe predict`'s pictures.

    Args:
        path: a folder, or one scan (a file, or a folder with one DICOM series).
        strict: False passes over files that are neither scans nor companions, and may find none.

    Returns:
        Scans sorted by name, then path.

    Raises:
        SegpipeError: the path is missing, holds no scan, or holds files that are neither scans nor
            companions; the latter two where `strict`.
    """
    path = Path(path)
    if not path.exists():
        raise SegpipeError(f"{path}: no such file or folder; check the path")
    if path.is_file():
        return [_file_scan(path, path.parent, volume_format(path))]
    scans: list[Scan] = []
    others: list[Path] = []
    for file in _files_below(path):
        found = suffix_format(file)
        if found is None:
            others.append(file)
        else:
            scans.append(_file_scan(file, path, found[0]))
    voxel_files = {
        file for scan in scans if scan.format is VolumeFormat.MHD for file in _voxel_files(scan.path)
    }
    others = [file for file in others if file.resolve() not in voxel_files and not _is_companion(file)]
    dicom_files = [file for file in others if is_dicom_file(file)]
    known = set(dicom_files)
    unknown = [file for file in others if file not in known]
    if unknown and strict:
        shown = ", ".join(file.relative_to(path).as_posix() for file in unknown[:_NAMES_SHOWN])
        more = f" and {len(unknown) - _NAMES_SHOWN} more" if len(unknown) > _NAMES_SHOWN else ""
        raise SegpipeError(
            f"{path}: {len(unknown)} files are neither scans nor known companions: {shown}{more}; segpipe "
            f"reads {KNOWN_FORMATS}: convert them or move them to another folder"
        )
    folders = sorted({file.parent for file in dicom_files})
    scans += [_series_scan(folder, path) for folder in folders if holds_images(folder)]
    if not scans and strict:
        why = "; its DICOM files are no images" if folders else ""
        if (path / IGNORED_MARK).exists():
            why = f": its file {IGNORED_MARK} says that none is to be looked for"
        raise SegpipeError(f"{path}: no scan there{why}; segpipe reads {KNOWN_FORMATS}")
    return sorted(scans, key=lambda scan: (scan.name, str(scan.path)))


def find_label_objects(folder: Path) -> list[Path]:
    """Find the DICOM segmentations and structure sets in a folder and below it, which `find_scans` passes over.

    Raises:
        SegpipeError: a folder or file cannot be opened.
    """
    return [file for file in _files_below(folder) if is_dicom_file(file) and holds_labels(file)]


def output_path(
    scan: Scan,
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
) -> Path:
    """Return where the label map of a scan goes: its name below `output_dir`, in its own format unless asked.

    A JPEG's goes to .png, since JPEG changes labels, and a DICOM series' to .nii.gz.

    Args:
        scan: from `find_scans`.
        output_dir: the folder that mirrors the one searched.
        format: write this format instead.
    """
    chosen = (format or scan.format).label_map_format
    return Path(output_dir) / f"{scan.name}{chosen.value}"


def check_collisions(
    scans: Sequence[Scan],
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
) -> None:
    """Refuse scans whose label maps would replace each other or another's scan file.

    Names that differ only in case are one file on many disks, and are refused everywhere.

    Args:
        scans: from `find_scans`.
        output_dir: as `output_path`.
        format: as `output_path`.

    Raises:
        SegpipeError: naming the scans and the file, or an output that is the scan itself.
    """
    owners: dict[str, Scan] = {}
    sources = {os.path.realpath(scan.path).casefold(): scan for scan in scans}
    for scan in scans:
        target = output_path(scan, output_dir, format)
        for written in _written_files(target):
            source = sources.get(os.path.realpath(written).casefold())
            if source is not None:
                raise SegpipeError(
                    f"{scan.path}: its label map {written} would replace the scan {source.path}; choose "
                    "another output folder"
                )
            other = owners.setdefault(str(written).casefold(), scan)
            if other is not scan:
                raise SegpipeError(
                    f"{other.path} and {scan.path}: both label maps would be written to {written} (names "
                    "that differ in case count as one); rename one, or predict them into two output "
                    "folders"
                )


def existing_outputs(
    scans: Sequence[Scan],
    output_dir: str | Path,
    format: VolumeFormat | None = None,  # noqa: A002 - the word for it
) -> list[Path]:
    """Return the files, of any origin, that the label maps of these scans would replace.

    Args:
        scans: from `find_scans`.
        output_dir: as `output_path`.
        format: as `output_path`.
    """
    written = (file for scan in scans for file in _written_files(output_path(scan, output_dir, format)))
    return [file for file in written if os.path.lexists(file)]


def _written_files(target: Path) -> Iterator[Path]:
    yield target
    if target.suffix == VolumeFormat.MHD.value:
        yield target.with_suffix(".zraw")


def _files_below(top: Path) -> Iterator[Path]:
    """Yield the files that are not hidden, sorted by folder, following links but entering no folder twice."""
    entered: set[str] = set()
    for folder, folders, names in os.walk(top, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        if IGNORED_MARK in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def _unreadable(error: OSError) -> None:
    raise SegpipeError(
        f"{error.filename}: cannot be read ({error.strerror}); check the permissions"
    ) from error


def _voxel_files(mhd: Path) -> list[Path]:
    """Return the voxel file that a header names; where it is damaged, those that it could have named."""
    try:
        return [read_metaimage_header(mhd).data_path.resolve()]
    except SegpipeError:
        return [mhd.with_suffix(suffix).resolve() for suffix in (".raw", ".zraw")]


def _series_scan(folder: Path, top: Path) -> Scan:
    name = folder.relative_to(top).as_posix() if folder != top else folder.resolve().name
    return Scan(folder, VolumeFormat.DICOM, name)


def _file_scan(path: Path, top: Path, format_: VolumeFormat) -> Scan:
    found = suffix_format(path)
    suffix = found[1] if found else ""
    return Scan(path, format_, path.relative_to(top).as_posix().removesuffix(suffix))


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() in _COMPANION_SUFFIXES or path.name.lower() in _COMPANION_NAMES
