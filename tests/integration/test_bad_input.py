"""The bundle's commands refuse bad input with one message (case, file, rule, remedy) and write no partial file.

In process, through the functions that the commands call; `test_commands.py` has each command as a real process.
"""

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from refusals import refusal_of


def refused(call, *expected):
    """Require that `call` is refused with one message that holds every expected part."""
    message = refusal_of(call)
    for part in expected:
        assert part in message, f"{part!r} is not in: {message}"
    return message


def first_case(bundle):
    entry = json.loads(bundle.manifest.read_text())["training"][0]
    folder = bundle.manifest.parent
    return entry["case"], folder / entry["image"][0], folder / entry["label"]


def without_checksums(bundle):
    """Let the check report a change of a file itself, not its checksum."""
    manifest = json.loads(bundle.manifest.read_text())
    for entry in manifest["training"]:
        entry.pop("sha256", None)
    bundle.manifest.write_text(json.dumps(manifest))


def rewrite(path, change):
    """Replace a NIfTI file's (array, affine) by the result of `change`."""
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    nib.save(nib.Nifti1Image(array, affine), path)


def shifted(array, affine):
    affine[0, 3] += 1.5
    return array, affine


def with_value_7(array, affine):
    array[0, 0, 0] = 7
    return array, affine


def with_nan(array, affine):
    array = array.astype(np.float32)
    array[1, 2, 3] = np.nan
    return array, affine


def with_infinity(array, affine):
    array = array.astype(np.float32)
    array[1, 2, 3] = np.inf
    return array, affine


def four_dimensional(array, affine):
    return np.stack([array, array], axis=-1), affine


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


TRAINING_FAULTS = {
    "missing label": (lambda image, label: label.unlink(), "label", ["missing", "fetch it"]),
    "another grid": (
        lambda image, label: rewrite(label, shifted),
        "label",
        ["grids differ", "mm", "resample"],
    ),
    "unknown value": (
        lambda image, label: rewrite(label, with_value_7),
        "label",
        ["7", "allowed are 0, 1, 2", "correct"],
    ),
    "NaN": (lambda image, label: rewrite(image, with_nan), "image", ["NaN", "1"]),
    "infinity": (lambda image, label: rewrite(image, with_infinity), "image", ["infinite", "1"]),
    "truncated": (lambda image, label: truncate(image), "image", ["again"]),
    "4D": (lambda image, label: rewrite(image, four_dimensional), "image", ["2 channel", "split"]),
}


@pytest.mark.parametrize("fault", TRAINING_FAULTS)
def test_training_refuses(copied_dataset, fault):
    break_it, broken_file, expected = TRAINING_FAULTS[fault]
    case, image, label = first_case(copied_dataset)
    without_checksums(copied_dataset)
    break_it(image, label)

    refused(
        lambda: copied_dataset.train("bad"),
        case,
        (image if broken_file == "image" else label).name,
        *expected,
    )

    assert not copied_dataset.output_dir.exists()


def test_training_refuses_a_file_of_another_checksum(copied_dataset):
    case, image, _ = first_case(copied_dataset)
    rewrite(image, lambda array, affine: (array + 1, affine))

    refused(lambda: copied_dataset.train("bad"), case, image.name, "SHA-256")


def test_training_refuses_an_empty_dataset_folder(bundle, tmp_path):
    (tmp_path / "empty").mkdir()

    refused(
        lambda: bundle.train("bad", dataset_dir=str(tmp_path / "empty"), output_dir=str(tmp_path / "runs")),
        "phantom_000",
        "missing",
        str(tmp_path / "empty"),
    )

    assert not (tmp_path / "runs").exists()


def test_training_refuses_a_dataset_folder_that_is_not_there(bundle, tmp_path):
    refused(lambda: bundle.train("bad", dataset_dir=str(tmp_path / "nowhere")), str(tmp_path / "nowhere"))


def test_training_refuses_another_label_table(copied_dataset):
    manifest = json.loads(copied_dataset.manifest.read_text())
    manifest["labels"] = {"0": "background", "1": "liver", "2": "spleen"}
    copied_dataset.manifest.write_text(json.dumps(manifest))

    refused(lambda: copied_dataset.train("bad"), "liver", "anterior")


def test_training_refuses_a_fold_that_is_not_there(bundle):
    refused(lambda: bundle.train("bad", fold=9), "no fold 9", "0, 1, 2, 3")
    refused(
        lambda: bundle.train("bad", fold="none"),
        "no split 'none'",
        "no splits and the folds 0, 1, 2, 3",
        "or all",
    )


def test_training_refuses_an_unknown_manifest(bundle):
    refused(lambda: bundle.train("bad", manifest="hippocampos"), "hippocampos", "hippocampus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("device", ["cuda:0", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(bundle, device, tmp_path):
    refused(
        lambda: bundle.train("bad", device=device, output_dir=str(tmp_path / "runs")),
        device,
        "no CUDA device",
        "--device cpu",
    )

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"epochz": 9}, ["epochz is used by nothing", "did you mean epochs?"]),
        ({"learning_rate": "1e-3"}, ["learning_rate", "'1e-3'", "1.0e-3"]),
        ({"resume": "false"}, ["resume", "'false'", "True or False"]),
    ],
    ids=["misspelt", "number as text", "truth value as text"],
)
def test_overrides_that_do_not_mean_what_they_say_are_refused(bundle, override, expected):
    refused(lambda: bundle.train("bad", **override), *expected)

    assert not (bundle.output_dir / "bad").exists()


def test_a_misspelt_override_of_inference_is_refused(bundle, finished_run, scan):
    refused(
        lambda: infer(bundle, finished_run, scan, output_dirr="out"),
        "output_dirr",
        "did you mean output_dir?",
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"patch_size": [30, 30, 30]}, ["patch_size is [30, 30, 30]", "multiple of 8", "[32, 32, 32]"]),
        ({"window_size": [8, 8, 8]}, ["window_size", "at least 16", "[8, 8, 16]"]),
        ({"batch_size": 0}, ["batch_size is 0", "at least 1"]),
        ({"val_interval": 0}, ["val_interval is 0"]),
        ({"precision": "fp16"}, ["'fp16'", "bfloat16"]),
        ({"device": "mps"}, ["mps", "cpu"]),
        ({"output_dir": "/data/a#b"}, ["output_dir", "rename it"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_settings_that_cannot_work_are_refused_before_anything_is_made(bundle, override, expected, tmp_path):
    where = {"output_dir": str(tmp_path / "runs"), **override}

    refused(lambda: bundle.train("bad", **where), *expected)

    assert not (tmp_path / "runs").exists()


def test_a_run_that_exists_is_not_overwritten(bundle, finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}

    refused(lambda: bundle.train(finished_run.name), str(finished_run), "--resume True", "--run_name")

    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before


def test_a_finished_run_cannot_be_resumed(bundle, finished_run):
    refused(lambda: bundle.train(finished_run.name, resume=True), "finished", "epoch 2 of 2")


def test_a_run_is_not_resumed_with_another_configuration(bundle, finished_run):
    refused(
        lambda: bundle.train(finished_run.name, resume=True, learning_rate=0.5),
        "learning_rate",
        "0.5",
        "new run",
    )


def test_there_must_be_a_run_to_resume(bundle):
    refused(lambda: bundle.train("never", resume=True), "nothing to resume", "never")


def test_evaluation_refuses_cases_that_were_trained_on(bundle, finished_run):
    other_fold = {**bundle.training, "fold": 1, "output_dir": str(finished_run.parent)}

    refused(
        lambda: bundle.run("train", "evaluate", **other_fold, run_name=finished_run.name),
        "trained on 2 of these 2 cases",
        "--fold",
    )


def test_evaluation_needs_held_out_cases(bundle, finished_run):
    refused(
        lambda: bundle.run(
            "train", "evaluate", **{**bundle.training, "fold": "all"}, run_name=finished_run.name
        ),
        "fold is all",
        "--fold N",
    )


@pytest.fixture
def scan(tmp_path):
    """Return a folder with one good NIfTI scan, `good.nii.gz`."""
    from segpipe.phantoms.mri import mri_phantom
    from segpipe.volumes import write_volume

    image, _, grid = mri_phantom(5, 0)
    write_volume(image, grid, tmp_path / "scans" / "good.nii.gz")
    return tmp_path / "scans"


def infer(bundle, run, scans, **overrides):
    bundle.run(
        "inference",
        **{
            "bundle_root": str(bundle.root),
            "dataset_dir": str(scans),
            "output_dir": str(scans.parent / "out"),
            "weights": [str(run / "best.pt")],
            "device": "cpu",
            **overrides,
        },
    )


def as_mhd(folder, name):
    """Write the good scan as an uncompressed `.mhd` with its `.raw`."""
    sitk.WriteImage(sitk.ReadImage(folder / "good.nii.gz"), folder / name)
    return folder / Path(name).with_suffix(".raw")


def singular(path):
    """Make the matrix of a NIfTI header's sform singular."""
    image = nib.load(path)
    header = image.header.copy()
    broken = nib.Nifti1Image(np.asarray(image.dataobj), None, header)
    broken.header["sform_code"], broken.header["qform_code"] = 1, 0
    broken.header["srow_x"], broken.header["srow_y"] = [1, 0, 0, 0], [1, 0, 0, 0]
    broken.header["srow_z"] = [0, 0, 1, 0]
    nib.save(broken, path)


SCAN_FAULTS = {
    "NaN": (lambda folder: rewrite(folder / "bad.nii.gz", with_nan), "bad.nii.gz", ["NaN"]),
    "truncated": (lambda folder: truncate(folder / "bad.nii.gz"), "bad.nii.gz", ["again"]),
    "4D": (
        lambda folder: rewrite(folder / "bad.nii.gz", four_dimensional),
        "bad.nii.gz",
        ["2 channel", "3D with 1"],
    ),
    "singular affine": (
        lambda folder: singular(folder / "bad.nii.gz"),
        "bad.nii.gz",
        ["spacing (1.414214, 0, 1) mm", "must be above 0"],
    ),
    "raw missing": (lambda folder: as_mhd(folder, "bad.mhd").unlink(), "bad.mhd", ["bad.raw"]),
    "raw short": (lambda folder: truncate(as_mhd(folder, "bad.mhd")), "bad.mhd", ["bad.raw", "bytes"]),
    "format that is not read": (
        lambda folder: (folder / "bad.mgz").write_bytes(b"scan"),
        "bad.mgz",
        ["FreeSurfer", ".nii.gz", ".nrrd"],
    ),
    "not an image": (
        lambda folder: (folder / "bad.nii.gz").write_bytes(gzip.compress(b"text")),
        "bad.nii.gz",
        [],
    ),
}


@pytest.mark.parametrize("fault", SCAN_FAULTS)
def test_inference_refuses(bundle, finished_run, scan, fault):
    break_it, file, expected = SCAN_FAULTS[fault]
    if file == "bad.nii.gz":
        shutil.copy(scan / "good.nii.gz", scan / file)
    break_it(scan)

    refused(lambda: infer(bundle, finished_run, scan), file, *expected)

    files = [path.name for path in (scan.parent / "out").rglob("*") if path.is_file()]
    left = [name for name in files if not name.startswith("labels.")]
    assert left in ([], ["good.nii.gz"])  # earlier outputs are whole, the bad scan's is not there


def test_inference_refuses_an_empty_folder(bundle, finished_run, tmp_path):
    (tmp_path / "scans").mkdir()

    refused(lambda: infer(bundle, finished_run, tmp_path / "scans"), str(tmp_path / "scans"))


def test_inference_refuses_outputs_among_the_scans(bundle, finished_run, scan):
    refused(lambda: infer(bundle, finished_run, scan, output_dir=str(scan / "out")), "inside", "--output_dir")


def test_inference_refuses_two_scans_of_one_output(bundle, finished_run, scan):
    shutil.copy(scan / "good.nii.gz", scan / "GOOD.nii.gz")

    refused(lambda: infer(bundle, finished_run, scan), "good.nii.gz", "GOOD.nii.gz")


def test_weights_of_another_network_are_refused(bundle, finished_run, scan):
    other = bundle.parser("train", filters=[8, 16, 32, 64]).get_parsed_content("network_def")
    torch.save(other.state_dict(), scan.parent / "other.pt")

    refused(
        lambda: infer(bundle, finished_run, scan, weights=[str(scan.parent / "other.pt")]),
        "other.pt",
        "another network",
        "(8,",
    )


def test_missing_weights_are_refused(bundle, finished_run, scan):
    refused(
        lambda: infer(bundle, finished_run, scan, weights=[str(scan / "none.pt")]), "none.pt", "train first"
    )


def test_weights_that_hold_code_are_not_run(bundle, finished_run, scan, tmp_path):
    torch.save({"weight": Path("x")}, tmp_path / "hostile.pt")

    refused(
        lambda: infer(bundle, finished_run, scan, weights=[str(tmp_path / "hostile.pt")]),
        "hostile.pt",
        "could run code",
    )


def test_weights_of_other_transforms_are_refused(bundle, finished_run, scan):
    refused(
        lambda: infer(bundle, finished_run, scan, spacing_mm=[2.0, 2.0, 2.0]),
        "deterministic transforms",
        "2.0",
        "1.0",
    )


def test_foreign_weights_without_sidecar_only_warn(bundle, finished_run, scan, capsys):
    shutil.copy(finished_run / "best.pt", scan.parent / "foreign.pt")

    infer(bundle, finished_run, scan, weights=[str(scan.parent / "foreign.pt")])

    assert "no sidecar" in capsys.readouterr().out
    assert (scan.parent / "out" / "good.nii.gz").is_file()
