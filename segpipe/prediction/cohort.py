"""Runs the scans of a cohort through the network, one after the other; reading and writing run beside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.inference.class_volume import ClassVolume
from segpipe.inference.engines.threads import torch_threads
from segpipe.inference.volumetry import class_volumes
from segpipe.pictures import grey_levels
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.cohort_way import CohortWay
from segpipe.prediction.dicom_outputs import DicomOutputs
from segpipe.prediction.label_names import name_labels
from segpipe.prediction.ledger import Entry, State
from segpipe.prediction.locator import Locator
from segpipe.prediction.options import (
    DICOM_SEG,
    OVERLAYS,
    PROBABILITIES,
    RTSTRUCT,
    Outcome,
    Prediction,
    PredictOptions,
    label_map_name,
    resampled_channels,
    scan_header,
    scan_place,
    side_file,
)
from segpipe.prediction.output_folder import OutputFolder, attempt, now, removed_on_failure
from segpipe.prediction.ownership import ToDo, known_prediction, label_map_hashes, to_do, written_files
from segpipe.prediction.pace import Pace
from segpipe.prediction.publishing import publish, publish_scan, staged_files
from segpipe.prediction.scan_files import require_text, scan_sha256, stamps
from segpipe.prediction.scan_steps import (
    PreparedImage,
    SegmentedScan,
    Staged,
    corrected_maps,
    picture_title,
    prepare_image,
    segment_prepared,
    stage_scan,
    stage_series,
)
from segpipe.prediction.segmenter import Segmenter
from segpipe.prediction.side_files import array_on_disk, make_side_folders, write_overlay
from segpipe.volumes import (
    Grid,
    Scan,
    VolumeHeader,
    left_out_beside,
    left_out_note,
    read_header,
)


@dataclass(frozen=True)
class _Prepared:
    """A scan that was read and preprocessed, and waits for the network."""

    scan: Scan
    scan_sha256: str
    header: VolumeHeader
    image: PreparedImage | None  # None for a series, whose frames are read one by one
    seconds: float


@dataclass(frozen=True)
class _Segmented:
    """A scan whose files wait to be written; those of a series lie in the staging folder."""

    scan: Scan
    scan_sha256: str
    header: VolumeHeader
    result: SegmentedScan | Staged
    staged: Path
    seconds: float


@dataclass
class CohortRun:
    """One call of `predict`: the objects that all its scans share."""

    bundle: OpenBundle
    options: PredictOptions
    place: OutputFolder
    request: str = ""  # see `segpipe.prediction.request`
    left_out: list[str] = field(default_factory=list)  # DICOM files that are not slices of the series
    segmenter: Segmenter = field(init=False)
    recipe: str = field(init=False)

    def __post_init__(self) -> None:
        self.folder, self.ledger, self.log = self.place.folder, self.place.ledger, self.place.log
        self.recipe = self.options.recipe(self.bundle)
        self.dicom = DicomOutputs.of(self.bundle, self.options)
        self.way = way = CohortWay.of(self.ledger, self.recipe, self.options, self.place.tell)
        windows = WindowSettings.of(self.options, self.bundle, self.place.tell)
        self.segmenter = Segmenter(
            self.bundle,
            way.precision,
            way.batch_size,
            windows,
            self.options.skip_empty,
            self.place.tell,
            way.engine,
            way.threads_a_window,
        )
        self.locator = Locator.of(self.bundle)
        way.require_same_network(self.segmenter, self.folder)
        self._pace = Pace()
        make_side_folders(self.folder, self.options)

    def go(self, scans: Iterable[Scan]) -> Generator[Prediction]:
        """Read ahead, segment and write at the same time; yield each scan's outcome once it is on disk."""
        with torch_threads(self.way.torch_threads):
            yield from self._go(list(scans))

    def _go(self, scans: list[Scan]) -> Generator[Prediction]:
        self.segmenter.scans = max(len(scans), 1)
        name_labels(self.folder, self.bundle.labels, self.ledger, scans, self.options)
        self.ledger.write_volumes()
        reading: deque[tuple[Scan, Future[_Prepared | Prediction]]] = deque()
        writing: deque[tuple[Scan, Callable[[], Prediction]]] = deque()
        readers = ThreadPoolExecutor(self.options.jobs, "read")
        writer = ThreadPoolExecutor(1, "write")
        waiting = iter(scans)
        try:
            while True:
                while len(reading) <= self.options.jobs and (scan := next(waiting, None)) is not None:
                    reading.append((scan, readers.submit(self._read, scan)))
                if not reading:
                    break
                scan, future = reading.popleft()
                outcome = self._attempt(scan, self._through_network, future)
                if isinstance(outcome, Prediction):
                    yield outcome
                    continue
                while writing:  # one label map waits at most
                    yield self._attempt(*writing.popleft())
                writing.append((scan, writer.submit(self._write, outcome).result))
                del future, outcome  # frees the image and the segmentation
            while writing:
                yield self._attempt(*writing.popleft())
        finally:
            readers.shutdown(cancel_futures=True)
            writer.shutdown(cancel_futures=True)
            self.ledger.write_volumes()

    def _attempt(self, scan: Scan, step: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a step; if the step raises, return the failed outcome of the scan."""
        return attempt(partial(self._failed, scan), step, *arguments)

    def _failed(self, scan: Scan, error: Exception) -> Prediction:
        has_map = scan.name in self.place.ledger.entries and self._path(scan).exists()
        note = " (the label map in its place is from an earlier run)" if has_map else ""
        return self.failed(scan.name, scan.path, self.place.fail(scan, error, note))

    def failed(self, name: str, path: Path, reason: str) -> Prediction:
        """Return the outcome of a scan that cannot be read or segmented."""
        return Prediction(name, Outcome.FAILED, path, None, reason=reason)

    def finish(self) -> None:
        """Report the DICOM files that were left out."""
        if self.left_out:
            self.place.tell(left_out_note(sorted(self.left_out)))

    def _path(self, scan: Scan) -> Path:
        return self.folder / label_map_name(scan, self.options)

    def _read(self, scan: Scan) -> _Prepared | Prediction:
        """Read and preprocess a scan; return its outcome if it needs no segmentation."""
        since = time.perf_counter()
        require_text(scan)
        stamps_before = stamps(scan)
        before = self.ledger.entries.get(scan.name)
        # refuse a header that claims terabytes before hashing that many bytes
        header = self._header(scan) if before is None else None
        sha256 = scan_sha256(scan)
        known = self.known(scan, sha256)
        if known is not None:
            return known
        series_uid = self.options.series_uid if scan.path.is_dir() else None
        header = header or self._header(scan)
        for file in left_out_beside(header, series_uid):
            self.log.info("%s: left out: %s: %s", scan.name, file.path.name, file.reason)
            self.left_out.append(f"{scan.name}/{file.path.name}")
        image = None
        if not scan.is_series:
            image = prepare_image(
                self.segmenter, scan, scan.frame, overlays=self.options.overlays, locator=self.locator
            )
        if stamps(scan) != stamps_before:
            raise SegpipeError(f"{scan.path}: changed while it was read; run again")
        return _Prepared(scan, sha256, header, image, time.perf_counter() - since)

    def known(self, scan: Scan, sha256: str) -> Prediction | None:
        """Return the outcome of a scan that needs no segmentation, whose label map may be measured again; else None."""
        before = self.ledger.entries.get(scan.name)
        todo = to_do(scan, sha256, self.folder, self.ledger, self.options, self.recipe)
        if before is None:
            return None
        if todo is ToDo.NOTHING and not self._lacks_objects(scan, before):
            if before.request != self.request:
                self.ledger.append(replace(before, request=self.request))
            return known_prediction(scan, before, self.folder, self.options)
        if todo is ToDo.KEEP or (before.state is State.KEPT and todo is ToDo.NOTHING):
            return self._keep(scan, before)
        return None

    def _header(self, scan: Scan) -> VolumeHeader:
        """Read the header of a scan, and refuse a scan that cannot be segmented into the outputs asked for."""
        header = scan_header(scan, self.bundle.takes, self.options)
        self.dicom.check(scan, header)
        return header

    def _lacks_objects(self, scan: Scan, before: Entry) -> bool:
        """Return whether a corrected label map has no DICOM objects yet, which this run asks for."""
        return before.state is State.KEPT and not set(self.dicom.files(scan)) <= set(before.files)

    def _keep(self, scan: Scan, before: Entry) -> Prediction:
        """Keep a label map that was corrected by hand, and measure its volumes again."""
        name = label_map_name(scan, self.options)
        path = self.folder / name
        first_frame = 1 if scan.is_series else scan.frame
        series_uid = self.options.series_uid if scan.path.is_dir() else None
        header = read_header(scan.path, series_uid, first_frame)
        self.dicom.check(scan, header)
        first: NDArray[np.integer[Any]] | None = None
        volumes: list[ClassVolume] = []
        for frame, grid, labels in corrected_maps(path, scan, self.bundle.labels):
            if not grid.matches(header.grid):
                raise SegpipeError(
                    f"{path}: was changed since segpipe wrote it, and lies on another grid than {scan.path}"
                )
            first = labels if first is None else first
            volumes += class_volumes(labels, self.bundle.labels, header.grid.spacing_mm, frame)
        if scan.is_series and len(volumes) != header.num_frames * len(self.bundle.labels.targets):
            raise SegpipeError(
                f"{path}: was changed since segpipe wrote it, and has not the {header.num_frames} frames of {scan.path}"
            )
        reason = "its label map was corrected by hand and stays; --overwrite replaces it"
        kept = replace(
            before,
            state=State.KEPT,
            reason=reason,
            corrected=label_map_hashes(self.folder, name),
            volumes=volumes,
            warnings=None,
            finished=now(),
        )
        if first is None:
            self.ledger.append(kept)
        else:
            self._make_again(kept, scan, header, first)
        self.log.info("%s: %s", scan.name, reason)
        return Prediction(scan.name, Outcome.KEPT, scan.path, path, 0.0, reason, volumes)

    def _make_again(
        self, kept: Entry, scan: Scan, header: VolumeHeader, labels: NDArray[np.integer[Any]]
    ) -> None:
        """Make overlay and DICOM objects again from the corrected label map; a crash leaves none rather than old ones.

        Objects of an earlier run that this run does not ask for are removed.
        """
        ours = written_files(self.folder, kept)
        old = [side_file(folder, scan) for folder in (OVERLAYS, DICOM_SEG, RTSTRUCT)]
        old = [file for file in old if file in ours]
        staged = Path(tempfile.mkdtemp(dir=self.place.staging))
        with removed_on_failure(staged):
            if side_file(OVERLAYS, scan) in old:
                self._redraw(kept, scan, header.grid, labels, staged / side_file(OVERLAYS, scan))
            self.dicom.write(scan, header, labels, staged, is_corrected=True)
            files = staged_files(staged)
            for file in old:
                (self.folder / file).unlink()
            named = {name: sha256 for name, sha256 in kept.files.items() if name not in old}
            self.ledger.append(replace(kept, files={**named, **files}))
            for file in files:
                publish(staged, self.folder, [file], last=file)
        shutil.rmtree(staged, ignore_errors=True)

    def _redraw(
        self, kept: Entry, scan: Scan, grid: Grid, labels: NDArray[np.integer[Any]], picture: Path
    ) -> None:
        frame = 1 if scan.is_series else scan.frame
        volumes = [volume for volume in kept.volumes if volume.frame == frame]
        grey = grey_levels(self.bundle.read(scan.files, frame).as_tensor()[0].numpy())
        title = picture_title(scan, self.bundle.takes)
        write_overlay(picture, title, grid, grey, labels, volumes, self.bundle.labels)

    def _through_network(self, future: Future[_Prepared | Prediction]) -> Prediction | _Segmented:
        """Segment a scan that `_read` prepared."""
        prepared = future.result()
        if isinstance(prepared, Prediction):
            return prepared
        since = time.perf_counter()
        scan = prepared.scan
        staged = Path(tempfile.mkdtemp(dir=self.place.staging))
        result: SegmentedScan | Staged
        with removed_on_failure(staged):
            if prepared.image is None:
                result = stage_series(
                    self.segmenter, scan, prepared.header, staged, self.options, self.locator
                )
            else:
                result = self._segmented(prepared, prepared.image, staged)
        seconds = prepared.seconds + time.perf_counter() - since
        return _Segmented(scan, prepared.scan_sha256, prepared.header, result, staged, seconds)

    def _segmented(self, prepared: _Prepared, image: PreparedImage, staged: Path) -> SegmentedScan:
        probabilities = None
        if self.options.probabilities:
            shape = (len(self.bundle.labels.output_names), *prepared.header.grid.size)
            probabilities = array_on_disk(staged / side_file(PROBABILITIES, prepared.scan), shape)
        segmentation = segment_prepared(
            self.segmenter, self.locator, image, entropy=self.options.entropy, probabilities=probabilities
        )
        if segmentation.skipped:
            skipped, windows = segmentation.skipped, segmentation.windows
            self.log.info(
                "%s: %d of %d windows without tissue left out", prepared.scan.name, skipped, windows
            )
        return SegmentedScan(segmentation, image.grey, image.measures)

    def _write(self, segmented: _Segmented) -> Prediction:
        """Write all files of a scan to the staging folder, record them in the ledger, then rename them into place."""
        with removed_on_failure(segmented.staged):
            return self._written(segmented)

    def _written(self, segmented: _Segmented) -> Prediction:
        since = time.perf_counter()
        scan, staged, result = segmented.scan, segmented.staged, segmented.result
        name = label_map_name(scan, self.options)
        if not isinstance(result, Staged):
            self.dicom.write(scan, segmented.header, result.segmentation.labels, staged)
            result = stage_scan(self.segmenter, scan, segmented.header, result, staged, self.options)
        files = staged_files(staged)
        before = self.ledger.entries.get(scan.name)
        todo = to_do(scan, segmented.scan_sha256, self.folder, self.ledger, self.options, self.recipe)
        if before is not None and todo is ToDo.KEEP:  # the user corrected it while the network ran
            shutil.rmtree(staged, ignore_errors=True)
            return self._keep(scan, before)
        seconds = segmented.seconds + time.perf_counter() - since
        entry = Entry(
            case=scan.name,
            state=State.WRITING,
            scan=scan_place(scan),
            scan_sha256=segmented.scan_sha256,
            recipe=self.recipe,
            request=self.request,
            **self.segmenter.recorded(result.way),
            seconds=round(seconds, 3),
            reason="" if result.fallback is None else f"by MONAI's own chain: {result.fallback}",
            files=files,
            replaced={} if before is None else written_files(self.folder, before),
            volumes=result.volumes,
            warnings=result.warnings,
            finished=now(),
            resampled=resampled_channels(segmented.header, self.bundle.takes),
            located=result.located,
        )
        publish_scan(self.ledger, self.folder, staged, entry, name)
        shutil.rmtree(staged, ignore_errors=True)
        self._pace.write_if_due(self.ledger.write_volumes)
        self.log.info("%s: done in %.1f s", scan.name, seconds)
        for warning in entry.warnings or ():
            self.log.warning("%s: %s", scan.name, warning)
        return Prediction(
            scan.name,
            Outcome.DONE,
            scan.path,
            self.folder / name,
            seconds,
            entry.reason,
            result.volumes,
            entry.warnings,
            entry.resampled,
        )
