"""A bundle's training cases are never validation cases, and `inference` lists the scans of a folder.

Nothing on disk is replaced unasked, and what cannot be written is refused before the first scan.
"""

import json
import os

import numpy as np
import pytest
from refusals import refusal_of

import segpipe.dataset.examination
from segpipe.bundle import TrainingCases, class_weights, inference_cases
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.labels import LabelTable
from segpipe.losses import median_frequency_weights
from segpipe.volumes import Grid, write_label_map, write_series, write_volume

GRID = Grid.from_affine((5, 4, 3), np.eye(4))
ARRAY = np.arange(60, dtype=np.int16).reshape(GRID.size)


def refusal(*arguments, call=inference_cases, **keywords) -> str:
    return refusal_of(call, *arguments, **keywords)


@pytest.fixture
def scan(tmp_path):
    write_volume(ARRAY, GRID, tmp_path / "scans" / "deep" / "a.mhd")
    return tmp_path / "scans"


def test_a_scan_beside_the_one_segmented_is_not_replaced(tmp_path):
    """The label map of the series p1/ would be p1.nii.gz, and p1.nii.gz is another scan of the patient."""
    write_series(ARRAY, GRID, tmp_path / "p1")
    write_volume(ARRAY, GRID, tmp_path / "p1.nii.gz")

    message = refusal(tmp_path / "p1", tmp_path)

    assert f"1 of the files to write exist already: {tmp_path / 'p1.nii.gz'}" in message
    assert "--overwrite True" in message


@pytest.mark.parametrize("name", ["a.mhd", "a.zraw"])
def test_a_file_that_exists_is_replaced_only_on_request(scan, tmp_path, name):
    output = tmp_path / "out" / "deep" / name
    output.parent.mkdir(parents=True)
    output.write_bytes(b"earlier")

    assert str(output) in refusal(scan, tmp_path / "out")
    (record,) = inference_cases(scan, tmp_path / "out", overwrite=True)

    assert record["output"] == "deep/a.mhd"
    assert output.read_bytes() == b"earlier"  # until its label map is there


def test_other_files_are_skipped_with_one_logged_line(scan, tmp_path, caplog):
    for name in ("deep/a.bval", "viewer.exe"):
        (scan / name).write_text("x")

    assert len(inference_cases(scan, tmp_path / "out")) == 1
    (record,) = caplog.records
    assert record.getMessage() == (
        "2 files ignored: viewer.exe, deep/a.bval; give --cases#strict True to refuse them"
    )
    assert "2 files are neither scans nor known companions: viewer.exe" in refusal(
        scan, tmp_path / "out", strict=True
    )


def test_formats_that_are_not_read_are_refused_with_all_other_reasons(scan, tmp_path):
    """MONAI's run stops at the first bad scan, so one message lists all bad scans."""
    (scan / "brain.mgz").write_text("x")
    (scan / "gone.nii").symlink_to(tmp_path / "nowhere")
    (scan / "empty.nrrd").touch()

    message = refusal(scan, tmp_path / "out")

    assert "3 of 4 scans cannot be segmented:" in message
    for part in (
        "brain.mgz: a FreeSurfer volume",
        "gone.nii: is a link to a file that is not there",
        "empty.nrrd",
    ):
        assert part in message
    assert "no scan there; segpipe reads" in refusal(tmp_path / "scans" / "deep" / "a.zraw", tmp_path / "out")


def test_a_dangling_link_counts_as_an_existing_file(scan, tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a.mhd").symlink_to(tmp_path / "gone")

    assert "exist already" in refusal(scan, tmp_path / "out")


def test_no_folder_is_replaced(scan, tmp_path):
    (tmp_path / "out" / "deep" / "a.mhd").mkdir(parents=True)

    assert "a folder has the name of the label map to write" in refusal(
        scan, tmp_path / "out", overwrite=True
    )


@pytest.mark.parametrize("file", ["out", "out/deep"])
def test_an_output_folder_below_a_file_is_refused_before_the_first_scan(scan, tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")

    assert f"{tmp_path / file} is no folder" in refusal(scan, tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission_is_refused(scan, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)

    assert "not writable (Permission denied)" in refusal(scan, tmp_path / "out")


def test_the_look_at_the_output_folder_leaves_nothing(scan, tmp_path):
    inference_cases(scan, tmp_path / "out" / "new")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


TABLE = LabelTable.from_rows(
    [
        {"index": 0, "name": "background", "color": [0, 0, 0], "value": 0},
        {"index": 1, "name": "tumour", "color": [255, 0, 0], "value": 1},
    ]
)


def training_cases(folder, images):
    """Return the cases of fold 0; the manifest lists each image (path -> voxels) as a case with a fold of its own."""
    cases = []
    for fold, (name, array) in enumerate(images.items()):
        if "." in name:
            write_volume(array, GRID, folder / name)
        else:
            write_series(array, GRID, folder / name)
        write_label_map((array > array.mean()).astype(np.uint8), GRID, folder / f"labels/{fold}.nii.gz")
        cases.append(Case(f"case_{fold}", (name,), f"labels/{fold}.nii.gz", patient=str(fold), fold=fold))
    manifest = Manifest("set", ("CT",), {0: "background", 1: "tumour"}, tuple(cases))
    write_manifest(manifest, folder / "dataset.json")
    return TrainingCases(folder / "dataset.json", folder, 0, TABLE)


def test_one_picture_in_two_files_does_not_train_and_validate(tmp_path):
    """The copy has another name, format, compression and voxel type, so the checksums differ."""
    images = {"a.nii.gz": ARRAY, "b.nii.gz": ARRAY * 2, "copy.mha": ARRAY.astype(np.float32)}

    message = refusal(tmp_path, images, call=training_cases)

    assert "1 image(s) would both train and validate" in message
    assert "case_2 and case_0" in message


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_that_is_listed_under_test_does_not_train(tmp_path, turned):
    """The copy has another voxel type or flipped axes, so the checksums differ."""
    training_cases(tmp_path, {"a.nii.gz": ARRAY, "b.nii.gz": ARRAY * 2})
    turn = np.diag([-1.0, -1, 1, 1])
    grid = Grid.from_affine(GRID.size, GRID.affine @ turn) if turned else GRID
    copy = (2 * ARRAY)[::-1, ::-1] if turned else 2 * ARRAY.astype(np.float32)
    write_volume(np.ascontiguousarray(copy), grid, tmp_path / "copy.mha")
    described = json.loads((tmp_path / "dataset.json").read_text())
    described.update(numTest=1, test=[{"case": "held", "patient": "9", "image": "copy.mha"}])
    (tmp_path / "dataset.json").write_text(json.dumps(described))

    message = refusal(tmp_path / "dataset.json", tmp_path, 0, TABLE, call=TrainingCases)

    assert (
        "the same image content would train and test: case_1 (training) and held (listed under test)"
        in message
    )


def test_a_missing_test_case_does_not_prevent_training(tmp_path):
    training_cases(tmp_path, {"a.nii.gz": ARRAY, "b.nii.gz": ARRAY * 2})
    described = json.loads((tmp_path / "dataset.json").read_text())
    described.update(numTest=1, test=[{"case": "held", "patient": "9", "image": "elsewhere.mha"}])
    (tmp_path / "dataset.json").write_text(json.dumps(described))

    assert len(TrainingCases(tmp_path / "dataset.json", tmp_path, 0, TABLE).train) == 1


def test_a_series_in_training_and_validation_is_recognised_by_its_voxels(tmp_path):
    """A series is a folder, and a folder has no checksum."""
    cases = training_cases(tmp_path, {"series": ARRAY, "b.nii.gz": ARRAY * 2})

    assert list(cases.held_out) == ["case_0"]
    assert list(cases.provenance["cases"]) == ["case_1"]


def test_no_image_is_read_twice(tmp_path, monkeypatch):
    read = []
    original = segpipe.dataset.examination.read_volume
    monkeypatch.setattr(
        "segpipe.dataset.examination.read_volume",
        lambda path, frame=None: (read.append(path.name), original(path, frame=frame))[1],
    )

    training_cases(tmp_path, {"a.nii.gz": ARRAY, "b.nii.gz": ARRAY * 2})

    assert sorted(read) == ["0.nii.gz", "1.nii.gz", "a.nii.gz", "b.nii.gz"]


def test_class_weights_come_from_the_training_cases_alone(tmp_path):
    images = {name: ARRAY * factor for name, factor in (("held_out.nii", 1), ("a.nii", 2), ("b.nii", 3))}
    cases = training_cases(tmp_path, images)
    labels = np.zeros(GRID.size, np.uint8)
    labels[0] = 1  # a fifth of the voxels
    write_label_map(labels, GRID, tmp_path / "labels/1.nii.gz")
    cases = TrainingCases(tmp_path / "dataset.json", tmp_path, 0, TABLE)

    weights = class_weights(cases, median_frequency_weights)

    # training maps: 48 + 30 of background, 12 + 30 of tumour, in 120 voxels
    assert cases.class_counts.class_voxels.tolist() == [78, 42]
    frequency = np.array([78, 42]) / 120
    np.testing.assert_allclose(weights, np.median(frequency) / frequency, rtol=1e-6)
    np.testing.assert_allclose(class_weights(cases, median_frequency_weights, power=0.5), weights**0.5)
    kept = cases.provenance["class_weights"]["tumour"]
    assert (kept["voxels"], kept["map_voxels"]) == (42, 120)
    assert kept["weight"] == pytest.approx(float(weights[1]) ** 0.5)
    json.dumps(cases.provenance)


def test_a_class_that_no_training_case_has_is_named(tmp_path):
    cases = training_cases(tmp_path, {"held_out.nii": ARRAY, "a.nii": ARRAY * 2})
    write_label_map(np.zeros(GRID.size, np.uint8), GRID, tmp_path / "labels/1.nii.gz")
    cases = TrainingCases(tmp_path / "dataset.json", tmp_path, 0, TABLE)

    message = refusal(cases, median_frequency_weights, call=class_weights)

    assert "no training case has a voxel of tumour" in message
