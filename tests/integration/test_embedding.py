"""The bundles inside MONAI Label's and MONAI Deploy's own classes, which run in an environment of their own.

Both programs run in float32, since a processor with bfloat16 computes other last bits in windows of another order.
"""

import contextlib
import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export
from shipped_bundles import BUNDLES
from tiny_classifier import grey_image

from segpipe import predict
from segpipe.bundle.serving import FORMER
from segpipe.bundle.source import BundleSource
from segpipe.files import file_sha256
from segpipe.phantoms.ct import ct_phantom, ct_slice_phantom
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.phantoms.mri import mri_phantom
from segpipe.planning import PlanOptions, plan_bundle
from segpipe.prediction.classify import classify
from segpipe.volumes import Grid, read_volume, write_label_map, write_series, write_volume

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "helpers" / "embedding"
SEGMENTING = ("mri_hippocampus_unet", "ct_covid_unet", "ct_covid_segnet")
PLANNED = "planned_volumes"
CLASSIFYING = {  # a picture of noise for each bundle: rows and columns
    "oct_retina_efficientnet": (300, 260),
    "cxr_findings_efficientnet": (96, 128),
    "ct_covid_tile_cnn": (24, 24),
}


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
    plan_for_phantoms(tmp_path_factory.mktemp("phantoms"), folder / PLANNED)
    for name in [*SEGMENTING, *CLASSIFYING]:
        shutil.copytree(BUNDLES / name, folder / name)
    for path in folder.glob("*/configs/inference.*"):
        changed = path.read_text().replace("precision: auto ", "precision: float32 ")
        path.write_text(changed.replace('"precision": "auto"', '"precision": "float32"'))
    return folder


def plan_for_phantoms(data, root):
    """Plan a bundle for MRI phantoms, and give it random weights, whose labels are equal only in equal images."""
    manifest = write_phantom_dataset(data, num_cases=4, seed=0)
    plan_bundle(manifest, data, root, PlanOptions())
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.yaml")
    parser["bundle_root"] = str(root)
    (root / "models").mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models" / "model.pt")


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Return bundle -> scan: MRI volumes, one oblique, one a sagittal DICOM series; a CT slice; a CT volume."""
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
    array, _, _ = mri_phantom(3, 2)
    # columns run to the back, rows to the head, slices to the left; three different spacings
    sagittal = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    grid = Grid.from_lps(array.shape, (0.9, 1.3, 1.1), (-31.5, 12.25, 40.0), sagittal)
    paths[PLANNED] = folder / PLANNED
    write_series(np.round(array).astype(np.int16), grid, paths[PLANNED], "MR")
    return paths


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Return bundle -> picture of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = {name: folder / f"{name}.png" for name in CLASSIFYING}
    for name, size in CLASSIFYING.items():
        PIL.Image.fromarray(grey_image(0, size)).save(paths[name])
    return paths


@pytest.fixture(scope="session")
def expected_probabilities(bundles, pictures, tmp_path_factory):
    """Return bundle -> probabilities of `segpipe predict`."""
    found = {}
    for name, picture in pictures.items():
        output = tmp_path_factory.mktemp(name)
        classify(picture, BundleSource(bundles / name, device="cpu", trust=True), output)
        (row,) = csv.DictReader((output / "predictions.csv").read_text().splitlines())
        found[name] = [float(value) for key, value in row.items() if key.startswith("p_")]
    return found


@pytest.fixture(scope="session")
def expected(bundles, scans, tmp_path_factory):
    """Return bundle -> label maps of `segpipe predict`, with their grids: of a NIfTI file, then of a DICOM series."""
    wanted = {name: [scans[name]] for name in SEGMENTING}
    wanted[PLANNED] = [scans["mri_hippocampus_unet"], scans[PLANNED]]
    maps = {}
    for name, paths in wanted.items():
        output = tmp_path_factory.mktemp(name)
        source = BundleSource(bundles / name, device="cpu", trust=True)
        written = {Path(row.scan): row.label_map for row in predict(paths, source, output)}
        maps[name] = [read_volume(written[path]) for path in paths]
    return maps


def scanned(name, scans, tmp_path):
    """Return a job of MONAI Deploy: a series that the program reads, or a scan whose voxels it gets in memory."""
    if scans[name].is_dir():
        return {"series": str(scans[name]), "output": str(tmp_path / f"{name}.npy")}
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


@pytest.fixture(scope="session")
def bad(bundles, tmp_path_factory):
    """Return what each program refuses: a damaged scan, a bundle with a wrong setting, a bundle without weights."""
    folder = tmp_path_factory.mktemp("bad")
    damaged = folder / "damaged.nii.gz"
    damaged.write_bytes(b"no NIfTI")
    for name in ("wrong", "bare"):
        shutil.copytree(bundles / "ct_covid_tile_cnn", folder / name)
    for file in ("inference.yaml", "inference.json"):
        path = folder / "wrong" / "configs" / file
        path.write_text(path.read_text().replace("float32", "float12"))
    shutil.rmtree(folder / "bare" / "models")
    return folder


@pytest.fixture(scope="session")
def of_label(run, bundles, scans, pictures, bad, tmp_path_factory):
    """Return the results of MONAI Label by bundle or kind of refusal, and its log."""
    folder = tmp_path_factory.mktemp("label_maps")
    tiles = "ct_covid_tile_cnn"
    jobs = {
        name: {
            "bundle": str(bundles / name),
            "scan": str(scans[name]),
            "output": str(folder / f"{name}.nii.gz"),
        }
        for name in [*SEGMENTING, PLANNED]
    }
    jobs[PLANNED]["scan"] = str(scans["mri_hippocampus_unet"])
    for name, picture in pictures.items():
        jobs[name] = {"bundle": str(bundles / name), "scan": str(picture), "type": "classification"}
    jobs["damaged"] = {**jobs[PLANNED], "scan": str(bad / "damaged.nii.gz")}
    jobs["wrong"] = {**jobs[tiles], "bundle": str(bad / "wrong")}
    results, log = run("label", list(jobs.values()))
    return dict(zip(jobs, results, strict=True)), log


@pytest.fixture(scope="session")
def of_deploy(run, bundles, scans, pictures, bad, tmp_path_factory):
    """Return the results of MONAI Deploy by bundle or kind of refusal, and its log."""
    folder = tmp_path_factory.mktemp("arrays")
    jobs = {
        name: {"bundle": str(bundles / name), **scanned(name, scans, folder)}
        for name in [*SEGMENTING, PLANNED]
    }
    for name in ("mri_hippocampus_unet", PLANNED):
        scripted = folder / f"{name}.ts"
        with contextlib.chdir(bundles / name):
            ckpt_export(
                "network_def",
                filepath=str(scripted),
                ckpt_file="models/model.pt",
                meta_file="configs/metadata.json",
                config_file=["configs/inference.json"],
            )
        output = str(folder / f"{name}_scripted.npy")
        jobs[scripted.name] = {**jobs[name], "bundle": str(scripted), "output": output}
    affine = np.eye(4).tolist()
    for name, picture in pictures.items():
        np.save(folder / name, np.asarray(PIL.Image.open(picture)))
        jobs[name] = {"bundle": str(bundles / name), "scan": str(folder / f"{name}.npy"), "affine": affine}
    np.save(folder / "damaged", np.full((8, 8, 8), np.nan, np.float32))
    damaged = {"scan": str(folder / "damaged.npy"), "output": str(folder / "labels_of_damaged.npy")}
    jobs["damaged"] = {**jobs[SEGMENTING[0]], **damaged}
    tilted = folder / "tilted"
    shutil.copytree(scans[PLANNED], tilted)
    for place, file in enumerate(sorted(tilted.iterdir())):
        dataset = pydicom.dcmread(file)
        dataset.ImagePositionPatient[1] = float(dataset.ImagePositionPatient[1]) + 0.2 * place
        dataset.save_as(file)
    jobs["tilted"] = {**jobs[PLANNED], "series": str(tilted), "output": str(folder / "labels_of_tilted.npy")}
    jobs |= {name: {**jobs["ct_covid_tile_cnn"], "bundle": str(bad / name)} for name in ("wrong", "bare")}
    results, log = run("deploy", list(jobs.values()))
    return dict(zip(jobs, results, strict=True)), log


def test_labels_of_monai_label_equal_those_of_predict(of_label, expected):
    results, log = of_label
    for name in [*SEGMENTING, PLANNED]:
        assert "file" in results[name], log[-4000:]
        written, wanted = read_volume(results[name]["file"]), expected[name][0]
        if wanted.grid.spatial_dims == 2:  # MONAI Label's file of a slice keeps the channel as its first axis
            assert written.array.shape == (1, *wanted.array.shape)
            np.testing.assert_array_equal(written.array[0], wanted.array)
        else:
            np.testing.assert_array_equal(written.array, wanted.array)
            np.testing.assert_allclose(written.grid.affine, wanted.grid.affine, atol=1e-4)
        assert len(np.unique(wanted.array)) > 1, f"{name}: a test of background alone shows nothing"


def test_labels_of_monai_deploy_equal_those_of_predict_for_folders_torchscript_and_a_dicom_series(
    of_deploy, expected
):
    """Deploy reads the sagittal series itself, and gives it an affine with the spacings of its pixels interchanged."""
    results, log = of_deploy
    for name in [*SEGMENTING, PLANNED, "mri_hippocampus_unet.ts", f"{PLANNED}.ts"]:
        wanted = expected[name.removesuffix(".ts")][-1].array
        np.testing.assert_array_equal(label_map_of(results[name], log), wanted)
        assert len(np.unique(wanted)) > 1


def test_probabilities_of_both_programs_equal_those_of_predict(of_label, of_deploy, expected_probabilities):
    """The table has six digits. Deploy tells a bundle its folder, and so its calibration, by Python's path alone."""
    for name, wanted in expected_probabilities.items():
        answer = of_label[0][name].get("answer")
        assert answer, of_label[1][-4000:]
        np.testing.assert_allclose([row["score"] for row in answer["prediction"]], wanted, rtol=1e-5)
        names = json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())["label_table"]
        assert [row["label"] for row in answer["prediction"]] == [row["name"].lower() for row in names]
        assert "probabilities" in of_deploy[0][name], of_deploy[1][-4000:]
        np.testing.assert_allclose(of_deploy[0][name]["probabilities"], wanted, rtol=1e-5)


def test_refusals_reach_the_programs_as_exceptions_with_the_reason(of_label, of_deploy):
    expected = [
        (of_label, "damaged", "damaged.nii.gz: "),
        (of_label, "wrong", "precision 'float12'"),
        (of_deploy, "damaged", "512 of 512 voxels are NaN or infinite"),
        (of_deploy, "tilted", "gantry tilt of"),
        (of_deploy, "wrong", "precision 'float12'"),
    ]
    for (results, log), name, reason in expected:
        assert results[name].get("error") == "SegpipeError", (name, results[name], log[-4000:])
        assert reason in results[name]["text"]
    bare = of_deploy[0]["bare"]
    assert (bare["error"], bare["text"].partition(" in ")[0]) == (
        "OSError",
        "Cannot find model.ts or model.pt",
    )  # Deploy's own


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


def test_monai_label_trains_on_its_records_and_serves_the_weights(run, bundles, tmp_path):
    roots = {name: tmp_path / name for name in ("mri_hippocampus_unet", PLANNED)}
    for name, root in roots.items():
        shutil.copytree(BUNDLES / name if (BUNDLES / name).is_dir() else bundles / name, root)
    shipped, planned = roots.values()
    before = {root: file_sha256(root / "models" / "model.pt") for root in roots.values()}
    given = records(tmp_path, 3)
    bad = [{"image": given[0]["image"], "label": str(tmp_path / "missing.nii.gz")}]
    job = {"bundle": str(shipped), "epochs": 2, "train": given, "val_split": 0.34}

    results, log = run(
        "label",
        [
            {**job, "train": bad, "val_split": 0.0},
            job,  # two steps: the rate of a single step is the lowest one
            {"bundle": str(shipped), "scan": given[0]["image"], "output": str(tmp_path / "after.nii.gz")},
            {**job, "bundle": str(planned)},
        ],
    )

    refused, trained, served, trained_as_planned = results
    assert refused["error"] == "SegpipeError", log[-4000:]  # never SystemExit
    assert "missing.nii.gz: missing below" in refused["text"]
    assert trained == trained_as_planned == {"returned": {}}, log[-4000:]
    assert "file" in served, log[-4000:]
    for root, sha256 in before.items():
        assert file_sha256(root / "models" / "model.pt") != sha256
        assert file_sha256(root / "models" / FORMER / "model.pt") == sha256
        training = json.loads((root / "models" / "model.json").read_text())["training"]
        assert sorted([*training["cases"], *training["validation_cases"]]) == ["case_0", "case_1", "case_2"]
