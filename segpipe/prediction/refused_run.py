"""Runs that end before the bundle is opened: no scan has a header that the bundle takes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.bundle.scan_rule import ScanRule
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction.ledger import LEDGER_FILE
from segpipe.prediction.options import Outcome, Prediction, PredictOptions, cohort_scans, scan_header
from segpipe.prediction.output_folder import OutputFolder, run_cohort
from segpipe.volumes import Scan


@dataclass(frozen=True)
class _Steps:
    """The steps of a cohort whose scans are all refused."""

    place: OutputFolder
    reasons: dict[str, SegpipeError]

    def go(self, scans: Iterable[Scan]) -> Generator[Prediction]:
        """Record why each scan failed, and yield its outcome."""
        for scan in scans:
            yield self.failed(scan.name, scan.path, self.place.fail(scan, self.reasons[scan.name]))
        self.place.ledger.write_volumes()

    def failed(self, name: str, path: Path, reason: str) -> Prediction:
        """Return the outcome of a scan that is refused."""
        return Prediction(name, Outcome.FAILED, path, None, reason=reason)

    def finish(self) -> None:
        """Report nothing: every message belongs to a scan."""


def refused_run(
    scans: Sequence[str | Path],
    source: BundleSource,
    folder: Path,
    options: PredictOptions,
    watch: Callable[[Prediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Prediction] | None:
    """Return the outcomes of a run whose scans are all refused by their headers; None for any other run.

    Nothing of the bundle runs. The check ends at the first scan that the bundle takes, so that it costs the time of
    one header. An output folder of an earlier run is left to the run itself.

    Args:
        scans: see `predict`.
        source: the bundle.
        folder: output folder.
        options: already checked.
        watch: see `predict`.
        report: see `predict`.

    Raises:
        SegpipeError: there is no scan, or an output could not be written; see `cohort_scans`.
    """
    try:
        rule = ScanRule.in_files(source)
    except SegpipeError:
        return None  # opening the bundle reports the reason
    if rule is None or any(channel.files for channel in rule.channels) or (folder / LEDGER_FILE).exists():
        return None
    rule = replace(rule, resamples=rule.resamples or options.resample_channels)
    cohort = cohort_scans(scans, folder, options, rule.channels)
    reasons: dict[str, SegpipeError] = {}
    for scan in cohort.scans:
        try:
            scan_header(scan, rule, options)
        except SegpipeError as error:
            reasons[scan.name] = error
        else:
            return None

    def begin(place: OutputFolder) -> _Steps:
        place.log.info("%d scans through %s into %s: all refused", len(reasons), source.root, folder)
        return _Steps(place, reasons)

    return run_cohort(cohort, folder, begin, lambda prediction: prediction.label_map, watch, report)
