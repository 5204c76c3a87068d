"""Whether an image still needs classifying, and its outcome from the ledger."""

from __future__ import annotations

from pathlib import Path

from segpipe.prediction.image_options import ClassifyOptions, ImagePrediction, heatmap_file
from segpipe.prediction.ledger import Entry, State
from segpipe.prediction.options import Outcome, scan_place
from segpipe.prediction.output_folder import OtherScanError
from segpipe.volumes import Scan


def is_classified(
    image: Scan, sha256: str, before: Entry, recipe: str, folder: Path, options: ClassifyOptions
) -> bool:
    """Return whether an earlier run classified an image in the same way; refuse to replace other results.

    Args:
        image: of the cohort.
        sha256: its hash, see `scan_sha256`.
        before: its entry in the ledger.
        recipe: of the run, see `ClassifyOptions.recipe`.
        folder: output folder.
        options: of the run.

    Raises:
        OtherScanError: the row of this name is of another image.
    """
    moved = before.scan != scan_place(image)
    other = moved and before.state is State.DONE and before.scan_sha256 != sha256
    if other and not options.overwrite:
        raise OtherScanError(
            f"{image.path}: {folder} has an image {image.name} already, of another file, {before.scan}; choose "
            "another --output, or add --overwrite to replace it"
        )
    same = (before.state, before.scan_sha256, before.recipe) == (State.DONE, sha256, recipe)
    return same and all((folder / file).is_file() for file in before.files)


def known_image(image: Scan, entry: Entry, folder: Path, outcome: Outcome) -> ImagePrediction:
    """Return the outcome of an image from its entry in the ledger."""
    heatmap = folder / heatmap_file(image) if entry.files else None
    return ImagePrediction(
        image.name,
        outcome,
        image.path,
        entry.classes,
        entry.probabilities,
        entry.decision,
        heatmap,
        entry.seconds if outcome is Outcome.DONE else 0.0,
    )
