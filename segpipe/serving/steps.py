"""What each task does with an uploaded scan; the bundle is opened once, and its network serves every scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from segpipe.bundle.image_files import check_image
from segpipe.bundle.open import open_bundle
from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.configuration.metadata import Task, task_of
from segpipe.errors import SegpipeError, shown
from segpipe.inference.heap import keep_freed_memory
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.image_measures import measured_image
from segpipe.prediction.image_options import image_cohort
from segpipe.prediction.options import (
    Cohort,
    PredictOptions,
    cohort_scans,
    label_map_name,
    resampled_channels,
    scan_header,
)
from segpipe.prediction.scan_steps import SegmentedScan, Staged, prepare_image, stage_scan
from segpipe.prediction.segmenter import Segmenter
from segpipe.serving.answer import OK, Answer
from segpipe.serving.options import ServeLimits
from segpipe.serving.segmentation_object import PART, SegmentationObjects
from segpipe.volumes import Scan, VolumeHeader, left_out_beside, read_header

_MOST_NAMES = 50
_CASE = "scan"  # the name of every uploaded scan


class UploadSteps(Protocol):
    """Computes uploaded scans with one open bundle."""

    def __call__(self, folder: Path, output: Path) -> Answer:
        """Compute a scan.

        Args:
            folder: files of the scan.
            output: an existing folder for the files of the answer.

        Raises:
            SegpipeError: the upload is not one scan, or the bundle refuses the scan.
        """


class SegmentUploads:
    """Segments uploaded scans; label maps equal those of `segpipe predict`.

    Args:
        source: the bundle.
        limits: of a scan.

    Raises:
        SegpipeError: the bundle cannot be opened.
    """

    def __init__(self, source: BundleSource, limits: ServeLimits) -> None:
        keep_freed_memory()
        self._limits = limits
        self._segmenter = Segmenter(open_bundle(source))
        self._options = PredictOptions(overlays=False)
        self._objects = SegmentationObjects(self._segmenter.bundle)

    def __call__(self, folder: Path, output: Path) -> Answer:
        """Segment a scan; see `UploadSteps`."""
        segmenter, options = self._segmenter, self._options
        takes = segmenter.bundle.takes
        cohort = cohort_scans([folder], output, options, takes.channels)
        scan = _only(cohort, folder)
        header = scan_header(scan, takes, options)
        _require_voxels(header, len(scan.files), self._limits)
        no_object = self._objects.why_none(scan, header)
        image = prepare_image(segmenter, scan, scan.frame, overlays=False)
        segmentation = segmenter.segment(image.image, image.grid, uncertainty=image.measures is not None)
        result = SegmentedScan(segmentation, None, image.measures)
        staged = stage_scan(segmenter, scan, header, result, output, options)
        files = {"label_map": label_map_name(scan, options)}
        if no_object is None:
            file, no_object = self._objects.write(scan, header, segmentation.labels, output)
            files |= {} if file is None else {PART: file}
        withheld = {} if no_object is None else {PART: no_object}
        return Answer(OK, content=self._content(cohort, header, staged), files=files, withheld=withheld)

    def _content(self, cohort: Cohort, header: VolumeHeader, staged: Staged) -> dict[str, Any]:
        """Return what is known of a segmented scan, in JSON's types."""
        left_out = [file.path.name for file in left_out_beside(header)]
        return {
            "volumes": [
                {
                    "class": volume.label,
                    "voxels": volume.voxels,
                    "millilitres": None if volume.millilitres is None else round(volume.millilitres, 6),
                    "components": volume.components,
                    **({} if volume.expected is None else {"expected": asdict(volume.expected)}),
                }
                for volume in staged.volumes
            ],
            "warnings": None if staged.warnings is None else list(staged.warnings),
            "size": list(header.grid.size),
            "spacing_mm": [round(float(side), 6) for side in header.grid.spacing_mm],
            "resampled_channels": list(resampled_channels(header, self._segmenter.bundle.takes)),
            "ignored_files": _first([*cohort.ignored_files, *left_out]),
            "by_monais_chain": staged.fallback,
            "precision": self._segmenter.precision,
        }


class ClassifyUploads:
    """Classifies uploaded images.

    Args:
        source: the bundle.
        limits: of an image.

    Raises:
        SegpipeError: the bundle cannot be opened.
    """

    def __init__(self, source: BundleSource, limits: ServeLimits) -> None:
        self._limits = limits
        self._classifier = Classifier(open_classifier(source), batch_size=1)  # an upload is one image

    def __call__(self, folder: Path, output: Path) -> Answer:
        """Classify an image; see `UploadSteps`."""
        bundle, classifier = self._classifier.bundle, self._classifier
        cohort = image_cohort([folder], output)
        image = _only(cohort, folder)
        check_image(image)
        _require_voxels(read_header(image.path), 1, self._limits)
        pixels = classifier.read(str(image.path))
        probabilities = classifier.probabilities(image.name, classifier.logits([pixels])[0])
        names, ranges = bundle.categories.names, bundle.reference_ranges
        warnings = None
        if ranges is not None:
            measured = measured_image(pixels, probabilities, exclusive=bundle.categories.exclusive)
            warnings = list(ranges.warnings(measured))
        content: dict[str, Any] = {
            "target": bundle.categories.target,
            "probabilities": dict(zip(names, probabilities.tolist(), strict=True)),
            "decision": bundle.calibration.decision(probabilities),
            "warnings": warnings,
            "ignored_files": _first(cohort.ignored_files),
            "precision": classifier.precision,
        }
        return Answer(OK, content=content)


_STEPS: Mapping[Task, Callable[[BundleSource, ServeLimits], UploadSteps]] = {
    "segmentation": SegmentUploads,
    "classification": ClassifyUploads,
}


def upload_steps(source: BundleSource, limits: ServeLimits) -> UploadSteps:
    """Open a bundle, and return the steps of its task.

    Raises:
        SegpipeError: the bundle cannot be opened.
    """
    return _STEPS[task_of(Path(source.root))](source, limits)


def _only(cohort: Cohort, folder: Path) -> Scan:
    """Return the one scan of an upload, under a name that is not the client's."""
    paths = [*(scan.path for scan in cohort.scans), *(scan.path for scan in cohort.refused)]
    if len(paths) > 1:
        names = shown(path.relative_to(folder).as_posix() for path in paths)
        raise SegpipeError(
            f"the upload holds {len(paths)} scans, must be one: {names}; upload each by itself"
        )
    if cohort.refused:
        raise SegpipeError(cohort.refused[0].reason)
    return replace(cohort.scans[0], name=_CASE)


def _first(names: Sequence[str]) -> list[str]:
    """Return the first names of a list, and the number of the others."""
    more = len(names) - _MOST_NAMES
    return [*names[:_MOST_NAMES], *([f"and {more} more"] if more > 0 else [])]


def _require_voxels(header: VolumeHeader, files: int, limits: ServeLimits) -> None:
    voxels = math.prod(header.grid.size) * max(header.num_channels, files)
    if voxels > limits.voxels:
        raise SegpipeError(
            f"the scan has {voxels} voxels in all channels, this server takes {limits.voxels}; upload a part of the "
            "scan, or raise --max-voxels"
        )
