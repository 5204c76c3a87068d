"""Cine series: 4D NIfTI files of few small frames, oblique, with a spacing in time."""

import nibabel
import numpy as np

SIZE, FRAMES = (14, 16, 12), 3
MILLISECONDS = 33.5
AFFINE = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def save_4d(path, array, affine=AFFINE):
    """Write an array (x, y, z, time) as NIfTI with a time spacing, and return its path."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = MILLISECONDS
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def frames_of_noise(seed=0, frames=FRAMES, size=SIZE):
    """Return int16 intensities (x, y, z, time), different in every frame."""
    return np.random.default_rng(seed).integers(0, 1000, (*size, frames)).astype(np.int16)


def labelled_frames(numbers, frames=FRAMES, size=SIZE):
    """Return a label map (x, y, z, time) with a block of class 1 in the frames of these numbers, from 1."""
    labels = np.zeros((*size, frames), np.uint8)
    for number in numbers:
        labels[2 : 4 + number, 2:6, 1:5, number - 1] = 1
    return labels


def write_patient(folder, name, labelled=(1, 3), seed=0):
    """Write a 4D image and its 4D label map."""
    save_4d(folder / name / f"{name}_4d.nii.gz", frames_of_noise(seed))
    save_4d(folder / name / f"{name}_4d_gt.nii.gz", labelled_frames(labelled))
