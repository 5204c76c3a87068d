"""Synthetic chest CT with labels, in HU, to train and test the lung bundles without a download.

A phantom has lungs with vessels and airways, in a chest with ribs, spine and heart, on a foam pad. Ground-glass,
consolidation and effusion are in and behind the lungs, in about the shares of the COVID slices: most pixels are
background, and most slices have no effusion. A threshold cannot segment them: foam, edges and dense healthy lung look
like ground-glass, vessels and heart like consolidation, muscle like effusion. A network has to learn positions, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.phantoms.texture import smooth_noise
from segpipe.volumes.geometry import Grid

Floats = NDArray[np.floating[Any]]

LABELS = {0: "background", 1: "ground-glass", 2: "consolidation", 3: "effusion"}

_FIELD_MM = 360.0  # the side of a slice
_SLICE_MM = 8.0
_SMALLEST_SIZE = 64
_AIR, _FOAM, _LUNG, _FAT, _MUSCLE, _BONE = -1000.0, -480.0, -860.0, -100.0, 45.0, 380.0  # HU
_EFFUSION, _CONSOLIDATION, _GROUND_GLASS = 15.0, 10.0, -470.0
_NOISE_HU = 18.0
_SHARE_WITHOUT_CONSOLIDATION, _SHARE_WITH_EFFUSION = 0.2, 0.3


@dataclass(frozen=True)
class _Plane:
    """The positions of the voxels: coordinates to the patient's left, back and head (mm), for shapes and noise."""

    left: Floats
    back: Floats
    head: Floats
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.left.shape[0], self.back.shape[1], self.head.shape[2]

    def noise(self, random: np.random.Generator, scale_mm: float) -> Floats:
        return smooth_noise(random, self.shape, self.spacing_mm, scale_mm)

    def ellipse(
        self, centre: tuple[float, float], radii: tuple[float, float], scale: Floats | float = 1.0
    ) -> Floats:
        """Return the approximate depth of each voxel in an upright elliptic cylinder (mm, negative outside)."""
        u, v = (self.left - centre[0]) / radii[0], (self.back - centre[1]) / radii[1]
        return np.asarray((scale - np.sqrt(u * u + v * v)) * min(radii))


def ct_phantom(
    seed: int, index: int, *, size: int = 512, slices: int = 1
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Make one chest.

    Args:
        seed: of the data set, at least 0.
        index: of the phantom in the data set, at least 0; phantoms are independent.
        size: voxels along each side of a slice, at least 64; a slice is always 360 mm wide.
        slices: number of slices, 8 mm apart.

    Returns:
        The image, int16 in HU, and the label map, uint8 with 0 background, 1 ground-glass, 2 consolidation and 3
        effusion, both of shape (size, size, slices), axes to the patient's left, back and head; and their grid.

    Raises:
        SegpipeError: a number is out of range.
    """
    if seed < 0 or index < 0 or size < _SMALLEST_SIZE or slices < 1:
        raise SegpipeError(
            f"CT phantom: seed {seed}, index {index}, size {size}, slices {slices}; must be at least 0, 0, "
            f"{_SMALLEST_SIZE} and 1"
        )
    random = np.random.default_rng((seed, index))
    step = _FIELD_MM / size
    spacing_mm = (step, step, _SLICE_MM)
    across = (np.arange(size) - (size - 1) / 2) * step
    along = (np.arange(slices) - (slices - 1) / 2) * _SLICE_MM
    plane = _Plane(across[:, None, None], across[None, :, None], along[None, None, :], spacing_mm)

    chest, lungs, behind = _anatomy(random, plane)
    effusion = _effusion(random, plane, lungs, behind)
    lungs = np.minimum(lungs, -effusion)
    disease, labels = _disease(random, plane, lungs)
    labels[(effusion > 0) & (labels == 0)] = 3
    image = _hounsfield(random, plane, chest, lungs, effusion, disease)
    affine = np.diag([-step, -step, _SLICE_MM, 1.0])  # RAS: the first two axes run against right and front
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([size, size, slices]) - 1) / 2)
    return image, labels, Grid.from_affine((size, size, slices), affine)


def ct_slice_phantom(
    seed: int, index: int, *, size: int = 512
) -> tuple[NDArray[np.int16], NDArray[np.uint8], Grid]:
    """Make one slice in the form of the published COVID slices: 2D, unit pixels, the patient's back to the right.

    Args:
        seed: of the data set, at least 0.
        index: of the phantom in the data set, at least 0.
        size: pixels along each side, at least 64.

    Returns:
        Image and label map as from `ct_phantom`, of shape (size, size), axes to the patient's back and left; and a grid
        of unit pixels.

    Raises:
        SegpipeError: a number is out of range.
    """
    image, labels, _ = ct_phantom(seed, index, size=size)
    grid = Grid.from_affine((size, size), np.diag([-1.0, -1.0, 1.0, 1.0]))  # MetaImage's identity, in RAS
    return np.ascontiguousarray(image[:, :, 0].T), np.ascontiguousarray(labels[:, :, 0].T), grid


def _anatomy(random: np.random.Generator, plane: _Plane) -> tuple[Floats, Floats, Floats]:
    """Return the chest without lungs (HU), the depth of each voxel in a lung (mm), and its position behind the middle.

    The position is 0 at the lungs' middle and about 1 at their back.
    """
    grow = random.uniform(0.85, 1.05)
    wobble = 5 * plane.noise(random, 25.0)
    body = plane.ellipse((0, 0), (160 * grow, 112 * grow)) + 0.3 * wobble
    foam = np.minimum(plane.back - 105 * grow, 10 - np.abs(plane.back - 128 * grow))
    shrink = np.sqrt(np.clip(1 - (plane.head / 220) ** 2, 0.05, 1)) * random.uniform(0.85, 1)
    heart_left = random.uniform(15, 35)
    heart = plane.ellipse((heart_left, -25), (58 * grow, random.uniform(38, 55) * grow)) + wobble
    spine = plane.ellipse((0, 62 * grow), (19, 19)) + 0.3 * wobble
    middle = 9 + 0.35 * wobble - np.abs(plane.left)
    right, left = (
        plane.ellipse((side * 70 * grow, random.uniform(-8, 4)), (60 * grow, 84 * grow), shrink)
        for side in (-1, 1)
    )
    lungs = np.maximum(right, left) + 0.5 * wobble
    lungs = np.minimum.reduce([lungs, -heart, -(spine + 8), -middle, body - 14])

    chest = np.full(plane.shape, _AIR)
    chest = np.where(foam > 0, _FOAM + 110 * plane.noise(random, 5.0), chest)
    chest = np.where(body > 0, _FAT, chest)
    chest = np.where(body > 9 + 0.5 * wobble, _MUSCLE + 12 * plane.noise(random, 4.0), chest)
    ribs = (np.abs(lungs + 9) < 4) & (plane.noise(random, 9.0) > 0.6)
    chest = np.where(ribs | (spine > 0), _BONE + 90 * plane.noise(random, 3.0), chest)
    return chest, lungs, plane.back / (84 * grow)


def _effusion(random: np.random.Generator, plane: _Plane, lungs: Floats, behind: Floats) -> Floats:
    """Return the depth of each voxel in a crescent of fluid along the back of one lung (mm, negative outside)."""
    nothing = np.full(plane.shape, -np.inf)
    if random.random() > _SHARE_WITH_EFFUSION:
        return nothing
    side = random.choice([-1, 1])
    thickness = random.uniform(5, 12) * np.clip((behind - random.uniform(0.25, 0.5)) * 3, 0, 1)
    crescent = np.minimum(lungs, thickness - lungs)
    return np.where(plane.left * side > 12, crescent, nothing)


def _disease(random: np.random.Generator, plane: _Plane, lungs: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Return the HU to add in the lungs, and the labels of ground-glass and consolidation."""
    inside = lungs > 0
    labels = np.zeros(plane.shape, np.uint8)
    added = np.zeros(plane.shape)
    if not inside.any():
        return added, labels
    outer = np.exp(-np.maximum(lungs, 0) / 18)  # disease begins under the pleura, and at the back
    place = plane.noise(random, 14.0) + 1.1 * outer + 0.008 * plane.back
    glass = inside & (place > _quantile(place, inside, random.beta(1.1, 2.6)))
    dense = place + 0.8 * plane.noise(random, 7.0) + 0.7 * outer
    share = 0.0 if random.random() < _SHARE_WITHOUT_CONSOLIDATION else random.beta(1.0, 7.0)
    solid = inside & (dense > _quantile(dense, inside, share))
    labels[glass], labels[solid] = 1, 2
    strength = random.uniform(0.7, 1.15)
    texture = 1 + 0.25 * plane.noise(random, 2.0)
    added[glass] = (strength * (_GROUND_GLASS - _LUNG) * texture)[glass]
    added[solid] = (_CONSOLIDATION - _LUNG + 40 * texture)[solid]
    return added, labels


def _quantile(values: Floats, inside: NDArray[np.bool_], share: float) -> float:
    """Return the value that a share of the values inside exceeds; the share is at most 0.85."""
    return float(np.quantile(values[inside], 1 - min(share, 0.85)))


def _hounsfield(
    random: np.random.Generator,
    plane: _Plane,
    chest: Floats,
    lungs: Floats,
    effusion: Floats,
    disease: Floats,
) -> NDArray[np.int16]:
    """Return the image: lung and fluid in the chest, disease and vessels in the lung, blurred edges, noise."""
    # the lung is denser at the back of a lying patient
    gravity = random.uniform(40, 220) * np.clip(plane.back / 80, 0, 1.2) ** 2
    patches = random.uniform(60, 240) * np.clip(plane.noise(random, 22.0) - 0.4, 0, 1.5)  # mosaic, healthy
    parenchyma = np.minimum(_LUNG + gravity + patches + 25 * plane.noise(random, 2.0) + disease, 60)
    deep = np.clip(lungs / 25, 0, 1)
    vessels = (np.abs(plane.noise(random, 6.0)) < 0.03 + 0.09 * deep) & (plane.noise(random, 10.0) > 0.2)
    airways = plane.noise(random, 5.0) > 3.2 - 0.5 * deep
    parenchyma = np.where(vessels, np.maximum(parenchyma, 20), np.where(airways, _AIR + 20, parenchyma))
    edge = np.clip(lungs / 1.5 + 0.5, 0, 1)  # partial volume: a voxel on a surface contains both sides
    image = chest + edge * (parenchyma - chest)
    image = np.where(effusion > 0, _EFFUSION + 10 * plane.noise(random, 4.0), image)
    image = image + random.normal(0, _NOISE_HU, size=plane.shape)
    return np.asarray(np.clip(np.round(image), -1024, 3071), dtype=np.int16)
