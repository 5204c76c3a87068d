"""Coded terms of classes and regions: read from rows, written again, kept out of what weights remember."""

import json
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from segpipe.bundle.labels import identity_rows
from segpipe.coded_terms import CodedTerm, SegmentCodes, codes_of_row
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable, load_label_table

BUNDLES = Path(__file__).parents[1] / "bundles"
CATEGORY = {"code": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
SPLEEN = {"code": "78961009", "scheme": "SCT", "meaning": "Spleen"}
LEFT = {"code": "7771000", "scheme": "SCT", "meaning": "Left"}


def test_a_row_has_category_type_and_a_modifier():
    found = codes_of_row({"name": "spleen", "category": CATEGORY, "type": SPLEEN, "modifier": LEFT}, "row 1")

    assert found == SegmentCodes(CodedTerm(**CATEGORY), CodedTerm(**SPLEEN), CodedTerm(**LEFT))
    assert found.to_json() == {"category": CATEGORY, "type": SPLEEN, "modifier": LEFT}


def test_a_row_may_have_none():
    assert codes_of_row({"name": "spleen"}, "row 1") is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"category": CATEGORY}, "row 1: has category without type; add what is missing"),
        ({"modifier": LEFT}, "row 1: has modifier without category and type"),
        ({"category": "91723000", "type": SPLEEN}, "row 1: category is '91723000', must be"),
        ({"category": CATEGORY, "type": {**SPLEEN, "code": 78961009}}, "row 1: type is .* must be"),
        ({"category": CATEGORY, "type": {**SPLEEN, "meaning": " "}}, "row 1: type is .* must be"),
        ({"category": CATEGORY, "type": {**SPLEEN, "more": "1"}}, "row 1: type is .* must be"),
        ({"category": CATEGORY, "type": {**SPLEEN, "code": "1" * 17}}, "has 17 characters; DICOM allows 16"),
        (
            {"category": CATEGORY, "type": {**SPLEEN, "code": "789 610"}},
            "must be letters and digits without spaces",
        ),
        ({"category": CATEGORY, "type": {**SPLEEN, "meaning": "a\\b"}}, "none of them a backslash"),
        (
            {"category": CATEGORY, "type": {**SPLEEN, "meaning": "$run()"}},
            r"begins with \$, which MONAI reads",
        ),
    ],
    ids=str,
)
def test_terms_that_dicom_cannot_hold_are_refused(row, said):
    with pytest.raises(SegpipeError, match=said):
        codes_of_row(row, "row 1")


def metadata(**regions):
    rows = [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "spleen", "color": [1, 2, 3], "value": 1, "category": CATEGORY, "type": SPLEEN},
    ]
    return {"label_table": rows, **regions}


def test_a_label_table_keeps_them_and_gives_them_to_its_targets():
    table = LabelTable.from_metadata(metadata())

    assert table.to_metadata() == metadata()
    assert table.targets[0].codes == table.labels[1].codes == codes_of_row(metadata()["label_table"][1], "")


def test_a_region_has_its_own():
    regions = [{"name": "organs", "classes": ["spleen"], "written_as": "spleen", "color": [4, 5, 6]}]
    regions[0] |= {"category": CATEGORY, "type": LEFT}

    table = LabelTable.from_metadata(metadata(regions=regions))

    assert table.targets[0].codes.type.meaning == "Left"
    assert table.to_metadata()["regions"] == regions


def test_weights_do_not_remember_them():
    """Weights that were trained before the codes were known still fit."""
    plain = [
        {key: row[key] for key in ("index", "name", "color", "value")} for row in metadata()["label_table"]
    ]

    assert identity_rows(LabelTable.from_metadata(metadata())) == plain


@pytest.mark.parametrize(
    "path", sorted(BUNDLES.glob("*/configs/metadata.json")), ids=lambda path: path.parts[-3]
)
def test_shipped_bundles_have_codes_whose_meaning_is_that_of_dicoms_dictionary(path):
    """pydicom lists the terms of DICOM's context groups; SNOMED CT itself has more."""
    if json.loads(path.read_text())["task"] != "segmentation":
        pytest.skip("classifies")
    known = {
        (term.scheme_designator, term.value): term.meaning
        for scheme in (codes.SCT, codes.DCM)
        for term in (getattr(scheme, name) for name in scheme.dir())
    }
    for label in load_label_table(path).labels[1:]:
        for term in filter(None, (label.codes.category, label.codes.type, label.codes.modifier)):
            expected = known.get((term.scheme, term.code), "").casefold()
            # of SNOMED CT, and in no context group of DICOM
            of_snomed = (term.code, term.meaning) == ("95436008", "Lung consolidation")
            assert of_snomed or (expected and term.meaning.casefold() in expected)
