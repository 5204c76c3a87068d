"""The patient of each case of a folder: from a template, a table, or a folder's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from segpipe.dataset.folder_patients import folder_patients
from segpipe.dataset.importing.found_cases import FoundCase, Layout
from segpipe.dataset.importing.templates import patients_by_template
from segpipe.errors import counted, shown

UNKNOWN_PATIENTS = "unknown: every case counts as a patient of its own"


@dataclass(frozen=True)
class KnownPatients:
    """The patients of a data set.

    Attributes:
        of_case: case -> patient; None where unknown.
        source: what tells the patients, such as "the folder of the scan"; empty if none is known.
        notes: remarks for the user.
        warnings: what is probably wrong.
    """

    of_case: Mapping[str, str | None]
    source: str
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


def known_patients(layout: Layout, template: str | None) -> KnownPatients:
    """Return the patients of a layout's cases.

    The template counts, else the patients of the layout, else folders, see `segpipe.dataset.folder_patients`: scans of
    one folder are on one side of every split unless the user says otherwise.

    Args:
        layout: of the folder.
        template: of the case ids, such as `{patient}_*`; `{patient}` alone makes every case a patient.

    Raises:
        SegpipeError: as `patients_by_template`.
    """
    cases = layout.cases
    if template is not None:
        of_template = patients_by_template([case.case for case in cases], template)
        return KnownPatients(
            of_template,
            f"the template {template}",
            warnings=_warnings(of_template, f"--patient {template!r}"),
        )
    if any(case.patient for case in cases):
        of_layout = {case.case: case.patient for case in cases}
        source = layout.patients_from or layout.what
        return KnownPatients(of_layout, source, warnings=_warnings(of_layout, source))
    of_folder = folder_patients({case.case: case.images[0] for case in cases})
    if not of_folder:
        return KnownPatients({case.case: None for case in cases}, "")
    patients = set(of_folder.values())
    notes = []
    if len(patients) < len(cases):
        notes.append(
            f"{counted(len(cases), 'case')} lie in {counted(len(patients), 'folder')}; each folder counts as one "
            "patient, so that no split divides it. If folders are no patients, give --patient (--patient '{patient}': "
            "every case is a patient of its own)"
        )
    return KnownPatients(of_folder, "the folder of the scan", notes + _in_two_parts(cases, of_folder))


def _warnings(patients: Mapping[str, str | None], source: str) -> list[str]:
    """Return a warning if several cases all have one patient."""
    names = set(patients.values())
    if len(patients) < 2 or len(names) > 1:
        return []
    return [
        f"all {len(patients)} cases have the one patient {names.pop()}, by {source}: no case can be held out. "
        "{patient} takes as few characters as fit; write more of the name around it, such as 'STS_{patient}'"
    ]


def _in_two_parts(cases: Sequence[FoundCase], patients: Mapping[str, str]) -> list[str]:
    """Return a note on folders of one name in several parts of the data set, such as train/p1 and test/p1."""
    parts: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        folder = next(
            name
            for name in reversed(PurePosixPath(case.images[0]).parts)
            if patients[case.case] == name or patients[case.case].endswith(f"_{name}")
        )
        parts[folder].add(case.part)
    both = sorted(folder for folder, of_folder in parts.items() if len(of_folder) > 1)
    return (
        [
            "folders of one name are in several parts of the data set, and count as different patients: "
            f"{shown(both)}; if each is one patient, give --patient or a table with a column patient"
        ]
        if both
        else []
    )
