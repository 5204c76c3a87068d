"""The tables of a data set, with figures computed by hand."""

from dataclasses import replace

import pytest

from segpipe.dataset import Case, CaseReport, Finding, Manifest, Split
from segpipe.dataset.reports import CaseFacts, ChannelFacts
from segpipe.overview.summary import summarize


def report(case, size=(10, 20, 5), spacing=(1.0, 1.0, 3.0), mean=0.0, **voxels):
    channel = ChannelFacts("CT", (0.0, 1.0, 2.0), mean, 5.0)
    return CaseReport(case, (), CaseFacts(size, spacing, (channel,), voxels, case, "RAS"))


MANIFEST = Manifest(
    "set",
    ("CT",),
    {0: "background", 1: "liver", 2: "tumour"},
    (
        Case("a", ("a.nii",), "a_seg.nii", "p", 0),
        Case("b", ("b.nii",), "b_seg.nii", "p", 0),
        Case("c", ("c.nii",), "c_seg.nii", "q", 1),
    ),
    (Case("t", ("t.nii",), None, "r"),),
    splits={"paper": Split(("a", "b", "gone"), ("c",))},
)
REPORTS = [
    report("a", mean=1.0, background=60, liver=40, tumour=0),
    report("b", mean=2.0, background=70, liver=20, tumour=10),
    report("c", size=(12, 20, 7), mean=9.0, background=80, liver=20, tumour=0),
    report("t", size=(14, 22, 5), spacing=(1.0, 1.0, 5.0), mean=4.0),
]


def summary(manifest=MANIFEST, reports=REPORTS):
    return summarize(manifest, reports, manifest.label_table())


def test_parts_count_cases_patients_and_classes():
    rows = [(p.name, p.cases, p.patients, *p.cases_with.values()) for p in summary().parts]

    assert rows == [
        ("training", 3, 2, 3, 1),
        ("fold 0", 2, 1, 2, 1),
        ("fold 1", 1, 1, 1, 0),
        ("train of paper", 2, 1, 2, 1),
        ("validation of paper", 1, 1, 1, 0),
        ("test", 1, 1, 0, 0),
    ]


def test_classes_and_the_weights_they_give():
    """Background 210 / 300, liver 80 / 300, tumour 10 / 100 of its only map; the median is the liver's frequency."""
    rows = summary().classes

    assert [(row.name, row.cases, row.voxels) for row in rows] == [
        ("background", 3, 210),
        ("liver", 3, 80),
        ("tumour", 1, 10),
    ]
    assert [row.share for row in rows] == pytest.approx([210 / 300, 80 / 300, 10 / 300])
    assert [row.frequency for row in rows] == pytest.approx([210 / 300, 80 / 300, 10 / 100])
    assert [row.weight for row in rows] == pytest.approx([80 / 210, 1, 80 / 30], rel=1e-5)
    assert len({row.color for row in rows}) == 3


def test_sizes_spacings_and_intensities_are_of_all_sound_cases():
    result = summary()

    spreads = {one.name: one.spread for one in (*result.geometry, *result.intensities)}
    assert spreads["size along x"] == (10, 11, 14)
    assert spreads["size along z"] == (5, 5, 7)
    assert spreads["spacing along z"] == (3, 3, 5)
    assert spreads["CT, mean"] == (1, 3, 9)
    assert len(result.geometry) == 6


def test_a_case_with_errors_counts_as_a_case_and_in_nothing_else():
    broken = CaseReport("b", (Finding("error", "b", "b.nii", "missing"),), None)

    result = summary(reports=[REPORTS[0], broken, *REPORTS[2:]])

    assert result.parts[0].cases == 3
    assert result.parts[0].cases_with == {"liver": 2, "tumour": 0}
    assert result.notes[0] == "1 of 4 cases have errors and are left out of classes, sizes and intensities"
    # no weight without a voxel of every class; the note says of which
    assert [row.weight for row in result.classes] == [None] * 3
    assert "no training case has a voxel of tumour" in result.notes[1]
    assert summary(reports=[replace(r, facts=None) for r in REPORTS]).classes == []


def test_images_without_a_spacing_have_pixels_and_no_millimetres():
    reports = [
        replace(
            one, facts=replace(one.facts, size=one.facts.size[:2], spacing_mm=(1.0, 1.0), has_spacing=False)
        )
        for one in REPORTS
    ]

    rows = [(row.name, row.unit) for row in summary(reports=reports).geometry]

    assert rows == [("size along x", "pixels"), ("size along y", "pixels")]
