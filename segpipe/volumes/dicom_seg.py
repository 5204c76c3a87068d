"""Write a label map as a DICOM Segmentation (SEG): one binary segment a class or region, on the series' own slices.

highdicom makes the object. Frames have the positions, orientation and order of the slices, so that a viewer shows them
where the network saw them; frames without a voxel of their segment are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

import segpipe
from segpipe.coded_terms import CodedTerm
from segpipe.errors import SegpipeError, shown
from segpipe.labels import LabelTable
from segpipe.regions import Region
from segpipe.volumes.dicom_source import Algorithm, SourceSeries, quiet_dicom
from segpipe.volumes.geometry import Grid

_LONGEST_LABEL = 64
_SERIES_NUMBER_STEP = 1000
"""The segmentation's SeriesNumber is that of the series plus this number."""


def require_codes(labels: LabelTable, where: Path) -> None:
    """Refuse classes or regions without coded terms, which DICOM SEG needs for each segment, or with too long names.

    Args:
        labels: of the bundle.
        where: the bundle's folder, for the message.

    Raises:
        SegpipeError: with the names of the classes, and where codes are listed.
    """
    without = [target.name for target in labels.targets if target.codes is None]
    if without:
        table = "regions" if labels.regions else "label_table"
        raise SegpipeError(
            f"{where}: DICOM SEG needs the coded category and type of each segment, and {shown(without)} "
            f"{'has' if len(without) == 1 else 'have'} none; give a table, --segment-codes codes.csv, with the columns "
            f"class,category,type and rows such as {without[0]},Anatomical Structure,78961009; or, in a bundle of "
            f"segpipe, add category and type to the rows of {table} in configs/metadata.json, such as "
            '"category": {"code": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}, "type": {"code": '
            '"78961009", "scheme": "SCT", "meaning": "Spleen"}; codes are listed in DICOM PS3.16, CID 7150 '
            "(categories) and CID 7151 (types)"
        )
    long = [
        target.name for target in labels.targets if len(target.name) > _LONGEST_LABEL or "\\" in target.name
    ]
    if long:
        raise SegpipeError(
            f"{where}: {shown(long)}: DICOM SEG holds names of up to {_LONGEST_LABEL} characters without a backslash; "
            "rename the class in the label table, or predict without --dicom-seg"
        )


def check_segmentation(source: SourceSeries, grid: Grid, labels: LabelTable, algorithm: Algorithm) -> None:
    """Refuse a series of which no segmentation can be made, before the network runs.

    Raises:
        SegpipeError: as `write_segmentation`.
    """
    one = SourceSeries(source.folder, source.slices[:1])
    _segmentation(np.zeros((*grid.size[:2], 1), np.uint8), grid, one, labels, algorithm)


def write_segmentation(
    indices_xyz: NDArray[np.integer[Any]],
    grid: Grid,
    path: Path,
    source: SourceSeries,
    labels: LabelTable,
    algorithm: Algorithm,
    *,
    is_corrected: bool = False,
) -> None:
    """Write a label map as one DICOM SEG object.

    DICOM knows no object without frames: a label map without foreground has one empty frame a segment.

    Args:
        indices_xyz: class indices, shape (x, y, z) equal to `grid.size`.
        grid: of the series.
        path: of the file; its folder is made as needed.
        source: the series, with as many slices as `grid.size[2]`.
        labels: each of its targets becomes a segment, numbered from 1; all need codes, see `require_codes`.
        algorithm: the program that made the label map.
        is_corrected: True if a person changed the label map.

    Raises:
        SegpipeError: highdicom refuses a tag of the series, or a name of a class.
    """
    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if is_corrected else SegmentAlgorithmTypeValues.AUTOMATIC
    segmentation = _segmentation(indices_xyz, grid, source, labels, algorithm, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation.save_as(path)


def _segmentation(
    indices_xyz: NDArray[np.integer[Any]],
    grid: Grid,
    source: SourceSeries,
    labels: LabelTable,
    algorithm: Algorithm,
    kind: SegmentAlgorithmTypeValues = SegmentAlgorithmTypeValues.AUTOMATIC,
) -> Dataset:
    first, is_empty = source.first, not indices_xyz.any()
    number = first.get("SeriesNumber") or 0
    try:
        with quiet_dicom():
            return Segmentation(
                source_images=list(source.slices[:1] if is_empty else source.slices),
                pixel_array=_frames(indices_xyz[:, :, :1] if is_empty else indices_xyz, labels),
                segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    _description(position, target, algorithm, kind)
                    for position, target in enumerate(labels.targets, start=1)
                ],
                series_instance_uid=highdicom.UID(),
                series_number=max(int(number), 0) + _SERIES_NUMBER_STEP,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="segpipe",
                manufacturer_model_name=algorithm.name,
                software_versions=segpipe.__version__,
                device_serial_number=algorithm.weights,
                content_label="SEGMENTATION",
                content_description=f"Segmentation by {algorithm.name}"[:64],
                series_description=f"Segmentation by {algorithm.name}"[:64],
                pixel_measures=_measures(first, grid),
                omit_empty_frames=not is_empty,
            )
    except (ValueError, TypeError, AttributeError) as error:
        raise SegpipeError(
            f"{source.folder}: no DICOM SEG can be made of this series ({error}); export the series again, or predict "
            "without --dicom-seg"
        ) from error


def _frames(indices_xyz: NDArray[np.integer[Any]], labels: LabelTable) -> NDArray[Any]:
    """Return (frames, rows, columns) of segment numbers; of regions, which overlap, one mask a segment behind these."""
    frames = indices_xyz.transpose(2, 1, 0)
    if not labels.regions:
        return np.ascontiguousarray(frames, np.uint8 if labels.num_classes < 256 else np.uint16)
    return np.stack([np.isin(frames, target.classes) for target in labels.targets], axis=-1).astype(np.uint8)


def _description(
    number: int, target: Region, algorithm: Algorithm, kind: SegmentAlgorithmTypeValues
) -> SegmentDescription:
    if target.codes is None:
        raise SegpipeError(f"{target.name}: has no codes; add category and type to the label table")
    description = SegmentDescription(
        segment_number=number,
        segment_label=target.name,
        segmented_property_category=_concept(target.codes.category),
        segmented_property_type=_concept(target.codes.type),
        algorithm_type=kind,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm.name, family=codes.DCM.ArtificialIntelligence, version=algorithm.version
        ),
        display_color=CIELabColor.from_rgb(*target.color),
    )
    if target.codes.modifier is not None:
        concept = description.SegmentedPropertyTypeCodeSequence[0]
        concept.SegmentedPropertyTypeModifierCodeSequence = [_concept(target.codes.modifier)]
    return description


def _concept(term: CodedTerm) -> CodedConcept:
    return CodedConcept(term.code, term.scheme, term.meaning)


def _measures(first: Dataset, grid: Grid) -> highdicom.PixelMeasuresSequence:
    """Return spacing and thickness of the slices; the thickness may be missing in MR."""
    spacing = grid.spacing_mm
    thickness = first.get("SliceThickness")
    return highdicom.PixelMeasuresSequence(
        pixel_spacing=first.PixelSpacing,
        slice_thickness=float(thickness) if thickness else spacing[2],
        spacing_between_slices=spacing[2],
    )
