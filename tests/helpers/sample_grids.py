"""Grids in every orientation."""

from __future__ import annotations

import itertools

import numpy as np

from segpipe.volumes import Grid

SIZE = (5, 4, 3)
SPACING_MM = (0.7123, 1.3, 2.9)
ORIGIN_LPS = (-712.123, 400.5, 33.25)
OBLIQUE = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1]])  # RAS+, mm


def rotation(x_rad: float, y_rad: float, z_rad: float) -> np.ndarray:
    """A (3, 3) rotation about z, then y, then x."""
    matrix = np.eye(3)
    for axis, angle in enumerate((x_rad, y_rad, z_rad)):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def axis_orders() -> list[np.ndarray]:
    """All 48 ways in which voxel axes can run along patient axes, as direction matrices."""
    return [
        np.eye(3)[:, order] * signs
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def all_grids() -> list[Grid]:
    """48 axis orders, each straight and oblique, with three unequal spacings and a large origin."""
    tilts = (np.eye(3), rotation(0.3, -0.2, 0.4))
    return [
        Grid.from_lps(SIZE, SPACING_MM, ORIGIN_LPS, tilt @ order) for order in axis_orders() for tilt in tilts
    ]
