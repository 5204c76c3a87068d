"""Synthetic chest X-rays with any number of findings, to train and test classifiers without a download.

An image shows two dark lungs with ribs and vessels, a heart and soft tissue, without scatter correction. A finding is a
wide heart, fluid that fills the lower corner of a lung, or a round spot in a lung; each is there or not, independently
of the others. The mean of every image is drawn without regard to its findings, so no finding follows from intensities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.phantoms.retina import require_in_range, with_random_mean
from segpipe.phantoms.texture import smooth_noise

Floats = NDArray[np.floating[Any]]

FINDINGS = ("Cardiomegaly", "Effusion", "Nodule")

_PREVALENCE = (0.25, 0.35, 0.4)
_SHARE_UNKNOWN = 0.05  # of the labels
_SMALLEST_SIZE = 32


def chest_phantom(
    seed: int, patient: int, image: int, *, size: int = 64
) -> tuple[NDArray[np.uint8], tuple[str, ...], tuple[str, ...]]:
    """Make one image.

    Args:
        seed: of the data set, at least 0.
        patient: number of the patient, at least 0, which gives anatomy and heart.
        image: number of the patient's image, at least 0, which gives the other findings.
        size: pixels along each side, at least 32.

    Returns:
        The image, uint8 of shape (columns, rows), row 0 at the top; the findings that are present and known; and those
        of which the label does not say whether they are present. Both follow the order of `FINDINGS`.

    Raises:
        SegpipeError: a number is out of range.
    """
    require_in_range("chest X-ray", seed, patient, image, size, _SMALLEST_SIZE)
    anatomy, random = np.random.default_rng((seed, patient)), np.random.default_rng((seed, patient, image, 1))
    wide_heart = anatomy.random() < _PREVALENCE[0]
    effusion, nodule = random.random(size=2) < _PREVALENCE[1:]
    x = np.linspace(-1, 1, size)[:, None] + random.uniform(-0.06, 0.06)
    y = np.linspace(-1, 1, size)[None, :] + random.uniform(-0.06, 0.06)
    grow = anatomy.uniform(0.85, 1.0)
    lungs = [_lung(anatomy, x, y, side, grow) for side in (-1.0, 1.0)]
    lung = np.maximum(*lungs)
    heart_wide = anatomy.uniform(0.4, 0.48) if wide_heart else anatomy.uniform(0.22, 0.29)
    heart = 1 - np.hypot((x - 0.14 * grow) / heart_wide, (y - 0.32) / anatomy.uniform(0.32, 0.38))

    body = 0.75 + 0.12 * smooth_noise(random, (size, size), (2 / size, 2 / size), 0.3)
    air = np.clip(lung * 8, 0, 1)
    image_of = body - 0.45 * air
    ribs = np.maximum(np.sin((y + 0.35 * x * x) * anatomy.uniform(16, 20) + anatomy.uniform(0, 6)) - 0.3, 0)
    image_of = image_of + 0.12 * ribs + 0.04 * smooth_noise(random, (size, size), (1, 1), 1.2)
    if effusion:
        fluid = _fluid(random, lungs, x, y)
        image_of = image_of + fluid * (0.72 - image_of)
    image_of = image_of + np.clip(heart * 6, 0, 1) * (0.78 - image_of) * 0.85
    image_of = np.where(np.abs(x) < 0.1, np.maximum(image_of, 0.74), image_of)  # spine
    if nodule:
        image_of = image_of + _spot(random, lungs, heart, x, y)
    image_of = image_of + 0.025 * random.normal(size=(size, size))
    unknown = random.random(size=len(FINDINGS)) < _SHARE_UNKNOWN
    present = (wide_heart, effusion, nodule)
    return (
        with_random_mean(random, image_of),
        tuple(
            n for n, is_here, hidden in zip(FINDINGS, present, unknown, strict=True) if is_here and not hidden
        ),
        tuple(name for name, hidden in zip(FINDINGS, unknown, strict=True) if hidden),
    )


def _lung(random: np.random.Generator, x: Floats, y: Floats, side: float, grow: float) -> Floats:
    """Return the depth of each pixel in a lung, negative outside; shape (columns, rows)."""
    middle, base = side * 0.46 * grow, random.uniform(0.55, 0.68)
    upright = np.hypot((x - middle) / (0.34 * grow), (y + 0.08) / 0.78)
    dome = base - 0.18 * ((x - middle) / 0.34) ** 2 - y  # the diaphragm's upper border
    return np.asarray(np.minimum((1 - upright) * 0.34, dome))


def _fluid(random: np.random.Generator, lungs: list[Floats], x: Floats, y: Floats) -> Floats:
    """Return the share of fluid in each pixel: the lower corner of one lung, with a concave surface."""
    lung = lungs[random.integers(2)]
    side = -1.0 if lung is lungs[0] else 1.0
    outward = np.clip((side * x - 0.3) / 0.5, 0, 1)
    surface = random.uniform(0.18, 0.4) - 0.28 * outward**2
    return np.asarray(np.clip((y - surface) * 12, 0, 1) * np.clip((lung + 0.22) * 8, 0, 1) * (side * x > 0.1))


def _spot(random: np.random.Generator, lungs: list[Floats], heart: Floats, x: Floats, y: Floats) -> Floats:
    """Return the brightness of a round spot whose centre lies in a lung and outside the heart."""
    inside = np.argwhere((np.maximum(*lungs) > 0.06) & (heart < -0.1))
    column, row = inside[random.integers(len(inside))]
    radius = random.uniform(0.07, 0.11)
    from_centre = np.hypot(x - x[column, 0], y - y[0, row])
    return np.asarray(random.uniform(0.28, 0.4) * np.clip((1 - from_centre / radius) * 2.5, 0, 1))
