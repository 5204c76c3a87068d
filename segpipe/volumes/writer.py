"""Write a label map or a scan on its grid; one writer for all formats chooses format and dtype.

A written file is complete, or it does not exist. (MONAI's SaveImage has one suffix for a whole run, writes float32 by
default, and writes in place.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name all its users know

from segpipe.errors import SegpipeError
from segpipe.files import staging_folder
from segpipe.labels import LabelTable
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import Grid
from segpipe.volumes.itk_files import read_itk_file, read_itk_header
from segpipe.volumes.label_headers import (
    check_segments,
    mark_nifti_labels,
    segment_fields,
    state_millimetres,
)
from segpipe.volumes.metaimage import check_metaimage_stream
from segpipe.volumes.metaimage_header import read_metaimage_header
from segpipe.volumes.nifti_forms import is_unit_quaternion
from segpipe.volumes.nrrd import check_nrrd_stream
from segpipe.volumes.nrrd_header import read_nrrd_header
from segpipe.volumes.volume import ItkGeometry, NiftiForms, Volume, VolumeHeader, VoxelArray

_LABEL_DTYPES = (np.uint8, np.uint16, np.int16, np.int32)
_SCAN_DTYPES = (*_LABEL_DTYPES, np.float32)
_PNG_DTYPES = (np.uint8, np.uint16)
_NIFTI1_MAX_SIZE = 32767
_SPARE_BYTES = 2**20
_UNSET, _SCANNER = 0, 1  # NIfTI's codes of a form


def write_label_map(
    array_xyz: npt.NDArray[Any],
    grid: Grid,
    path: str | Path,
    *,
    source: Volume | VolumeHeader | None = None,
    dtype: npt.DTypeLike | None = None,
    labels: LabelTable | None = None,
) -> None:
    """Write integer labels in the format of the suffix, on exactly the given grid.

    The header marks the voxels as labels, and contains names and colours in formats where viewers read them, see
    `segpipe.volumes.label_headers`.

    Args:
        array_xyz: integer or bool labels, shape (x, y) or (x, y, z) equal to `grid.size`.
        grid: of the voxels, normally the scan's `Volume.grid`.
        path: .nii, .nii.gz, .mhd (with a .zraw beside it), .mha, .nrrd, .seg.nrrd or .png; folders are made as
            needed, and an existing file is replaced only when the new one is complete.
        source: the segmented scan; if both are NIfTI, the label map gets the scan's form codes and qform.
        dtype: of the stored voxels; by default the smallest of uint8, uint16, int16 and int32 that holds the labels.
        labels: names and colours of the values, for viewers; None where they are not known.

    Raises:
        SegpipeError: shape and grid differ, labels do not fit, the format cannot hold the grid or the
            labels, or the file cannot be written.
        TypeError: the labels are not integers.
    """
    if array_xyz.dtype.kind not in "biu":
        raise TypeError(f"labels must be integers, not {array_xyz.dtype}")
    path = Path(path)
    low, high = (int(array_xyz.min()), int(array_xyz.max())) if array_xyz.size else (0, 0)
    chosen = np.dtype(dtype) if dtype is not None else _smallest_dtype(path, low, high)
    if chosen.kind not in "iu" or low < np.iinfo(chosen).min or high > np.iinfo(chosen).max:
        raise SegpipeError(
            f"{path}: labels {low} to {high} do not fit {chosen}; ask for a wider integer type"
        )
    if labels is not None and volume_format(path) is VolumeFormat.SEG_NRRD:
        check_segments(labels)
    array = array_xyz.astype(chosen, copy=False)
    _write(array, grid, path, source=source, are_labels=True, labels=labels)


def write_label_frames(
    array_xyzt: npt.NDArray[Any],
    grid: Grid,
    path: str | Path,
    *,
    source: VolumeHeader,
    labels: LabelTable | None = None,
) -> None:
    """Write the label maps of a series of time frames as one 4D NIfTI file, with the scan's grid and time spacing.

    Args:
        array_xyzt: integer labels, shape (x, y, z, frames), with the first three equal to `grid.size`; stored in this
            dtype.
        grid: of every frame.
        path: .nii or .nii.gz.
        source: header of the scan, a NIfTI file; the label maps get its form codes, qform and time spacing.
        labels: names and colours of the values, for viewers; None where they are not known.

    Raises:
        SegpipeError: the format is not NIfTI, shape and grid differ, or the file cannot be written.
    """
    path, forms = Path(path), source.nifti_forms
    format_ = volume_format(path)
    if not format_.is_nifti or forms is None:
        raise SegpipeError(f"{path}: label maps of time frames are written as NIfTI only; write .nii.gz")
    if array_xyzt.shape[:-1] != grid.size:
        raise SegpipeError(
            f"{path}: frames of shape {array_xyzt.shape[:-1]} on a grid of size {grid.size} voxels: must be equal"
        )
    image = _nifti_image(array_xyzt, grid, source)
    image.header.set_xyzt_units("mm", forms.time_unit)
    image.header["pixdim"][4] = forms.stored["pixdim"][4]
    mark_nifti_labels(image.header, labels)
    _replace(path, format_.value, lambda target: nibabel.save(image, target.absolute()))


def write_volume(array_xyz: npt.NDArray[Any], grid: Grid, path: str | Path) -> None:
    """Write intensities in the array's dtype and in the format of the suffix.

    Args:
        array_xyz: uint8, uint16, int16, int32 or float32, shape (x, y) or (x, y, z) equal to `grid.size`.
        grid: of the voxels.
        path: as `write_label_map`.

    Raises:
        SegpipeError: as `write_label_map`.
        TypeError: another dtype.
    """
    if array_xyz.dtype not in _SCAN_DTYPES:
        names = ", ".join(np.dtype(dtype).name for dtype in _SCAN_DTYPES)
        raise TypeError(f"intensities must be one of {names}, not {array_xyz.dtype}")
    _write(array_xyz, grid, Path(path))


def _smallest_dtype(path: Path, low: int, high: int) -> np.dtype[Any]:
    for dtype in _LABEL_DTYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise SegpipeError(f"{path}: labels {low} to {high}: must lie within int32; renumber them")


def _write(
    array: VoxelArray,
    grid: Grid,
    path: Path,
    *,
    source: Volume | VolumeHeader | None = None,
    are_labels: bool = False,
    labels: LabelTable | None = None,
) -> None:
    format_ = volume_format(path)
    geometry = source.itk_geometry if source is not None and source.grid == grid else None
    _refuse_what_the_format_cannot_hold(array, grid, path, format_, geometry)
    if format_.is_nifti:
        image = _nifti_image(array, grid, source)
        if are_labels:
            mark_nifti_labels(image.header, labels)
        # an absolute path, since nibabel replaces ~ by the home folder
        _replace(path, format_.value, lambda target: nibabel.save(image, target.absolute()))
    else:
        fields = segment_fields(labels, grid.size) if labels is not None and format_.is_nrrd else {}
        itk_image = _itk_image(array, grid, format_, geometry)
        for key, value in fields.items():
            itk_image.SetMetaData(key, value)
        _replace(path, format_.value, lambda target: _save_itk(itk_image, target, format_, array.nbytes))


def _save_itk(image: sitk.Image, target: Path, format_: VolumeFormat, num_bytes: int) -> None:
    """Write with ITK and check the file, since ITK reports no error on a full disk and leaves an incomplete file."""
    try:
        sitk.WriteImage(image, str(target), True)
        if format_.is_nrrd:
            state_millimetres(target)
        _require_whole(target, format_, num_bytes)
    except (RuntimeError, SegpipeError):
        _require_space(target.parent, num_bytes)
        raise


def _require_whole(path: Path, format_: VolumeFormat, num_bytes: int) -> None:
    """Check a newly written file, in memory that does not grow with the volume.

    Raises:
        SegpipeError: the file is damaged.
    """
    if format_ is VolumeFormat.PNG:
        read_itk_file(path)
        return
    read_itk_header(path)
    if format_.is_nrrd:
        check_nrrd_stream(read_nrrd_header(path), num_bytes)
    else:
        check_metaimage_stream(read_metaimage_header(path))


def _require_space(folder: Path, num_bytes: int) -> None:
    """Raise the OSError of a read-only or full disk; a few spare bytes are required, too."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(num_bytes + _SPARE_BYTES))
        file.flush()


def _refuse_what_the_format_cannot_hold(
    array: VoxelArray, grid: Grid, path: Path, format_: VolumeFormat, geometry: ItkGeometry | None
) -> None:
    if array.shape != grid.size:
        raise SegpipeError(
            f"{path}: array of shape {array.shape} on a grid of size {grid.size} voxels: must be equal; "
            "resample the array onto the grid first"
        )
    if format_ in (VolumeFormat.JPEG, VolumeFormat.DICOM):
        raise SegpipeError(
            f"{path}: segpipe writes no {format_.name}, which would change labels; use .png or .nii.gz"
        )
    if format_.is_nifti:
        return
    if grid.is_sheared and geometry is None:
        raise SegpipeError(
            f"{path}: sheared grid, direction {_cosines(grid)} (LPS): {format_.value} holds perpendicular "
            "axes only; write .nii.gz"
        )
    if grid.spatial_dims == 2 and not grid.is_axial_plane:
        raise SegpipeError(
            f"{path}: a 2D grid out of the xy plane ({grid}): a 2D {format_.value} cannot hold it; write "
            ".nii.gz"
        )
    if format_ is VolumeFormat.SEG_NRRD and grid.spatial_dims == 2:
        raise SegpipeError(
            f"{path}: a 2D grid ({grid}): segmentations of 3D Slicer have three axes; write .nrrd or .nii.gz"
        )
    if format_ is VolumeFormat.PNG:
        pixel_grid = Grid.from_lps(grid.size[:2], (1.0, 1.0), (0.0, 0.0), np.eye(2))
        if grid.spatial_dims != 2 or not grid.matches(pixel_grid):
            raise SegpipeError(
                f"{path}: a PNG holds 2D pixels without a place in the patient, this is {grid}; write "
                ".nii.gz or .mhd"
            )
        if array.dtype not in _PNG_DTYPES:
            raise SegpipeError(
                f"{path}: values {array.min()} to {array.max()} as {array.dtype}: a PNG holds 0 to 65535; "
                "write .mhd"
            )


def _cosines(grid: Grid) -> str:
    return np.array2string(grid.direction_lps, precision=6, separator=", ").replace("\n", "")


def _itk_image(
    array: VoxelArray, grid: Grid, format_: VolumeFormat, geometry: ItkGeometry | None
) -> sitk.Image:
    """Return an ITK image with the numbers in `geometry`, or else with the numbers of the grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    dims = grid.spatial_dims
    if format_ is VolumeFormat.PNG:
        return image
    if geometry is not None:
        image.SetSpacing(geometry.spacing_mm[:dims])
        image.SetOrigin(geometry.origin_lps[:dims])
        image.SetDirection(np.array(geometry.direction)[:dims, :dims].reshape(-1).tolist())
    else:
        image.SetSpacing(grid.spacing_mm)
        image.SetOrigin(grid.origin_lps[:dims].tolist())
        image.SetDirection(grid.direction_lps[:dims, :dims].reshape(-1).tolist())
    return image


def _nifti_image(array: VoxelArray, grid: Grid, source: Volume | VolumeHeader | None) -> Any:
    kind = nibabel.Nifti1Image if max(grid.size) <= _NIFTI1_MAX_SIZE else nibabel.Nifti2Image
    image = kind(array, grid.affine)
    image.header.set_xyzt_units("mm")
    if source is not None and source.nifti_forms is not None and source.grid == grid:
        _carry_forms(image, source.nifti_forms)
        return image
    if grid.is_sheared:  # a qform is a rotation
        image.set_qform(None, code=_UNSET)
    else:
        image.set_qform(grid.affine, code=_SCANNER)
    image.set_sform(grid.affine, code=_SCANNER)
    return image


def _carry_forms(image: Any, forms: NiftiForms) -> None:
    """Copy both forms of a scan into its label map, number by number, since programs prefer different forms."""
    image.set_qform(forms.qform, code=forms.qform_code)
    header = image.header
    fields = dict(forms.stored)
    spacing = fields.pop("pixdim")
    if not is_unit_quaternion(forms.stored):  # nibabel writes only quaternions that it can read
        fields = {name: value for name, value in fields.items() if not name.startswith("quatern")}
    elif spacing[0] != 0:
        header["pixdim"][0] = spacing[0]
    header["pixdim"][1:4] = spacing[1:4]
    for name, value in fields.items():
        header[name] = value
    header["sform_code"], header["qform_code"] = forms.sform_code, forms.qform_code


def _replace(path: Path, suffix: str, save: Callable[[Path], object]) -> None:
    """Save a file, and the format's second file if any, completely or not at all."""
    named = path.with_name(f"{path.name[: -len(suffix)]}{suffix}")  # ITK accepts only lower case
    try:
        with staging_folder(path) as folder:
            save(folder / named.name)
            if named != path:
                (folder / named.name).rename(folder / path.name)
    except (OSError, RuntimeError) as error:
        reason = (
            getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[-1]
        )
        raise SegpipeError(
            f"{path}: cannot be written ({reason}); check space and permissions there"
        ) from error
