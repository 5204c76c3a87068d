"""Phantoms on disk: a training set with its manifest, and new scans in several formats to segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.integrity import with_checksums
from segpipe.dataset.manifest import Case, Manifest, write_manifest
from segpipe.dataset.phantoms import LABELS, mri_phantom
from segpipe.dataset.progress import with_progress
from segpipe.dataset.splits import with_folds
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_label_map, write_series, write_volume

NUM_FOLDS = 4
MANIFEST_NAME = "dataset.json"
_FIRST_SCAN = 1_000_000  # index of the first new scan: none of them is in a training set of the same seed
_SCANS = (
    # path below the folder of scans, spacing in mm, oblique
    ("nifti/phantom_oblique.nii.gz", (1.0, 1.0, 1.0), True),
    ("metaimage/phantom_anisotropic.mhd", (0.8, 0.8, 1.5), False),
    ("nrrd/phantom.nrrd", (1.0, 1.0, 1.0), False),
    ("dicom/phantom_series", (0.9, 0.9, 1.2), True),
)


def write_phantom_dataset(folder: Path, num_cases: int, seed: int) -> Path:
    """Write MRI phantoms as a data set to train on, in the layout of the Medical Segmentation Decathlon.

    Every phantom counts as a patient of its own. The same arguments write the same bytes.

    Args:
        folder: gets `imagesTr/`, `labelsTr/` and `dataset.json`; made if missing, otherwise empty.
        num_cases: at least 4, the number of folds.
        seed: of all of it, at least 0.

    Returns:
        Path of the manifest, `dataset.json`, with checksums and 4 folds.

    Raises:
        SegpipeError: the folder holds files already, or a number is out of range.
    """
    if num_cases < NUM_FOLDS:
        raise SegpipeError(f"phantoms: {num_cases} cases asked for; needs at least {NUM_FOLDS}, one a fold")
    _require_empty(folder)
    cases = []
    for index in with_progress(range(num_cases), "Making phantoms"):
        name = f"phantom_{index:03d}"
        case = Case(name, (f"imagesTr/{name}.nii.gz",), f"labelsTr/{name}.nii.gz", patient=name)
        image, labels, grid = mri_phantom(seed, index)
        write_volume(image, grid, folder / case.images[0])
        write_label_map(labels, grid, folder / f"labelsTr/{name}.nii.gz")
        cases.append(case)
    manifest = Manifest(
        name="phantoms",
        description=f"Synthetic MRI volumes with a body of two parts; segpipe's generator, seed {seed}.",
        source="segpipe phantoms dataset",
        licence="CC0-1.0",
        patients="every phantom is a patient of its own",
        checksums="taken from the files as they were written",
        modality=("MRI",),
        labels=LABELS,
        training=tuple(cases),
    )
    path = folder / MANIFEST_NAME
    write_manifest(with_folds(with_checksums(manifest, folder), NUM_FOLDS, seed), path)
    return path


def write_phantom_scans(folder: Path, references: Path, seed: int) -> list[Path]:
    """Write new MRI phantoms as scans to segment, one a format, and their label maps elsewhere.

    None of them is in a training set of the same seed. Spacings differ, two grids are oblique.

    Args:
        folder: gets `nifti/`, `metaimage/`, `nrrd/` and `dicom/` (one series, a folder of its own).
        references: gets the label maps under the same relative names, each on its scan's grid, in its scan's
            format or NIfTI for DICOM. Must not lie in `folder`, where they would count as scans.
        seed: of all of it, at least 0.

    Returns:
        The scans' paths: files, and the DICOM series' folder.

    Raises:
        SegpipeError: one of the folders holds files already or lies in the other, or a number is out of
            range.
    """
    if references.absolute().is_relative_to(folder.absolute()):
        raise SegpipeError(
            f"{references}: the label maps must not lie among the scans in {folder}, where they would be "
            "segmented too; give another folder"
        )
    _require_empty(folder)
    _require_empty(references)
    scans = []
    for number, (name, spacing_mm, oblique) in enumerate(_SCANS):
        image, labels, grid = mri_phantom(seed, _FIRST_SCAN + number, spacing_mm=spacing_mm, oblique=oblique)
        scan = folder / name
        _write_scan(image, grid, scan)
        write_label_map(labels, grid, references / (name if scan.suffix else f"{name}.nii.gz"))
        scans.append(scan)
    return scans


def _write_scan(image: NDArray[np.int16], grid: Grid, path: Path) -> None:
    if path.suffix:
        write_volume(image, grid, path)
    else:
        write_series(image, grid, path, "MR")


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SegpipeError(f"{folder}: exists and is not an empty folder; choose another, or remove it first")
