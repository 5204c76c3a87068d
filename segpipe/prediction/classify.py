"""Classifies a cohort of images with a bundle: a bad image does not stop the others, and a crash loses no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segpipe.bundle.open_classifier import OpenClassifier, open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.inference.prediction_table import PREDICTIONS_FILE, prediction_columns
from segpipe.prediction.image_options import ClassifyOptions, ImagePrediction, image_cohort
from segpipe.prediction.image_run import ImageRun
from segpipe.prediction.options import Cohort
from segpipe.prediction.output_folder import OutputFolder, run_cohort
from segpipe.prediction.ownership import refuse_another_task, refuse_foreign_table


def classify(
    images: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: ClassifyOptions | None = None,
    watch: Callable[[ImagePrediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
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

    Returns:
        one prediction per image, sorted by name.

    Raises:
        SegpipeError: the run cannot begin: no images, a bundle or weights that cannot be used, an output folder that
            is not writable, lies among the images, holds other results or is in use. Or the run cannot continue: the
            disk is full. Finished images stay, and the next call continues after them.
    """
    options = options or ClassifyOptions()
    options.check()
    folder = Path(output)
    opened = open_classifier(bundle)
    paths = [images] if isinstance(images, str | Path) else images
    cohort = image_cohort(paths, folder, strict=options.strict)
    return classify_images(cohort, opened, folder, options, watch, report)


def classify_images(
    cohort: Cohort,
    bundle: OpenClassifier,
    folder: Path,
    options: ClassifyOptions,
    watch: Callable[[ImagePrediction, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[ImagePrediction]:
    """Classify images whose names are known; see `classify`.

    Args:
        cohort: images with distinct names, see `image_cohort`.
        bundle: the bundle.
        folder: output folder.
        options: already checked with `ClassifyOptions.check`.
        watch: see `classify`.
        report: see `classify`.

    Raises:
        SegpipeError: as `classify`.
    """

    def begin(place: OutputFolder) -> ImageRun:
        names = bundle.categories.names
        refuse_foreign_table(folder, place.ledger, PREDICTIONS_FILE, prediction_columns(names, bundle.top))
        refuse_another_task(folder, place.ledger, names)
        run = ImageRun(bundle, options, place)
        total = len(cohort.scans) + len(cohort.refused)
        place.log.info("%d images through %s on %s into %s", total, bundle.root, bundle.device, folder)
        return run

    return run_cohort(cohort, folder, begin, lambda prediction: prediction.heatmap, watch, report)
