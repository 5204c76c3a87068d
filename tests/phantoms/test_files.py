"""The generators write a correct and reproducible data set, and scans with references on their grids."""

import pytest

from segpipe.dataset import check_cases, load_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import MRI, ct, write_phantom_dataset, write_phantom_scans
from segpipe.volumes import find_scans, read_volume

KINDS = {"MRI": MRI, "CT": ct(size=64, slices=2)}
CLASSES = {
    "MRI": ("background", "anterior", "posterior"),
    "CT": ("background", "ground-glass", "consolidation", "effusion"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_set_is_sound_and_the_same_again(tmp_path, kind):
    path = write_phantom_dataset(tmp_path / "one", num_cases=4, seed=3, kind=KINDS[kind])
    again = write_phantom_dataset(tmp_path / "two", num_cases=4, seed=3, kind=KINDS[kind])

    manifest = load_manifest(path)
    assert path == tmp_path / "one" / "dataset.json"
    # the manifest holds the checksums of all files
    assert path.read_bytes() == again.read_bytes()
    assert sorted(case.fold for case in manifest.training) == [0, 1, 2, 3]
    table = manifest.label_table()
    assert (manifest.modality, table.names) == ((kind,), CLASSES[kind])
    assert check_cases(manifest.training, path.parent, manifest, table) == []


@pytest.mark.parametrize("kind", KINDS)
def test_scans_have_references_on_their_grids(tmp_path, kind):
    written = write_phantom_scans(tmp_path / "scans", tmp_path / "references", seed=3, kind=KINDS[kind])

    scans = find_scans(tmp_path / "scans")
    references = {scan.name: scan for scan in find_scans(tmp_path / "references")}
    assert sorted(written) == sorted(scan.path for scan in scans)
    assert {scan.format.name for scan in scans} == {"NIFTI_GZ", "MHD", "NRRD", "DICOM"}
    for scan in scans:
        volume, labels = read_volume(scan.path), read_volume(references[scan.name].path)
        assert volume.grid.matches(labels.grid)
        values = set(labels.array.ravel().tolist())
        assert values == {0, 1, 2} if kind == "MRI" else {0} < values <= {0, 1, 2, 3}


def test_used_folder_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("mine")

    with pytest.raises(SegpipeError, match="exists and is not an empty folder; choose another"):
        write_phantom_dataset(tmp_path, num_cases=4, seed=0)


def test_too_few_cases_for_the_folds_are_refused(tmp_path):
    with pytest.raises(SegpipeError, match="3 cases asked for; needs at least 4, one a fold"):
        write_phantom_dataset(tmp_path, num_cases=3, seed=0)


def test_references_among_the_scans_are_refused(tmp_path):
    with pytest.raises(SegpipeError, match="label maps must not lie among the scans"):
        write_phantom_scans(tmp_path / "scans", tmp_path / "scans" / "labels", seed=0)
