"""The shipped hippocampus manifest equals the output of its script, and names existing files."""

import subprocess
import sys
from pathlib import Path

import pytest

from segpipe.dataset import load_manifest
from segpipe.files import file_sha256

REPOSITORY = Path(__file__).resolve().parents[2]


def test_it_says_licence_citation_and_that_patients_are_unknown():
    manifest = load_manifest("hippocampus")

    assert manifest.labels == {0: "background", 1: "anterior", 2: "posterior"}
    assert manifest.licence == "CC BY-SA 4.0"
    assert "13:4128" in manifest.citation
    assert manifest.patients.startswith("unknown")
    assert all(case.patient is None for case in manifest.training)
    assert [sum(case.fold == fold for case in manifest.training) for fold in range(5)] == [40] * 5
    assert len({case.case for case in (*manifest.training, *manifest.test)}) == 260
    assert all(set(case.sha256) == {*case.images, case.label} for case in manifest.test)


@pytest.mark.realdata
def test_every_case_is_there_and_checksums_hold(real_data):
    folder = real_data("hippocampus")
    manifest = load_manifest("hippocampus")

    assert {f"{case.case}.nii.gz" for case in manifest.training} == {
        path.name for path in (folder / "imagesTr").glob("*.nii.gz")
    }
    for case in manifest.training[::50]:
        for path in case.files:
            assert file_sha256(folder / path) == case.sha256[path]


@pytest.mark.realdata
def test_script_writes_the_same_bytes(real_data, tmp_path):
    script = REPOSITORY / "scripts" / "make_hippocampus_manifest.py"
    output = tmp_path / "m.json"

    folder = real_data("hippocampus")
    sums = folder.parent / "HELD_BACK_SHA256SUMS"

    subprocess.run([sys.executable, script, folder, sums, "--output", output], check=True)

    assert output.read_bytes() == (REPOSITORY / "data_manifests" / "hippocampus.json").read_bytes()
