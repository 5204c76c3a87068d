"""Read DICOM Segmentations and RT Structure Sets as masks on the grid of the series that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from segpipe.errors import SegpipeError, shown
from segpipe.volumes.dicom import read_series_header, sorted_slices
from segpipe.volumes.dicom_file import read_dicom_file
from segpipe.volumes.dicom_source import quiet_dicom
from segpipe.volumes.geometry import Grid

_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
_READ = (SegmentationStorage, _LABEL_MAP_SEGMENTATION, RTStructureSetStorage)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SeriesPlace:
    """A series to which label objects may refer.

    Attributes:
        folder: of the series.
        grid: of the series.
        uid: SeriesInstanceUID.
        frame_of_reference: FrameOfReferenceUID, empty if absent.
        instances: SOPInstanceUID -> index of the slice along z.
        modality: DICOM's, such as MR; empty if absent.
    """

    folder: Path
    grid: Grid
    uid: str
    frame_of_reference: str
    instances: Mapping[str, int]
    modality: str = ""


@dataclass(frozen=True)
class LabelObject:
    """A Segmentation or structure set.

    Attributes:
        path: of the file.
        dataset: its content.
        numbers: number of each segment or region of interest -> its name.
        series: UIDs of the series that it refers to; empty where it states none.
        frames_of_reference: FrameOfReferenceUIDs that it states.
        instances: SOPInstanceUIDs of the slices that it refers to.
    """

    path: Path
    dataset: Dataset
    numbers: Mapping[int, str]
    series: frozenset[str]
    frames_of_reference: frozenset[str]
    instances: frozenset[str]

    @property
    def is_structure_set(self) -> bool:
        """True for contours, False for a Segmentation."""
        return bool(self.dataset.SOPClassUID == RTStructureSetStorage)

    @property
    def kind(self) -> str:
        """Name of the kind, for messages."""
        return "structure set" if self.is_structure_set else "segmentation"


def series_place(folder: Path) -> SeriesPlace:
    """Read the headers of a series.

    Raises:
        SegpipeError: as `read_series_header`, among them gaps between slices.
    """
    header = read_series_header(folder)
    tags = ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
    files = [read_dicom_file(slice_.path, tags) for slice_ in sorted_slices(folder)]
    return SeriesPlace(
        folder,
        header.grid,
        files[0].text("SeriesInstanceUID"),
        files[0].text("FrameOfReferenceUID"),
        {file.text("SOPInstanceUID"): index for index, file in enumerate(files)},
        files[0].text("Modality"),
    )


def read_label_object(path: Path) -> LabelObject:
    """Read a Segmentation or structure set, and the names of its segments or regions of interest.

    Raises:
        SegpipeError: the file cannot be read, has no segments, or a segment without name or codes.
    """
    try:
        with quiet_dicom():
            dataset = pydicom.dcmread(path)
            dataset.decode()
            _require_readable_kind(dataset, path)
            is_contours = dataset.SOPClassUID == RTStructureSetStorage
            numbers = _structures(dataset) if is_contours else _segments(dataset, path)
            references = _structure_references(dataset) if is_contours else _segment_references(dataset)
    except (InvalidDicomError, OSError, AttributeError, KeyError, ValueError, TypeError, EOFError) as error:
        tag = error.name if isinstance(error, AttributeError) else None
        raise SegpipeError(
            f"{path}: cannot be read as a DICOM segmentation or structure set "
            f"({f'it lacks {tag}' if tag else error}); export it again"
        ) from error
    if not numbers:
        raise SegpipeError(
            f"{path}: has no segments or regions of interest; export it again, or move it away"
        )
    return LabelObject(path, dataset, numbers, *references)


def belongs_to(label_object: LabelObject, places: Sequence[SeriesPlace]) -> SeriesPlace:
    """Return the series that an object belongs to.

    The UID of the series counts; where the object states none, its slices count. The frame of reference must be that of
    the series.

    Raises:
        SegpipeError: no series of the UID is there, none of the slices, or the frame of reference is another.
    """
    here = [place for place in places if place.uid in label_object.series]
    if not label_object.series:
        here = [place for place in places if label_object.instances & set(place.instances)]
    path, kind = label_object.path, label_object.kind
    if len(here) != 1:
        wanted = (
            f"series {shown(sorted(label_object.series), most=2)}"
            if label_object.series
            else "slices that are not"
        )
        known = shown((f"{place.folder.name} {place.uid}" for place in places), most=2)
        raise SegpipeError(
            f"{path}: the {kind} refers to {wanted}{'' if label_object.series else ' there'}, and the folder holds "
            f"{'the series ' + known if not here else 'several such series'}; lay it beside its own series, or move "
            "it away"
        )
    place = here[0]
    others = label_object.frames_of_reference - {place.frame_of_reference}
    if others:
        raise SegpipeError(
            f"{path}: the {kind} has the frame of reference {shown(sorted(others), most=1)}, its series "
            f"{place.folder} has {place.frame_of_reference or 'none'}; they were exported from different scans: export "
            "both again"
        )
    return place


def masks_of(label_object: LabelObject, place: SeriesPlace, numbers: Sequence[int]) -> Mask:
    """Return the union of some segments or regions of interest on the grid of their series.

    Args:
        label_object: of the series, see `belongs_to`.
        place: the series.
        numbers: of `label_object.numbers`.

    Returns:
        bool array (x, y, z).

    Raises:
        SegpipeError: contours that are not closed or lie between slices, or frames on another grid.
    """
    from segpipe.volumes.dicom_seg_reading import segment_mask
    from segpipe.volumes.rtstruct_reading import structure_mask

    mask_of = structure_mask if label_object.is_structure_set else segment_mask
    union = np.zeros(place.grid.size, bool)
    for number in numbers:
        union |= mask_of(label_object, place, number)
    return union


def _require_readable_kind(dataset: Dataset, path: Path) -> None:
    if dataset.SOPClassUID not in _READ:
        raise SegpipeError(
            f"{path}: is {UID(dataset.SOPClassUID).name}: of the DICOM objects with labels segpipe reads "
            "Segmentation and RT Structure Set; export it as one of these, or convert it to a label map in NIfTI"
        )


def _structures(dataset: Dataset) -> dict[int, str]:
    return {
        int(item.ROINumber): str(item.get("ROIName") or "").strip() or f"ROI {item.ROINumber}"
        for item in dataset.StructureSetROISequence
    }


def _segments(dataset: Dataset, path: Path) -> dict[int, str]:
    kind = str(dataset.get("SegmentationType"))
    if kind not in ("BINARY", "LABELMAP"):
        raise SegpipeError(
            f"{path}: its SegmentationType is {kind}, must be BINARY or LABELMAP: a fraction is no class; export it "
            "with one of these"
        )
    _require_whole_pixels(dataset, path)
    numbers = {}
    for item in dataset.SegmentSequence:
        name = str(item.get("SegmentLabel") or "").strip()
        missing = [
            tag
            for tag in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")
            if not item.get(tag)
        ]
        if missing or not name:
            raise SegpipeError(
                f"{path}: segment {item.get('SegmentNumber')} ({name or 'no SegmentLabel'}) lacks "
                f"{' and '.join(missing) or 'SegmentLabel'}, which every DICOM SEG has; export it again with codes, "
                "for instance with dcmqi's itkimage2segimage"
            )
        if int(item.SegmentNumber) or kind == "BINARY":  # number 0 of a LABELMAP is the background
            numbers[int(item.SegmentNumber)] = name
    return numbers


def _require_whole_pixels(dataset: Dataset, path: Path) -> None:
    """Refuse a segmentation whose uncompressed frames are cut short."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    pixels = int(dataset.get("NumberOfFrames") or 1) * int(dataset.Rows) * int(dataset.Columns)
    needed, found = -(-pixels * int(dataset.BitsAllocated) // 8), len(dataset.get("PixelData") or b"")
    if found < needed:
        raise SegpipeError(
            f"{path}: truncated: its frames have {found} of {needed} bytes; copy the file again from its source"
        )


def _structure_references(dataset: Dataset) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    series, instances = set(), set()
    frames = {str(item.ReferencedFrameOfReferenceUID) for item in dataset.StructureSetROISequence}
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for one in study.get("RTReferencedSeriesSequence") or ():
                series.add(str(one.SeriesInstanceUID))
                images = one.get("ContourImageSequence") or ()
                instances |= {str(image.ReferencedSOPInstanceUID) for image in images}
    return frozenset(series), frozenset(frames), frozenset(instances)


def _segment_references(dataset: Dataset) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    listed = list(dataset.get("ReferencedSeriesSequence") or ())
    series = {str(item.SeriesInstanceUID) for item in listed}
    instances = {
        str(image.ReferencedSOPInstanceUID)
        for item in listed
        for image in item.get("ReferencedInstanceSequence") or ()
    }
    return frozenset(series), frozenset({str(dataset.FrameOfReferenceUID)}), frozenset(instances)
