"""Measurement of the reference ranges of a classifier's weights on their training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segpipe.bundle.image_cases import require_same_categories
from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.dataset import load_manifest, require_valid_images
from segpipe.dataset.progress import with_progress
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.image_measures import measured_image
from segpipe.prediction.range_cases import cases_to_measure, require_trained, write_measured


def write_image_ranges(
    bundle: str | Path | BundleSource,
    manifest: str | Path,
    dataset_dir: str | Path,
    *,
    checksums: bool = True,
    most_patients: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Classify the training images of weights, and write the ranges of their measures beside the weights.

    For the arguments, the images that count, the result and the refusals see
    `segpipe.prediction.measured_ranges.write_reference_ranges`.
    """
    opened = open_classifier(bundle, with_ranges=False)
    described, folder = load_manifest(manifest), Path(dataset_dir)
    require_same_categories(described, opened.categories)
    cases = cases_to_measure(opened, described, most_patients, report)
    reports = require_valid_images(cases, folder, described, checksums=checksums)
    contents = {one.case: one.facts.content_sha256 for one in reports if one.facts is not None}
    require_trained(opened, described, cases, contents, report)
    classifier = Classifier(opened, batch_size=1, report=report)
    measured = []
    for case in with_progress(cases, "measuring"):
        image = classifier.read(str(folder / case.images[0]))
        probabilities = classifier.probabilities(case.case, classifier.logits([image])[0])
        measured.append(measured_image(image, probabilities, exclusive=opened.categories.exclusive))
    return write_measured(opened, described, cases, measured, classifier.precision)
