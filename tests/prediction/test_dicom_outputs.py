"""`predict` writes DICOM objects beside label maps, of DICOM series only; they follow corrections."""

import json

import nibabel
import numpy as np
import pydicom
import pytest
from cohort_files import DONE, KEPT, SKIPPED, outcomes
from tiny_bundle import SIZE, noise, write_bundle, write_scan

from segpipe import PredictOptions
from segpipe.bundle.open import open_bundle
from segpipe.errors import SegpipeError
from segpipe.prediction.dicom_outputs import DicomOutputs
from segpipe.prediction.estimate import estimate
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Grid, read_volume, write_series
from segpipe.volumes.label_objects import masks_of, read_label_object, series_place

BOTH = {"dicom_seg": True, "rtstruct": True}
SEG, CONTOURS = "dicom_segmentations/series.dcm", "dicom_structure_sets/series.dcm"


@pytest.fixture
def series(tmp_path):
    grid = Grid.from_lps(SIZE, (1.0, 1.0, 1.0), (-5.0, 3.0, 20.0), np.eye(3))
    write_series(noise(), grid, tmp_path / "in" / "series", patient_id="Doe^Jane")
    return tmp_path / "in" / "series"


@pytest.fixture
def no_network(monkeypatch):
    """The network may not run."""

    def segment(*arguments, **options):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Segmenter, "segment", segment)


def require_labels(folder, series, label_map):
    """Both objects hold the label map."""
    expected, place = read_volume(label_map).array, series_place(series)
    for name in (SEG, CONTOURS):
        labels = read_label_object(folder / name)
        assert list(labels.numbers.values()) == ["anterior", "posterior"]
        for number in (1, 2):
            np.testing.assert_array_equal(masks_of(labels, place, [number]), expected == number)


@pytest.mark.slow
def test_objects_hold_the_label_map_and_are_kept_by_the_ledger(run, series, out):
    (made,) = run(series.parent, **BOTH).values()

    labels = read_volume(made.label_map).array
    assert set(np.unique(labels)) >= {1, 2}
    require_labels(out, series, made.label_map)
    seg = pydicom.dcmread(out / SEG)
    assert seg.SegmentSequence[0].SegmentAlgorithmName == "Hippocampus MRI U-Net"
    assert seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "0.1.0"
    kind = seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeMeaning, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == (
        "Hippocampus",
        "Posterior",
    )
    before = (out / SEG).read_bytes()
    assert outcomes(run(series.parent, **BOTH)) == {SKIPPED: 1}
    (out / CONTOURS).unlink()
    assert outcomes(run(series.parent, **BOTH)) == {DONE: 1}
    assert (out / CONTOURS).is_file()
    assert (out / SEG).read_bytes() != before  # a new object has a new UID


@pytest.mark.slow
def test_objects_follow_a_label_map_that_was_corrected(run, series, out):
    (made,) = run(series.parent, dicom_seg=True).values()
    image = nibabel.load(made.label_map)
    labels = np.asarray(image.dataobj).copy()
    labels[:3, 2:5, 1:4] = 2
    nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), made.label_map)

    assert outcomes(run(series.parent, **BOTH)) == {KEPT: 1}

    require_labels(out, series, made.label_map)
    assert pydicom.dcmread(out / SEG).SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert outcomes(run(series.parent, **BOTH)) == {KEPT: 1}
    assert outcomes(run(series.parent)) == {KEPT: 1}


@pytest.mark.slow
def test_objects_are_written_after_monais_chain_too(run, series, out):
    window = {
        "_target_": "monai.inferers.SlidingWindowInfererAdapt",
        "roi_size": "@window_size",
        "overlap": "@overlap",
    }
    inferer = {"_target_": "segpipe.inference.PrecisionInferer", "inferer": window, "precision": "@precision"}

    (made,) = run(series.parent, overrides={"inferer": inferer}, **BOTH).values()

    assert "by MONAI's own chain" in made.reason
    require_labels(out, series, made.label_map)


@pytest.mark.parametrize("options", [{"rtstruct": True}, pytest.param(BOTH, marks=pytest.mark.slow)], ids=str)
def test_other_scans_are_refused_before_the_network_runs(run, tmp_path, no_network, options):
    scan = write_scan(tmp_path / "in" / "scan.nii.gz")

    (failed,) = run(scan, **options).values()

    named = " and ".join(f"--{name.replace('_', '-')}" for name in options)
    assert (
        f"{scan}: {named}: such an object refers to the slices of a DICOM series, and this scan is NIFTI_GZ"
        in (failed.reason)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda slices: [one.pop("FrameOfReferenceUID") for one in slices], "lacks FrameOfReferenceUID"),
        (
            lambda slices: [
                setattr(one, "ImagePositionPatient", [0, k / 4, k]) for k, one in enumerate(slices)
            ],
            "gantry tilt of 14.04 degrees",
        ),
        (
            lambda slices: [
                setattr(one, "ImagePositionPatient", [0, 0, k**1.1]) for k, one in enumerate(slices)
            ],
            "slices are unevenly spaced",
        ),
    ],
    ids=["no frame of reference", "gantry tilt", "uneven"],
)
@pytest.mark.slow
def test_series_that_a_segmentation_cannot_hold_are_refused_before_the_network_runs(
    run, series, no_network, change, said
):
    files = sorted(series.iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    change(slices)
    for file, dataset in zip(files, slices, strict=True):
        dataset.save_as(file)

    (failed,) = run(series.parent, **BOTH).values()

    assert said in failed.reason


@pytest.fixture(scope="module")
def without_codes(tmp_path_factory):
    root = write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    for row in metadata["label_table"]:
        for column in ("category", "type", "modifier"):
            row.pop(column, None)
    path.write_text(json.dumps(metadata))
    return root


def test_a_bundle_without_codes_is_refused_for_segmentations_alone(without_codes):
    opened = open_bundle(without_codes)

    with pytest.raises(SegpipeError, match="anterior, posterior have none; give a table, --segment-codes"):
        DicomOutputs.of(opened, PredictOptions(dicom_seg=True))
    assert DicomOutputs.of(opened, PredictOptions(rtstruct=True)).folders == ("dicom_structure_sets",)


def test_a_table_of_the_user_gives_it_codes(without_codes, tmp_path):
    table = tmp_path / "codes.csv"
    table.write_text("class,category,type,modifier\nanterior,91723000,Hippocampus,anterior\n")
    options = PredictOptions(dicom_seg=True, segment_codes=table)
    opened = open_bundle(without_codes)

    with pytest.raises(SegpipeError, match="of each segment, and posterior has none; give a table"):
        DicomOutputs.of(opened, options)
    before = options.recipe(opened)
    with table.open("a") as file:
        file.write("posterior,Anatomical Structure,5366008,posterior\n")

    found = DicomOutputs.of(opened, options).labels.targets
    assert [one.codes.modifier.meaning for one in found] == ["Anterior", "Posterior"]
    assert options.recipe(opened) != before  # objects of the earlier table are written again
    with pytest.raises(
        SegpipeError, match="--segment-codes is a table for DICOM Segmentations; add --dicom-seg"
    ):
        PredictOptions(segment_codes=table).check()


@pytest.mark.slow
def test_codes_change_no_label_map(bundle, without_codes):
    """A ledger of an earlier run stays valid when codes are added."""
    options = PredictOptions()

    assert options.recipe(open_bundle(bundle)) == options.recipe(open_bundle(without_codes))
    assert options.recipe(open_bundle(bundle)) != PredictOptions(dicom_seg=True).recipe(open_bundle(bundle))


@pytest.mark.slow
def test_an_estimate_refuses_the_same_scans(bundle, tmp_path):
    scan = write_scan(tmp_path / "in" / "scan.nii.gz")

    (row,) = estimate(scan, bundle, tmp_path / "out", options=PredictOptions(dicom_seg=True))

    assert (row.action, "refers to the slices of a DICOM series" in row.reason) == ("refuse", True)


@pytest.mark.slow
def test_a_file_that_segpipe_did_not_write_stays(run, series, out, no_network):
    (out / SEG).parent.mkdir(parents=True)
    (out / SEG).write_text("mine")

    (failed,) = run(series.parent, dicom_seg=True).values()

    assert "has the path of an output for" in failed.reason
    assert (out / SEG).read_text() == "mine"
