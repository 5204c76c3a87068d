"""Phantoms of one class and of findings: sound manifests, the same again, and no class that a mean tells."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from segpipe.dataset import load_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms import write_class_phantoms, write_finding_phantoms
from segpipe.phantoms.chest_xray import FINDINGS, chest_phantom
from segpipe.phantoms.retina import CLASSES, retina_phantom
from segpipe.volumes import read_volume

WRITERS = {"class": write_class_phantoms, "findings": write_finding_phantoms}
NAMES = {"class": CLASSES, "findings": FINDINGS}


@pytest.mark.parametrize("target", WRITERS)
def test_manifest_has_folds_that_divide_no_patient(tmp_path, target):
    path = WRITERS[target](tmp_path / "one", 24, seed=3, size=32, num_test=6)
    again = WRITERS[target](tmp_path / "two", 24, seed=3, size=32, num_test=6)

    manifest = load_manifest(path)
    assert path.read_bytes() == again.read_bytes()
    assert manifest.target == target
    assert manifest.categories().names == NAMES[target]
    assert (len(manifest.training), len(manifest.test)) == (24, 6)
    folds_of = {}
    for case in manifest.training:
        folds_of.setdefault(case.patient, set()).add(case.fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert {case.fold for case in manifest.training} == {0, 1, 2, 3}
    assert not folds_of.keys() & {case.patient for case in manifest.test}
    volume = read_volume(path.parent / manifest.training[0].images[0])
    assert (volume.array.shape, volume.array.dtype) == ((32, 32), np.uint8)


def test_every_fold_has_two_images_of_every_class(tmp_path):
    # 24 images are 12 patients, 4 of each class: one a fold, with two images
    manifest = load_manifest(write_class_phantoms(tmp_path, 24, seed=0, size=32))

    counts = {(case.fold, case.classes[0]): 0 for case in manifest.training}
    for case in manifest.training:
        counts[case.fold, case.classes[0]] += 1
    assert counts == {(fold, name): 2 for fold in range(4) for name in CLASSES}


def test_table_of_findings_says_what_the_manifest_says(tmp_path):
    manifest = load_manifest(write_finding_phantoms(tmp_path, 24, seed=1, size=32, num_test=2))

    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "image,patient,split,Cardiomegaly,Effusion,Nodule"
    rows = {fields[0]: fields[1:] for fields in (line.split(",") for line in lines[1:])}
    assert len(rows) == 26
    for case in (*manifest.training, *manifest.test):
        _, part, *values = rows[case.images[0]]
        assert part == ("test" if case in manifest.test else "train")
        named = dict(zip(FINDINGS, map(int, values), strict=True))
        assert case.classes == tuple(name for name in FINDINGS if named[name] == 1)
        assert case.unknown == tuple(name for name in FINDINGS if named[name] == -1)


def test_mean_and_contrast_do_not_tell_a_class():
    """The AUROC of the mean, and of the standard deviation, is near .5 for every class and finding."""
    retinas = [retina_phantom(0, patient, 0, size=32) for patient in range(150)]
    chests = [chest_phantom(0, patient, 0, size=32) for patient in range(150)]
    labelled = [
        *((name, [image for image, _ in retinas], [one == name for _, one in retinas]) for name in CLASSES),
        *(
            (name, [image for image, *_ in chests], [name in present for _, present, _ in chests])
            for name in FINDINGS
        ),
    ]

    for name, images, is_there in labelled:
        for statistic in (np.mean, np.std):
            values = np.array([statistic(image) for image in images])
            yes, no = values[is_there], values[~np.array(is_there)]
            auroc = mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
            # the standard error at 50 against 100 is about .05
            assert abs(auroc - 0.5) < 0.15, (name, statistic.__name__, auroc)


def test_images_of_a_patient_differ_and_patients_do_not_depend_on_others():
    first, name = retina_phantom(5, 4, 0)
    second, same_name = retina_phantom(5, 4, 1)

    assert name == same_name == "FLUID"  # patients 1, 4, 7, ...
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, retina_phantom(5, 4, 0)[0])


@pytest.mark.parametrize("write", WRITERS.values())
@pytest.mark.parametrize(("num_images", "num_test"), [(22, 0), (25, 0), (24, -1)])
def test_numbers_out_of_range_are_refused(tmp_path, write, num_images, num_test):
    with pytest.raises(
        SegpipeError, match="needs an even number of at least 24, since a patient has 2 images"
    ):
        write(tmp_path, num_images, seed=0, num_test=num_test)


def test_used_folder_is_refused(tmp_path):
    Path(tmp_path, "note.txt").write_text("mine")

    with pytest.raises(SegpipeError, match="exists and is not an empty folder"):
        write_class_phantoms(tmp_path, 24, seed=0)


@pytest.mark.parametrize("make", [retina_phantom, chest_phantom])
def test_phantoms_of_no_size_or_number_are_refused(make):
    with pytest.raises(
        SegpipeError, match="seed 0, patient -1, image 0, size 16; must be at least 0, 0, 0 and 32"
    ):
        make(0, -1, 0, size=16)
