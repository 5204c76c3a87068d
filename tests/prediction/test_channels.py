"""Scans whose channels have a file each: label maps are those of one file with all channels in the right order."""

import shutil

import nibabel
import numpy as np
import pytest
from tiny_bundle import CHANNELS, SIZE, noise, write_two_channel_bundle

import segpipe
from segpipe import PredictOptions
from segpipe.bundle.cases import inference_cases
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.prediction.estimate import estimate
from segpipe.prediction.options import Outcome
from segpipe.volumes import Grid, read_volume, write_volume

GRID = Grid.from_affine(SIZE, np.eye(4))


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory):
    """Return a tiny bundle of two channels."""
    return write_two_channel_bundle(tmp_path_factory.mktemp("two") / "bundle")


@pytest.fixture
def predict(two_channels, tmp_path):
    """Return a function that segments scans into a folder and returns case -> prediction."""

    def run(scans, folder="out", resample=False, **overrides):
        source = BundleSource(two_channels, overrides=overrides)
        options = PredictOptions(overlays=False, resample_channels=resample)
        return {
            done.case: done for done in segpipe.predict(scans, source, tmp_path / folder, options=options)
        }

    return run


@pytest.fixture
def scans(tmp_path):
    """Return a folder with two cases, a file each channel."""
    for number, case in enumerate(("a", "b")):
        for channel, name in enumerate(("flair", "t1c")):
            path = tmp_path / "scans" / f"{case}_{name}.nii.gz"
            write_volume(noise(seed=2 * number + channel), GRID, path)
    return tmp_path / "scans"


def labels(prediction):
    return read_volume(prediction.label_map).array


def merged(folder, seeds):
    path = folder / "a.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(np.stack([noise(seed=seed) for seed in seeds], axis=-1), np.eye(4)), path
    )
    return path


def test_a_merged_file_in_a_stated_order_gives_the_same_label_map(predict, scans, tmp_path):
    apart = predict(scans)
    right = predict(merged(tmp_path, (0, 1)), "right", channel_order=["FLAIR", "T1c"])
    turned = predict(merged(tmp_path, (1, 0)), "turned", channel_order=["T1c", "FLAIR"])
    wrong = predict(merged(tmp_path, (1, 0)), "wrong", channel_order=["FLAIR", "T1c"])

    assert set(apart) == {"a", "b"}
    assert np.array_equal(labels(apart["a"]), labels(right["a"]))
    assert np.array_equal(labels(apart["a"]), labels(turned["a"]))
    assert not np.array_equal(labels(apart["a"]), labels(wrong["a"]))


def test_files_that_are_named_one_by_one_are_joined(predict, scans):
    """A shell that expands scans/* names each file, and the sidecars beside them."""
    (scans / "a_flair.json").write_text('{"EchoTime": 0.1}')
    expected = predict(scans)

    named = predict(sorted(scans.iterdir()), "named")

    assert set(named) == {"a", "b"}
    for case, done in named.items():
        assert np.array_equal(labels(done), labels(expected[case]))


def test_a_file_that_is_named_without_its_other_channel_fails(predict, scans):
    (failed,) = predict([scans / "a_flair.nii.gz"]).values()

    assert "a: has no file of the channel T1c" in failed.reason


def test_a_merged_file_of_unknown_order_fails(predict, scans, tmp_path):
    (failed,) = predict(merged(tmp_path, (0, 1))).values()

    assert failed.outcome is Outcome.FAILED
    assert "whose order is not known" in failed.reason


def test_a_table_and_a_folder_for_each_case_give_the_same_label_maps(predict, scans, tmp_path):
    expected = predict(scans)
    table = tmp_path / "list.csv"
    table.write_text(
        "image_t1c,image_flair,case\nscans/a_t1c.nii.gz,scans/a_flair.nii.gz,a\n"
        "scans/b_t1c.nii.gz,scans/b_flair.nii.gz,b\n"
    )
    for case in "ab":
        for channel in ("flair", "t1c"):
            folder = tmp_path / "patients" / case
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(scans / f"{case}_{channel}.nii.gz", folder / f"x_{channel}.nii.gz")

    by_table, by_folder = predict(table, "table"), predict(tmp_path / "patients", "patients_out")

    for case in "ab":
        assert np.array_equal(labels(by_table[case]), labels(expected[case]))
        assert np.array_equal(labels(by_folder[f"{case}/x"]), labels(expected[case]))


def test_a_case_without_a_channel_or_on_two_grids_fails_alone(predict, scans):
    (scans / "b_t1c.nii.gz").unlink()
    for channel, shift in (("flair", 0), ("t1c", 2)):
        affine = np.eye(4)
        affine[0, 3] = shift
        write_volume(noise(), Grid.from_affine(SIZE, affine), scans / f"c_{channel}.nii.gz")

    outcomes = predict(scans)

    assert outcomes["a"].outcome is Outcome.DONE
    assert "b: has no file of the channel T1c ({case}_t1c)" in outcomes["b"].reason
    assert "c_t1c.nii.gz" in outcomes["c"].reason
    assert "origin" in outcomes["c"].reason
    assert "add --resample-channels" in outcomes["c"].reason


def test_channels_on_other_grids_are_resampled_when_asked(predict, scans, tmp_path):
    """On a grid of twice the size round the first one, every second voxel is the first one's."""
    around = np.repeat(np.repeat(np.repeat(noise(seed=1), 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = -0.25
    fine = np.zeros_like(around)
    fine[...] = around
    write_volume(fine, Grid.from_affine(fine.shape, affine), scans / "a_t1c.nii.gz")

    refused, resampled = predict(scans), predict(scans, resample=True)

    assert [done.outcome for done in refused.values()] == [Outcome.FAILED, Outcome.DONE]
    assert [done.outcome for done in resampled.values()] == [Outcome.DONE, Outcome.DONE]
    assert {case: list(done.resampled) for case, done in resampled.items()} == {
        "a": ["T1c covers 100 %"],
        "b": [],
    }
    rows = (tmp_path / "out" / "volumes.csv").read_text().splitlines()
    assert [row.endswith(",T1c covers 100 %,") for row in rows[1:]] == [True, True, False, False]
    write_volume(noise(seed=1), GRID, scans / "a_t1c.nii.gz")  # what the blocks of equal voxels are of
    same = predict(scans, "same")
    assert np.array_equal(labels(resampled["a"]), labels(same["a"]))


def test_a_changed_second_channel_is_segmented_again(predict, scans):
    predict(scans)
    write_volume(noise(seed=9), GRID, scans / "a_t1c.nii.gz")

    again = predict(scans)

    assert {case: done.outcome for case, done in again.items()} == {"a": Outcome.DONE, "b": Outcome.SKIPPED}


def test_no_label_map_replaces_a_second_channel(predict, tmp_path):
    for name in ("a_flair", "a_t1c"):
        write_volume(noise(), GRID, tmp_path / "images" / f"{name}.nii.gz")
    (tmp_path / "list.csv").write_text(
        "case,image_flair,image_t1c\na_t1c,images/a_flair.nii.gz,images/a_t1c.nii.gz\n"
    )

    with pytest.raises(
        SegpipeError, match=r"its label map \S*a_t1c\.nii\.gz would replace the scan \S*a_t1c\.nii"
    ):
        predict(tmp_path / "list.csv", "images")


def test_the_estimate_counts_cases(two_channels, scans, tmp_path):
    rows = estimate(scans, two_channels, tmp_path / "out")

    assert [(row.case, row.action) for row in rows] == [("a", "segment"), ("b", "segment")]


def test_monais_run_takes_the_same(scans, tmp_path):
    records = inference_cases(scans, tmp_path / "out", num_channels=2, channels=CHANNELS)

    assert records[0] == {
        "case": "a",
        "image": [str(scans / "a_flair.nii.gz"), str(scans / "a_t1c.nii.gz")],
        "output": "a.nii.gz",
    }
    (scans / "b_t1c.nii.gz").unlink()
    with pytest.raises(
        SegpipeError, match=r"1 of 2 scans cannot be segmented:\nb: has no file of the channel T1c"
    ):
        inference_cases(scans, tmp_path / "out", num_channels=2, channels=CHANNELS)
