"""set_findings reports cases unlike the other cases, and classes without a case."""

from dataclasses import replace

import pytest

from segpipe.dataset import Case
from segpipe.dataset.outliers import set_findings
from segpipe.dataset.reports import CaseFacts, CaseReport, ChannelFacts, Finding

USUAL = CaseFacts(
    size=(40, 50, 30),
    spacing_mm=(1.0, 1.0, 1.2),
    channels=(ChannelFacts("CT", (-900.0, 40.0, 300.0), 10.0, 200.0),),
    class_voxels={"background": 1000, "tumour": 10},
    content_sha256="",
    orientation="RAS",
)


def set_of(*odd, number=20, **of_cases):
    """Return cases of the usual kind with small variations; the last case has `changes`."""
    cases, reports = [], []
    for k in range(number):
        size = tuple(n + k % 3 for n in USUAL.size)
        spread = tuple(value * (1 + 0.02 * (k % 5)) for value in USUAL.channels[0].percentiles)
        channel = replace(USUAL.channels[0], percentiles=spread)
        facts = replace(USUAL, size=size, channels=(channel,), content_sha256=f"{k}")
        if k >= number - len(odd):
            facts = replace(facts, **odd[k - number + len(odd)])
        cases.append(Case(f"case{k}", (f"{k}.nii",), f"{k}_seg.nii", **of_cases))
        reports.append(CaseReport(f"case{k}", (), facts))
    return cases, reports


def channel(low, middle, high):
    return {"channels": (ChannelFacts("CT", (low, middle, high), 0.0, 1.0),)}


def test_nothing_stands_apart_in_an_ordinary_set():
    assert set_findings(*set_of()) == []


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"orientation": "LPS"}, "is oriented LPS, 19 of 20 cases RAS; check"),
        (
            {"spacing_mm": (1.0, 1.0, 5.0)},
            "its spacing is 1 x 1 x 5 mm (axes sorted), the set's median 1 x 1 x 1.2 mm",
        ),
        ({"size": (200, 50, 30)}, "its extent is 36 x 50 x 200 mm"),
        (channel(0.0, 100.0, 255.0), "CT: looks as if it is not in HU, 19 of 20 cases in HU"),
        (channel(-90000.0, 40.0, 30000.0), "CT: its intensities span 1.2e+05 (from"),
    ],
)
def test_what_stands_apart_is_told_of_its_case(odd, message):
    cases, reports = set_of(odd)

    findings = set_findings(cases, reports)

    assert {finding.case for finding in findings} == {"case19"}
    assert all(finding.severity == "warning" for finding in findings)
    assert any(finding.message.startswith(message) for finding in findings), findings


def test_many_that_differ_in_one_way_are_one_finding():
    (finding,) = set_findings(*set_of(*[{"orientation": "LPS"}] * 6, number=40))

    assert finding.message.startswith(
        "6 of 40 cases differ in this way (case34, case35, case36, case37, case38 and 1 more)"
    )


def test_few_cases_and_halves_of_a_set_give_no_finding():
    assert set_findings(*set_of({"orientation": "LPS"}, number=7)) == []
    assert set_findings(*set_of(*[{"orientation": "LPS"}] * 10)) == []


@pytest.mark.parametrize(("number", "odd"), [(2, 1), (4, 1), (8, 4), (20, 10)])
def test_two_modalities_or_units_in_one_channel_are_a_finding_in_any_set(number, odd):
    (finding,) = set_findings(*set_of(*[channel(0.0, 100.0, 900.0)] * odd, number=number))

    assert finding.severity == "warning"
    assert finding.message.startswith("CT: two modalities or units in one channel: ")
    assert f"{number - odd} look as if they are in HU (case0" in finding.message
    assert f"{odd} look as if they are not in HU (case{number - odd}" in finding.message


def test_a_case_with_errors_is_not_compared():
    cases, reports = set_of({"orientation": "LPS"})
    reports[-1] = replace(reports[-1], findings=(Finding("error", "case19", "19.nii", "x"),))

    assert set_findings(cases, reports) == []


def test_a_class_that_no_label_map_holds():
    cases, reports = set_of()
    reports = [
        replace(report, facts=replace(report.facts, class_voxels={"background": 9, "tumour": 1, "cyst": 0}))
        for report in reports
    ]

    (finding,) = set_findings(cases, reports)

    assert str(finding) == (
        "all cases: labels: no label map holds cyst; remove the class, or find the cases that have it"
    )


def test_images_without_a_spacing_are_compared_in_pixels():
    cases, reports = set_of({"size": (40, 50, 300)})
    reports = [
        replace(report, facts=replace(report.facts, has_spacing=False, spacing_mm=(1.0, 1.0, 1.0)))
        for report in reports
    ]

    (finding,) = set_findings(cases, reports)

    assert "its size is 40 x 50 x 300 pixels (axes sorted), the set's median" in finding.message
    assert "mm" not in finding.message
