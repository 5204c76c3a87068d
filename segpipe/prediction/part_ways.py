"""Settles how the parts of a cohort are computed, on the first scan or image that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segpipe.bundle.image_files import check_image
from segpipe.errors import SegpipeError, raise_interruption
from segpipe.inference.engines.threads import torch_threads
from segpipe.prediction.options import scan_header
from segpipe.prediction.scan_steps import prepare_image
from segpipe.volumes import Scan

if TYPE_CHECKING:
    from segpipe.prediction.cohort import CohortRun
    from segpipe.prediction.image_run import ImageRun

_AUTO = "auto"


def settled_way(run: CohortRun, scans: Sequence[Scan]) -> dict[str, Any]:
    """Return engine, precision, threads and batches of a run, measured on the first scan that can be read.

    Args:
        run: of scans.
        scans: of the cohort.

    Returns:
        fields of a ledger's entry; empty if no scan can be read.

    Raises:
        SegpipeError: the precision would be measured anew by each part.
    """
    segmenter, bundle = run.segmenter, run.bundle
    segmenter.scans = max(len(scans), 1)
    with torch_threads(run.way.torch_threads):
        for scan in scans:
            try:
                scan_header(scan, bundle.takes, run.options)
                frame = 1 if scan.is_series else scan.frame
                image = prepare_image(segmenter, scan, frame, overlays=False).image
            except Exception as error:  # the run itself records why this scan fails
                raise_interruption(error)
                continue
            fields = segmenter.recorded(segmenter.settled(image))
            if fields["precision"] == _AUTO:
                raise SegpipeError(
                    f"{bundle.root}: its scans go through MONAI's own chain, whose precision each part would choose by "
                    "itself; give --precision float32"
                )
            return fields
    return {}


def settled_image_way(run: ImageRun, images: Sequence[Scan]) -> dict[str, Any]:
    """Return precision, threads and batches of a run, measured on the first image that can be read.

    Args:
        run: of images.
        images: of the cohort.

    Returns:
        fields of a ledger's entry; empty if no image can be read.
    """
    classifier = run.classifier
    with torch_threads(run.torch_threads):
        for image in images:
            try:
                check_image(image)
                classifier.logits([classifier.read(str(image.path))])
            except Exception as error:  # the run itself records why this image fails
                raise_interruption(error)
                continue
            return {
                "precision": classifier.precision,
                "torch_threads": run.torch_threads,
                "batch_size": classifier.batch_size,
            }
    return {}
