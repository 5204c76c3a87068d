"""Classifies a cohort of images with a bundle: a bad image does not stop the others, and a crash loses no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.bundle.source import BundleSource
from segpipe.import_time import collecting_nothing
from segpipe.inference.prediction_rows import PREDICTIONS_FILE, prediction_columns
from segpipe.prediction.agreement import Agreement, agreed_run, part_settings
from segpipe.prediction.finished_run import Earlier, finished_run
from segpipe.prediction.image_options import ClassifyOptions, ImagePrediction, image_cohort
from segpipe.prediction.image_ownership import is_classified, known_image
from segpipe.prediction.ledger import Entry
from segpipe.prediction.merge import merge_when_complete
from segpipe.prediction.options import Cohort, Outcome
from segpipe.prediction.output_folder import OutputFolder, run_cohort
from segpipe.prediction.ownership import refuse_another_task, refuse_foreign_table
from segpipe.prediction.part import CohortPart
from segpipe.prediction.request import covers, request_sha256
from segpipe.prediction.scan_files import require_text, scan_sha256
from segpipe.volumes import Scan

if TYPE_CHECKING:  # loaded when there is something to do: torch and MONAI take seconds
    from segpipe.bundle.open_classifier import OpenClassifier
    from segpipe.prediction.image_run import ImageRun


def classify(
    images: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: ClassifyOptions | None = None,
    watch: Callable[[ImagePrediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    part: CohortPart | None = None,
) -> list[ImagePrediction]:
    """Classify images with a bundle.

    The output folder gets `predictions.csv` (a row for each image), `predictions.jsonl` (the outcome of each image; a
    later call skips finished images), `predict.log`, and with `options.heatmaps` pictures in `heatmaps/`. An image
    that cannot be read or classified is recorded with the reason, and the next image follows. Files that are no images
    are ignored and listed, unless `options.strict` refuses them.

    Args:
        images: files, DICOM files of one image each, or folders that hold any of them at any depth; tables with a
            column image; segpipe manifests.
        bundle: the bundle's folder, or a `BundleSource` with weights, configuration and device; any MONAI bundle of
            the task classification with the ids network_def and preprocessing, whose network gives logits `(B, C)`.
        output: output folder.
        options: default: `ClassifyOptions()`.
        watch: called after each image with its outcome, the number of outcomes so far and the number of all images.
        report: called with a message when segpipe deviates from the request, such as smaller batches for lack of
            memory, and with the cost of occlusion maps.
        part: the part of the cohort to classify, see `segpipe.prediction.predict.predict`; None: all images.

    Returns:
        one prediction per image, sorted by name.

    Raises:
        SegpipeError: the run cannot begin: no images, a bundle or weights that cannot be used, an output folder that
            is not writable, lies among the images, holds other results or is in use. Or the run cannot continue: the
            disk is full. Finished images stay, and the next call continues after them.
    """
    options = options or ClassifyOptions()
    options.check()
    folder, source = Path(output), BundleSource.of(bundle)
    paths = [images] if isinstance(images, str | Path) else images
    request = request_sha256(source, options.described())
    if part is None:
        finished = finished_run(_earlier(paths, folder, options), folder, request, watch, report)
        if finished is not None:
            return finished
    with collecting_nothing():
        from segpipe.bundle.open_classifier import open_classifier

    opened = open_classifier(source)
    cohort = image_cohort(paths, folder, strict=options.strict)
    if not covers(source, opened.weights):
        request = ""  # an equal request would not tell the same weights
    return classify_images(cohort, opened, folder, options, watch, report, request, part)


def classify_images(
    cohort: Cohort,
    bundle: OpenClassifier,
    folder: Path,
    options: ClassifyOptions,
    watch: Callable[[ImagePrediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    request: str = "",
    part: CohortPart | None = None,
) -> list[ImagePrediction]:
    """Classify images whose names are known; see `classify`.

    Args:
        cohort: images with distinct names, see `image_cohort`.
        bundle: the bundle.
        folder: output folder.
        options: already checked with `ClassifyOptions.check`.
        watch: see `classify`.
        report: see `classify`.
        request: see `request_sha256`; a later run for an equal one skips the finished images at once.
        part: see `classify`; the cohort is the whole one.

    Raises:
        SegpipeError: as `classify`.
    """
    from segpipe.prediction.image_run import ImageRun
    from segpipe.prediction.part_ways import settled_image_way

    mine = cohort if part is None else part.of(cohort)

    def made(place: OutputFolder) -> ImageRun:
        make = partial(ImageRun, bundle, options, place, request)
        if part is None:
            return make()
        settings = part_settings(bundle.sha256, bundle.device.type, options.described(), options.batch_size)
        table = {"classes": list(bundle.categories.names), "top": bundle.top}
        wanted = Agreement.wanted(part, cohort, options.recipe(bundle), settings, table)
        return agreed_run(place, part, wanted, cohort.scans, make, settled_image_way)

    def begin(place: OutputFolder) -> ImageRun:
        names = bundle.categories.names
        refuse_foreign_table(folder, place.ledger, PREDICTIONS_FILE, prediction_columns(names, bundle.top))
        refuse_another_task(folder, place.ledger, names)
        run = made(place)
        total = len(mine.scans) + len(mine.refused)
        place.log.info("%d images through %s on %s into %s", total, bundle.root, bundle.device, folder)
        return run

    done = run_cohort(mine, folder, begin, lambda prediction: prediction.heatmap, watch, report, part)
    if part is not None:
        merge_when_complete(folder, report)
    return done


def _earlier(paths: Sequence[str | Path], folder: Path, options: ClassifyOptions) -> Earlier[ImagePrediction]:
    """Return what is known of the results of an earlier run."""

    def outcome(image: Scan, entry: Entry, place: OutputFolder) -> ImagePrediction | None:
        del place
        require_text(image)
        is_done = is_classified(image, scan_sha256(image), entry, entry.recipe, folder, options)
        return known_image(image, entry, folder, Outcome.SKIPPED) if is_done else None

    return Earlier(
        tables=(PREDICTIONS_FILE,),
        cohort=lambda: image_cohort(paths, folder, strict=options.strict),
        outcome=outcome,
        written=lambda prediction: prediction.heatmap,
    )
