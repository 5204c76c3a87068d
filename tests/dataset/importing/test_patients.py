"""Patients come from a template, else from the layout, else from folders; one patient for all is said."""

import pytest

from segpipe.dataset.importing.found_cases import FoundCase, Layout
from segpipe.dataset.importing.patients import known_patients


def layout(*cases, patients=(), source=""):
    every = zip(cases, patients or [None] * len(cases), strict=True)
    found = [
        FoundCase(case, (f"{case}.nii.gz",), ("",), f"{case}_m.nii.gz", patient) for case, patient in every
    ]
    return Layout("templates", found, patients_from=source)


@pytest.mark.parametrize(
    ("template", "patients"),
    [("{patient}_*", {"STS"}), ("STS_{patient}_*", {"001", "002"}), ("{patient}_CT", {"STS_001", "STS_002"})],
)
def test_a_template_takes_as_few_characters_as_fit(template, patients):
    known = known_patients(layout("STS_001_CT", "STS_002_CT"), template)

    assert set(known.of_case.values()) == patients
    assert known.source == f"the template {template}"
    expected = [
        "all 2 cases have the one patient STS, by --patient '{patient}_*': no case can be held out. {patient} takes as "
        "few characters as fit; write more of the name around it, such as 'STS_{patient}'"
    ]
    assert known.warnings == (expected if patients == {"STS"} else [])


def test_one_patient_for_all_is_said_for_other_sources_too():
    known = known_patients(layout("a", "b", patients=["P", "P"], source="{patient} of the templates"), None)

    assert "all 2 cases have the one patient P, by {patient} of the templates" in known.warnings[0]


def test_one_case_has_one_patient():
    assert known_patients(layout("a_1"), "{patient}_*").warnings == []


def test_cases_in_one_folder_have_no_patient():
    known = known_patients(layout("a", "b"), None)

    assert (known.of_case, known.source, known.notes) == ({"a": None, "b": None}, "", ())
