"""Uploads through a bundle's network in this process: equal to `predict`, and refused with a message for the client."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicom_objects import points_by_frames
from tiny_bundle import SIZE, noise, write_broken, write_bundle, write_scan
from tiny_classifier import write_classifier, write_image

from segpipe.bundle.open import open_bundle
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.prediction.classify import classify
from segpipe.prediction.image_options import ClassifyOptions
from segpipe.prediction.options import PredictOptions
from segpipe.prediction.predict import predict
from segpipe.serving.answer import Answer
from segpipe.serving.network import answer_upload
from segpipe.serving.options import ServeLimits
from segpipe.serving.segmentation_object import SegmentationObjects
from segpipe.serving.steps import upload_steps
from segpipe.serving.upload_kinds import START_BYTES, upload_suffix
from segpipe.volumes import Grid, Scan, VolumeFormat, read_header, read_volume, write_series

LIMITS = ServeLimits(voxels=10_000)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def opened(bundle):
    return open_bundle(bundle)


@pytest.fixture(scope="module")
def steps(bundle):
    return upload_steps(BundleSource(bundle), LIMITS)


@pytest.fixture
def answer(tmp_path, steps):
    """Return a function that answers an upload."""

    def answered(content, steps=steps):
        upload, output = tmp_path / "upload", tmp_path / "output"
        upload.mkdir()
        output.mkdir()
        (upload / f"upload{upload_suffix(content[:START_BYTES])}").write_bytes(content)
        return answer_upload(steps, upload, output, LIMITS)

    return answered


def zip_of(folder, *more):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in (path for one in (folder, *more) for path in sorted(one.rglob("*")) if path.is_file()):
            archive.write(path, path.relative_to(folder.parent).as_posix())
    return content.getvalue()


def write_slices(folder, uid="1.2.3", size=SIZE):
    folder.mkdir(parents=True)
    grid = Grid.from_affine(size, np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_series(noise(size), grid, folder, series_uid=uid)
    return folder


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.mha", "scan.nrrd", "series"])
def test_a_label_map_equals_that_of_predict(tmp_path, bundle, answer, name):
    given = tmp_path / "given" / name
    content = zip_of(write_slices(given)) if name == "series" else write_scan(given, 3).read_bytes()
    options = PredictOptions(overlays=False)
    (expected,) = predict(given, bundle, tmp_path / "expected", options=options)

    got = answer(content)

    ours = read_volume(tmp_path / "output" / got.files["label_map"])
    theirs = read_volume(expected.label_map)
    assert got.status == 200, got.message
    assert got.files["label_map"].removeprefix("scan") == expected.label_map.name.removeprefix(expected.case)
    np.testing.assert_array_equal(ours.array, theirs.array)
    assert not ours.grid.differences(theirs.grid)
    assert len(np.unique(ours.array)) == 3  # the classes of the bundle
    assert [row["voxels"] for row in got.content["volumes"]] == [one.voxels for one in expected.volumes]
    assert got.content["warnings"] == expected.warnings
    assert Answer.from_json(got.to_json()) == got
    assert {*got.files, *got.withheld} == {"label_map", "dicom_seg"}


def test_the_dicom_seg_of_a_series_has_the_voxels_of_its_label_map(tmp_path, answer, opened):
    got = answer(zip_of(write_slices(tmp_path / "given/series")))

    stored = read_volume(tmp_path / "output" / got.files["label_map"]).array
    written = tmp_path / "output" / got.files["dicom_seg"]
    for label in opened.labels.labels[1:]:
        assert len(points_by_frames(written, label.index)) == (stored == label.value).sum() > 0
    assert got.withheld == {}


def test_a_result_without_a_dicom_seg_says_why(tmp_path, answer, bundle, opened):
    rows = [replace(label, codes=None) for label in opened.labels.labels]
    without = SegmentationObjects(replace(opened, labels=LabelTable(tuple(rows))))
    folder = write_slices(tmp_path / "series")
    series = Scan(folder, VolumeFormat.DICOM, "scan")

    got = answer(write_scan(tmp_path / "given/scan.nii.gz").read_bytes())

    assert got.withheld == {
        "dicom_seg": "a DICOM SEG refers to the slices of a DICOM series, and the upload is NIFTI_GZ; upload the "
        "series as a zip"
    }
    reason = without.why_none(series, read_header(folder))
    assert reason.startswith(f"{bundle.name}: DICOM SEG needs the coded category and type of each segment")
    assert without.write(series, read_header(folder), np.zeros(SIZE), tmp_path) == (None, reason)


def test_a_series_that_a_dicom_seg_cannot_refer_to_is_segmented_all_the_same(tmp_path, answer):
    folder = write_slices(tmp_path / "given/series")
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.FrameOfReferenceUID
        dataset.save_as(file)

    got = answer(zip_of(folder))

    assert (got.status, list(got.files)) == (200, ["label_map"])
    assert "lacks FrameOfReferenceUID" in got.withheld["dicom_seg"]
    assert str(tmp_path) not in got.withheld["dicom_seg"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated.nii.gz", "truncated"),
        ("text.nii.gz", "corrupt (Unknown compression method)"),
        ("blank.nii.gz", "blank"),
        ("slice.nii.gz", "the bundle takes 3D with 1"),
    ],
)
def test_a_scan_that_the_bundle_refuses_is_told_without_the_servers_folders(tmp_path, answer, name, message):
    content = write_broken(tmp_path / "given", name).read_bytes()
    content = content if name != "text.nii.gz" else b"\x1f\x8b" + content

    got = answer(content)

    assert got.status == 422
    assert message in got.message
    assert got.message.startswith("scan.nii.gz: ")
    assert str(tmp_path) not in got.message


def test_two_series_are_refused(tmp_path, answer):
    one, two = write_slices(tmp_path / "given/a", "1.2.3"), write_slices(tmp_path / "given/b", "1.2.4")

    got = answer(zip_of(one, two))

    assert got.status == 422
    assert got.message == "the upload holds 2 scans, must be one: a, b; upload each by itself"


def test_two_series_in_one_folder_are_refused(tmp_path, answer):
    both = write_slices(tmp_path / "given/a", "1.2.3")
    for file in write_slices(tmp_path / "given/b", "1.2.4").iterdir():
        file.rename(both / f"b{file.name}")

    got = answer(zip_of(both))

    assert got.status == 422
    assert "2 image series in one folder, must be one" in got.message
    assert "1.2.3" in got.message


def test_a_scan_with_too_many_voxels_is_refused_by_its_header(tmp_path, answer):
    got = answer(write_scan(tmp_path / "given/scan.nii.gz", size=(30, 30, 30)).read_bytes())

    assert got.status == 422
    assert "27000 voxels in all channels, this server takes 10000" in got.message


def test_a_zip_without_a_scan_is_refused(tmp_path, answer):
    (tmp_path / "given").mkdir()
    (tmp_path / "given/letter.txt").write_text("dear server")
    (tmp_path / "given/cases.csv").write_text("image\n/etc/passwd\n")  # a table reaches no file of the server

    got = answer(zip_of(tmp_path / "given"))

    assert got.status == 422
    assert "no scan there" in got.message


def test_a_header_that_names_a_file_of_the_server_reads_nothing_of_it(tmp_path, answer):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(8))
    (tmp_path / "given").mkdir()
    (tmp_path / "given/scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {secret}\n"
    )

    got = answer(zip_of(tmp_path / "given"))

    assert got.status == 422
    assert "folder" in got.message


def test_a_defect_is_told_without_its_values(tmp_path, answer):
    def broken(folder, output):
        raise TypeError("Doe^Jane")

    got = answer(write_scan(tmp_path / "given/scan.nii.gz").read_bytes(), broken)

    assert (got.status, got.files) == (500, {})
    assert "TypeError" in got.message
    assert "Doe" not in got.to_json().decode()
    assert got.where[-1].endswith("broken")


def test_an_image_is_classified_as_by_predict(tmp_path, answer):
    bundle = write_classifier(tmp_path / "classifier")
    image = write_image(tmp_path / "given/image.png")
    (expected,) = classify(image, bundle, tmp_path / "expected", options=ClassifyOptions(batch_size=1))

    got = answer(image.read_bytes(), upload_steps(BundleSource(bundle), LIMITS))

    assert got.status == 200, got.message
    assert got.content["decision"] == expected.decision
    assert got.content["probabilities"] == dict(zip(expected.classes, expected.probabilities, strict=True))
    assert got.files == {}


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(SegpipeError, match="is not a bundle"):
        upload_steps(BundleSource(tmp_path), LIMITS)
