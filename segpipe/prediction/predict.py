"""A cohort of scans through a bundle: one after the other, one bad scan stopping nothing, a crash losing nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from segpipe.bundle.open import OpenBundle, open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.disk import disk_errors, kept_outputs, log_to
from segpipe.files import require_writable
from segpipe.prediction.cohort import CohortRun
from segpipe.prediction.ledger import Entry, Ledger, State, locked_folder
from segpipe.prediction.options import Cohort, Outcome, Prediction, PredictOptions, cohort_scans
from segpipe.prediction.ownership import require_own_volumes
from segpipe.volumes import RefusedScan, left_out_note

LOG_FILE = "predict.log"


def predict(
    scans: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: PredictOptions | None = None,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """Segment scans with a bundle; label maps come out on each scan's own grid.

    Beside the label maps the output folder gets `volumes.csv` (case, label, voxels, millilitres, components),
    `predictions.jsonl` (what became of each scan, by which a later call knows what is done), `predict.log`, and
    pictures in `overlays/`. A scan that cannot be read, or fails, is recorded with its reason, and the others go on.
    Files that are no scans are passed over and listed, unless `options.strict` refuses them.

    Args:
        scans: files, folders of DICOM series, or folders that hold any of them at any depth.
        bundle: its folder, or a source that names weights, configuration and device too; any MONAI segmentation bundle
            with the ids network_def, inferer, preprocessing and postprocessing.
        output: folder of the outputs, which mirror the path below the folder of scans.
        options: how.
        watch: called with each scan's outcome, how many there are so far and in all.
        report: called with what is done otherwise than asked, such as smaller batches for want of memory.

    Returns:
        one prediction a scan, in the order of their names.

    Raises:
        SegpipeError: nothing can begin: no scans, outputs that would replace scans, a bundle or weights that cannot be
            used, an output folder that cannot be written in or that another process uses. Or nothing can go on: the
            disk is full. What was done until then stays, and the next call goes on from there.
    """
    options = options or PredictOptions()
    options.check()
    folder = Path(output)
    cohort = cohort_scans([scans] if isinstance(scans, str | Path) else scans, folder, options)
    return predict_scans(
        cohort,
        lambda: open_bundle(bundle, series_uid=options.series_uid),
        folder,
        options,
        watch,
        report,
    )


def predict_scans(
    cohort: Cohort,
    opened: Callable[[], OpenBundle],
    folder: Path,
    options: PredictOptions,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Prediction]:
    """Segment scans whose names are known; see `predict`.

    Args:
        cohort: its scans' label maps can all be written, see `require_places`.
        opened: gives the bundle, once the folder is known to be this process's.
        folder: of the outputs.
        options: how, checked.
        watch: see `predict`.
        report: see `predict`.

    Raises:
        SegpipeError: as `predict`.
    """
    require_writable(folder)
    with (
        disk_errors(folder),
        locked_folder(folder) as staging,
        kept_outputs(folder) as require_kept,
        log_to(folder / LOG_FILE) as log,
    ):
        ledger = Ledger(folder)
        require_own_volumes(folder, ledger)
        bundle = opened()

        def tell(message: str) -> None:
            log.info(message)
            if report is not None:
                report(message)

        run = CohortRun(bundle, options, folder, staging, ledger, log, tell)
        total = len(cohort.scans) + len(cohort.refused)
        log.info("%d scans through %s on %s into %s", total, bundle.root, bundle.device, folder)
        for name in cohort.passed_over:
            log.info("passed over: %s", name)
        if cohort.passed_over:
            tell(cohort.passed_over_note)
        predictions = []
        with closing(run.go(cohort.scans)) as going:
            for prediction in chain((_refused(own, ledger, log) for own in cohort.refused), going):
                predictions.append(prediction)
                require_kept(())
                if watch is not None:
                    watch(prediction, len(predictions), total)
        done = [own.label_map for own in predictions if own.outcome is not Outcome.FAILED]
        require_kept([path for path in done if path is not None])
        if run.left_out:
            tell(left_out_note(sorted(run.left_out)))
        return sorted(predictions, key=lambda prediction: prediction.case)


def _refused(scan: RefusedScan, ledger: Ledger, log: logging.Logger) -> Prediction:
    """Note that a scan was refused; what the ledger knows of a label map of that name stays."""
    before = ledger.entries.get(scan.name)
    if before is None or (before.state is State.FAILED and not before.files):
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        place = str(scan.path.absolute())
        ledger.append(Entry(scan.name, State.FAILED, place, reason=scan.reason, finished=finished))
    log.error("%s: failed: %s", scan.name, scan.reason)
    return Prediction(scan.name, Outcome.FAILED, scan.path, None, reason=scan.reason)
