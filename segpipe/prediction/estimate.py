"""Estimates what segmenting a cohort would do, and the time and memory it needs, without segmenting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segpipe.bundle.open import open_bundle
from segpipe.bundle.open_locator import with_locator
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError, raise_interruption
from segpipe.inference.engines import require_processor
from segpipe.inference.engines.cache import EngineCache
from segpipe.inference.streaming import CannotStreamError
from segpipe.memory import peak_memory_bytes
from segpipe.prediction.accuracy import WindowSettings
from segpipe.prediction.cohort_way import CohortWay
from segpipe.prediction.dicom_outputs import DicomOutputs
from segpipe.prediction.ledger import Ledger
from segpipe.prediction.locator import Locator
from segpipe.prediction.options import PredictOptions, cohort_scans, failure_reason, scan_header
from segpipe.prediction.ownership import ToDo, to_do
from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import PartLedger
from segpipe.prediction.scan_files import scan_sha256
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Scan, VolumeHeader

_MOST_READ = 5  # scans that are read; the cost of the others is estimated from them


@dataclass(frozen=True)
class Estimate:
    """The planned action for one scan, and its cost.

    Attributes:
        case: its name.
        scan: its path.
        action: "segment", "skip" or "refuse".
        reason: why the scan is skipped or refused; empty if it is segmented.
        size: voxels along each axis; empty if the header was not read.
        seconds: time to read the scan and run the network; NaN if not known. MONAI's own chain is not timed.
        peak_bytes: largest memory of the process while it segments the scan.
    """

    case: str
    scan: Path
    action: str
    reason: str = ""
    size: tuple[int, ...] = ()
    seconds: float = 0.0
    peak_bytes: int = 0


def estimate(
    scans: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: PredictOptions | None = None,
    report: Callable[[str], None] | None = None,
    part: CohortPart | None = None,
) -> list[Estimate]:
    """Return what `predict` would do with these arguments; nothing is written.

    Every header is read. Of the volumes, and of the slices, up to five are read whole, the largest among them, and one
    window of each is timed. The cost of the others is proportional to the space that they fill. An error that only
    reading a whole scan reveals is therefore known for these few scans alone.

    Args: as `predict`; `report` receives a message with the names of the files that are ignored, `part` leaves out the
        other parts.

    Raises:
        SegpipeError: as `predict`, before it begins.
    """
    options = options or PredictOptions()
    options.check()
    folder = Path(output)
    require_processor(options.computing_engine, BundleSource.of(bundle).device)
    opened = open_bundle(bundle, series_uid=options.series_uid, resample_channels=options.resample_channels)
    if options.locate:
        opened = with_locator(opened, BundleSource.of(bundle), report or (lambda _: None))
    paths = [scans] if isinstance(scans, str | Path) else scans
    cohort = cohort_scans(paths, folder, options, opened.takes.channels)
    cohort = cohort if part is None else part.of(cohort)
    if report is not None:
        for note in (*([cohort.ignored_files_note] if cohort.ignored_files else []), *cohort.notes):
            report(note)
    ledger = Ledger(folder) if part is None else PartLedger(folder, part)
    recipe = options.recipe(opened)
    way = CohortWay.of(ledger, recipe, options)
    segmenter = Segmenter(
        opened,
        way.precision,
        way.batch_size,
        WindowSettings.of(options, opened),
        options.skip_empty,
        engine=way.engine,
        threads_a_window=way.threads_a_window,
        cache=EngineCache(writes=False),
    )
    segmenter.scans = max(len(cohort.scans), 1)
    objects = DicomOutputs.of(opened, options)
    settled = [Estimate(refused.name, refused.path, "refuse", refused.reason) for refused in cohort.refused]
    waiting: list[tuple[Scan, VolumeHeader]] = []
    for scan in cohort.scans:
        try:
            # refuse a header that claims terabytes before hashing that many bytes
            header = scan_header(scan, opened.takes, options) if scan.name not in ledger.entries else None
            if to_do(scan, scan_sha256(scan), folder, ledger, options, recipe) is not ToDo.SEGMENT:
                settled.append(Estimate(scan.name, scan.path, "skip", "done before"))
                continue
            header = header or scan_header(scan, opened.takes, options)
            objects.check(scan, header)
            waiting.append((scan, header))
        except SegpipeError as error:
            settled.append(Estimate(scan.name, scan.path, "refuse", str(error)))
    return sorted(
        [*settled, *_estimated(waiting, segmenter, 2), *_estimated(waiting, segmenter, 3)],
        key=lambda row: row.case,
    )


@dataclass(frozen=True)
class _Cost:
    seconds: float
    scan_bytes: int  # of the scan as read and of its preprocessed image


def _estimated(
    pairs: Sequence[tuple[Scan, VolumeHeader]], segmenter: Segmenter, spatial_dims: int
) -> list[Estimate]:
    """Estimate the slices, or the volumes: read a few, and scale their cost by the space that each scan fills."""
    waiting = sorted(
        (pair for pair in pairs if pair[1].grid.spatial_dims == spatial_dims),
        key=lambda pair: _space(pair[1]),
        reverse=True,
    )
    known: list[tuple[float, _Cost]] = []
    refused: dict[str, str] = {}
    for scan, header in waiting[:: max(-(-len(waiting) // _MOST_READ), 1)]:
        try:
            known.append((_space(header), _cost(scan, segmenter)))
        except Exception as error:  # any error refuses the scan, as in predict
            raise_interruption(error)
            refused[scan.name] = failure_reason(scan, error)
    total = sum(space for space, _ in known)
    seconds = sum(cost.seconds for _, cost in known) / total if known else math.nan
    most = max((cost.scan_bytes / space for space, cost in known), default=0.0)
    base = peak_memory_bytes()
    return [
        Estimate(scan.name, scan.path, "refuse", refused[scan.name])
        if scan.name in refused
        else Estimate(
            scan.name,
            scan.path,
            "segment",
            size=header.grid.size,
            seconds=seconds * _space(header) * (header.num_frames if scan.is_series else 1),
            peak_bytes=int(base + most * _space(header)),
        )
        for scan, header in waiting
    ]


def _cost(scan: Scan, segmenter: Segmenter) -> _Cost:
    """Read one scan and time one window."""
    bundle, since = segmenter.bundle, time.perf_counter()
    loaded = bundle.read(scan.files, 1 if scan.is_series else scan.frame)
    scan_bytes = loaded.nbytes + 3 * loaded[0].numel()
    voxels = loaded[0].numel()
    locator = Locator.of(bundle)
    coarse = None if locator is None else locator.prepare(loaded)
    image = segmenter.prepare(loaded)
    scan_bytes += image.nbytes
    reading = time.perf_counter() - since
    try:
        if locator is not None and coarse is not None:
            box = locator.box(coarse, image, segmenter.window_size(image))
            image = image if isinstance(box, str) else image[(slice(None), *box)]
            reading = time.perf_counter() - since
        _, network, held = segmenter.cost(image)
    except CannotStreamError:  # MONAI's chain holds all scores twice, before and after inversion
        scores = 4 * len(bundle.labels.output_names) * (image[0].numel() + voxels)
        return _Cost(math.nan, 2 * scan_bytes + 2 * scores)
    return _Cost(reading + network, 2 * scan_bytes + held)  # twice: the next scan is read ahead


def _space(header: VolumeHeader) -> float:
    """Return the mm3 (mm2 of a slice) that a scan fills."""
    return float(np.prod(header.grid.size) * np.prod(header.grid.spacing_mm))
