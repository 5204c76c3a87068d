"""The bundles inside MONAI Label's and MONAI Deploy's own classes, which run in an environment of their own.

Both programs run in float32, since a processor with bfloat16 computes other last bits in windows of another order.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ckpt_export
from shipped_bundles import BUNDLES

from segpipe import PredictOptions, predict
from segpipe.bundle.serving import FORMER
from segpipe.bundle.source import BundleSource
from segpipe.files import file_sha256
from segpipe.phantoms.ct import ct_phantom, ct_slice_phantom
from segpipe.phantoms.mri import mri_phantom
from segpipe.volumes import read_volume, write_label_map, write_volume

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "helpers" / "embedding"
SEGMENTING = ("mri_hippocampus_unet", "ct_covid_unet", "ct_covid_segnet")


@pytest.fixture(scope="session")
def embedding():
    """Return the Python of an environment with both programs."""
    done = subprocess.run(
        [ROOT / "scripts" / "embedding_environment.sh"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"the environment cannot be made: {done.stderr[-2000:]}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def run(embedding, tmp_path_factory):
    """Run jobs in a program, and return its results."""

    def results(program, jobs):
        answer = tmp_path_factory.mktemp(program) / "results.json"
        done = subprocess.run(
            [embedding, "-W", "ignore", PROGRAMS / f"{program}.py", answer],
            input=json.dumps(jobs),
            capture_output=True,
            text=True,
            check=False,
            cwd=answer.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(answer.read_text()), done.stderr

    return results


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Return copies of the shipped bundles that compute in float32."""
    folder = tmp_path_factory.mktemp("bundles")
    for name in SEGMENTING:
        shutil.copytree(BUNDLES / name, folder / name)
        for file in ("inference.yaml", "inference.json"):
            path = folder / name / "configs" / file
            text = path.read_text()
            changed = text.replace("precision: auto ", "precision: float32 ")
            path.write_text(changed.replace('"precision": "auto"', '"precision": "float32"'))
            assert path.read_text() != text
    return folder


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Return bundle -> scan: an MRI volume, oblique; a CT slice; a CT volume."""
    folder = tmp_path_factory.mktemp("scans")
    made = {
        "mri_hippocampus_unet": mri_phantom(3, 1, oblique=True),
        "ct_covid_unet": ct_slice_phantom(3, 2, size=512),
        "ct_covid_segnet": ct_phantom(3, 3, size=128, slices=3),
    }
    paths = {}
    for name, (array, _, grid) in made.items():
        paths[name] = folder / f"{name}.nii.gz"
        write_volume(array, grid, paths[name])
    return paths


@pytest.fixture(scope="session")
def expected(bundles, scans, tmp_path_factory):
    """Return bundle -> label map of `segpipe predict`, with its grid."""
    maps = {}
    for name, scan in scans.items():
        output = tmp_path_factory.mktemp(name)
        source = BundleSource(bundles / name, device="cpu", trust=True)
        predict(scan, source, output, options=PredictOptions())
        (path,) = output.rglob("*.nii.gz")
        maps[name] = read_volume(path)
    return maps


def scanned(name, scans, tmp_path):
    """Return a job of MONAI Deploy for a scan, whose voxels the program hands over in memory."""
    volume = read_volume(scans[name])
    np.save(tmp_path / f"{name}_scan.npy", volume.array)
    return {
        "scan": str(tmp_path / f"{name}_scan.npy"),
        "affine": volume.grid.affine.tolist(),
        "output": str(tmp_path / f"{name}.npy"),
    }


def label_map_of(result, log):
    """Return a result of MONAI Deploy with its axes as in the file: a volume comes as (z, y, x)."""
    assert "array" in result, log[-4000:]
    array = np.load(result["array"])
    return np.swapaxes(array, 0, 2) if array.ndim == 3 else array


def test_labels_of_monai_label_equal_those_of_predict(run, bundles, scans, expected, tmp_path):
    jobs = [
        {"bundle": str(bundles / name), "scan": str(scans[name]), "output": str(tmp_path / f"{name}.nii.gz")}
        for name in SEGMENTING
    ]

    results, log = run("label", jobs)

    for name, result in zip(SEGMENTING, results, strict=True):
        assert "file" in result, log[-4000:]
        written, wanted = read_volume(result["file"]), expected[name]
        if wanted.grid.spatial_dims == 2:  # MONAI Label's file of a slice keeps the channel as its first axis
            assert written.array.shape == (1, *wanted.array.shape)
            np.testing.assert_array_equal(written.array[0], wanted.array)
        else:
            np.testing.assert_array_equal(written.array, wanted.array)
            np.testing.assert_allclose(written.grid.affine, wanted.grid.affine, atol=1e-4)
        assert len(np.unique(wanted.array)) > 1, f"{name}: a test of background alone shows nothing"


def test_labels_of_monai_deploy_equal_those_of_predict_for_a_folder_and_a_torchscript_file(
    run, bundles, scans, expected, tmp_path, monkeypatch
):
    scripted = tmp_path / "scripted.ts"
    root = bundles / "mri_hippocampus_unet"
    monkeypatch.chdir(root)
    ckpt_export(
        "network_def",
        filepath=str(scripted),
        ckpt_file="models/model.pt",
        meta_file="configs/metadata.json",
        config_file=["configs/inference.json"],
    )
    jobs = [{"bundle": str(bundles / name), **scanned(name, scans, tmp_path)} for name in SEGMENTING]
    jobs.append(
        {**jobs[0], "bundle": str(scripted), "output": str(tmp_path / "scripted.npy")},
    )

    results, log = run("deploy", jobs)

    for name, result in zip([*SEGMENTING, SEGMENTING[0]], results, strict=True):
        np.testing.assert_array_equal(label_map_of(result, log), expected[name].array)


def records(folder, number):
    """Write MRI phantoms with the labels of the hippocampus bundle, and return MONAI Label's records of them."""
    found = []
    for index in range(number):
        array, labels, grid = mri_phantom(5, index)
        image, label = folder / f"case_{index}.nii.gz", folder / f"case_{index}_label.nii.gz"
        write_volume(array, grid, image)
        write_label_map(labels, grid, label)
        found.append({"image": str(image), "label": str(label)})
    return found


def test_monai_label_trains_on_its_records_and_serves_the_weights(run, tmp_path):
    root = tmp_path / "mri_hippocampus_unet"
    shutil.copytree(BUNDLES / root.name, root)
    shipped = file_sha256(root / "models" / "model.pt")
    given = records(tmp_path, 3)
    bad = [{"image": given[0]["image"], "label": str(tmp_path / "missing.nii.gz")}]
    job = {"bundle": str(root), "epochs": 2}  # two steps: the rate of a single step is the lowest one

    results, log = run(
        "label",
        [
            {**job, "train": bad, "val_split": 0.0},
            {**job, "train": given, "val_split": 0.34},
            {"bundle": str(root), "scan": given[0]["image"], "output": str(tmp_path / "after.nii.gz")},
        ],
    )

    refused, trained, served = results
    assert refused["error"] == "SegpipeError", log[-4000:]  # never SystemExit
    assert "missing.nii.gz: missing below" in refused["text"]
    assert trained == {"returned": {}}, log[-4000:]
    assert "file" in served, log[-4000:]
    assert file_sha256(root / "models" / "model.pt") != shipped
    assert file_sha256(root / "models" / FORMER / "model.pt") == shipped
    training = json.loads((root / "models" / "model.json").read_text())["training"]
    assert sorted([*training["cases"], *training["validation_cases"]]) == ["case_0", "case_1", "case_2"]
