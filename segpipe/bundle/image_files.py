"""Finds the images to classify: one file an image, in folders at any depth, tables and manifests."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segpipe.dataset.importing.channel_files import look_for_cases
from segpipe.errors import SegpipeError
from segpipe.files import composed_name, require_writable
from segpipe.inference.prediction_rows import PREDICTIONS_FILE
from segpipe.monai_run import refusal_ends_run
from segpipe.printable import printable
from segpipe.volumes import (
    FoundScans,
    RefusedScan,
    Scan,
    VolumeFormat,
    ignored_files_note,
    read_header,
)
from segpipe.volumes.dicom_headers import dicom_files, is_image_file
from segpipe.volumes.formats import KNOWN_FORMATS, is_dicom_file
from segpipe.volumes.scans import name_with_suffix

_logger = logging.getLogger(__name__)
_LISTS = (".csv", ".tsv", ".json")
IMAGE_FORMATS = KNOWN_FORMATS.replace("a folder with one DICOM series", "DICOM files of one image each")
"""Formats of the images that segpipe classifies, for messages."""


def look_for_images(path: str | Path, *, strict: bool = False) -> FoundScans:
    """Search a folder and the folders below it, a file, a table or a manifest for images to classify.

    Each DICOM image is an image by itself, where a segmentation takes a folder of them as one series. Other rules are
    those of `segpipe.dataset.importing.channel_files.look_for_cases`.

    Args:
        path: a folder, a file, a table with a column image, or a segpipe manifest.
        strict: refuse files that are neither images nor companions of images.

    Returns:
        the images. The name of an image is its path below the folder, with "/" and with its suffix; in a table or
        manifest it is the name of the case.

    Raises:
        SegpipeError: the path does not exist or cannot be read; a table or manifest lists no images; `strict` refuses
            a file.
    """
    path = Path(path)
    if path.is_file() and is_dicom_file(path):
        return FoundScans((Scan(path, VolumeFormat.DICOM, path.name),))
    found = look_for_cases(path, (), strict=strict)
    if path.is_file() and path.suffix.lower() in _LISTS:
        listed, refused = _listed_dicom(found.refused)
        return replace(found, scans=_by_name([*found.scans, *listed]), refused=tuple(refused))
    images: list[Scan] = []
    refused = list(found.refused)
    for scan in found.scans:
        if scan.format is VolumeFormat.DICOM:
            folder = "" if scan.path == path else f"{scan.name}/"
            images += [
                Scan(file, VolumeFormat.DICOM, f"{folder}{file.name}")
                for file in dicom_files(scan.path)
                if is_image_file(file)
            ]
        else:
            images.append(replace(scan, name=name_with_suffix(scan)))
    return replace(found, scans=_by_name(images), refused=tuple(refused))


def _by_name(images: Iterable[Scan]) -> tuple[Scan, ...]:
    return tuple(sorted(images, key=lambda image: (image.name, str(image.path))))


def _listed_dicom(refused: Iterable[RefusedScan]) -> tuple[list[Scan], list[RefusedScan]]:
    """Return the DICOM files that a list names, which a segmentation refuses, and the other refused images."""
    images, others = [], []
    for scan in refused:
        if scan.path.is_file() and is_dicom_file(scan.path):
            images.append(Scan(scan.path, VolumeFormat.DICOM, scan.name))
        else:
            others.append(scan)
    return images, others


def same_names(images: Iterable[Scan]) -> list[RefusedScan]:
    """Return the images that share their name with another image, so that their rows could not be told apart.

    Args:
        images: of one cohort.
    """
    owners: dict[str, list[Scan]] = {}
    for image in images:
        owners.setdefault(composed_name(image.name).casefold(), []).append(image)
    return [
        _same_name(image, next(other for other in group if other is not image))
        for group in owners.values()
        if len(group) > 1
        for image in group
    ]


def _same_name(image: Scan, other: Scan) -> RefusedScan:
    reason = (
        f"{image.path}: has the name {image.name} in {PREDICTIONS_FILE}, as {other.path} has; rename one, or give the "
        "folder that holds both"
    )
    return RefusedScan(image.path, image.name, reason)


def check_image(image: Scan) -> None:
    """Check the header of an image.

    Raises:
        SegpipeError: the header cannot be read; or the image has several files, a third dimension or a time frame.
    """
    if image.further or image.frame is not None:
        raise SegpipeError(
            f"{image.name}: an image to classify is one file without time frames; list one file in each row"
        )
    if image.format is VolumeFormat.DICOM:
        return  # its header is read with its pixels
    header = read_header(image.path)
    size = header.grid.size
    if len(size) > 2 and size[2] > 1:
        raise SegpipeError(
            f"{image.path}: a volume of {size[0]} x {size[1]} x {size[2]} voxels, where images of one slice are "
            "classified; save its slices as images"
        )


@refusal_ends_run()
def images_to_classify(
    dataset_dir: str | Path, output_dir: str | Path, overwrite: bool = False, strict: bool = False
) -> list[dict[str, Any]]:
    """Return the images of a folder as records, after checking every header.

    Files that are neither images nor companions are ignored; one log line names them.

    Args:
        dataset_dir: a folder of images at any depth, an image, a table or a manifest, see `look_for_images`.
        output_dir: folder of `predictions.csv`.
        overwrite: replace a `predictions.csv` that exists.
        strict: refuse files that are neither images nor companions.

    Returns:
        records `{"case", "image"}`: the name of the image, and its path.

    Raises:
        SegpipeError: there is no image; an image has an unreadable header or the name of another; the table exists; or
            the output folder lies among the images or is not writable.
    """
    source, target = Path(dataset_dir), Path(output_dir)
    found = look_for_images(source, strict=strict)
    if not found.scans and not found.refused:
        raise SegpipeError(f"{source}: no image there{found.why_none}; segpipe reads {IMAGE_FORMATS}")
    require_outside(source, target, "--output_dir")
    table = target / PREDICTIONS_FILE
    if table.exists() and not overwrite:
        raise SegpipeError(f"{table}: exists already; choose another --output_dir, or add --overwrite True")
    require_writable(target)
    if found.ignored_files:
        note = f"{ignored_files_note(found.ignored_files)}; give --cases#strict True to refuse them"
        _logger.warning("%s", printable(note))
    reasons = [scan.reason for scan in (*found.refused, *same_names(found.scans))]
    for image in found.scans:
        try:
            check_image(image)
        except SegpipeError as error:
            reasons.append(str(error))
    if reasons:
        raise SegpipeError(
            f"{len(reasons)} of {len(found.scans) + len(found.refused)} images cannot be classified:",
            *reasons,
        )
    return [{"case": image.name, "image": str(image.path)} for image in found.scans]


def require_outside(source: Path, output: Path, option: str) -> None:
    """Refuse an output folder inside the folder of images, whose next run would take the pictures for images.

    Args:
        source: a folder of images, or another path.
        output: output folder.
        option: name of the option that gives the output folder.

    Raises:
        SegpipeError: the message has both folders.
    """
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise SegpipeError(
            f"{output}: lies inside the folder of images {source}, whose next run would take its pictures for images; "
            f"choose another {option}"
        )
