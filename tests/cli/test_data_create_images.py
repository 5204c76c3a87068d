"""`segpipe data create` and `segpipe data split` of images with classes or findings: what they print."""

import json

import pytest
from labelled_folders import write_pictures, write_table
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import load_manifest
from segpipe.phantoms import write_finding_phantoms


def data(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_a_folder_a_class(tmp_path):
    paths = [f"{name}/{name}-{patient}-{n}.png" for patient, name in enumerate("ABAB") for n in (1, 2)]
    folder, output = write_pictures(tmp_path / "set", paths), tmp_path / "my.json"

    result = data("create", folder, "-o", output, "--modality", "OCT")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{folder}: a folder a class",
        f"{output}: 8 images to train on, 0 to test, 4 patients (from the names CLASS-PATIENT-N)",
        "images: OCT",
        "classes (images to train on): 0 A (4), 1 B (4)",
        "example: case A-0-1, patient 0, image A/A-0-1.png, class A",
        "example: case B-1-1, patient 1, image B/B-1-1.png, class B",
        "example: case B-3-2, patient 3, image B/B-3-2.png, class B",
        f"next: segpipe data check {output}; segpipe data split {output} --folds 5; segpipe plan {output}",
    ]


def test_the_phantoms_table_gives_the_phantoms_manifest(tmp_path):
    made = load_manifest(write_finding_phantoms(tmp_path / "set", 24, seed=0, size=32, num_test=2))
    (tmp_path / "set" / "dataset.json").unlink()
    output = tmp_path / "my.json"

    result = data("create", tmp_path / "set" / "labels.csv", "-o", output, "--modality", "X-ray")

    assert result.exit_code == 0
    assert "24 images to train on, 2 to test, 12 patients (from the table labels.csv)" in result.stdout
    unknown = sum("Nodule" in case.unknown for case in made.training)
    present = sum("Nodule" in case.classes for case in made.training)
    assert f"2 Nodule ({present}{f', {unknown} unknown' if unknown else ''})" in result.stdout
    assert "no finding: " in result.stdout
    read = load_manifest(output)
    for case, other in zip((*made.training, *made.test), (*read.training, *read.test), strict=True):
        assert (case.case, case.classes, case.unknown) == (other.case, other.classes, other.unknown)
        assert (case.patient, case.sha256) == (other.patient, other.sha256)


def test_empty_fields_can_be_unknown(tmp_path):
    folder = write_pictures(tmp_path / "set", ["a.png", "b.png"])
    write_table(folder / "t.csv", "image,Mass,Hernia", "a.png,1,", "b.png,,1")
    output = tmp_path / "my.json"

    assert data("create", folder, "-o", output, "--blank", "unknown").exit_code == 0
    assert [case.unknown for case in load_manifest(output).training] == [("Hernia",), ("Mass",)]
    result = data("create", folder, "-o", output, "--overwrite")
    assert (
        "2 labels are empty, not mentioned in CheXpert: counted as absent (--blank unknown" in result.stdout
    )
    assert [case.unknown for case in load_manifest(output).training] == [(), ()]


def test_split_of_classes_and_what_it_says(tmp_path):
    paths = [f"{name}/{name}-{patient}-{n}.png" for patient, name in enumerate("ABABABC") for n in (1, 2)]
    output = tmp_path / "my.json"
    data("create", write_pictures(tmp_path / "set", paths), "-o", output)

    result = data("split", output, "--folds", 3)

    assert result.exit_code == 0
    assert "with A" in result.stdout
    assert (
        "note: fewer patients than the 3 parts: C (2 images of 1 patient); a score of such a class in a part without "
        "it is empty" in result.stdout
    )
    folds = {}
    for case in load_manifest(output).training:
        folds.setdefault(case.patient, set()).add(case.fold)
    assert all(len(of_patient) == 1 for of_patient in folds.values())


def test_split_keeps_the_same_picture_of_two_patients_together(tmp_path):
    """One picture stored as PNG of two sizes of file: the pixels count, not the bytes."""
    from PIL import Image

    paths = [f"{name}/{name}-{patient}-1.png" for patient, name in enumerate("ABABABAB")]
    folder, output = write_pictures(tmp_path / "set", paths), tmp_path / "my.json"
    Image.open(folder / "A/A-0-1.png").save(folder / "A/A-8-1.png", compress_level=0)
    data("create", folder, "-o", output)

    result = data("split", output, "--folds", 2)

    fold_of = {case.case: case.fold for case in load_manifest(output).training}
    assert fold_of["A-0-1"] == fold_of["A-8-1"]
    assert "several cases have the same image content and stay together: A-0-1 and A-8-1" in result.stdout


def test_split_refuses_a_patient_on_two_sides_of_the_test_list(tmp_path):
    paths = [
        f"{part}/{name}/{name}-{patient}-{part}.png"
        for part in ("train", "test")
        for patient, name in enumerate("ABAB")
    ]
    output = tmp_path / "my.json"
    created = data(
        "create", write_pictures(tmp_path / "set", paths), "-o", output, "--patient", "*-{patient}-*"
    )

    result = data("split", output, "--folds", 2)

    assert "warning: 4 patients with images both to train on and to test (0, 1, 2, 3)" in created.stdout
    assert result.exit_code == 2
    assert (
        "patient 0 would train and test: A-0-train (training) and A-0-test (listed under test)"
        in result.stderr
    )


def test_split_refuses_an_image_that_cannot_be_read(tmp_path):
    folder = write_pictures(tmp_path / "set", ["A/1.png", "A/2.png", "B/3.png", "B/4.png"])
    (folder / "A" / "1.png").write_bytes((folder / "A" / "1.png").read_bytes()[:60])
    output = tmp_path / "my.json"
    data("create", folder, "-o", output)

    result = data("split", output, "--folds", 2)

    assert result.exit_code == 2
    assert "1 error(s) in 1 of 4 cases" in result.stderr
    assert "A/1.png" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "findings"], "no table there has columns image and findings"),
        (["--target", "class", "--label", "{case}.png"], "--target class is given with --label"),
        (["--target", "class", "--class", "0=A"], "the class 'B' is not among the given ones (A)"),
        (["--target", "class", "--modality", " "], "--modality is empty"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    folder = write_pictures(tmp_path / "set", ["A/1.png", "A/2.png", "B/3.png", "B/4.png"])

    result = data("create", folder, "-o", tmp_path / "my.json", *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "my.json").exists()


def test_the_order_of_classes_can_be_given(tmp_path):
    folder = write_pictures(tmp_path / "set", ["A/1.png", "A/2.png", "B/3.png", "B/4.png"])
    output = tmp_path / "my.json"

    data("create", folder, "-o", output, "--class", "0=B", "--class", "1=A")

    assert json.loads(output.read_text())["labels"] == {"0": "B", "1": "A"}
