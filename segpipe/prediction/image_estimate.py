"""Estimates what classifying a cohort of images would do, and the time it needs, without classifying."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

from segpipe.bundle.image_files import check_image
from segpipe.bundle.open_classifier import open_classifier
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError, raise_interruption
from segpipe.memory import peak_memory_bytes
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.estimate import Estimate
from segpipe.prediction.heatmaps import occlusion_passes
from segpipe.prediction.image_options import ClassifyOptions, image_cohort
from segpipe.prediction.ledger import Ledger, State
from segpipe.prediction.options import failure_reason
from segpipe.prediction.part import CohortPart
from segpipe.prediction.part_ledger import PartLedger
from segpipe.prediction.scan_files import scan_sha256
from segpipe.volumes import Scan

_MOST_READ = 8  # images that are read; the time of the others is estimated from them


def estimate_images(
    images: str | Path | Sequence[str | Path],
    bundle: str | Path | BundleSource,
    output: str | Path,
    *,
    options: ClassifyOptions | None = None,
    report: Callable[[str], None] | None = None,
    part: CohortPart | None = None,
) -> list[Estimate]:
    """Return what `classify` would do with these arguments; nothing is written.

    Every header is read. Up to eight images are read whole and classified in one batch, which gives the time of one
    image. An error that only reading a whole image reveals is therefore known for these images alone. The time of
    Grad-CAM is not included; the passes of occlusion maps are.

    Args: as `classify`; `report` receives a message with the names of the files that are ignored, `part` leaves out the
        other parts.

    Returns:
        one estimate per image, sorted by name; its action is "classify", "skip" or "refuse".

    Raises:
        SegpipeError: as `classify`, before it begins.
    """
    options = options or ClassifyOptions()
    options.check()
    folder = Path(output)
    opened = open_classifier(bundle)
    paths = [images] if isinstance(images, str | Path) else images
    cohort = image_cohort(paths, folder, strict=options.strict)
    cohort = cohort if part is None else part.of(cohort)
    if report is not None and cohort.ignored_files:
        report(cohort.ignored_files_note)
    ledger = Ledger(folder) if part is None else PartLedger(folder, part)
    recipe = options.recipe(opened)
    settled = [Estimate(one.name, one.path, "refuse", one.reason) for one in cohort.refused]
    waiting: list[Scan] = []
    for image in cohort.scans:
        try:
            check_image(image)
            before = ledger.entries.get(image.name)
            done = before is not None and (before.state, before.recipe, before.scan_sha256) == (
                State.DONE,
                recipe,
                scan_sha256(image),
            )
            if done:
                settled.append(Estimate(image.name, image.path, "skip", "done before"))
            else:
                waiting.append(image)
        except SegpipeError as error:
            settled.append(Estimate(image.name, image.path, "refuse", str(error)))
    classifier = Classifier(opened, options.precision, options.batch_size, options.flips)
    timed = _timed(waiting, classifier, occlusion=options.heatmaps == "occlusion")
    return sorted([*settled, *timed], key=lambda row: row.case)


def _timed(waiting: Sequence[Scan], classifier: Classifier, *, occlusion: bool) -> list[Estimate]:
    """Read a few images and run the network on them; the other images take as long."""
    read, refused = [], {}
    since = time.perf_counter()
    for image in waiting[:: max(-(-len(waiting) // _MOST_READ), 1)]:
        try:
            read.append(classifier.read(str(image.path)))
        except Exception as error:  # any error refuses the image, as in classify
            raise_interruption(error)
            refused[image.name] = failure_reason(image, error)
    reading = (time.perf_counter() - since) / max(len(read), 1)
    seconds = math.nan
    if read:
        alike = [one for one in read if one.shape == read[0].shape]
        batch = list(islice(cycle(alike), classifier.batch_size))  # a run fills each batch
        classifier.logits(batch)  # the first batch also warms up
        since = time.perf_counter()
        classifier.logits(batch)
        passes = 1 + (occlusion_passes(read[0].shape[1:]) if occlusion else 0)
        seconds = reading + (time.perf_counter() - since) / len(batch) * passes
    peak = peak_memory_bytes()
    return [
        Estimate(image.name, image.path, "refuse", refused[image.name])
        if image.name in refused
        else Estimate(image.name, image.path, "classify", seconds=seconds, peak_bytes=peak)
        for image in waiting
    ]
