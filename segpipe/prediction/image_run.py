"""Runs the images of a cohort through the network in batches; other threads read and preprocess ahead."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segpipe.bundle.image_files import check_image
from segpipe.bundle.open_classifier import OpenClassifier
from segpipe.errors import SegpipeError
from segpipe.inference.engines.threads import torch_threads
from segpipe.inference.prediction_rows import prediction_row, write_predictions
from segpipe.pictures.heatmap import heatmap_picture
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.cohort_way import batch_size_of, torch_threads_of
from segpipe.prediction.heatmaps import GradCamMaps, OcclusionMaps, occlusion_passes
from segpipe.prediction.image_measures import measured_image
from segpipe.prediction.image_options import HEATMAPS, ClassifyOptions, ImagePrediction, heatmap_file
from segpipe.prediction.image_ownership import is_classified, known_image
from segpipe.prediction.ledger import Entry, State
from segpipe.prediction.options import Outcome, scan_place
from segpipe.prediction.output_folder import OutputFolder, attempt, now, removed_on_failure
from segpipe.prediction.ownership import written_files
from segpipe.prediction.pace import Pace
from segpipe.prediction.publishing import publish, staged_files
from segpipe.prediction.scan_files import require_text, scan_sha256, stamps
from segpipe.volumes import IGNORED_MARK, Scan

_MOST_HEATMAPS = 3
_FLAT_DIMS = 3  # of an image with channels: (C, rows, columns)
_KINDS = {"gradcam": "Grad-CAM", "occlusion": "occlusion"}
Logits = NDArray[np.float64]


@dataclass(frozen=True)
class _ReadImage:
    """An image that was read and preprocessed, and waits for the network."""

    scan: Scan
    sha256: str
    image: torch.Tensor
    seconds: float


class ImageRun:
    """One call of `classify`: the objects that all its images share.

    Args:
        bundle: the bundle.
        options: already checked.
        place: the locked output folder.
        request: see `segpipe.prediction.request`.

    Raises:
        SegpipeError: the network has no layer that a heatmap could show; or a file has the name of the heatmaps'
            folder.
    """

    def __init__(
        self, bundle: OpenClassifier, options: ClassifyOptions, place: OutputFolder, request: str = ""
    ) -> None:
        self.bundle, self.options, self.place, self.request = bundle, options, place, request
        self.recipe = options.recipe(bundle)
        before = place.ledger.computed(self.recipe)
        precision = before[-1].precision if before and options.precision == "auto" else options.precision
        self.torch_threads = torch_threads_of(before, place.tell)
        asked = (
            options.batch_size if place.ledger.agreed is None else None
        )  # the first part may have made it smaller
        batch_size = batch_size_of(before, asked, place.tell)
        self.classifier = Classifier(bundle, precision, batch_size, options.flips, place.tell)
        self._maps: GradCamMaps | OcclusionMaps | None = None
        if options.heatmaps == "gradcam":
            self._maps = GradCamMaps(bundle.network, bundle.heatmap_layer)
        elif options.heatmaps == "occlusion":
            self._maps = OcclusionMaps(bundle.network, bundle.calibration, self.classifier.batch_size)
        if options.heatmaps is not None:
            _make_folder(place.folder)
        self._pace = Pace()
        self._left = 0
        self._cost_told = False

    def go(self, scans: Iterable[Scan]) -> Generator[ImagePrediction]:
        """Read ahead and classify at the same time; yield each image's outcome once it is on disk."""
        images = list(scans)
        self._left = len(images)
        self._write_table()
        try:
            with torch_threads(self.torch_threads):
                for outcome in self._outcomes(images):
                    self._left -= 1
                    yield outcome
        finally:
            self._write_table()

    def _outcomes(self, images: Sequence[Scan]) -> Generator[ImagePrediction]:
        readers = ThreadPoolExecutor(self.options.jobs, "read")
        waiting = iter(images)
        reading: deque[tuple[Scan, Future[_ReadImage | ImagePrediction]]] = deque()
        batch: list[_ReadImage] = []
        try:
            while True:
                ahead = self.classifier.batch_size + self.options.jobs
                while len(reading) < ahead and (scan := next(waiting, None)) is not None:
                    reading.append((scan, readers.submit(self._read, scan)))
                if not reading:
                    break
                scan, future = reading.popleft()
                outcome = attempt(partial(self._failed, scan), future.result)
                if isinstance(outcome, ImagePrediction):
                    yield outcome
                    continue
                if batch and batch[0].image.shape != outcome.image.shape:
                    yield from self._classified(batch)
                    batch = []
                batch.append(outcome)
                if len(batch) >= self.classifier.batch_size:
                    yield from self._classified(batch)
                    batch = []
            if batch:
                yield from self._classified(batch)
        finally:
            readers.shutdown(cancel_futures=True)

    def failed(self, name: str, path: Path, reason: str) -> ImagePrediction:
        """Return the outcome of an image that cannot be read or classified."""
        return ImagePrediction(name, Outcome.FAILED, path, reason=reason)

    def finish(self) -> None:
        """Report nothing: every message belongs to an image."""

    def _failed(self, scan: Scan, error: Exception) -> ImagePrediction:
        return self.failed(scan.name, scan.path, self.place.fail(scan, error))

    def _read(self, scan: Scan) -> _ReadImage | ImagePrediction:
        """Read and preprocess an image; return its outcome if an earlier run classified it."""
        since = time.perf_counter()
        require_text(scan)
        stamps_before = stamps(scan)
        check_image(scan)  # refuse a header that claims terabytes before hashing that many bytes
        sha256 = scan_sha256(scan)
        before = self.place.ledger.entries.get(scan.name)
        if before is not None and is_classified(
            scan, sha256, before, self.recipe, self.place.folder, self.options
        ):
            if before.request != self.request:
                self.place.ledger.append(replace(before, request=self.request))
            return known_image(scan, before, self.place.folder, Outcome.SKIPPED)
        image = self.classifier.read(str(scan.path))
        if self._maps is not None and image.ndim != _FLAT_DIMS:
            raise SegpipeError(
                f"{scan.path}: the network takes it as {tuple(image.shape)}; heatmaps are drawn on 2D images: leave "
                "out --heatmaps"
            )
        if stamps(scan) != stamps_before:
            raise SegpipeError(f"{scan.path}: changed while it was read; run again")
        return _ReadImage(scan, sha256, image, time.perf_counter() - since)

    def _classified(self, batch: Sequence[_ReadImage]) -> Generator[ImagePrediction]:
        """Yield the outcomes of a batch; if the network fails on it, each image is tried by itself."""
        since = time.perf_counter()
        logits = attempt(lambda error: error, self.classifier.logits, [one.image for one in batch])
        if isinstance(logits, Exception) and len(batch) > 1:
            for one in batch:
                yield from self._classified([one])
            return
        share = (time.perf_counter() - since) / len(batch)
        entries: list[tuple[Scan, Entry]] = []
        for place, one in enumerate(batch):
            outcome = attempt(partial(self._failed, one.scan), self._entry, one, logits, place, share)
            if isinstance(outcome, ImagePrediction):
                yield outcome
            else:
                entries.append((one.scan, outcome))
        self.place.ledger.append(*(entry for _, entry in entries))
        self._pace.write_if_due(self._write_table)
        for scan, entry in entries:
            self.place.log.info("%s: %s in %.2f s", scan.name, entry.decision, entry.seconds)
            yield known_image(scan, entry, self.place.folder, Outcome.DONE)

    def _entry(self, one: _ReadImage, logits: Logits | Exception, place: int, share: float) -> Entry:
        """Return the finished entry of an image, whose heatmap is in its place."""
        if isinstance(logits, Exception):
            raise logits
        since = time.perf_counter()
        names = self.bundle.categories.names
        probabilities = self.classifier.probabilities(one.scan.name, logits[place])
        before = self.place.ledger.entries.get(one.scan.name)
        entry = Entry(
            case=one.scan.name,
            state=State.DONE,
            scan=scan_place(one.scan),
            scan_sha256=one.sha256,
            recipe=self.recipe,
            request=self.request,
            precision=self.classifier.precision,
            torch_threads=self.torch_threads,
            batch_size=self.classifier.batch_size,
            warnings=self._warnings(one.image, probabilities),
            finished=now(),
            classes=names,
            probabilities=tuple(probabilities.tolist()),
            decision=self.bundle.calibration.decision(probabilities),
        )
        replaced = {} if before is None else written_files(self.place.folder, before)
        if self._maps is not None or replaced:
            entry = self._with_heatmap(one, entry, probabilities, replaced)
        seconds = one.seconds + share + time.perf_counter() - since
        return replace(entry, seconds=round(seconds, 4))

    def _warnings(self, image: torch.Tensor, probabilities: NDArray[np.float64]) -> tuple[str, ...] | None:
        """Return the differences of an image from the training cases; None without reference ranges."""
        ranges = self.bundle.reference_ranges
        if ranges is None:
            return None
        measured = measured_image(image, probabilities, exclusive=self.bundle.categories.exclusive)
        return tuple(ranges.warnings(measured))

    def _with_heatmap(
        self, one: _ReadImage, entry: Entry, probabilities: NDArray[np.float64], replaced: dict[str, str]
    ) -> Entry:
        """Write the heatmap of an image, and remove the files of an earlier run."""
        folder, name = self.place.folder, heatmap_file(one.scan)
        if os.path.lexists(folder / name) and name not in replaced and not self.options.overwrite:
            raise SegpipeError(
                f"{folder / name}: has the path of the heatmap of {one.scan.path}, and was not written by segpipe, or "
                "was changed since; choose another --output, or add --overwrite to replace it"
            )
        staged = Path(tempfile.mkdtemp(dir=self.place.staging))
        with removed_on_failure(staged):
            self._draw(one, probabilities, staged / name)
            files = staged_files(staged)
            self.place.ledger.append(replace(entry, state=State.WRITING, files=files, replaced=replaced))
            if files:
                publish(staged, folder, list(files), last=name)
            for file in replaced:
                if file not in files:
                    (folder / file).unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        return replace(entry, files=files)

    def _draw(self, one: _ReadImage, probabilities: NDArray[np.float64], path: Path) -> None:
        """Draw the maps of the decided class or findings; no file if none is decided."""
        shown = _shown(self.bundle, probabilities)
        if self._maps is None or not shown:
            return
        image = one.image.to(self.bundle.device)
        self._tell_cost(image)
        maps = self._maps.maps(image, shown)
        picture = heatmap_picture(
            one.image.numpy(),
            maps,
            [self.bundle.categories.names[index] for index in shown],
            [float(probabilities[index]) for index in shown],
            one.scan.name,
            _KINDS[str(self.options.heatmaps)],
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)

    def _tell_cost(self, image: torch.Tensor) -> None:
        """Tell the number of forward passes of the occlusion maps, and their estimated time, before the first map."""
        if self.options.heatmaps != "occlusion" or self._cost_told:
            return
        self._cost_told = True
        passes = occlusion_passes(image.shape[1:])
        few = min(passes, self.classifier.batch_size)
        with torch.inference_mode():
            batch = image[None].expand(few, *image.shape)
            since = time.perf_counter()
            self.bundle.network(batch)[0, 0].item()  # waits for a card
        minutes = (time.perf_counter() - since) / few * passes * self._left / 60
        self.place.tell(
            f"occlusion: {passes} forward passes for each image, {passes * self._left} for {self._left} images: about "
            f"{minutes:.1f} minutes"
        )

    def _write_table(self) -> None:
        """Write `predictions.csv` with all classified images of the folder; for parts, the merge does it."""
        if not self.place.ledger.writes_tables:
            return
        done = [entry for entry in dict(self.place.ledger.entries).values() if entry.state is State.DONE]
        top = self.bundle.top
        rows = (
            prediction_row(one.case, one.classes, one.probabilities, one.decision, top, one.warnings)
            for one in done
        )
        write_predictions(self.place.folder, self.bundle.categories.names, rows, top)


def _shown(bundle: OpenClassifier, probabilities: NDArray[np.float64]) -> list[int]:
    """Return the classes whose maps are drawn: the most probable one, or the decided findings, three at most."""
    order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
    if bundle.categories.exclusive:
        return order[:1]
    decided = bundle.calibration.decided(probabilities[None])[0]
    return [index for index in order if decided[index]][:_MOST_HEATMAPS]


def _make_folder(folder: Path) -> None:
    """Make the folder of the heatmaps with a mark so that no images are searched in it."""
    with suppress(FileExistsError):
        (folder / HEATMAPS).mkdir()
    if not (folder / HEATMAPS).is_dir():
        raise SegpipeError(f"{folder / HEATMAPS}: a file has the name of segpipe's folder; rename it")
    (folder / HEATMAPS / IGNORED_MARK).touch()
