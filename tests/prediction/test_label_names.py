"""A cohort's output folder states the names of its labels once, and holds no label map of other classes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_bundle import write_bundle, write_scan, write_scans, write_weights

import segpipe
from segpipe import PredictOptions
from segpipe.errors import SegpipeError
from segpipe.prediction.options import Outcome
from segpipe.volumes import VolumeFormat, read_volume
from segpipe.volumes.label_files import ITK_SNAP_FILE, SLICER_FILE

FILES = (ITK_SNAP_FILE, SLICER_FILE)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("named") / "hippocampus")


@pytest.fixture
def with_labels(bundle, tmp_path):
    """Return a function that copies the bundle, with changes to its label table by index."""

    def changed(**changes):
        copy = tmp_path / "other_bundle"
        shutil.copytree(bundle, copy)
        path = copy / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        for index, row in changes.items():
            metadata["label_table"][int(index.removeprefix("class_"))] |= row
        path.write_text(json.dumps(metadata))
        write_weights(copy, copy / "models" / "model.pt", seed=0)
        return copy

    return changed


@pytest.fixture
def scans(tmp_path):
    return write_scans(tmp_path / "scans", 2)


def run(scans, bundle, folder, **options):
    return segpipe.predict(scans, bundle, folder, options=PredictOptions(**{"overlays": False, **options}))


def texts(folder):
    return {name: (folder / name).read_text() for name in FILES}


def test_names_and_colours_lie_at_the_top_of_the_output_folder_once(bundle, tmp_path, out):
    write_scan(tmp_path / "scans" / "deep" / "a.nii.gz", 1)
    write_scan(tmp_path / "scans" / "b.nrrd", 2)

    run(tmp_path / "scans", bundle, out)
    before = {name: (out / name).stat().st_mtime_ns for name in FILES}
    run(tmp_path / "scans", bundle, out)

    assert [path for name in FILES for path in out.rglob(name)] == [out / name for name in FILES]
    assert '2    86  180  233        1  1  1    "posterior"' in texts(out)[ITK_SNAP_FILE]
    assert "1 anterior 230 159 0 255" in texts(out)[SLICER_FILE].splitlines()
    assert {name: (out / name).stat().st_mtime_ns for name in FILES} == before
    assert sitk.ReadImage(out / "b.nrrd").GetMetaData("Segment1_Name") == "posterior"


def test_other_classes_are_written_anew_with_all_label_maps(bundle, with_labels, scans, out):
    run(scans, bundle, out)

    predictions = run(scans, with_labels(class_1={"name": "head"}), out)

    assert {prediction.outcome for prediction in predictions} == {Outcome.DONE}
    assert '"head"' in texts(out)[ITK_SNAP_FILE]
    assert "anterior" not in "".join(texts(out).values())


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "head"}, "scan_000, scan_001 .anterior, posterior., where the bundle has head, posterior"),
        ({"value": 9}, "calls the value 9 nothing where the label table calls it 'anterior'"),
    ],
)
def test_other_classes_are_refused_beside_label_maps_that_stay(
    change, message, overwrite, bundle, with_labels, scans, tmp_path, out
):
    """A viewer would show the first two label maps with wrong class names."""
    run(scans, bundle, out)
    before = texts(out)
    single = write_scan(tmp_path / "third" / "c.nii.gz", 5)

    with pytest.raises(SegpipeError, match=message):
        run(single, with_labels(class_1=change), out, overwrite=overwrite)

    assert texts(out) == before
    assert not (out / "c.nii.gz").exists()


def test_the_same_bundle_goes_on_beside_label_maps_that_stay(bundle, scans, tmp_path, out):
    run(scans, bundle, out)
    before = texts(out)

    (prediction,) = run(write_scan(tmp_path / "third" / "c.nii.gz", 5), bundle, out)

    assert prediction.outcome is Outcome.DONE
    assert texts(out) == before


def test_somebody_elses_file_of_labels_is_replaced_only_when_asked(bundle, scans, out):
    out.mkdir()
    (out / ITK_SNAP_FILE).write_text("mine")

    with pytest.raises(SegpipeError, match=r"labels\.label: lies where segpipe writes"):
        run(scans, bundle, out)
    assert (out / ITK_SNAP_FILE).read_text() == "mine"

    run(scans, bundle, out, overwrite=True)
    assert '"anterior"' in texts(out)[ITK_SNAP_FILE]


def test_segmentations_of_3d_slicer_on_request(bundle, scans, out):
    predictions = run(scans, bundle, out, format=VolumeFormat.SEG_NRRD)

    assert [prediction.label_map for prediction in predictions] == [
        out / "scan_000.seg.nrrd",
        out / "scan_001.seg.nrrd",
    ]
    image = sitk.ReadImage(out / "scan_000.seg.nrrd")
    assert [image.GetMetaData(f"Segment{number}_Name") for number in (0, 1)] == ["anterior", "posterior"]
    np.testing.assert_array_equal(
        read_volume(out / "scan_000.seg.nrrd").array, sitk.GetArrayFromImage(image).T
    )


def test_a_background_that_3d_slicer_has_not_is_refused_before_the_first_scan(
    bundle, with_labels, scans, out
):
    other = with_labels(class_0={"value": 7})

    with pytest.raises(SegpipeError, match=r"background \(background\) is stored as 7"):
        run(scans, other, out, format=VolumeFormat.SEG_NRRD)

    assert not list(out.glob("*.nrrd"))
