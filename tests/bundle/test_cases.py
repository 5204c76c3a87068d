"""Which scans a bundle segments: nothing on disk is replaced unasked, and outputs can be written."""

import os

import numpy as np
import pytest

from segpipe.bundle import inference_cases
from segpipe.volumes import Grid, write_series, write_volume

GRID = Grid.from_affine((5, 4, 3), np.eye(4))
ARRAY = np.arange(60, dtype=np.int16).reshape(GRID.size)


def refusal(*arguments, **keywords) -> str:
    with pytest.raises(SystemExit) as ended:
        inference_cases(*arguments, **keywords)
    message = str(ended.value.code)
    assert message.startswith("segpipe: ")
    return message


@pytest.fixture
def scan(tmp_path):
    write_volume(ARRAY, GRID, tmp_path / "scans" / "deep" / "a.mhd")
    return tmp_path / "scans"


def test_a_scan_beside_the_one_segmented_is_not_replaced(tmp_path):
    """The label map of the series p1/ would be p1.nii.gz, which is the patient's other scan."""
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


def test_a_link_that_leads_nowhere_exists(scan, tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a.mhd").symlink_to(tmp_path / "gone")

    assert "exist already" in refusal(scan, tmp_path / "out")


def test_no_folder_is_replaced(scan, tmp_path):
    (tmp_path / "out" / "deep" / "a.mhd").mkdir(parents=True)

    assert "a folder stands" in refusal(scan, tmp_path / "out", overwrite=True)


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
