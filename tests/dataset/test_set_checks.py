"""One check of a data set for every target."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_images import class_manifest, findings_manifest, pixels, save, write_images

from segpipe.dataset import Case, CheckOptions, Split, check_dataset
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
