"""Numbers of a scan, of what the network gets, and of what it answers, by which to hold one scan against others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.inference.streaming import Band
from segpipe.inference.volumetry import ClassVolume, count_components
from segpipe.reference_ranges.coarse_images import coarse_image
from segpipe.volumes import Grid

_AXES = "xyz"
_LOW, _HIGH = 0.5, 99.5
_PERCENTILES = {"0.5th percentile": _LOW, "median": 50.0, "99.5th percentile": _HIGH}
_TONES = {"5th percentile": 5.0, "25th percentile": 25.0, "median": 50.0, "75th percentile": 75.0}
_MOST_VOXELS = 10**6  # that percentiles are taken of
_MOST_PLANES = 32  # that roughness is taken of


@dataclass(frozen=True)
class Measures:
    """What is known of one scan.

    Attributes:
        values: "kind" or "kind/of" -> value, see `segpipe.reference_ranges.measure_kinds`.
        coarse_images: `(n, C, 12, 12)` or `(n, C, 6, 6, 6)`, see `coarse_image`; several of a volume that goes
            through by slices.
        axcodes: how the axes of the volume lie that the network got, such as R, A, S; None for a slice.
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
    ) -> Measures:
        """Return them with what the network found, laid as the network saw it, however the file lies.

        Args:
            labels: class indices `(x, y[, z])`.
            grid: they lie on.
            volumes: of the same.
            uncertainty: see `result_measures`.
            by_slices: see `result_measures`.
        """
        if self.axcodes is not None:
            turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt(self.axcodes))
            labels = apply_orientation(labels, turn)
        found = result_measures(labels, volumes, uncertainty, by_slices=by_slices)
        return replace(self, values=self.values | found)


@dataclass
class EntropyMeter:
    """How sure a network is where it finds something, taken as its scores come by.

    Attributes:
        total: sum of the entropies of all voxels that are not background, each from 0, sure, to 1, clueless.
        voxels: how many these are.
    """

    total: float = 0.0
    voxels: int = field(default=0)

    def bands(self, bands: Iterable[Band]) -> Iterator[Band]:
        """Pass on bands of logits `(planes, classes, ...)`, having taken their share."""
        for band in bands:
            for plane in band.scores:
                self.add(plane)
            yield band

    def add(self, scores: torch.Tensor) -> None:
        """Take the share of scores `(classes, ...)`."""
        found = scores.argmax(dim=0) > 0
        number = int(found.sum())
        if number:
            probabilities = scores[:, found].float().softmax(dim=0)
            entropies = torch.special.entr(probabilities).sum() / np.log(len(scores))
            self.total += float(entropies)
            self.voxels += number

    @property
    def mean(self) -> float | None:
        """The mean of these entropies; None where nothing was found."""
        return self.total / self.voxels if self.voxels else None


def scan_measures(
    voxels: NDArray[np.generic], grid: Grid, *, by_slices: bool, scaled: bool = False
) -> dict[str, float]:
    """Measure a scan as its file has it.

    Args:
        voxels: `(C, x, y[, z])`, as they are stored or, `scaled`, from 0 to 1.
        grid: they lie on.
        by_slices: whether the network gets slices, of whatever spacing and number.
        scaled: whether the bundle has brought the intensities to one scale, such as those of CT in HU or 8 bit.

    Returns:
        spacing and length in mm along R, A and S, unless the network gets slices; of each channel percentiles of the
        intensities, where they lie between the lowest and the highest, and the shares of voxels at these two.
    """
    values: dict[str, float] = {}
    if not by_slices:
        order = np.abs(grid.affine[:3, :3]).argmax(axis=0)  # of oblique scans the nearest axis
        for axis, length, spacing in zip(order, grid.size, grid.spacing_mm, strict=True):
            values[f"spacing/{_AXES[axis]}"] = spacing
            values[f"extent/{_AXES[axis]}"] = length * spacing
    for channel, own in enumerate(voxels):
        flat = own.ravel()
        sample = flat[:: max(flat.size // _MOST_VOXELS, 1)].astype(np.float64)
        of = f", channel {channel}" if len(voxels) > 1 else ""
        shares = [*_PERCENTILES.values(), *_TONES.values()]
        at = dict(zip(shares, np.percentile(sample, shares).tolist(), strict=True))
        low, span = at[_LOW], (at[_HIGH] - at[_LOW]) or 1.0
        kind = "scaled" if scaled else "intensity"
        values |= {f"{kind}/{name}{of}": at[share] for name, share in _PERCENTILES.items()}
        values |= {f"tone/{name}{of}": (at[share] - low) / span for name, share in _TONES.items()}
        values[f"ends/lowest{of}"] = float((sample == sample.min()).mean())
        values[f"ends/highest{of}"] = float((sample == sample.max()).mean())
    return values


def image_measures(image: torch.Tensor, *, by_slices: bool) -> Measures:
    """Measure what the network gets: its roughness along each axis, the size of slices, and the whole in coarse blocks.

    Args:
        image: float `(C, x, y[, z])`, on the bundle's spacing and scale.
        by_slices: whether the network gets it slice by slice.
    """
    own = image.detach().float().cpu()
    planes = own.movedim(-1, 0)[_some(own.shape[-1])] if by_slices and own.ndim == 4 else own[None]
    rough = np.median([_roughness(plane) for plane in planes], axis=0)
    values = {f"roughness/{axis}": float(value) for axis, value in zip(_AXES, rough.tolist(), strict=False)}
    if by_slices:
        values |= {f"size/{axis}": float(length) for axis, length in zip("xy", own.shape[1:], strict=False)}
    return Measures(values, np.stack([coarse_image(plane) for plane in planes]))


def result_measures(
    labels: NDArray[np.integer],
    volumes: Sequence[ClassVolume],
    uncertainty: float | None,
    *,
    by_slices: bool,
) -> dict[str, float]:
    """Measure what the network found.

    Args:
        labels: class indices `(x, y[, z])`, laid as the network saw them.
        volumes: of the same.
        uncertainty: mean entropy where it found something; None where it found nothing.
        by_slices: whether it saw slices; the largest area of a class in any of them counts then, and the pieces there.
    """
    boxes = ndimage.find_objects((labels > 0).astype(np.uint8))
    values = {"found": float(bool(boxes))}
    for index, volume in enumerate(volumes, start=1):
        if by_slices or volume.millilitres is None:
            area, pieces = _largest_section(labels, index)
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


def _largest_section(labels: NDArray[np.integer], index: int) -> tuple[int, int]:
    """Return pixels and pieces of a class in the slice that has most of it."""
    planes = labels if labels.ndim == 3 else labels[..., None]
    areas = [int(np.count_nonzero(planes[..., z] == index)) for z in range(planes.shape[-1])]
    most = int(np.argmax(areas))
    return areas[most], count_components(np.ascontiguousarray(planes[..., most]), index) if areas[most] else 0


def _some(length: int) -> list[int]:
    """Return places along an axis: all, or so many evenly."""
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
