"""Write phantoms to disk: a training set with its manifest, and new scans in several formats to segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.folds import with_folds
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import write_manifest
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.phantoms import ct as ct_phantoms
from segpipe.phantoms import mri as phantoms
from segpipe.volumes import Grid, write_label_map, write_series, write_volume

NUM_FOLDS = 4
MANIFEST_NAME = "dataset.json"
_FIRST_SCAN = 1_000_000  # index of the first new scan, beyond every training set of the same seed

Phantom = tuple[NDArray[np.int16], NDArray[np.uint8], Grid]
Maker = Callable[[int, int], Phantom]  # of seed and index


@dataclass(frozen=True)
class PhantomKind:
    """A kind of phantoms, and the files for them.

    Attributes:
        modality: "MRI" or "CT".
        shows: description of the content.
        labels: stored value -> class name.
        make: makes one case of the training set.
        files: paths of a case's image and label map below the data set's folder, with {} for the case's name.
        scans: path below the folder of scans -> function that makes the scan; a path without suffix is a DICOM series.
    """

    modality: str
    shows: str
    labels: Mapping[int, str] = field(hash=False)
    make: Maker
    files: tuple[str, str]
    scans: Mapping[str, Maker] = field(hash=False)


MRI = PhantomKind(
    modality="MRI",
    shows="MRI volumes with a body of two parts",
    labels=phantoms.LABELS,
    make=phantoms.mri_phantom,
    files=("imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz"),
    scans={
        "nifti/phantom_oblique.nii.gz": partial(phantoms.mri_phantom, oblique=True),
        "metaimage/phantom_anisotropic.mhd": partial(phantoms.mri_phantom, spacing_mm=(0.8, 0.8, 1.5)),
        "nrrd/phantom.nrrd": phantoms.mri_phantom,
        "dicom/phantom_series": partial(phantoms.mri_phantom, spacing_mm=(0.9, 0.9, 1.2), oblique=True),
    },
)


def ct(size: int = 512, slices: int = 4) -> PhantomKind:
    """Return the kind of chest CT: slices to train on, volumes and a slice to segment.

    Args:
        size: voxels along each side of a slice, at least 64.
        slices: number of slices of each volume.
    """
    volume = partial(ct_phantoms.ct_phantom, size=size, slices=slices)
    one_slice = partial(ct_phantoms.ct_slice_phantom, size=size)
    return PhantomKind(
        modality="CT",
        shows="chest CT slices with ground-glass, consolidation and effusion, in HU",
        labels=ct_phantoms.LABELS,
        make=one_slice,
        files=("images/{}.mhd", "labels/{}.mhd"),
        scans={
            "nifti/phantom.nii.gz": volume,
            "metaimage/phantom_slice.mhd": one_slice,
            "nrrd/phantom.nrrd": volume,
            "dicom/phantom_series": volume,
        },
    )


def write_phantom_dataset(folder: Path, num_cases: int, seed: int, kind: PhantomKind = MRI) -> Path:
    """Write phantoms as a data set to train on.

    Every phantom is a separate patient. The same arguments write the same bytes.

    Args:
        folder: for the images, the label maps and `dataset.json`; must be empty, is made if missing.
        num_cases: at least 4, the number of folds.
        seed: of the data set, at least 0.
        kind: `MRI`, in the layout of the Medical Segmentation Decathlon, or `ct()`.

    Returns:
        Path of the manifest, `dataset.json`, with checksums and 4 folds.

    Raises:
        SegpipeError: the folder holds files already, or a number is out of range.
    """
    if num_cases < NUM_FOLDS:
        raise SegpipeError(f"phantoms: {num_cases} cases asked for; needs at least {NUM_FOLDS}, one a fold")
    require_empty(folder)
    cases = []
    for index in with_progress(range(num_cases), "Making phantoms"):
        name = f"phantom_{index:03d}"
        image_path, label_path = (path.format(name) for path in kind.files)
        image, labels, grid = kind.make(seed, index)
        write_volume(image, grid, folder / image_path)
        write_label_map(labels, grid, folder / label_path)
        cases.append(Case(name, (image_path,), label_path, patient=name))
    manifest = Manifest(
        name="phantoms",
        description=f"Synthetic {kind.shows}; segpipe's generator, seed {seed}.",
        source="segpipe phantoms dataset",
        licence="CC0-1.0",
        patients="every phantom is a patient of its own",
        checksums="taken from the files as they were written",
        modality=(kind.modality,),
        labels=kind.labels,
        training=tuple(cases),
    )
    path = folder / MANIFEST_NAME
    write_manifest(with_folds(with_checksums(manifest, folder), NUM_FOLDS, seed), path)
    return path


def write_phantom_scans(folder: Path, references: Path, seed: int, kind: PhantomKind = MRI) -> list[Path]:
    """Write new phantoms as scans to segment, one a format, and their label maps elsewhere.

    No scan is in a training set of the same seed. MRI scans have different spacings, and two have oblique grids.

    Args:
        folder: for `nifti/`, `metaimage/`, `nrrd/` and `dicom/` (with one series in a folder).
        references: for the label maps under the same relative names, each on its scan's grid, in its scan's format or
            NIfTI for DICOM. Must not be in `folder`, where the label maps would count as scans.
        seed: of the scans, at least 0.
        kind: `MRI` or `ct()`.

    Returns:
        The scans' paths: files, and the DICOM series' folder.

    Raises:
        SegpipeError: one of the folders holds files already, `references` is in `folder`, or a number is out of range.
    """
    if references.absolute().is_relative_to(folder.absolute()):
        raise SegpipeError(
            f"{references}: the label maps must not lie among the scans in {folder}, where they would be "
            "segmented too; give another folder"
        )
    require_empty(folder)
    require_empty(references)
    scans = []
    for number, (name, make) in enumerate(kind.scans.items()):
        image, labels, grid = make(seed, _FIRST_SCAN + number)
        scan = folder / name
        if scan.suffix:
            write_volume(image, grid, scan)
        else:
            write_series(image, grid, scan, "CT" if kind.modality == "CT" else "MR")
        write_label_map(labels, grid, references / (name if scan.suffix else f"{name}.nii.gz"))
        scans.append(scan)
    return scans


def require_empty(folder: Path) -> None:
    """Refuse a folder that holds files already.

    Raises:
        SegpipeError: the path is a file, or a folder with content.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SegpipeError(f"{folder}: exists and is not an empty folder; choose another, or remove it first")
