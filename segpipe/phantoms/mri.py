"""Synthetic MRI volumes with labels: the embedded default, to train and test everything without a download.

A phantom shows one curved, tapered body, similar to the hippocampus: a thick head (anterior) and a thinner tail
(posterior) that meet where the radius falls. Around the body are spheres, rods and sheets of the same intensity, in a
textured background with a bias field and noise. Intensity alone cannot segment the body: the best pair of thresholds
stays under Dice 0.6, and a network has to learn the shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.phantoms.texture import smooth_noise
from segpipe.volumes.geometry import Grid

Floats = NDArray[np.float64]
Axes = tuple[Floats, Floats, Floats]  # coordinates along x, y, z that broadcast to the volume's shape

LABELS = {0: "background", 1: "anterior", 2: "posterior"}

_SMALLEST_MM = (31, 40, 24)  # x, y, z; the range of the cropped scans of MSD Task04
_LARGEST_MM = (43, 59, 47)
_TISSUE, _FLUID, _BODY = 560.0, 230.0, 400.0  # intensities before gain, bias field and noise
_NOISE = 22.0
_GAP_MM = 2.0  # between the body and the other shapes
_SHEET_MM = (6, 6, 0.8), (11, 11, 1.2)  # half of a sheet's smallest and largest extent
_CLUTTER = 1.5  # volume of the other shapes, in volumes of the body


def mri_phantom(
    seed: int,
    index: int,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    oblique: bool = False,
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Make one phantom.

    Phantom `index` of a seed does not depend on other phantoms.

    Args:
        seed: of the data set, at least 0.
        index: of the phantom in the data set, at least 0.
        spacing_mm: voxel size along x, y, z; the shapes keep their size in mm.
        oblique: True for a grid rotated against the patient's axes and moved away from the origin.

    Returns:
        The image, int16 in arbitrary units from 0 to about 1000, and the label map, uint8 with 0 background,
        1 anterior, 2 posterior, both of shape (x, y, z): 31..43 x 40..59 x 24..47 mm; and their grid.

    Raises:
        SegpipeError: a negative seed or index, or a spacing outside 0.25 to 4 mm, which would give the body too many or
            too few voxels.
    """
    if seed < 0 or index < 0:
        raise SegpipeError(f"phantom: seed and index must be at least 0, are {seed} and {index}")
    if not all(0.25 <= step <= 4 for step in spacing_mm):
        raise SegpipeError(f"phantom: spacing must be 0.25 to 4 mm along each axis, is {spacing_mm}")
    random = np.random.default_rng((seed, index))
    size_mm = random.integers(_SMALLEST_MM, _LARGEST_MM, endpoint=True)
    size = tuple(round(float(extent / step)) for extent, step in zip(size_mm, spacing_mm, strict=True))
    axes = _voxel_centres(size, spacing_mm)

    depth, along = _body(random, axes, size_mm)
    labels = np.where(depth > 0, np.where(along < 0, 1, 2), 0).astype(np.uint8)
    clutter = _clutter(random, axes, size_mm, depth)
    image = _intensities(random, np.maximum(depth, clutter), spacing_mm)
    return image, labels, Grid.from_affine(size, _affine(random, size, spacing_mm, oblique))


def _voxel_centres(size: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Axes:
    """Return the voxels' positions in mm about the middle of the volume: shapes (x, 1, 1), (1, y, 1), (1, 1, z)."""
    x, y, z = (
        (np.arange(n, dtype=np.float64) - (n - 1) / 2) * step
        for n, step in zip(size, spacing_mm, strict=True)
    )
    return x[:, None, None], y[:, None], z


def _body(random: np.random.Generator, axes: Axes, size_mm: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the depth of each voxel in the body (mm, negative outside), and its position along the body.

    The position is negative in the head and positive in the tail.
    """
    length = (size_mm[1] - 13) * random.uniform(0.78, 0.92)  # both ends lie in the volume
    head, tail = random.uniform(5.6, 6.6), random.uniform(3.9, 4.6)
    neck = random.uniform(0.38, 0.44)  # where head and tail meet, as a part of the length
    bend, sag = random.uniform(3.0, 6.5), random.uniform(-2.0, 2.0)
    turn = _rotation(np.deg2rad(random.uniform(-14, 14, size=3)))
    centre = random.uniform(-1.5, 1.5, size=3)
    mirror = np.array([random.choice([-1.0, 1.0]), 1.0, 1.0])  # a left or a right one

    t = np.linspace(0, 1, 60)
    arc = 4 * t * (1 - t) - 0.5
    line = np.stack([bend * arc, (0.5 - t) * length, sag * arc], axis=1)
    line = (line * mirror) @ turn.T + centre
    radius = tail + (head - tail) / (1 + np.exp((t - neck) / 0.05))

    # a string of balls: the ends are round, and only one of them is in memory at a time
    depth = np.full(np.broadcast_shapes(*(axis.shape for axis in axes)), -np.inf)
    along = np.zeros(depth.shape)
    for ball, size, place in zip(line, radius, t - neck, strict=True):
        x, y, z = ((axis - middle) ** 2 for axis, middle in zip(axes, ball, strict=True))
        in_ball = size - np.sqrt(x + y + z)
        np.copyto(along, place, where=in_ball > depth)
        np.maximum(depth, in_ball, out=depth)
    return depth, along


def _clutter(
    random: np.random.Generator, axes: Axes, size_mm: NDArray[np.int64], body_depth: Floats
) -> Floats:
    """Return the depth of each voxel in a sphere, rod or sheet (mm, negative outside), with a gap to the body."""
    wanted = _CLUTTER * np.count_nonzero(body_depth > 0)
    clear = -body_depth - _GAP_MM
    depth = np.full(body_depth.shape, -np.inf)
    makers: tuple[Callable[[np.random.Generator, Axes], Floats], ...] = (_sphere, _rod, _sheet)
    for number in range(120):
        if np.count_nonzero(depth > 0) >= wanted:
            break
        centre = random.uniform(-0.5, 0.5, size=3) * size_mm
        turned = _turned(axes, centre, _rotation(random.uniform(0, 2 * np.pi, size=3)))
        shape = makers[number % len(makers)](random, turned)
        depth = np.maximum(depth, np.minimum(shape, clear))
    return depth


def _turned(axes: Axes, centre: Floats, rotation: Floats) -> Axes:
    """Return each voxel's three coordinates about a centre along rotated axes, each of shape (x, y, z)."""
    dx, dy, dz = (axis - middle for axis, middle in zip(axes, centre, strict=True))
    u, v, w = (dx * x + dy * y + dz * z for x, y, z in rotation.T)
    return u, v, w


def _sphere(random: np.random.Generator, points: Axes) -> Floats:
    u, v, w = points
    return np.asarray(random.uniform(2.2, 3.6) - np.sqrt(u * u + v * v + w * w))


def _rod(random: np.random.Generator, points: Axes) -> Floats:
    u, v, w = points
    across = random.uniform(1.2, 1.8) - np.sqrt(u * u + v * v)
    return np.minimum(across, random.uniform(8, 16) - np.abs(w))


def _sheet(random: np.random.Generator, points: Axes) -> Floats:
    u, v, w = (half - np.abs(axis) for half, axis in zip(random.uniform(*_SHEET_MM), points, strict=True))
    return np.asarray(np.minimum(np.minimum(u, v), w))


def _intensities(
    random: np.random.Generator, depth: Floats, spacing_mm: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Return the image: voxels of depth above 0 have the body's intensity; with background, bias field and noise."""
    fluid = np.clip((smooth_noise(random, depth.shape, spacing_mm, 3.0) - 0.9) * 3, 0, 1)
    texture = 50 * smooth_noise(random, depth.shape, spacing_mm, 1.5)
    background = _TISSUE + (_FLUID - _TISSUE) * fluid + texture
    # partial volume: a voxel on a surface contains both sides
    inside = np.clip(depth / np.mean(spacing_mm) + 0.5, 0, 1)
    signal = background + inside * (_BODY - background + 0.3 * texture)
    bias = np.exp(0.13 * smooth_noise(random, depth.shape, spacing_mm, 14.0))
    signal = signal * bias * random.uniform(0.8, 1.2)
    # magnitude of a complex signal with noise in both parts: Rician, as in MRI
    noise = random.normal(0, _NOISE, size=(2, *depth.shape))
    return np.asarray(np.round(np.hypot(signal + noise[0], noise[1])), dtype=np.int16)


def _rotation(angles: Floats) -> Floats:
    """Return the rotation by three angles (radians) about x, y and z in turn, shape (3, 3)."""
    cosine, sine = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cosine[0], -sine[0]], [0, sine[0], cosine[0]]])
    about_y = np.array([[cosine[1], 0, sine[1]], [0, 1, 0], [-sine[1], 0, cosine[1]]])
    about_z = np.array([[cosine[2], -sine[2], 0], [sine[2], cosine[2], 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _affine(
    random: np.random.Generator,
    size: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    oblique: bool,
) -> Floats:
    """Return voxel index to RAS mm, shape (4, 4): the volume's middle at 0, or rotated and moved away."""
    affine = np.eye(4)
    angles = np.deg2rad(random.uniform(5, 25, size=3) * random.choice([-1, 1], size=3))
    offset = random.uniform(-40, 40, size=3)
    turn = _rotation(angles) if oblique else np.eye(3)
    affine[:3, :3] = turn * np.asarray(spacing_mm)
    affine[:3, 3] = (offset if oblique else 0) - affine[:3, :3] @ ((np.asarray(size) - 1) / 2)
    return affine
