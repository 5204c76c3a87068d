"""Small scans of every format for fuzzing: unequal spacings, an oblique direction, noise in every voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from mutations import (
    Sample,
    always,
    itk_agrees_on_other_numbers,
    never,
    nibabel_and_itk_agree,
)
from sample_grids import rotation

from segpipe.volumes import Grid, write_series, write_volume

ARRAY = np.random.default_rng(7).integers(1, 1200, (9, 8, 6)).astype(np.int16)
STRAIGHT = Grid.from_lps(ARRAY.shape, (0.7, 1.3, 2.5), (-10.5, 20.25, 30.0), np.eye(3))
OBLIQUE = Grid.from_lps(ARRAY.shape, (0.7, 1.3, 2.5), (-10.5, 20.25, 30.0), rotation(0.3, -0.2, 0.4))


def _nifti(path: Path, grid: Grid, sform_code: int, qform_code: int) -> None:
    image = nibabel.Nifti1Image(ARRAY, grid.affine)
    image.set_sform(grid.affine, sform_code)
    image.set_qform(grid.affine, qform_code)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _mhd(path: Path) -> None:
    image = sitk.GetImageFromArray(ARRAY.T)
    image.SetSpacing(OBLIQUE.spacing_mm)
    image.SetOrigin(OBLIQUE.origin_lps.tolist())
    image.SetDirection(OBLIQUE.direction_lps.reshape(-1).tolist())
    sitk.WriteImage(image, str(path), False)


def _series(folder: Path) -> None:
    write_series(ARRAY, OBLIQUE, folder, "CT", series_uid="1.2.826.0.1.7")


def _picture(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray((ARRAY[:, :, 0].T % 256).astype(np.uint8)), str(path))


def make(name: str, folder: Path) -> Sample:
    """Write the sample of a name into a folder of its own.

    Args:
        name: one of `NAMES`.
        folder: an empty folder.
    """
    write, file, damaged, header, unnoticed = _SAMPLES[name]
    write(folder / file)
    target = folder / damaged
    scan = folder / file if file else folder
    if header == "text":  # a text header ends where the voxels of a known length begin
        length: int | None = target.stat().st_size - ARRAY.nbytes
    elif header == "pixels":
        length = target.stat().st_size - ARRAY[:, :, 0].nbytes
    else:
        length = header  # type: ignore[assignment]
    return Sample(name, folder, scan, target, length, unnoticed)


_Write = Callable[[Path], object]
_SAMPLES: dict[str, tuple[_Write, str, str, int | str | None, Callable[..., bool]]] = {
    "nii, both forms": (lambda path: _nifti(path, OBLIQUE, 1, 1), "a.nii", "a.nii", 352, nibabel_and_itk_agree),
    "nii, sform": (lambda path: _nifti(path, STRAIGHT, 2, 0), "a.nii", "a.nii", 352, nibabel_and_itk_agree),
    "nii, qform": (lambda path: _nifti(path, OBLIQUE, 0, 1), "a.nii", "a.nii", 352, nibabel_and_itk_agree),
    "nii.gz": (lambda path: _nifti(path, OBLIQUE, 1, 1), "a.nii.gz", "a.nii.gz", None, never),
    "mhd, header": (_mhd, "a.mhd", "a.mhd", 10**6, itk_agrees_on_other_numbers),
    "mha": (_mhd, "a.mha", "a.mha", "text", itk_agrees_on_other_numbers),
    "mha, zlib": (lambda path: write_volume(ARRAY, OBLIQUE, path), "a.mha", "a.mha", None, itk_agrees_on_other_numbers),
    "nrrd": (_mhd, "a.nrrd", "a.nrrd", "text", itk_agrees_on_other_numbers),
    "nrrd, gzip": (
        lambda path: write_volume(ARRAY, STRAIGHT, path),
        "a.nrrd",
        "a.nrrd",
        None,
        itk_agrees_on_other_numbers,
    ),
    "DICOM series": (_series, "", "slice_0003.dcm", "pixels", never),
    "png": (_picture, "a.png", "a.png", None, never),
    "jpg": (_picture, "a.jpg", "a.jpg", 200, always),
}  # fmt: skip
NAMES = tuple(_SAMPLES)
