"""`segpipe data create`: what it prints, and what it refuses."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cine_files import write_patient
from dicom_objects import ALGORITHM, coded_table, series_of, write_labels_as_series
from made_sets import write_image, write_labels
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.phantoms.files import write_phantom_dataset
from segpipe.volumes import Grid, write_label_map, write_volume
from segpipe.volumes.rtstruct import write_structure_set

SEGPIPE = Path(sys.executable).with_name("segpipe")  # of this environment, whatever PATH says


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A correct data set of four phantoms; tests only read it."""
    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "set", num_cases=4, seed=1)


def check(*arguments):
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


def create(*arguments, **how):
    return CliRunner().invoke(app, ["data", "create", *map(str, arguments)], **how)


@pytest.fixture
def pairs(phantoms, tmp_path):
    """The phantoms without their manifest."""
    for part in ("imagesTr", "labelsTr"):
        shutil.copytree(phantoms.parent / part, tmp_path / "pairs" / part)
    return tmp_path / "pairs"


def test_a_folder_becomes_a_manifest_that_passes_the_check(phantoms, pairs, tmp_path):
    output = tmp_path / "mine.json"
    names = ["--class", "0=background", "--class", "1=anterior", "--class", "2= posterior"]

    result = create(pairs, "-o", output, "--modality", "MRI", *names, "--patient", "{patient}")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{pairs}: pairs of files",
        f"{output}: 4 cases to train on, 0 to test (0 with label maps), 4 patients (from the template {{patient}})",
        "channels: MRI",
        "classes: 0 background, 1 anterior, 2 posterior",
        *(
            f"example: case {name}, patient {name}, image imagesTr/{name}.nii.gz, label labelsTr/{name}.nii.gz"
            for name in ("phantom_000", "phantom_002", "phantom_003")
        ),
    ]
    assert check(output, "--dataset-dir", pairs).exit_code == 0
    written = output.read_bytes()
    again = create(pairs, "-o", output, "--modality", "MRI", *names)
    assert (again.exit_code, again.stderr) == (
        2,
        f"segpipe: {output}: exists already; choose another --output, or add --overwrite\n",
    )
    assert output.read_bytes() == written
    result = create(pairs, "-o", output, "--modality", "MRI", *names, "--overwrite", "--no-checksums")
    assert "of them counts as one patient: if cases share a patient, give --patient" in result.stdout
    assert "sha256" not in output.read_text()


def test_a_cine_series_frame_by_frame(tmp_path):
    for seed, name in enumerate(("p0", "p1")):
        write_patient(tmp_path / "cine", name, seed=seed)
    templates = ["--image", "{case}/{case}_4d.nii.gz", "--label", "{case}/{case}_4d_gt.nii.gz"]
    known = ["--modality", "MRI", "--class", "0=background", "--class", "1=ventricle"]

    result = create(tmp_path / "cine", "-o", tmp_path / "m.json", "--frames", *templates, *known)

    assert result.exit_code == 0
    assert "4 cases to train on, 0 to test (0 with label maps), 2 patients" in result.stdout
    assert "note: 4 labelled time frames of 2 series, a case each" in result.stdout
    assert check(tmp_path / "m.json").exit_code == 0


def test_channels_on_other_grids_need_the_option(tmp_path):
    for name, spacing in (("t1", 1.0), ("flair", 1.5)):
        size = (8, 8, 8)
        grid = Grid.from_affine(size, np.diag([-spacing, -spacing, spacing, 1]))
        array = np.random.default_rng(0).integers(0, 99, size).astype(np.int16)
        write_volume(array, grid, tmp_path / "set" / f"a_{name}.nii.gz")
    labels = np.zeros(size, np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    write_label_map(labels, Grid.from_affine(size, np.diag([-1.0, -1, 1, 1])), tmp_path / "set/a_gt.nii.gz")
    arguments = [tmp_path / "set", "-o", tmp_path / "m.json", "--label", "{case}_gt.nii.gz", "--overwrite"]
    arguments += ["--image", "{case}_t1.nii.gz", "--image", "{case}_flair.nii.gz", "--modality", "T1"]
    arguments += ["--modality", "FLAIR", "--class", "0=background", "--class", "1=tumour"]

    assert create(*arguments).exit_code == 0
    refused, asked = check(tmp_path / "m.json"), check(tmp_path / "m.json", "--resample-channels")
    assert (refused.exit_code, asked.exit_code) == (2, 0)
    assert "add --resample-channels" in refused.stdout
    assert "note: the manifest does not say so; create it with --resample-channels" in asked.stdout
    result = create(*arguments, "--resample-channels")
    note = "note: 1 of 1 case have channels on another grid than T1 (FLAIR in 1)"
    assert note in result.stdout
    assert note in check(tmp_path / "m.json").stdout


def test_missing_options_are_named_if_there_is_no_terminal(pairs, tmp_path):
    result = create(pairs, "-o", tmp_path / "mine.json", "--modality", "MRI")

    assert result.exit_code == 2
    assert "add --class 0=background --class 1=NAME --class 2=NAME" in result.stderr
    assert not (tmp_path / "mine.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "1"], "--class 1: must be VALUE=NAME"),
        (["--class", "one=tumour"], "--class one=tumour: must be VALUE=NAME"),
        (["--class", "²=x"], "--class ²=x: must be VALUE=NAME"),
        (["--class", "--1=x"], "--class --1=x: must be VALUE=NAME"),
        (["--class", "1=a", "--class", "1=b"], "--class: the value 1 is named twice"),
        (["--image", "{case}.nrrd"], "matches none of its 8 scans"),
    ],
)
def test_options_that_do_not_fit_are_refused(pairs, tmp_path, options, message):
    result = create(pairs, "-o", tmp_path / "mine.json", "--modality", "MRI", *options)

    assert result.exit_code == 2
    assert message in result.stderr


def test_places_where_no_manifest_can_be_are_refused(pairs, tmp_path):
    flags = [
        "--modality",
        "MRI",
        "--class",
        "0=background",
        "--class",
        "1=a",
        "--class",
        "2=b",
        "--overwrite",
    ]
    other = tmp_path / "dataset.json"
    other.write_text('{"name": "not ours"}')
    scan = next((pairs / "imagesTr").iterdir())
    for output, message in (
        (tmp_path, "is a folder; name the file, such as"),
        (other, "is no manifest of segpipe, so --overwrite does not replace it"),
        (scan, "what --overwrite would replace is not"),
        (scan / "mine.json", "nothing can be written there"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

        result = create(pairs, "-o", output, *flags)

        assert result.exit_code == 2
        assert message in result.stderr
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_was_recognised_is_printed_with_examples_and_warnings(tmp_path):
    top = tmp_path / "set"
    for case in ("patient001", "patient002"):
        write_image(top / case / f"{case}_frame01.nii.gz", seed=int(case[-1]))
        write_labels(top / case / f"{case}_frame01_gt.nii.gz", (0, 1, 1))

    result = create(top, "-o", tmp_path / "mine.json", "--channel", "MRI")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{top}: recognised by its names as ACDC",
        f"{tmp_path / 'mine.json'}: 2 cases to train on, 0 to test (0 with label maps), "
        "2 patients (from the folder of the scan)",
        "channels: MRI",
        "classes: 0 background, 1 right ventricle",
        *(
            f"example: case {case}_frame01, patient {case}, image {case}/{case}_frame01.nii.gz, "
            f"label {case}/{case}_frame01_gt.nii.gz"
            for case in ("patient001", "patient002")
        ),
        "note: no label map stores 2 myocardium, 3 left ventricle: left out",
        "warning: the value 0 is the background and covers 33.3 % of the label maps, right ventricle 66.7 %. The "
        "background gets no score. To score it, give its class a name and name another class background: "
        "--class 0=NAME --class 1=background",
    ]


def test_masks_are_merged_if_the_option_says_so(tmp_path):
    top = tmp_path / "set"
    write_image(top / "s0000" / "ct.nii.gz")
    for name, values in (("liver", (0, 0, 1)), ("spleen", (0, 1, 0))):
        write_labels(top / "s0000" / "segmentations" / f"{name}.nii.gz", values)

    refused = create(top, "-o", tmp_path / "mine.json")
    result = create(top, "-o", tmp_path / "mine.json", "--merge-masks")

    assert (refused.exit_code, "add --merge-masks to write them to" in refused.stderr) == (2, True)
    assert (result.exit_code, check(tmp_path / "mine.json").exit_code) == (0, 0)
    assert "classes: 0 background, 1 liver, 2 spleen" in result.stdout


def test_labels_of_dicom_are_converted_if_the_option_says_so(tmp_path):
    top = tmp_path / "set"
    series = write_labels_as_series(top / "p1" / "ct")
    grid, classes, source = series_of(series)
    write_structure_set(classes, grid, top / "p1" / "rt.dcm", source, coded_table(), ALGORITHM)

    refused = create(top, "-o", tmp_path / "mine.json")
    chosen = ["--modality", "CT", "--convert-dicom", "--roi", "organ=SPL*"]
    result = create(top, "-o", tmp_path / "mine.json", *chosen)

    assert (refused.exit_code, "add --convert-dicom to write them to" in refused.stderr) == (2, True)
    assert (result.exit_code, check(tmp_path / "mine.json").exit_code) == (0, 0)
    assert "classes: 0 background, 1 organ" in result.stdout
    assert "no --roi chooses are left out: liver" in result.stdout
