"""The shipped COVID manifests equal the output of their script, and name existing files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segpipe.dataset import load_manifest, training_split
from segpipe.files import file_sha256
from segpipe.losses import ClassCounts, median_frequency_weights

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ["covid_ct_512", "covid_ct_256"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_it_says_source_licence_citation_and_that_patients_are_unknown(name):
    manifest = load_manifest(name)

    assert list(manifest.labels.values()) == ["background", "ground-glass", "consolidation", "effusion"]
    assert "MedSeg" in manifest.source or "SIRM" in manifest.source
    assert {"covid_ct_512": "research, non-commercial", "covid_ct_256": "CC0"}[name] in manifest.licence
    assert "doi 10." in manifest.citation
    assert manifest.patients.startswith("unknown")
    assert all(case.patient is None for case in manifest.training)


def test_the_articles_and_the_papers_splits(name):
    manifest = load_manifest(name)

    article, paper = manifest.splits["article"], manifest.splits["paper"]
    assert (len(article.train), len(article.validation)) == (84, 16)
    assert (len(paper.train), len(paper.validation), len(paper.test)) == (72, 10, 18)
    train, validation = training_split(manifest, "article")
    assert train == list(manifest.training)
    assert validation == list(manifest.test)
    assert [case.case for case in validation] == [f"slice_{number:03d}" for number in range(85, 101)]
    assert all(len(case.sha256) == {"covid_ct_512": 4, "covid_ct_256": 2}[name] for case in validation)
    assert len(training_split(manifest, "paper")[1]) == 10


def test_a_slice_is_in_one_fold_in_both_copies():
    large, small = ({case.case: case.fold for case in load_manifest(name).training} for name in NAMES)

    assert large.items() <= small.items()
    assert len(small) - len(large) == 2


@pytest.mark.realdata
def test_every_slice_is_there_and_checksums_hold(name, real_data):
    folder = real_data(name)
    manifest = load_manifest(name)

    images = {path.relative_to(folder).as_posix() for path in (folder / "images").glob("*.[mp][hn][dg]")}
    assert {case.images[0] for case in manifest.training} == images
    for case in manifest.training[::20]:
        assert len(case.sha256) == {"covid_ct_512": 4, "covid_ct_256": 2}[name]
        for path, digest in case.sha256.items():
            assert file_sha256(folder / path) == digest


@pytest.mark.realdata
def test_folds_share_out_the_rare_classes(real_data):
    folder = real_data("covid_ct_512")
    with_effusion = [0] * 5
    for case in load_manifest("covid_ct_512").training:
        label_map = sitk.GetArrayFromImage(sitk.ReadImage(folder / case.label))
        with_effusion[case.fold] += int((label_map == 3).any())

    assert sum(with_effusion) == 24
    assert max(with_effusion) - min(with_effusion) <= 1


@pytest.mark.realdata
def test_the_weights_of_the_slices_that_are_here(real_data):
    folder = real_data("covid_ct_512")
    label_maps = (sitk.GetArrayFromImage(sitk.ReadImage(path)) for path in (folder / "labels").glob("*.mhd"))

    counts = ClassCounts.of_maps([np.bincount(array.ravel(), minlength=4) for array in label_maps], ())

    weights = [round(weight, 4) for weight in median_frequency_weights(counts).tolist()]
    assert weights == [0.0418, 0.8183, 1.2854, 8.2948]
    assert counts.map_voxels.tolist() == (np.array([82, 80, 66, 24]) * 512**2).tolist()


@pytest.mark.realdata
def test_script_writes_the_same_bytes(name, real_data, tmp_path):
    script = REPOSITORY / "scripts" / "make_covid_manifests.py"
    output = tmp_path / "m.json"

    sums = real_data(name).parent / "HELD_BACK_SHA256SUMS"

    subprocess.run([sys.executable, script, name, real_data(name), sums, "--output", output], check=True)

    assert output.read_bytes() == (REPOSITORY / "data_manifests" / f"{name}.json").read_bytes()
