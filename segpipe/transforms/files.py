"""Transforms between files and tensors: load volumes, map stored values to class indices, write label maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged
from monai.utils import ensure_tuple

from segpipe.dataset.importing.channel_files import order_of, scan_channels
from segpipe.errors import SegpipeError
from segpipe.label_values import whole_numbers
from segpipe.labels import LabelTable
from segpipe.transforms.given_images import given_volume, is_given, metadata_of, with_paths_beside
from segpipe.volumes import (
    Grid,
    Volume,
    check_intensities,
    num_frames,
    read_channels,
    read_header,
    write_label_map,
)
from segpipe.volumes.label_files import write_label_files


class LoadVolumed(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Read each key's file, or its channels' files, with the only reader of its format.

    MONAI's LoadImage tries other readers after any exception, and so reads a scan that segpipe's reader refused. This
    transform never tries another reader.

    Args:
        keys: of the records; each is a path or a list of paths, one a channel.
        spatial_dims: 2 or 3, the dimensions that the chain accepts; None accepts both.
        num_channels: required number of channels of each key; None allows any number.
        series_uid: UID of the DICOM series to read, for folders with several; None refuses such folders.
        allow_missing_keys: of MONAI's MapTransform.
        image_keys: the keys with intensities; other keys are label maps, which may be blank.
        channels: names of the channels in the network's order, see `ScanChannel`; None: not named.
        channel_order: names of the channels in the order of a file that holds all; None: the network's order.
        resample_channels: bring channels on other grids onto the first channel's grid, see
            `segpipe.volumes.resampling`; False refuses such channels.

    A record's `frame` is the number of the time frame to read from 4D files, from 1; without it, the fourth axis of a
    file holds channels. A label map with one frame is of the record's frame. An image that a program has read itself
    may stand in place of a path, see `segpipe.transforms.given_images.given_volume`; the program's other metadata stay.

    Returns:
        per key a MetaTensor `(C, *spatial)` in the file's voxel order and dtype, with float64 intensities converted to
        float32. Its `affine` is voxel to RAS, mm; the first key's affine where the grids are equal. Its metadata are
        `filename_or_obj` (of the first channel), `modality` (of a DICOM series; else empty) and `is_hounsfield` (True
        if the file states HU).

    Raises:
        SegpipeError: an unreadable file, NaN or infinite voxels, another number of dimensions or channels,
            channels on different grids, no such frame, or an image that is blank or holds magnitudes beyond
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
        channels: Sequence[Mapping[str, Any]] | None = None,
        channel_order: Sequence[str] | None = None,
        resample_channels: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.resample_channels = resample_channels
        self.order = order_of(scan_channels(channels), channel_order)
        self.image_keys = ensure_tuple(image_keys)
        self.spatial_dims = spatial_dims
        self.num_channels = num_channels
        self.series_uid = series_uid

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key of one record."""
        loaded = dict(data)
        first: Grid | None = None
        for key in self.key_iterator(loaded):
            is_image = key in self.image_keys
            if is_given(loaded[key]):
                given = given_volume(loaded[key], self.spatial_dims, self.num_channels)
                tensor = self._tensor(given, str(given.path), is_image=is_image)
                tensor.meta = {**metadata_of(loaded[key]), **tensor.meta}
            else:
                paths, frame = ensure_tuple(loaded[key]), loaded.get("frame")
                if frame is not None and not is_image and num_frames(paths[0]) == 1:
                    frame = None
                tensor = self._load(paths, is_image=is_image, frame=frame)
            grid = Grid.from_affine(tensor.shape[1:], tensor.affine.numpy())
            if first is None:
                first = grid
            # a rounded header would give the label map another shape after resampling
            elif grid.matches(first):
                tensor.affine = torch.as_tensor(first.affine, dtype=torch.float64)
            loaded[key] = tensor
            loaded = with_paths_beside(loaded, key)
        return loaded

    def _load(self, paths: Sequence[str | Path], *, is_image: bool, frame: int | None = None) -> MetaTensor:
        volume = read_channels(paths, self.series_uid, frame=frame, resample=self.resample_channels)
        names = ", ".join(str(path) for path in paths)
        return self._tensor(volume, names, is_image=is_image, reorder=len(paths) == 1)

    def _tensor(self, volume: Volume, names: str, *, is_image: bool, reorder: bool = True) -> MetaTensor:
        """Return a checked volume with its metadata; `reorder`: its channels may stand in the file's order."""
        if self.spatial_dims is not None:
            require_shape(volume, self.spatial_dims)
        dims = volume.grid.spatial_dims
        if self.num_channels is not None and volume.num_channels != self.num_channels:
            raise SegpipeError(
                f"{names}: {volume.num_channels} channels, the bundle takes {self.num_channels} (a {dims}D scan, "
                f"not a {dims + 1}D or coloured one); split the file and choose its channels, or read time frames with "
                "--frames"
            )
        stacked = np.ascontiguousarray(volume.channels)
        if is_image and self.order is not None and reorder:
            stacked = stacked[list(self.order)]
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
    """Return `series_uid` for a folder, None for a file, since a cohort may contain both."""
    return series_uid if Path(path).is_dir() else None


def require_shape(volume: Volume, spatial_dims: int) -> None:
    """Refuse a volume of another number of spatial dimensions.

    Raises:
        SegpipeError: `volume` is 2D where 3D is wanted, or the reverse.
    """
    if volume.grid.spatial_dims != spatial_dims:
        raise SegpipeError(
            f"{volume.path}: {volume.grid.spatial_dims}D, size {volume.grid.size} voxels, the bundle takes "
            f"{spatial_dims}D; use a bundle for {volume.grid.spatial_dims}D, or a file that holds one volume"
        )


class LabelIndicesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Map the stored values of a label file to class indices 0..C-1.

    Args:
        keys: label maps `(1, *spatial)`.
        labels: the bundle's label table.
        file_values: stored value of this data set -> class name; None means the values of the table.

    Raises:
        SegpipeError: a value belongs to no class; with the file.
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


class SaveImageLabelMapd(SaveImaged):  # type: ignore[misc]  # MONAI is untyped
    """Write class indices as a label map of the table's stored values, on the grid of their scan.

    `SaveLabelMapd` is the same class. Programs that write the result themselves drop it: MONAI Label as a subclass of
    MONAI's SaveImaged, MONAI Deploy since the class name holds "SaveImage". Nothing of SaveImaged but its type is used.

    With the first label map, files with the names and colours of the labels are written, see
    `segpipe.volumes.label_files`.

    Args:
        keys: index maps `(1, *spatial)`, already inverted to the voxels of the scan.
        output_dir: folder in which the record's `output` path is written.
        labels: the bundle's label table.
        image_key: key of the scan, whose metadata names its file.
        series_uid: UID of the DICOM series, for folders with several.

    Raises:
        RuntimeError: the map is not on the scan's grid, because the chain before did not invert fully.
        SegpipeError: the map holds fractions, as scores do, or a class that is not in the table; the label map cannot
            be written; or the folder has names of other labels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        labels: LabelTable,
        image_key: str = "image",
        series_uid: str | None = None,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.series_uid = series_uid
        self.output_dir = Path(output_dir)
        self.labels = labels
        self.image_key = image_key
        self._named = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write every key of one record; return the record unchanged."""
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
            if not self._named:
                write_label_files(self.output_dir, self.labels)
                self._named = True
            path = self.output_dir / data["output"]
            if ".." in Path(data["output"]).parts or not path.is_relative_to(self.output_dir):
                raise SegpipeError(
                    f"{scan}: its label map would be written to {path}, outside {self.output_dir}; correct the "
                    "record's output"
                )
            stored = self.labels.to_values(indices)
            write_label_map(stored, header.grid, path, source=header, labels=self.labels)
        return dict(data)


SaveLabelMapd = SaveImageLabelMapd
