"""The tables of a set of images, with figures computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_images import class_manifest, findings_manifest

from segpipe.dataset import Finding, ImageFacts, ImageReport, Split
from segpipe.overview.image_summary import FindingPair, summarize_images


def facts(case, columns=30, rows=20):
    return ImageFacts(rows, columns, 8, 8, False, False, False, 0.4, 0.2, content_sha256=case)


def reports(manifest, sizes=None):
    """Reports of images of 30 x 20 pixels, or of these sizes (columns, rows), with distinct contents."""
    return [
        ImageReport(case.case, (), facts(case.case, *(sizes or {}).get(case.case, ())))
        for case in manifest.training
    ]


def summarized(manifest, made=None):
    return summarize_images(manifest, made or reports(manifest), "made")


def test_classes_are_counted_in_cases():
    """Three of four images are of class a, one of b: weights 0.5 / 0.75 and 0.5 / 0.25."""
    result = summarized(class_manifest("aaab"))

    assert [(row.name, row.cases, row.share, row.weight) for row in result.classes] == [
        ("a", 3, 0.75, pytest.approx(2 / 3, rel=1e-5)),
        ("b", 1, 0.25, 2.0),
    ]
    assert result.findings == []
    assert [(one.name, one.values) for one in result.geometry] == [("width", [30] * 4), ("height", [20] * 4)]


def test_parts_are_the_folds_and_the_parts_of_splits():
    manifest = class_manifest("abab", folds=[0, 0, 1, 1], patients=["p", "p", "q", "r"])
    manifest = replace(manifest, splits={"paper": Split(("c0", "c1", "c2"), ("c3",))})

    result = summarized(manifest)

    assert [(part.name, part.cases, part.patients, part.cases_with) for part in result.parts] == [
        ("training", 4, 3, {"a": 2, "b": 2}),
        ("fold 0", 2, 1, {"a": 1, "b": 1}),
        ("fold 1", 2, 2, {"a": 1, "b": 1}),
        ("train of paper", 3, 2, {"a": 2, "b": 1}),
        ("validation of paper", 1, 1, {"a": 0, "b": 1}),
    ]


def test_findings_are_present_absent_or_unknown():
    """Mass is present in 1, absent in 2 and unknown in 1 of 4 cases: prevalence 1/3."""
    present = [("Effusion",), ("Effusion", "Mass"), (), ()]
    unknown = [(), (), (), ("Mass",)]

    result = summarized(findings_manifest(present, unknown=unknown))

    rows = [(row.name, row.present, row.absent, row.unknown, row.prevalence) for row in result.findings]
    assert rows == [("Effusion", 2, 2, 0, 0.5), ("Mass", 1, 2, 1, pytest.approx(1 / 3))]
    assert result.unknown_in == [{"Effusion": 0, "Mass": 1}]
    assert result.classes == []


def test_findings_that_occur_together_leave_unknown_cases_out_of_the_share():
    """Effusion in 3 cases: with Mass in 1, without in 1, unknown in 1: 1 of 2 known."""
    present = [("Effusion",), ("Effusion", "Mass"), ("Effusion",), ("Mass",)]
    unknown = [(), (), ("Mass",), ()]

    result = summarized(findings_manifest(present, unknown=unknown))

    assert result.together == [[FindingPair(3, 3), FindingPair(1, 2)], [FindingPair(1, 2), FindingPair(2, 2)]]
    assert result.together[0][1].share == 0.5
    assert result.alone == [2, 1]
    assert result.per_case.values == [1, 2, 1, 1]


def test_a_finding_that_nobody_knows_has_no_prevalence():
    result = summarized(findings_manifest([()] * 2, unknown=[("Mass",)] * 2))

    assert [row.prevalence for row in result.findings] == [0.0, None]
    assert any("nobody knows it of any case" in finding.message for finding in result.compared)


def test_few_sizes_are_counted_by_class():
    manifest = class_manifest("aab")

    result = summarized(manifest, reports(manifest, {"c1": (60, 20)}))

    assert result.sizes == {"30 x 20": [1, 1], "60 x 20": [1, 0]}
    assert summarized(manifest).sizes is None


def test_bad_images_count_in_the_parts_only():
    manifest = class_manifest("ab", patients=[None, "p"])
    bad = ImageReport("c1", (Finding("error", "c1", "c1.png", "broken"),), None)

    result = summarized(manifest, [reports(manifest)[0], bad])

    assert result.parts[0].cases_with == {"a": 1, "b": 1}
    assert [row.cases for row in result.classes] == [1, 0]
    assert [row.weight for row in result.classes] == [None, None]
    assert result.notes == [
        "1 of 2 cases have errors: only the table of parts counts them",
        "the patient of 1 of 2 cases is unknown: each of these cases counts as one patient",
    ]
