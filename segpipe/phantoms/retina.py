"""Synthetic retinal OCT with one class an image, to train and test classifiers without a download.

An image shows bright and dark layers between the dark vitreous and the choroid, with speckle. Drusen are bumps of the
lowest bright layer; fluid is dark blisters between the layers. Depth, tilt, thickness, contrast and speckle differ from
patient to patient, vessels cast dark shadows, and the mean of every image is drawn without regard to its class. So no
class follows from intensities: a network has to learn shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.phantoms.texture import smooth_noise

Floats = NDArray[np.floating[Any]]

CLASSES = ("DRUSEN", "FLUID", "NORMAL")

_SMALLEST_SIZE = 32
_VITREOUS, _CHOROID = 0.1, 0.3
# upper border as a part of the retina's thickness, and reflectivity below the border
_LAYERS = ((0.0, 0.75), (0.2, 0.5), (0.42, 0.3), (0.55, 0.48), (0.66, 0.26), (0.86, 0.95), (1.0, _CHOROID))
_LOWEST_BRIGHT = 5  # position in _LAYERS of the layer that drusen lift


def retina_phantom(seed: int, patient: int, image: int, *, size: int = 64) -> tuple[NDArray[np.uint8], str]:
    """Make one image.

    Args:
        seed: of the data set, at least 0.
        patient: number of the patient, at least 0, which gives anatomy and class: patients 0, 3, 6, ... have drusen.
        image: number of the patient's image, at least 0.
        size: pixels along each side, at least 32.

    Returns:
        The image, uint8 of shape (columns, rows), row 0 at the top; and its class, one of `CLASSES`.

    Raises:
        SegpipeError: a number is out of range.
    """
    require_in_range("retina", seed, patient, image, size, _SMALLEST_SIZE)
    name = CLASSES[patient % len(CLASSES)]
    anatomy, random = np.random.default_rng((seed, patient)), np.random.default_rng((seed, patient, image, 1))
    thickness, top = anatomy.uniform(0.34, 0.46), anatomy.uniform(0.2, 0.32)
    contrast, speckle = anatomy.uniform(0.7, 1.1), anatomy.uniform(0.1, 0.16)
    x = np.linspace(-1, 1, size)[:, None]  # columns from left to right
    y = np.linspace(0, 1, size)[None, :]  # rows from top to bottom
    tilt, bend = random.uniform(-0.06, 0.06), random.uniform(-0.05, 0.05)
    border = top + tilt * x + bend * x * x + 0.008 * smooth_noise(random, (size,), (2 / size,), 0.12)[:, None]
    pit = random.uniform(0.05, 0.14) * np.exp(-(((x - random.uniform(-0.3, 0.3)) / 0.3) ** 2))
    depth = (y - border - pit * np.clip(1 - (y - border) / thickness, 0, 1)) / thickness

    lift = _bumps(random, x) / thickness if name == "DRUSEN" else np.zeros_like(x)
    reflectivity = np.full((size, size), _VITREOUS)
    for number, (start, value) in enumerate(_LAYERS):
        lifted = start - lift if number == _LOWEST_BRIGHT else start
        edge = np.clip((depth - lifted) * thickness * size + 0.5, 0, 1)  # partial volume at a border
        reflectivity = reflectivity + edge * (value - reflectivity)
    if name == "FLUID":
        reflectivity = _with_blisters(random, reflectivity, x, depth, thickness)
    reflectivity = reflectivity * _shadows(random, x, depth)
    below = np.clip(depth - 1, 0, None)
    reflectivity = reflectivity * np.exp(-2.5 * below) * contrast
    reflectivity = reflectivity * np.exp(speckle * 2 * smooth_noise(random, (size, size), (1, 1), 0.7))
    return with_random_mean(random, reflectivity + 0.03 * random.normal(size=(size, size))), name


def with_random_mean(random: np.random.Generator, image: Floats) -> NDArray[np.uint8]:
    """Return an image as uint8 with a mean, and a standard deviation, that do not depend on its content.

    Args:
        random: draws the mean (80 to 130) and the standard deviation (38 to 48), both before values are cut to 0..255.
        image: of any range.
    """
    scaled = (image - image.mean()) / image.std() * random.uniform(38, 48) + random.uniform(80, 130)
    return np.asarray(np.clip(np.round(scaled), 0, 255), dtype=np.uint8)


def require_in_range(kind: str, seed: int, patient: int, image: int, size: int, smallest: int) -> None:
    """Refuse numbers that no phantom has.

    Raises:
        SegpipeError: a number is negative, or the size is below the smallest.
    """
    if min(seed, patient, image) < 0 or size < smallest:
        raise SegpipeError(
            f"{kind} phantom: seed {seed}, patient {patient}, image {image}, size {size}; must be at least 0, 0, 0 and "
            f"{smallest}"
        )


def _bumps(random: np.random.Generator, x: Floats) -> Floats:
    """Return the height of the drusen at each column, as a part of the image's height, shape (columns, 1)."""
    height = np.zeros_like(x)
    for centre in random.uniform(-0.85, 0.85, size=random.integers(3, 7)):
        width, high = random.uniform(0.06, 0.13), random.uniform(0.05, 0.1)
        height = np.maximum(height, high * np.exp(-(((x - centre) / width) ** 2)))
    return height


def _with_blisters(
    random: np.random.Generator, reflectivity: Floats, x: Floats, depth: Floats, thickness: float
) -> Floats:
    """Return the image with dark ellipses between the layers."""
    for _ in range(random.integers(2, 6)):
        centre, level = random.uniform(-0.7, 0.7), random.uniform(0.3, 0.68)
        wide, high = random.uniform(0.1, 0.22), random.uniform(0.04, 0.085) / thickness
        inside = 1 - np.hypot((x - centre) / wide, (depth - level) / high)
        edge = np.clip(inside * 4, 0, 1)
        reflectivity = reflectivity + edge * (0.08 - reflectivity)
    return reflectivity


def _shadows(random: np.random.Generator, x: Floats, depth: Floats) -> Floats:
    """Return the factor by which vessels near the surface darken what is below them."""
    factor = np.ones_like(depth)
    for centre in random.uniform(-0.95, 0.95, size=random.integers(1, 5)):
        across = np.exp(-(((x - centre) / random.uniform(0.02, 0.05)) ** 2))
        factor = factor * (1 - random.uniform(0.3, 0.6) * across * np.clip((depth - 0.1) * 8, 0, 1))
    return factor
