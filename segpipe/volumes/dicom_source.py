"""The series that a DICOM segmentation or structure set is made of: headers with the tags that such objects need."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from segpipe.errors import SegpipeError, counted, shown
from segpipe.volumes.dicom import sorted_slices
from segpipe.volumes.dicom_file import read_dicom_file

_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_EQUAL = ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID")
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "PositionReferenceIndicator",
)
"""Tags that must be there and may be empty (type 2); anonymisation removes some of them."""
_COPIED = (
    *(
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "StudyDescription",
        "SeriesNumber",
        "SpecificCharacterSet",
    ),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
)
_SEXES = ("M", "F", "O", "")
_LONGEST = {"StudyID": 16, "AccessionNumber": 16, "PatientID": 64}  # characters of DICOM's SH and LO


_LOCK = threading.Lock()  # Python's filters of warnings are those of the whole process


@contextmanager
def quiet_dicom() -> Iterator[None]:
    """Hide warnings about values of a series that are copied as they are, such as a name of one part."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@dataclass(frozen=True)
class Algorithm:
    """The program that made an object.

    Attributes:
        name: name of the bundle.
        version: version of the bundle.
        weights: beginning of the hash of weights and configuration, as the serial number of the device.
    """

    name: str
    version: str
    weights: str


@dataclass(frozen=True)
class SourceSeries:
    """A series whose headers suffice for a segmentation.

    Attributes:
        folder: of the series.
        slices: headers without pixels, in the order of z of the series' grid.
    """

    folder: Path
    slices: Sequence[Dataset]

    @property
    def first(self) -> Dataset:
        """Header of the first slice."""
        return self.slices[0]


def source_series(folder: Path, series_uid: str | None = None) -> SourceSeries:
    """Read the headers of a series for an object that refers to it; add missing tags that may be empty.

    Texts are turned into Unicode. A sex or date that DICOM does not know is left empty; an id that is longer than
    DICOM allows is cut, as archives do.

    Args:
        folder: of the series, already checked by `read_series_header`.
        series_uid: as `read_series`.

    Raises:
        SegpipeError: a tag without which nothing can refer to a slice is missing, or slices belong to several studies
            or patients.
    """
    datasets = []
    for slice_ in sorted_slices(folder, series_uid):
        with quiet_dicom():
            dataset = read_dicom_file(slice_.path, (*_REQUIRED, *_MAY_BE_EMPTY, *_COPIED)).header
        missing = [tag for tag in _REQUIRED if not dataset.get(tag)]
        if missing:
            raise SegpipeError(
                f"{slice_.path}: lacks {', '.join(missing)}, so that no segmentation or structure set can refer to it; "
                "export the series again, or predict without --dicom-seg and --rtstruct"
            )
        datasets.append(dataset)
    for tag in _EQUAL:
        values = {str(dataset.get(tag, "")) for dataset in datasets}
        if len(values) > 1:
            raise SegpipeError(
                f"{folder}: its slices have {counted(len(values), 'value')} of {tag}: {shown(sorted(values))}; a "
                "segmentation belongs to one: export the series again"
            )
    with quiet_dicom():
        for dataset in datasets:
            _complete(dataset)
    return SourceSeries(folder, datasets)


def _complete(dataset: Dataset) -> None:
    """Add the tags that may be empty, and empty the values that cannot be copied."""
    dataset.decode()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for tag in _MAY_BE_EMPTY:
        if dataset.get(tag) is None:
            setattr(dataset, tag, "")
    dataset.PatientName, dataset.ReferringPhysicianName = (
        str(dataset.PatientName),
        str(dataset.ReferringPhysicianName),
    )
    for tag, longest in _LONGEST.items():
        setattr(dataset, tag, str(dataset.get(tag))[:longest])
    if dataset.PatientSex not in _SEXES:
        dataset.PatientSex = ""
    for tag, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(dataset.get(tag))
        except ValueError:
            setattr(dataset, tag, "")
