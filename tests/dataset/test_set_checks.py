"""One check of a data set for every target."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_images import class_manifest, findings_manifest, pixels, save, write_images

from segpipe.dataset import Case, CheckOptions, Split, check_dataset, examine_images, load_manifest
from segpipe.errors import SegpipeError

QUIET = CheckOptions(progress=False)


@pytest.fixture
def twenty(tmp_path):
    return write_images(tmp_path / "set", [f"c{number}" for number in range(20)])


def texts(findings):
    return [f"{finding.severity}: {finding}" for finding in findings]


def test_a_sound_set_has_no_findings(twenty):
    assert check_dataset(class_manifest("ab" * 10), twenty, QUIET) == []
    assert check_dataset(findings_manifest([("Effusion",), ("Mass",)] * 10), twenty, QUIET) == []


def test_test_cases_are_left_out_where_none_of_their_files_is_there(twenty):
    """As long as one of the two is there, the other is missing."""
    both = [Case(f"t{number}", (f"t{number}.png",), patient="x", classes=("a",)) for number in range(2)]
    manifest = class_manifest("ab" * 10, test=both)

    (absent,) = check_dataset(manifest, twenty, QUIET)
    save(twenty / "t0.png", pixels(99))
    missing = [one for one in check_dataset(manifest, twenty, QUIET) if one.severity == "error"]

    assert (absent.severity, "none of the 2 test cases is below" in absent.message) == ("warning", True)
    assert [(one.case, "missing" in one.message) for one in missing] == [("t1", True)]


def test_a_picture_and_a_patient_on_two_sides_are_errors(twenty):
    save(twenty / "t0.png", np.stack([pixels(0)] * 3, axis=-1))
    save(twenty / "t1.png", pixels(99))
    test = [
        Case("t0", ("t0.png",), patient="x", classes=("a",)),
        Case("t1", ("t1.png",), patient="p1", classes=("b",)),
    ]

    findings = check_dataset(class_manifest("ab" * 10, test=test), twenty, QUIET)

    errors = [str(finding) for finding in findings if finding.severity == "error"]
    assert any("patient p1 would train and test: c1 (training) and t1" in error for error in errors)
    assert any(
        "the same image content would train and test: c0 (training) and t0" in error for error in errors
    )


def test_a_picture_in_two_classes_is_one_error(twenty):
    save(twenty / "c1.png", pixels(0))
    patients = [f"p{number}" for number in range(20)]
    patients[1] = "p0"

    (finding,) = check_dataset(class_manifest("ab" * 10, patients=patients), twenty, QUIET)

    assert texts([finding]) == [
        "error: c1: c1.png: one picture has two labels: c0 is a; c1 is b; keep the right one, and remove the others"
    ]


def test_a_picture_twice_in_one_class_is_a_warning(twenty):
    save(twenty / "c2.png", pixels(0))
    patients = [f"p{number}" for number in range(20)]
    patients[2] = "p0"

    (finding,) = check_dataset(class_manifest("ab" * 10, patients=patients), twenty, QUIET)

    assert texts([finding]) == [
        "warning: c2: c2.png: shows the same image content as c0; remove one of the two"
    ]


def test_a_patient_on_two_sides_of_a_split_is_an_error(twenty):
    manifest = class_manifest("ab" * 10, patients=[f"p{number // 2}" for number in range(20)])
    ids = [case.case for case in manifest.training]
    manifest = replace(manifest, splits={"halves": Split(tuple(ids[:11]), tuple(ids[11:]))})

    errors = [one for one in check_dataset(manifest, twenty, QUIET) if one.severity == "error"]

    assert len(errors) == 1
    assert "patient p5 would train and validate" in errors[0].message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"target": "class", "label_table": ["b", "a"]},
            "has class a, b; .* has class b, a: names and order",
        ),
        (
            {"target": "findings", "label_table": ["a", "b"]},
            "has findings a, b: names and order must be equal",
        ),
        ({"label_table": ["a", "b"]}, "target is None"),
        ([], "is no JSON object"),
    ],
)
def test_a_bundle_with_other_classes_is_refused(content, message, twenty, tmp_path):
    if content:
        rows = [{"index": i, "name": name, "value": i} for i, name in enumerate(content["label_table"])]
        content = {**content, "label_table": rows}
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    options = CheckOptions(metadata=tmp_path / "metadata.json", progress=False)

    with pytest.raises(SegpipeError, match=message):
        check_dataset(class_manifest("ab" * 10), twenty, options)


def test_options_of_the_other_task_are_refused(twenty):
    manifest = class_manifest("ab" * 10)

    with pytest.raises(SegpipeError, match="--window is for images with a class or findings"):
        check_dataset(replace(manifest, target="mask"), twenty, CheckOptions(window=(0, 1)))
    with pytest.raises(SegpipeError, match="--resample-channels is for label maps"):
        check_dataset(replace(manifest, resample_channels=True), twenty, QUIET)


@pytest.mark.realdata
def test_the_retinal_images_are_sound_and_their_width_goes_with_the_class(real_data):
    """The 617 images that every copy has; 768 columns are 46 of 163 CNV and 11 of 155 normal images."""
    manifest = replace(load_manifest("oct2017"), test=())

    findings = check_dataset(manifest, real_data("oct2017"), QUIET)

    assert [finding for finding in findings if finding.severity == "error"] == []
    assert any("470 of 512 x 496, 147 of 768 x 496" in finding.message for finding in findings)
    (shortcut,) = [finding.message for finding in findings if "goes with the class" in finding.message]
    assert "512 x 496 are 72 % of CNV, 56 % of DME, 85 % of DRUSEN, 93 % of NORMAL" in shortcut


@pytest.mark.realdata
def test_the_chest_x_rays_are_sound(real_data):
    """RGB files with equal channels, some with an opaque alpha channel; three are larger."""
    manifest = load_manifest("nih_cxr64")
    reports = examine_images(manifest.training, real_data("nih_cxr64"), manifest, progress=False)

    assert not any(report.findings for report in reports)
    assert {report.facts.is_rgb for report in reports} == {True}
    assert not any(report.facts.is_coloured for report in reports)
    assert sum(report.facts.columns == 128 for report in reports) == 3
