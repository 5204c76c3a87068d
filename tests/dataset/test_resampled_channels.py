"""A manifest that resamples channels: checks, records and training see them on the first one's grid."""

import json
from dataclasses import replace

import numpy as np
import pytest

from segpipe.bundle.cases import TrainingCases
from segpipe.dataset import Case, Manifest, check_cases, create_manifest, load_manifest, write_manifest
from segpipe.dataset.resampled_channels import resampling_note
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_label_map, write_volume

FIRST = Grid.from_affine((8, 8, 6), np.diag([-1.0, -1, 1, 1]))
KNOWN = {
    "images": ["{case}_t1.nii.gz", "{case}_flair.nii.gz"],
    "label": "{case}_gt.nii.gz",
    "labels": {0: "background", 1: "tumour"},
    "modality": ["T1", "FLAIR"],
    "checksums": False,
}


def coarse(start=1.0):
    affine = np.diag([-2.0, -2, 2, 1])
    affine[:3, 3] = (start, 1, -1)
    return Grid.from_affine((6, 6, 5), affine)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three cases; the second channel of the first two lies on another grid."""
    for number in range(3):
        random = np.random.default_rng(number)
        other = coarse() if number < 2 else FIRST
        for name, grid in (("t1", FIRST), ("flair", other)):
            array = random.normal(100, 10, grid.size).astype(np.float32)
            write_volume(array, grid, tmp_path / f"c{number}_{name}.nii.gz")
        labels = np.zeros(FIRST.size, np.uint8)
        labels[2:5, 2:5, 2:4] = 1
        write_label_map(labels, FIRST, tmp_path / f"c{number}_gt.nii.gz")
    return tmp_path


def findings(manifest, folder):
    return check_cases(manifest.training, folder, manifest, manifest.label_table(), progress=False)


def test_created_with_the_option_the_manifest_says_so(folder, tmp_path):
    created = create_manifest(folder, resample_channels=True, **KNOWN)

    assert created.notes[-1] == (
        "2 of 3 cases have channels on another grid than T1 (FLAIR in 2): these are resampled onto its grid, linear; "
        "the least covers 100 % of it"
    )
    write_manifest(created.manifest, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["resample_channels"] is True
    assert load_manifest(tmp_path / "m.json") == created.manifest
    assert findings(created.manifest, folder) == []


def test_without_the_option_the_check_names_it(folder):
    created = create_manifest(folder, **KNOWN)

    assert "resample_channels" not in created.manifest.to_json()
    errors = [finding for finding in findings(created.manifest, folder) if finding.severity == "error"]
    assert [error.case for error in errors] == ["c0", "c1"]
    assert "add --resample-channels" in errors[0].message


def test_a_channel_that_covers_too_little(folder):
    # its first voxel ends at R = -5 mm: 3 of 8 columns, at -5, -6 and -7 mm, lie inside
    write_volume(np.ones((6, 6, 5), np.float32), coarse(-6.0), folder / "c1_flair.nii.gz")

    with pytest.raises(SegpipeError, match=r"c1: \S*c1_flair\.nii\.gz: .*covers 38 %"):
        create_manifest(folder, resample_channels=True, **KNOWN)
    manifest = replace(create_manifest(folder, **KNOWN).manifest, resample_channels=True)
    (error,) = (finding for finding in findings(manifest, folder) if finding.severity == "error")
    assert "covers 38 %" in error.message
    assert resampling_note(manifest, folder, strict=False).startswith("1 of 3 cases")


def test_no_channel_to_resample(folder):
    case = Case("c2", ("c2_t1.nii.gz", "c2_flair.nii.gz"), "c2_gt.nii.gz")
    manifest = Manifest("set", ("T1", "FLAIR"), {0: "background", 1: "tumour"}, (case,))

    assert resampling_note(manifest, folder) == (
        "no channel is resampled: the channels of every case lie on one grid"
    )


def test_training_needs_a_bundle_that_resamples(folder, tmp_path):
    manifest = create_manifest(folder, resample_channels=True, **KNOWN).manifest
    write_manifest(manifest, tmp_path / "m.json")
    how = (tmp_path / "m.json", folder, "all", manifest.label_table())

    with pytest.raises(
        SegpipeError, match=r"resample_channels\), and the bundle does not do so; plan the bundle"
    ):
        TrainingCases(*how)
    assert len(TrainingCases(*how, resample_channels=True).train) == 3
