"""Measurement of the reference ranges of a classifier's weights on their training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segpipe import __version__
from segpipe.bundle.image_cases import require_same_categories
from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.bundle_names import require_writable_bundle
from segpipe.dataset import load_manifest, require_valid_images
from segpipe.dataset.progress import with_progress
from segpipe.errors import shown
from segpipe.files import require_writable
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.image_measures import measured_image
from segpipe.prediction.measured_ranges import cases_of, of_some_patients, patient_of, require_trained
from segpipe.reference_ranges import ReferenceRanges, ranges_path, require_enough_patients


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
    target = ranges_path(opened.weights, opened.weights_sha256)
    require_writable_bundle(target.parent, "reference ranges")
    require_writable(target.parent)
    described, folder = load_manifest(manifest), Path(dataset_dir)
    require_same_categories(described, opened.categories)
    records = tuple(map(TrainingRecord.read, opened.weights))
    cases = of_some_patients(cases_of(records, described), most_patients)
    patients = [patient_of(case) for case in cases]
    require_enough_patients(len(set(patients)), len(cases))
    reports = require_valid_images(cases, folder, described, checksums=checksums)
    contents = {one.case: one.facts.content_sha256 for one in reports if one.facts is not None}
    overlap = TrainOverlap.of(records, described, cases, contents)
    if overlap.unknown:
        report(
            f"WARNING: the training cases of {shown(overlap.unknown)} are not known: all {len(cases)} training "
            f"cases of {described.name} are measured"
        )
    else:
        require_trained(overlap, cases, opened.weights[0])
    classifier = Classifier(opened, report=report)
    measured = []
    for case in with_progress(cases, "measuring"):
        image = classifier.read(str(folder / case.images[0]))
        probabilities = classifier.probabilities(case.case, classifier.logits([image])[0])
        measured.append(measured_image(image, probabilities, exclusive=opened.categories.exclusive))
    about = {
        "segpipe": __version__,
        "manifest": {"name": described.name, "sha256": described.sha256},
        "precision": classifier.precision,
    }
    ReferenceRanges.of(measured, opened.weights_sha256, about, patients).write(target)
    return target
