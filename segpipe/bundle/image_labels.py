"""What a classification bundle tells apart, and the calibration of its weights; both are read as data only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from monai.bundle import ReferenceResolver

from segpipe.bundle.running import in_bundle_folder, running_parser
from segpipe.bundle.weights import listed_weights
from segpipe.calibration import Calibration, calibration_path
from segpipe.categories import Categories
from segpipe.configuration.metadata import read_metadata
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.monai_run import refusal_ends_run
from segpipe.printable import printable

_logger = logging.getLogger(__name__)


@refusal_ends_run()
def categories(metadata: str | Path | None = None) -> Categories:
    """Return a bundle's classes or findings from its metadata.json, read here so that MONAI evaluates no name.

    Args:
        metadata: path of the bundle's metadata.json. A program that has read the metadata itself, as MONAI's run does,
            does not need the file.

    Raises:
        SegpipeError: the file is missing, `Categories` refuses the names, or they differ from the run's metadata.
    """
    path = Path(metadata or "configs/metadata.json")
    parser = running_parser()
    known = parser.get(parser.meta_key, {})
    if known.get("label_table") is None:
        return Categories.from_metadata(read_metadata(path))
    of_run = Categories.from_metadata(known)
    if not path.is_file():
        return of_run
    made = Categories.from_metadata(read_metadata(path))
    as_monai_reads = tuple(map(ReferenceResolver.normalize_id, made.names))
    if (as_monai_reads, made.target) != (
        tuple(map(ReferenceResolver.normalize_id, of_run.names)),
        of_run.target,
    ):
        raise SegpipeError(
            f"{path}: its {made.target} names are {', '.join(made.names)}; the metadata that this run has read name "
            f"{', '.join(of_run.names)}; give --bundle_root the folder of the bundle that runs"
        )
    return made


@refusal_ends_run()
def calibration(weights: Sequence[str | Path], labels: Categories) -> Calibration:
    """Return the calibration of a bundle's weights; without one a warning says so.

    Args:
        weights: the weights files; several files are an ensemble, which has no calibration of its own. They are
            looked for in the bundle's folder too, see `segpipe.bundle.running.in_bundle_folder`.
        labels: the bundle's classes or findings.

    Raises:
        SegpipeError: see `calibration_of`.
    """
    return calibration_of([in_bundle_folder(path) for path in listed_weights(weights)], labels)


def calibration_of(weights: Sequence[Path], labels: Categories) -> Calibration:
    """Return the calibration of weights files; see `calibration`.

    Raises:
        SegpipeError: the calibration is unreadable, has other names, or was fitted with other weights.
    """
    path = calibration_path(weights[0])
    if len(weights) > 1 or not path.is_file():
        why = f"{path.name} is missing" if len(weights) == 1 else "several weights are averaged"
        _logger.warning(
            "%s",
            printable(
                f"{weights[0]}: no calibration ({why}): probabilities are the network's own, and every threshold is "
                "one half"
            ),
        )
        return Calibration.none(labels)
    found = Calibration.read(path)
    if (found.names, found.target) != (labels.names, labels.target):
        raise SegpipeError(
            f"{path}: is of {', '.join(found.names)}, the bundle has {', '.join(labels.names)}; restore the file that "
            "belongs to these weights"
        )
    sha256 = file_sha256(weights[0])
    if found.weights_sha256 != (sha256,):
        raise SegpipeError(
            f"{path}: was fitted with other weights than {weights[0].name} ({sha256[:12]}...); copy both files together"
        )
    return found
