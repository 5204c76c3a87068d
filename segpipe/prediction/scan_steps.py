"""The steps from a scan, or one time frame of a scan, to its files in the staging folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle
from segpipe.bundle.scan_rule import ScanRule
from segpipe.errors import SegpipeError
from segpipe.inference.class_volume import ClassVolume
from segpipe.inference.engines import Way
from segpipe.inference.volumetry import class_volumes
from segpipe.labels import Label, LabelTable, class_color
from segpipe.pictures import grey_levels
from segpipe.prediction.expected_dice import with_expected
from segpipe.prediction.ledger import frame_mark
from segpipe.prediction.locator import Locator, segment_located
from segpipe.prediction.options import (
    ENTROPY,
    OVERLAYS,
    PredictOptions,
    label_map_name,
    region_file,
    side_file,
)
from segpipe.prediction.segmentation import Segmentation
from segpipe.prediction.segmenter import Segmenter
from segpipe.prediction.side_files import write_overlay
from segpipe.reference_ranges import Measures
from segpipe.regions import Region
from segpipe.volumes import (
    Grid,
    Scan,
    VolumeHeader,
    num_frames,
    read_volume,
    write_label_frames,
    write_label_map,
    write_volume,
)


@dataclass(frozen=True)
class PreparedImage:
    """A preprocessed scan, or one of its time frames.

    Attributes:
        grid: of the voxels as read: a foreign bundle reads a 2D image file as MONAI does.
        grey: first channel as grey levels, for the overlay; None without overlays.
        image: preprocessed scan `(C, *spatial)`.
        measures: of the scan; None where they are not compared.
        coarse: the scan as the locator takes it; None without a locator.
    """

    grid: Grid
    grey: NDArray[np.uint8] | None
    image: MetaTensor
    measures: Measures | None
    coarse: MetaTensor | None = None


@dataclass(frozen=True)
class SegmentedScan:
    """A segmented scan without its preprocessed image, whose memory is free for the next scan.

    Attributes:
        segmentation: of the scan.
        grey: see `PreparedImage`.
        measures: see `PreparedImage`.
    """

    segmentation: Segmentation
    grey: NDArray[np.uint8] | None
    measures: Measures | None


@dataclass(frozen=True)
class Staged:
    """What is known of a scan whose files lie in the staging folder.

    Attributes:
        volumes: one per foreground class or region, and time frame of a series.
        warnings: measures outside the reference ranges; None where they were not compared.
        fallback: why MONAI's own chain segmented the scan; None if it was streamed.
        way: engine and precision of the network's scores; None for MONAI's own chain.
        located: the part of the scan that the network saw, of each time frame of a series; empty without a locator.
    """

    volumes: Sequence[ClassVolume]
    warnings: tuple[str, ...] | None
    fallback: str | None
    way: Way | None
    located: tuple[str, ...] = ()


def prepare_image(
    segmenter: Segmenter, scan: Scan, frame: int | None, *, overlays: bool, locator: Locator | None = None
) -> PreparedImage:
    """Read and preprocess a scan, or one of its time frames.

    Args:
        segmenter: of the run.
        scan: of the cohort.
        frame: number of the time frame, from 1; None for scans without time frames.
        overlays: whether the grey levels are wanted.
        locator: of the run; None without one.
    """
    bundle = segmenter.bundle
    loaded = bundle.read(scan.files, frame)
    # some MONAI transforms change their input in place
    grey = grey_levels(loaded.as_tensor()[0].numpy()) if overlays else None
    grid = Grid.from_affine(loaded.shape[1:], loaded.affine)
    coarse = None if locator is None else locator.prepare(loaded)
    if bundle.reference_ranges is None:
        return PreparedImage(grid, grey, segmenter.prepare(loaded), None, coarse)
    image, measures = segmenter.prepared(loaded, grid)
    return PreparedImage(grid, grey, image, measures, coarse)


def segment_prepared(
    segmenter: Segmenter,
    locator: Locator | None,
    prepared: PreparedImage,
    *,
    entropy: bool = False,
    probabilities: NDArray[np.float16] | None = None,
) -> Segmentation:
    """Segment a scan that `prepare_image` prepared, see `segment_located`.

    Args:
        segmenter: of the run.
        locator: of the run; None without one.
        prepared: the scan.
        entropy: compute the entropy of each voxel.
        probabilities: array that is filled, see `Segmenter.segment`; None: do not compute them.
    """
    return segment_located(
        segmenter,
        locator,
        prepared.image,
        prepared.grid,
        prepared.coarse,
        entropy=entropy,
        probabilities=probabilities,
        uncertainty=prepared.measures is not None,
        features=segmenter.bundle.confidence is not None,
    )


def stage_scan(
    segmenter: Segmenter,
    scan: Scan,
    header: VolumeHeader,
    result: SegmentedScan,
    staged: Path,
    options: PredictOptions,
) -> Staged:
    """Write label map, overlay and entropy of a scan to the staging folder.

    Args:
        segmenter: of the run.
        scan: of the cohort.
        header: of the scan.
        result: of the network.
        staged: folder of the scan in the staging folder.
        options: of the run.
    """
    grid, labels, segmentation = header.grid, segmenter.bundle.labels, result.segmentation
    stored = labels.to_values(segmentation.labels)
    write_label_map(stored, grid, staged / label_map_name(scan, options), source=header, labels=labels)
    volumes = class_volumes(segmentation.labels, labels, grid.spacing_mm, scan.frame)
    _draw(staged, scan, grid, result.grey, segmentation.labels, volumes, segmenter.bundle)
    for region in labels.regions if options.regions else ():
        inside = np.isin(segmentation.labels, region.classes).astype(np.uint8)
        mask = staged / region_file(region.name, scan, options)
        write_label_map(inside, grid, mask, source=header, labels=mask_table(region))
    if segmentation.entropy is not None:
        write_volume(segmentation.entropy, grid, staged / side_file(ENTROPY, scan))
    warnings = _warnings(segmenter, result.measures, grid, segmentation, volumes, scan.frame)
    located = (segmentation.located,) if segmentation.located else ()
    volumes = with_expected(segmenter, segmentation, volumes, warnings)
    return Staged(volumes, warnings, segmentation.fallback, segmentation.way, located)


def stage_series(
    segmenter: Segmenter,
    scan: Scan,
    header: VolumeHeader,
    staged: Path,
    options: PredictOptions,
    locator: Locator | None = None,
) -> Staged:
    """Segment the time frames of a scan one by one, and write a 4D label map and the overlay of the first frame.

    Memory holds one frame at a time; the label maps of the other frames lie on the disk.

    Args:
        segmenter: of the run.
        scan: a series.
        header: of its first frame.
        staged: folder of the scan in the staging folder.
        options: of the run.
        locator: of the run; None without one.
    """
    labels, grid, frames = segmenter.bundle.labels, header.grid, header.num_frames
    dtype = labels.to_values(np.zeros(1, np.uint8)).dtype
    volumes: list[ClassVolume] = []
    warnings: list[str] = []
    located: list[str] = []
    compared, fallback, way = True, None, None
    with tempfile.TemporaryFile(dir=staged.parent) as file:
        stored = np.memmap(file, dtype, "w+", shape=(*grid.size, frames), order="F")
        for frame in range(1, frames + 1):
            drawn = options.overlays and frame == 1
            prepared = prepare_image(segmenter, scan, frame, overlays=drawn, locator=locator)
            segmentation = segment_prepared(segmenter, locator, prepared)
            stored[..., frame - 1] = labels.to_values(segmentation.labels)
            of_frame = class_volumes(segmentation.labels, labels, grid.spacing_mm, frame)
            _draw(staged, scan, grid, prepared.grey, segmentation.labels, of_frame, segmenter.bundle)
            outside = _warnings(segmenter, prepared.measures, grid, segmentation, of_frame, frame)
            compared, fallback, way = outside is not None, segmentation.fallback, segmentation.way
            volumes += with_expected(segmenter, segmentation, of_frame, outside)
            located += [f"{frame_mark(frame)}{segmentation.located}"] if segmentation.located else []
            warnings += outside or ()
        write_label_frames(stored, grid, staged / label_map_name(scan, options), source=header, labels=labels)
        for region in labels.regions if options.regions else ():
            inside = np.isin(stored, [labels.values[index] for index in region.classes]).astype(np.uint8)
            mask = staged / region_file(region.name, scan, options)
            write_label_frames(inside, grid, mask, source=header, labels=mask_table(region))
        del stored
    return Staged(volumes, tuple(warnings) if compared else None, fallback, way, tuple(located))


def mask_table(region: Region) -> LabelTable:
    """Return the label table of a region's mask: 0 outside, 1 inside."""
    return LabelTable((Label(0, "background", class_color(0), 0), Label(1, region.name, region.color, 1)))


def corrected_maps(
    path: Path, scan: Scan, labels: LabelTable
) -> Iterator[tuple[int | None, Grid, NDArray[Any]]]:
    """Yield frame number, grid and class indices of each label map in a file that was corrected by hand.

    Args:
        path: of the label map.
        scan: of the cohort; a series has one map a time frame.
        labels: of the bundle.

    Raises:
        SegpipeError: the file cannot be read, or holds a value of no class.
    """
    several = scan.is_series and num_frames(path) > 1
    for frame in range(1, num_frames(path) + 1) if several else [None]:
        changed = read_volume(path, frame=frame)
        try:
            indices = replace(labels, ignore_value=None).to_indices(changed.array)
        except SegpipeError as error:
            raise SegpipeError(f"{path}: was changed since segpipe wrote it: {error}") from error
        yield (frame if several else scan.frame), changed.grid, indices


def picture_title(scan: Scan, takes: ScanRule) -> str:
    """Return the title of a scan's overlay, which shows the first channel, and of a series the first frame."""
    parts = [scan.name, *(["frame 1"] if scan.is_series else [])]
    if takes.num_channels > 1:
        parts.append(takes.channels[0].name if takes.channels else "channel 1")
    return ", ".join(parts)


def _draw(
    staged: Path,
    scan: Scan,
    grid: Grid,
    grey: NDArray[np.uint8] | None,
    labels: NDArray[np.integer[Any]],
    volumes: Sequence[ClassVolume],
    bundle: OpenBundle,
) -> None:
    if grey is not None:
        picture = staged / side_file(OVERLAYS, scan)
        title = picture_title(scan, bundle.takes)
        write_overlay(picture, title, grid, grey, labels, volumes, bundle.labels)


def _warnings(
    segmenter: Segmenter,
    measures: Measures | None,
    grid: Grid,
    result: Segmentation,
    volumes: Sequence[ClassVolume],
    frame: int | None,
) -> tuple[str, ...] | None:
    ranges = segmenter.bundle.reference_ranges
    if ranges is None or measures is None:
        return None
    by_slices = segmenter.by_slices(grid)
    measures = measures.with_result(
        result.labels,
        grid,
        volumes,
        result.uncertainty,
        by_slices=by_slices,
        targets=segmenter.bundle.labels.target_classes,
    )
    names = [channel.name for channel in segmenter.bundle.takes.channels]
    mark = "" if frame is None else frame_mark(frame)
    return tuple(f"{mark}{warning}" for warning in ranges.warnings(measures, names))
