"""Codes that follow from a class's name: exact names and common other names, and nothing else."""

import pytest
from pydicom.sr.codedict import codes

from segpipe.coded_terms import CodedTerm
from segpipe.known_terms import known_codes, listed_term, with_known_codes
from segpipe.labels import Label, LabelTable
from segpipe.regions import NamedRegion

LEFT, RIGHT = codes.SCT.Left.value, codes.SCT.Right.value


@pytest.mark.parametrize(
    ("name", "category", "code", "modifier"),
    [  # codes as DICOM PS3.16 prints them
        ("liver", "Anatomical Structure", "10200004", None),
        ("Spleen", "Anatomical Structure", "78961009", None),
        ("kidney_right", "Anatomical Structure", "64033007", RIGHT),
        ("Left Kidney", "Anatomical Structure", "64033007", LEFT),
        ("lungs", "Anatomical Structure", "39607008", "51440002"),
        ("hippocampus anterior", "Anatomical Structure", "5366008", "255549009"),
        ("heart_atrium_left", "Anatomical Structure", "82471001", None),
        ("left atrium", "Anatomical Structure", "82471001", None),
        ("vertebrae_L5", "Anatomical Structure", "49668003", None),
        ("peripheral zone", "Anatomical Structure", "279706003", None),
        ("tumour", "Morphologically Abnormal Structure", "108369006", None),
        ("liver tumor", "Morphologically Abnormal Structure", "108369006", None),
        ("Kidney-Cyst", "Morphologically Abnormal Structure", "367643001", None),
        ("lesion", "Morphologically Abnormal Structure", "52988006", None),
        ("oedema", "Morphologically Abnormal Structure", "79654002", None),
        ("muscle", "Tissue", "91727004", None),
    ],
)
def test_names_of_dicoms_terms_have_their_codes(name, category, code, modifier):
    found = known_codes(name)

    assert (found.category.meaning, found.type.code) == (category, code)
    assert (found.modifier and found.modifier.code) == modifier


@pytest.mark.parametrize(
    "name",
    ["LV", "ventricle", "hip_left", "left", "anterior", "my liver", "tumor core", "foo tumor", "organ", ""],
)
def test_an_uncertain_name_has_none(name):
    assert known_codes(name) is None


def test_a_label_table_gets_them_and_keeps_its_own():
    own = known_codes("spleen")
    rows = [
        Label(index, name, (index, 0, 0), index)
        for index, name in enumerate(["background", "liver", "thing"])
    ]
    table = LabelTable((*rows, Label(3, "kidney", (3, 0, 0), 3, own)))

    found = with_known_codes(table)

    assert [row.codes and row.codes.type.meaning for row in found.labels] == [None, "Liver", None, "Spleen"]
    regions = with_known_codes(table.with_regions([
        NamedRegion("kidney", ("kidney", "liver", "thing"), "kidney"), NamedRegion("inner", ("liver", "thing")),
        NamedRegion("innermost", ("thing",)),
    ])).regions  # fmt: skip
    assert [one.codes and one.codes.type.meaning for one in regions] == ["Kidney", None, None]


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("Spleen", "type", ("78961009", "SCT", "Spleen")),
        ("78961009", "type", ("78961009", "SCT", "Spleen")),
        ("SCT:78961009", "type", ("78961009", "SCT", "Spleen")),
        ("anatomical structure", "category", ("91723000", "SCT", "Anatomical Structure")),
        ("left", "modifier", ("7771000", "SCT", "Left")),
    ],
)
def test_a_term_is_found_by_code_or_name(text, column, expected):
    assert listed_term(text, column) == CodedTerm(*expected)


def test_a_term_that_dicom_does_not_list_is_not_found():
    assert listed_term("95436008", "type") is None  # of SNOMED CT: Lung consolidation
    assert listed_term("Spleen", "category") is None
