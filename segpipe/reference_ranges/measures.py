"""Measures of a scan, of its preprocessed image, and of the network's result, to compare scans with each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.inference.class_volume import ClassVolume
from segpipe.inference.decisions import ArgMax, Decision
from segpipe.inference.streaming import Band
from segpipe.inference.volumetry import count_components
from segpipe.reference_ranges.coarse_images import coarse_image
from segpipe.volumes import Grid

_AXES = "xyz"
_ACROSS = 2  # place of S in R, A, S: across the slices
_LOW, _HIGH = 0.5, 99.5
_PERCENTILES = {"0.5th percentile": _LOW, "median": 50.0, "99.5th percentile": _HIGH}
_TONES = {"5th percentile": 5.0, "25th percentile": 25.0, "median": 50.0, "75th percentile": 75.0}
_MOST_VOXELS = 10**6  # voxels that percentiles are computed from
_MOST_PLANES = 32  # planes that roughness is computed from


@dataclass(frozen=True)
class Measures:
    """The measures of one scan.

    Attributes:
        values: "kind" or "kind/of" -> value, for the measure kinds of `segpipe.reference_ranges.measure_kinds`.
        coarse_images: `(n, C, 12, 12)` or `(n, C, 6, 6, 6)`, see `coarse_image`; n is above 1 for a volume that the
            network takes slice by slice.
        axcodes: directions of the axes of the preprocessed volume, such as R, A, S; None for a slice.
    """

    values: dict[str, float]
    coarse_images: NDArray[np.float32]
    axcodes: tuple[str, ...] | None = None

    def with_result(
        self,
        labels: NDArray[np.integer],
        grid: Grid,
        volumes: Sequence[ClassVolume],
        uncertainty: float | None,
        *,
        by_slices: bool,
        targets: Sequence[Sequence[int]] | None = None,
    ) -> Measures:
        """Return the measures with those of the network's result, turned to the axes of the preprocessed image.

        Args:
            labels: class indices `(x, y[, z])`.
            grid: grid of the labels.
            volumes: one per foreground class.
            uncertainty: see `result_measures`.
            by_slices: see `result_measures`.
            targets: see `result_measures`.
        """
        if self.axcodes is not None:
            turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt(self.axcodes))
            labels = apply_orientation(labels, turn)
        results = result_measures(labels, volumes, uncertainty, by_slices=by_slices, targets=targets)
        return replace(self, values=self.values | results)


@dataclass
class EntropyMeter:
    """The mean entropy of a network's scores over foreground voxels, summed while the scores arrive.

    Attributes:
        decision: how scores become probabilities and classes.
        total: sum of the entropies of all foreground voxels, each from 0 (certain) to 1 (uniform over classes).
        voxels: number of these voxels.
    """

    decision: Decision = field(default_factory=ArgMax)
    total: float = 0.0
    voxels: int = field(default=0)

    def bands(self, bands: Iterable[Band]) -> Iterator[Band]:
        """Pass on bands of logits `(planes, classes, ...)`, and add the entropies of each."""
        for band in bands:
            for plane in band.scores:
                self.add(plane)
            yield band

    def add(self, scores: torch.Tensor) -> None:
        """Add the entropies of scores `(outputs, ...)`."""
        is_foreground = self.decision.classes(scores[None])[0] > 0
        number = int(is_foreground.sum())
        if number:
            probabilities = self.decision.probabilities(
                self.decision.activated(scores[:, is_foreground].float())
            )
            self.total += float(self.decision.entropy(probabilities).sum())
            self.voxels += number

    @property
    def mean(self) -> float | None:
        """The mean entropy; None if no voxel is foreground."""
        return self.total / self.voxels if self.voxels else None


def scan_measures(
    voxels: NDArray[np.generic], grid: Grid, *, by_slices: bool, scaled: bool = False
) -> dict[str, float]:
    """Measure a scan as stored.

    Args:
        voxels: `(C, x, y[, z])`, as stored, or from 0 to 1 if `scaled`.
        grid: grid of the voxels.
        by_slices: the network takes slices; spacing across the slices and their number then do not matter.
        scaled: the bundle has brought the intensities to one absolute scale, as for CT in HU or 8 bit. The
            percentiles of other intensities are not measured here: a scanner's gain is no fault.

    Returns:
        spacing and length in mm along R, A and S, of slices of a volume along R and A, of 2D images none; for each
        channel, percentiles of the intensities if `scaled`, their place between the lowest and the highest, and the
        shares of voxels at these two.
    """
    values: dict[str, float] = {}
    if grid.spatial_dims > 2:
        order = np.abs(grid.affine[:3, :3]).argmax(axis=0)  # for an oblique axis, the nearest of R, A, S
        for axis, length, spacing in zip(order, grid.size, grid.spacing_mm, strict=True):
            if axis != _ACROSS or not by_slices:
                values[f"spacing/{_AXES[axis]}"] = spacing
                values[f"extent/{_AXES[axis]}"] = length * spacing
    for channel, intensities in enumerate(voxels):
        sample, of = _sampled(intensities), _of_channel(channel, len(voxels))
        shares = [*_PERCENTILES.values(), *_TONES.values()]
        at = dict(zip(shares, np.percentile(sample, shares).tolist(), strict=True))
        low, span = at[_LOW], (at[_HIGH] - at[_LOW]) or 1.0
        if scaled:
            values |= {f"scaled/{name}{of}": at[share] for name, share in _PERCENTILES.items()}
        values |= {f"tone/{name}{of}": (at[share] - low) / span for name, share in _TONES.items()}
        values[f"ends/lowest{of}"] = float((sample == sample.min()).mean())
        values[f"ends/highest{of}"] = float((sample == sample.max()).mean())
    return values


def image_measures(image: torch.Tensor, *, by_slices: bool, scaled: bool = False) -> Measures:
    """Measure a preprocessed image: intensities, roughness along each axis, size of slices, and coarse images.

    Args:
        image: float `(C, x, y[, z])`, on the bundle's spacing and scale.
        by_slices: the network takes the image slice by slice.
        scaled: `scan_measures` has measured the percentiles of the intensities; else they are measured here, after the
            bundle's own normalisation.
    """
    pixels = image.detach().float().cpu()
    planes = (
        pixels.movedim(-1, 0)[_some(pixels.shape[-1])] if by_slices and pixels.ndim == 4 else pixels[None]
    )
    rough = np.median([_roughness(plane) for plane in planes], axis=0)
    values = {f"roughness/{axis}": float(value) for axis, value in zip(_AXES, rough.tolist(), strict=False)}
    for channel, intensities in enumerate([] if scaled else pixels.numpy()):
        at = np.percentile(_sampled(intensities), list(_PERCENTILES.values())).tolist()
        of = _of_channel(channel, len(pixels))
        values |= {f"normalised/{name}{of}": value for name, value in zip(_PERCENTILES, at, strict=True)}
    if by_slices:
        values |= {
            f"size/{axis}": float(length) for axis, length in zip("xy", pixels.shape[1:], strict=False)
        }
    return Measures(values, np.stack([coarse_image(plane) for plane in planes]))


def result_measures(
    labels: NDArray[np.integer],
    volumes: Sequence[ClassVolume],
    uncertainty: float | None,
    *,
    by_slices: bool,
    targets: Sequence[Sequence[int]] | None = None,
) -> dict[str, float]:
    """Measure the network's result.

    Args:
        labels: class indices `(x, y[, z])`, on the axes of the preprocessed image.
        volumes: one per foreground class or region.
        uncertainty: mean entropy of foreground voxels, 0 to 1; None if there are none.
        by_slices: the network took slices: a class's area and pieces are those of the slice with most of it.
        targets: class indices of each of the volumes; None: each class from 1 on.
    """
    boxes = ndimage.find_objects((labels > 0).astype(np.uint8))
    values = {"found": float(bool(boxes))}
    held_by = targets or [[index] for index in range(1, len(volumes) + 1)]
    for held, volume in zip(held_by, volumes, strict=True):
        if by_slices or volume.millilitres is None:
            area, pieces = _largest_section(labels, held)
            values[f"area/{volume.label}"] = float(area)
        else:
            pieces = volume.components
            values[f"volume/{volume.label}"] = volume.millilitres
        values[f"pieces/{volume.label}"] = float(pieces)
    if boxes and uncertainty is not None:
        values["uncertainty"] = uncertainty
        centre = ndimage.center_of_mass(labels[boxes[0]] > 0)
        axes = 2 if by_slices else labels.ndim
        for axis in range(axes):
            place = boxes[0][axis].start + centre[axis] + 0.5
            values[f"centre/{_AXES[axis]}"] = float(place / labels.shape[axis])
    return values


def _largest_section(labels: NDArray[np.integer], held: Sequence[int]) -> tuple[int, int]:
    """Return pixels and pieces of a class or region in the slice with most pixels of it."""
    planes = labels if labels.ndim == 3 else labels[..., None]
    areas = [int(np.count_nonzero(np.isin(planes[..., z], held))) for z in range(planes.shape[-1])]
    most = int(np.argmax(areas))
    return areas[most], count_components(np.ascontiguousarray(planes[..., most]), held) if areas[most] else 0


def _sampled(intensities: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return a channel's voxels, of a large one every so many."""
    flat = intensities.ravel()
    return flat[:: max(flat.size // _MOST_VOXELS, 1)].astype(np.float64)


def _of_channel(channel: int, channels: int) -> str:
    """Return the end of the name of a channel's measure; empty if there is one channel."""
    return f", channel {channel}" if channels > 1 else ""


def _some(length: int) -> list[int]:
    """Return indices along an axis: all, or at most `_MOST_PLANES` at even distances."""
    return sorted(set(np.linspace(0, length - 1, min(length, _MOST_PLANES)).round().astype(int).tolist()))


def _roughness(image: torch.Tensor) -> list[float]:
    """Return the root mean square of second differences along each axis, over the standard deviation of the image."""
    spread = float(image.std()) or 1.0
    rough = []
    for axis in range(1, image.ndim):
        if image.shape[axis] < 3:
            rough.append(float("nan"))
            continue
        across = image.ndim - 1 if axis != image.ndim - 1 else 1
        some = image.index_select(across, torch.tensor(_some(image.shape[across])))
        rough.append(float(some.diff(n=2, dim=axis).square().mean().sqrt()) / spread)
    return rough
