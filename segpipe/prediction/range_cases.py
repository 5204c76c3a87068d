"""The training cases that reference ranges are measured on, whatever the task, and the file of the ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from segpipe import __version__
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.bundle_names import require_writable_bundle
from segpipe.dataset import Case, Manifest
from segpipe.errors import SegpipeError, shown
from segpipe.files import require_writable
from segpipe.reference_ranges import Measures, ReferenceRanges, ranges_path, require_enough_patients


class Opened(Protocol):
    """An opened bundle of any task, of which the weights files count here."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The weights files."""

    @property
    def weights_sha256(self) -> tuple[str, ...]:
        """Their hashes."""


def cases_to_measure(
    opened: Opened, manifest: Manifest, most_patients: int | None, report: Callable[[str], None]
) -> list[Case]:
    """Return the cases that a bundle's weights were trained with, of at most so many patients.

    Args:
        opened: the bundle.
        manifest: manifest of the weights' training data.
        most_patients: see `of_some_patients`.
        report: called with a warning where patients are not known.

    Raises:
        SegpipeError: the weights' folder cannot be written in, the manifest lacks a training case, or there are too few
            patients.
    """
    require_writable_bundle(_target(opened).parent, "reference ranges")
    require_writable(_target(opened).parent)
    cases = of_some_patients(cases_of(_records(opened), manifest), most_patients)
    require_enough_patients(len(set(map(patient_of, cases))), len(cases))
    if unknown := sum(case.patient is None for case in cases):
        report(
            f"WARNING: the patient of {unknown} of {len(cases)} training cases is not known: each counts as a patient "
            "of its own, so the ranges are too narrow if some are of one patient"
        )
    return cases


def require_trained(
    opened: Opened,
    manifest: Manifest,
    cases: Sequence[Case],
    contents: Mapping[str, str],
    report: Callable[[str], None],
) -> None:
    """Refuse cases that have the name of a training case but another image.

    Args:
        opened: the bundle.
        manifest: manifest of the cases.
        cases: from `cases_to_measure`.
        contents: case -> content hash of its image.
        report: called with a warning where the training cases are not known.

    Raises:
        SegpipeError: a case was not in the training.
    """
    overlap = TrainOverlap.of(_records(opened), manifest, cases, contents)
    if overlap.unknown:
        report(
            f"WARNING: the training cases of {shown(overlap.unknown)} are not known: all {len(cases)} training "
            f"cases of {manifest.name} are measured"
        )
        return
    made_with = {*overlap.trained, *overlap.chosen}
    other = next((case.case for case in cases if case.case not in made_with), None)
    if other is not None:
        raise SegpipeError(
            f"{other}: its image is not the image of this name on which {opened.weights[0]} was trained; give the "
            "--manifest and --dataset-dir of its training"
        )


def write_measured(
    opened: Opened, manifest: Manifest, cases: Sequence[Case], measured: Sequence[Measures], precision: str
) -> Path:
    """Write the ranges of measures beside a bundle's weights and return the path.

    Args:
        opened: the bundle.
        manifest: manifest of the cases.
        cases: the measured cases.
        measured: measures of each.
        precision: of the network's computation.
    """
    about = {
        "segpipe": __version__,
        "manifest": {"name": manifest.name, "sha256": manifest.sha256},
        "precision": precision,
    }
    target = _target(opened)
    ReferenceRanges.of(measured, opened.weights_sha256, about, list(map(patient_of, cases))).write(target)
    return target


def cases_of(records: Sequence[TrainingRecord], manifest: Manifest) -> list[Case]:
    """Return the manifest's cases that the records name; all training cases if a record is missing."""
    if not all(record.trained for record in records):
        return list(manifest.training)
    names = {case for record in records for case in (*record.trained, *record.chosen_by)}
    missing = sorted(names - {case.case for case in manifest.training})
    if missing:
        raise SegpipeError(
            f"{manifest.name}: has no case {missing[0]}, which {records[0].weights} was trained on ({len(missing)} of "
            f"{len(names)} are missing); give the --manifest of its training"
        )
    return [case for case in manifest.training if case.case in names]


def of_some_patients(cases: Sequence[Case], most: int | None) -> list[Case]:
    """Return the cases of at most so many patients, evenly chosen in the order of the cases; None: all cases."""
    patients = list(dict.fromkeys(map(patient_of, cases)))
    if most is None or len(patients) <= most:
        return list(cases)
    chosen = {patients[place * len(patients) // most] for place in range(most)}
    return [case for case in cases if patient_of(case) in chosen]


def patient_of(case: Case) -> str:
    """Return the patient of a case; a name of its own if the patient is not known."""
    return f"case {case.case}" if case.patient is None else f"patient {case.patient}"


def _records(opened: Opened) -> tuple[TrainingRecord, ...]:
    return tuple(map(TrainingRecord.read, opened.weights))


def _target(opened: Opened) -> Path:
    return ranges_path(opened.weights, opened.weights_sha256)
