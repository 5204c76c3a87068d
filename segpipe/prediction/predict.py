"""Segments a cohort of scans with a bundle: a bad scan does not stop the others, and a crash loses no finished scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.import_time import collecting_nothing
from segpipe.inference.engines.names import require_processor
from segpipe.prediction.agreement import Agreement, agreed_run, part_settings
from segpipe.prediction.finished_run import Earlier, finished_run
from segpipe.prediction.ledger import VOLUMES_COLUMNS, VOLUMES_FILE, Entry, Ledger
from segpipe.prediction.merge import merge_when_complete
from segpipe.prediction.options import Cohort, Prediction, PredictOptions, cohort_scans
from segpipe.prediction.output_folder import OutputFolder, run_cohort
from segpipe.prediction.ownership import (
    ToDo,
    known_prediction,
    refuse_another_task,
    refuse_foreign_table,
    to_do,
)
from segpipe.prediction.part import CohortPart
from segpipe.prediction.refused_run import refused_run
from segpipe.prediction.request import covers, request_sha256
from segpipe.prediction.scan_files import require_text, scan_sha256
from segpipe.volumes import Scan
from segpipe.volumes.label_files import LABEL_FILES

if TYPE_CHECKING:  # loaded when there is something to do: torch and MONAI take seconds
    from segpipe.bundle.open import OpenBundle
    from segpipe.prediction.cohort import CohortRun
    from segpipe.prediction.worker_run import WorkerRun, Workers


def predict(
    scans: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: PredictOptions | None = None,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    part: CohortPart | None = None,
    workers: Workers | None = None,
) -> list[Prediction]:
    """Segment scans with a bundle; each label map has the grid of its scan.

    Beside the label maps the output folder gets `volumes.csv` (a row for each class of a scan, or time frame),
    `predictions.jsonl` (the outcome of each scan; a later call skips finished scans), `predict.log`, and pictures in
    `overlays/`. A scan that cannot be read or segmented is recorded with the reason, and the next scan follows. Files
    that are no scans are ignored and listed, unless `options.strict` refuses them.

    Args:
        scans: files, folders of DICOM series, or folders that hold any of them at any depth; tables with a column
            image, or one for each channel; segpipe manifests. Where the bundle knows how the files of its channels are
            named, files of one case are one scan.
        bundle: the bundle's folder, or a `BundleSource` with weights, configuration and device; any MONAI segmentation
            bundle with the ids network_def, inferer, preprocessing and postprocessing.
        output: output folder; outputs keep their path below the input folder.
        options: default: `PredictOptions()`.
        watch: called after each scan with its outcome, the number of outcomes so far and the number of all scans.
        report: called with a message when segpipe deviates from the request, such as smaller batches for lack of
            memory.
        part: the part of the cohort to segment; None: all scans. Each part has a ledger of its own in the output
            folder, and the part that ends last merges all, see `segpipe.prediction.merge`.
        workers: processes on this or other machines that segment the scans, see `segpipe.prediction.ray_pool`; None:
            this process does.

    Returns:
        one prediction per scan, sorted by case name.

    Raises:
        SegpipeError: the run cannot begin: no scans, outputs that would replace scans, a bundle or weights that cannot
            be used, an output folder that is not writable or that another process uses. Or the run cannot continue:
            the disk is full. Finished scans stay, and the next call continues after them.
    """
    options = options or PredictOptions()
    options.check()
    if part is not None and workers is not None:
        raise SegpipeError("--part and --workers: workers divide the cohort themselves; give one of both")
    folder, source = Path(output), BundleSource.of(bundle)
    require_processor(options.computing_engine, source.device)
    paths = [scans] if isinstance(scans, str | Path) else scans
    request = request_sha256(source, options.described())
    if part is None:
        known = finished_run(_earlier(paths, folder, options), folder, request, watch, report)
        known = refused_run(paths, source, folder, options, watch, report) if known is None else known
        if known is not None:
            return known
    with collecting_nothing():
        from segpipe.bundle.open import open_bundle
        from segpipe.bundle.open_locator import with_locator

    opened = open_bundle(source, series_uid=options.series_uid, resample_channels=options.resample_channels)
    if options.locate:
        opened = with_locator(opened, source, report or (lambda _: None))
    channels = opened.takes.channels
    cohort = cohort_scans(paths, folder, options, channels)
    if any(channel.files for channel in channels) or not covers(source, opened.weights):
        request = ""  # an equal request would not tell the same scans, or the same weights
    given = None if workers is None else (workers, source)
    return predict_scans(cohort, opened, folder, options, watch, report, request, part, given)


def predict_scans(
    cohort: Cohort,
    bundle: OpenBundle,
    folder: Path,
    options: PredictOptions,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    request: str = "",
    part: CohortPart | None = None,
    workers: tuple[Workers, BundleSource] | None = None,
) -> list[Prediction]:
    """Segment scans whose names are known; see `predict`.

    Args:
        cohort: the outputs of its scans can all be written, see `require_places`.
        bundle: the bundle.
        folder: output folder.
        options: already checked with `PredictOptions.check`.
        watch: see `predict`.
        report: see `predict`.
        request: see `request_sha256`; a later run for an equal one skips the finished scans at once.
        part: see `predict`; the cohort is the whole one.
        workers: see `predict`, with the source that they open.

    Raises:
        SegpipeError: as `predict`.
    """
    require_processor(options.computing_engine, bundle.device)
    with collecting_nothing():
        from segpipe.prediction.cohort import CohortRun
        from segpipe.prediction.part_ways import settled_way
        from segpipe.prediction.worker_run import worker_run

    if options.regions and not bundle.labels.regions:
        raise SegpipeError(
            f"{bundle.root}: has no regions, so there are no masks of regions to write; leave out --regions"
        )

    mine = cohort if part is None else part.of(cohort)

    def made(place: OutputFolder) -> CohortRun | WorkerRun:
        make = partial(CohortRun, bundle, options, place, request)
        if workers is not None:
            return worker_run(make, workers[1], workers[0])
        if part is None:
            return make()
        settings = part_settings(bundle.sha256, bundle.device.type, options.described(), options.batch_size)
        wanted = Agreement.wanted(part, cohort, options.recipe(bundle), settings)
        return agreed_run(place, part, wanted, cohort.scans, make, settled_way)

    def begin(place: OutputFolder) -> CohortRun | WorkerRun:
        refuse_foreign_table(folder, place.ledger, VOLUMES_FILE, VOLUMES_COLUMNS)
        refuse_another_task(folder, place.ledger, ())
        run = made(place)
        total = len(mine.scans) + len(mine.refused)
        place.log.info("%d scans through %s on %s into %s", total, bundle.root, bundle.device, folder)
        return run

    done = run_cohort(mine, folder, begin, lambda prediction: prediction.label_map, watch, report, part)
    if part is not None:
        merge_when_complete(folder, report)
    return done


def _earlier(paths: Sequence[str | Path], folder: Path, options: PredictOptions) -> Earlier[Prediction]:
    """Return what is known of the label maps of an earlier run."""

    def outcome(scan: Scan, entry: Entry, place: OutputFolder) -> Prediction | None:
        require_text(scan)
        todo = to_do(scan, scan_sha256(scan), folder, place.ledger, options, entry.recipe)
        return known_prediction(scan, entry, folder, options) if todo is ToDo.NOTHING else None

    return Earlier(
        tables=(VOLUMES_FILE, *LABEL_FILES),
        cohort=lambda: cohort_scans(paths, folder, options),
        outcome=outcome,
        write_tables=Ledger.write_volumes,
        written=lambda prediction: prediction.label_map,
    )
