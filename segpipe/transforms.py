"""Dictionary transforms that MONAI lacks: one strict load, label values to classes, label maps to disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation, ScaleIntensityRange
from monai.utils import convert_to_numpy, ensure_tuple
from scipy import ndimage

from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable, whole_numbers
from segpipe.volumes import Grid, Volume, check_intensities, read_channels, read_header, write_label_map


class LoadVolumed(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Read each key's file, or its channels' files, with the one reader of its format.

    MONAI's LoadImage tries its other readers after any exception, so that a scan which ours refused for a
    reason is read all the same; this transform never does.

    Args:
        keys: of the records; each holds a path or a list of paths, one per channel.
        spatial_dims: 2 or 3, what the chain takes; None takes both.
        num_channels: how many channels each key must have in all; None allows any number.
        series_uid: which DICOM series of a folder that holds several; None refuses such folders.
        allow_missing_keys: of MONAI's MapTransform.
        image_keys: those of the keys that hold intensities; the others are label maps, which may be blank.

    Returns:
        per key a MetaTensor `(C, *spatial)` in the file's own voxel order and dtype, float64 intensities
        narrowed to float32, with `affine` (voxel to RAS, mm) and metadata `filename_or_obj` (of the first channel) and
        `modality` (of a DICOM series; empty where the format does not say) and `is_hounsfield` (the file says so).

    Raises:
        SegpipeError: an unreadable file, NaN or infinite voxels, another number of dimensions or channels,
            channels on different grids, or an image that is blank or holds magnitudes beyond
            `segpipe.volumes.MAX_INTENSITY`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_dims: int | None = 3,
        num_channels: int | None = 1,
        series_uid: str | None = None,
        allow_missing_keys: bool = False,
        image_keys: KeysCollection = "image",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_keys = ensure_tuple(image_keys)
        self.spatial_dims = spatial_dims
        self.num_channels = num_channels
        self.series_uid = series_uid

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key of one record."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = self._load(ensure_tuple(loaded[key]), is_image=key in self.image_keys)
        return loaded

    def _load(self, paths: Sequence[str | Path], *, is_image: bool) -> MetaTensor:
        volume = read_channels(paths, self.series_uid)
        if self.spatial_dims is not None:
            require_shape(volume, self.spatial_dims)
        dims = volume.grid.spatial_dims
        if self.num_channels is not None and volume.num_channels != self.num_channels:
            names = ", ".join(str(path) for path in paths)
            raise SegpipeError(
                f"{names}: {volume.num_channels} channels where {self.num_channels} wanted (a "
                f"{dims}D scan, not a {dims + 1}D or coloured one); split the file and choose its channels"
            )
        stacked = np.ascontiguousarray(volume.channels)
        if is_image:
            check_intensities(volume)
            if stacked.dtype == np.float64:
                stacked = stacked.astype(np.float32)
        affine = torch.as_tensor(volume.grid.affine, dtype=torch.float64)
        meta = {
            "filename_or_obj": str(volume.path),
            "original_channel_dim": 0,
            "space": "RAS",
            "modality": volume.modality or "",
            "is_hounsfield": volume.is_hounsfield,
        }
        return MetaTensor(torch.as_tensor(stacked), affine=affine, meta=meta)


def _series_uid(path: str | Path, series_uid: str | None) -> str | None:
    """A series is chosen in folders only; a cohort may mix them with files."""
    return series_uid if Path(path).is_dir() else None


def require_shape(volume: Volume, spatial_dims: int) -> None:
    """Refuse a volume of another number of spatial dimensions.

    Raises:
        SegpipeError: `volume` is 2D where 3D is wanted, or the reverse.
    """
    if volume.grid.spatial_dims != spatial_dims:
        raise SegpipeError(
            f"{volume.path}: {volume.grid.spatial_dims}D, size {volume.grid.size} voxels, where "
            f"{spatial_dims}D is wanted; use a bundle for it, or a file that holds one volume"
        )


class LabelIndicesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Turn the values that a label file stores into class indices 0..C-1.

    Args:
        keys: label maps `(1, *spatial)`.
        labels: the bundle's label table.
        file_values: stored value of this dataset -> class name; None means the table's own values.

    Raises:
        SegpipeError: a value that no class has; names the file.
    """

    def __init__(
        self, keys: KeysCollection, labels: LabelTable, file_values: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(keys)
        self.labels = labels
        self.file_values = file_values

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map every key of one record."""
        mapped = dict(data)
        for key in self.key_iterator(mapped):
            stored = mapped[key]
            try:
                indices = self.labels.to_indices(stored.numpy(), self.file_values)
            except SegpipeError as error:
                raise SegpipeError(f"{stored.meta['filename_or_obj']}: {error}") from error
            mapped[key] = MetaTensor(torch.as_tensor(indices), meta=stored.meta)
        return mapped


class CTKindd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Find out which of its two kinds a CT is: 8-bit pictures, or Hounsfield units; `CTIntensityd` goes by it.

    What can be neither, or both, is refused: a wrong guess would show the network another tissue. Apart from
    `CTIntensityd`, because it is a property of a file, and weights remember only what is one of the experiment.

    Args:
        keys: images `(C, *spatial)` as `LoadVolumed` gives them.
        intensity: "auto" takes uint8 for 8-bit; and for HU a rescaled DICOM series of modality CT, and from a
            file that is no DICOM signed integers or floats from below 0 over at least 100. "uint8" or "hu" says
            which it is.
        kinds: those that the network was trained on; an image of the other is refused.

    Returns:
        per key the image as it came, with metadata `ct_kind`, "uint8" or "hu".

    Raises:
        SegpipeError: another `intensity`, or `kinds` that are none; on the way, a DICOM series of another modality,
            voxels that fit neither kind or one not trained on, or 8-bit ones outside 0 to 255. Names the file.
    """

    def __init__(
        self, keys: KeysCollection, intensity: str = "auto", kinds: Sequence[str] = ("uint8", "hu")
    ) -> None:
        super().__init__(keys)
        self.intensity = check_intensity_kind(intensity)
        if not kinds or not set(kinds) <= set(_KINDS):
            raise SegpipeError(
                f"kinds are {kinds!r}; must be a list of {' and '.join(_KINDS)}, or one of them"
            )
        self.kinds = tuple(kinds)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mark every key of one record."""
        marked = dict(data)
        for key in self.key_iterator(marked):
            kind = self._kind(marked[key])
            if kind not in self.kinds:
                raise SegpipeError(
                    f"{marked[key].meta['filename_or_obj']}: is CT {_KINDS[kind]}; this bundle was made for CT "
                    f"{_KINDS[self.kinds[0]]}: give such a scan"
                )
            marked[key].meta["ct_kind"] = kind
        return marked

    def _kind(self, image: MetaTensor) -> str:
        file, modality = image.meta["filename_or_obj"], image.meta["modality"]
        voxels = image.numpy()  # torch has no minimum of uint16
        low, high = voxels.min().item(), voxels.max().item()
        if modality not in ("", "CT"):
            raise SegpipeError(f"{file}: a DICOM series of modality {modality} where CT is wanted; give a CT")
        if self.intensity == "uint8" and not (low >= 0 and high <= 255):
            raise SegpipeError(
                f"{file}: intensity is uint8, but voxels go from {low:g} to {high:g}, must be 0 to 255; use "
                "--intensity hu or auto"
            )
        if self.intensity != "auto":
            return self.intensity
        if image.dtype == torch.uint8:
            return "uint8"
        if image.meta["is_hounsfield"] or (not modality and low < 0 and high - low >= _LEAST_RANGE_HU):
            return "hu"
        raise SegpipeError(
            f"{file}: {str(image.dtype).removeprefix('torch.')} voxels from {low:g} to {high:g}: neither 8-bit "
            f"nor HU (below 0 for air or fat, over at least {_LEAST_RANGE_HU}), nor DICOM CT with RescaleSlope and "
            "RescaleIntercept; say which with --intensity uint8 or --intensity hu, or store HU"
        )


def check_intensity_kind(intensity: str) -> str:
    """Return what `CTKindd` takes for `intensity`.

    Raises:
        SegpipeError: it is none of auto, uint8 and hu.
    """
    if intensity not in _INTENSITIES:
        raise SegpipeError(f"intensity is {intensity!r}; must be one of {', '.join(_INTENSITIES)}")
    return intensity


_KINDS = {"uint8": "as 8-bit pictures", "hu": "in Hounsfield units"}
_INTENSITIES = ("auto", *_KINDS)
_LEAST_RANGE_HU = 100  # from fat to muscle: what spans less is no CT in HU but, say, a z-scored one


class CTIntensityd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring CT to intensities from 0 to 1: 8-bit pictures divided by 255, Hounsfield units windowed.

    8-bit pictures were windowed by whoever made them.

    Args:
        keys: images `(C, *spatial)` that `CTKindd` has marked.
        window_hu: the HU that become 0 and 1, in this order; what lies beyond is clipped.

    Returns:
        per key a float32 MetaTensor of the same shape, 0 to 1.

    Raises:
        SegpipeError: a window whose ends are reversed or equal.
    """

    def __init__(self, keys: KeysCollection, window_hu: Sequence[float]) -> None:
        super().__init__(keys)
        low, high = check_window(window_hu)
        self.hounsfield = ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)
        self.eight_bit = ScaleIntensityRange(0.0, 255.0, 0.0, 1.0, clip=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key of one record."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            scale = self.eight_bit if scaled[key].meta["ct_kind"] == "uint8" else self.hounsfield
            scaled[key] = scale(scaled[key])
        return scaled


def check_window(window_hu: Sequence[float]) -> tuple[float, float]:
    """Return the two ends of a CT window, in HU.

    Raises:
        SegpipeError: they are not two finite numbers, the first below the second.
    """
    ends: list[Any] = list(window_hu) if isinstance(window_hu, list | tuple) else [window_hu]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or not (-math.inf < ends[0] < ends[1] < math.inf):
        raise SegpipeError(
            f"window_hu is {window_hu!r}; must be two numbers in HU, the lower first, such as [-1000, 400]"
        )
    return float(ends[0]), float(ends[1])


class NormalizeSlicesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring what lies on each slice's canvas to mean 0 and standard deviation 1, the canvas itself to 0.

    Slices in a window that nobody published differ in brightness and contrast. The canvas is what is black without a
    break: round a crop, or outside a scanner's field of view. A neutral canvas leaves the statistics that a network's
    norm takes over a slice to the body. MONAI's `NormalizeIntensityd` takes a volume as one, and its `nonzero` takes
    every black voxel for canvas: air, half of it below the window, becomes pepper and salt.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`, 0 to 1, each plane along z a slice of its own.
        min_std: a smaller standard deviation counts as this one, so that the noise of an empty slice stays small.
        block: pixels, odd; the canvas is made of squares of this side, their centres in the slice, that are 0
            as far as they lie in it.

    Returns:
        per key a float32 MetaTensor of the same shape.

    Raises:
        SegpipeError: at construction, when `min_std` is not above 0 or `block` no odd number.
    """

    def __init__(self, keys: KeysCollection, min_std: float = 0.05, block: int = 15) -> None:
        super().__init__(keys)
        if not min_std > 0 or block < 1 or block % 2 != 1:
            raise SegpipeError(f"min_std is {min_std} and block {block}; must be above 0, and odd")
        self.min_std = min_std
        self.block = block

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise every key of one record."""
        normalized = dict(data)
        for key in self.key_iterator(normalized):
            image = normalized[key]
            body = ~self._canvas(image)
            count = body.sum(dim=(1, 2), keepdim=True).clamp(min=1)
            centred = (image - (image * body).sum(dim=(1, 2), keepdim=True) / count) * body
            std = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
            normalized[key] = centred / std.clamp(min=self.min_std)
        return normalized

    def _canvas(self, image: torch.Tensor) -> torch.Tensor:
        """Return the morphological opening of what is 0, plane by plane; beyond its edge a plane goes on as canvas."""
        black = convert_to_numpy(image) == 0
        size = [1, self.block, self.block, 1][: black.ndim]
        blocks = ndimage.minimum_filter(black, size, mode="constant", cval=1)
        return torch.from_numpy(ndimage.maximum_filter(blocks, size, mode="constant", cval=0))


class OrientVolumesd(MapTransform, InvertibleTransform):  # type: ignore[misc]  # MONAI is untyped
    """Bring volumes to one orientation, as MONAI's `Orientationd` does; 2D slices stay as their file has them.

    What a slice's axes mean, no 2D format says reliably. The inverse puts volumes back.

    Args:
        keys: images `(C, x, y)` or `(C, x, y, z)`.
        axcodes: where the three axes of a volume are to point, such as "PLS": back, left, head.
        allow_missing_keys: of MONAI's MapTransform.
    """

    def __init__(self, keys: KeysCollection, axcodes: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.turn = Orientation(axcodes=axcodes, labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every volume of one record."""
        return self._each_volume(data, self.turn)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn every volume back."""
        return self._each_volume(data, self.turn.inverse)

    def _each_volume(
        self, data: Mapping[Hashable, Any], change: Callable[[MetaTensor], MetaTensor]
    ) -> dict[Hashable, Any]:
        changed = dict(data)
        for key in self.key_iterator(changed):
            if changed[key].ndim > _SLICE_DIMS:
                changed[key] = change(changed[key])
        return changed


_SLICE_DIMS = 3  # of a slice with its channels


class SaveLabelMapd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Write class indices as a label map of the table's stored values, on the grid of their scan.

    Args:
        keys: index maps `(1, *spatial)`, already inverted to the scan's own voxels.
        output_dir: below which the record's `output` path is written.
        labels: the bundle's label table.
        image_key: the scan, whose metadata names its file.
        series_uid: the DICOM series that was read, where its folder holds several.

    Raises:
        RuntimeError: the map does not lie on the scan's grid; the chain before did not invert fully.
        SegpipeError: the map holds fractions, as scores do, or a class that the table has not; or it cannot
            be written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        labels: LabelTable,
        image_key: str = "image",
        series_uid: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.series_uid = series_uid
        self.output_dir = Path(output_dir)
        self.labels = labels
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write every key of one record; the record is returned as it came."""
        for key in self.key_iterator(data):
            pred = data[key]
            scan = data[self.image_key].meta["filename_or_obj"]
            header = read_header(scan, series_uid=_series_uid(scan, self.series_uid))
            if tuple(pred.shape) != (1, *header.grid.size):
                raise RuntimeError(
                    f"label map of shape {tuple(pred.shape)} for a scan of {header.grid.size} voxels"
                )
            differences = Grid.from_affine(header.grid.size, pred.affine.cpu().numpy()).differences(
                header.grid
            )
            if differences:
                raise RuntimeError(f"label map off the grid of {scan}: {', '.join(differences)}")
            indices = whole_numbers(pred.cpu().numpy()[0]).astype(np.int64)
            path = self.output_dir / data["output"]
            write_label_map(self.labels.to_values(indices), header.grid, path, source=header)
        return dict(data)
