"""scripts/demo.sh from its first phantom to its last score, in the environment of these tests."""

import csv
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from segpipe.volumes import read_volume

pytestmark = pytest.mark.slow

SCANS = [
    "dicom/phantom_series.nii.gz",
    "metaimage/phantom_anisotropic.mhd",
    "nifti/phantom_oblique.nii.gz",
    "nrrd/phantom.nrrd",
]


@dataclass(frozen=True)
class Demo:
    """The script's output, its folder, and the bundle's weights folder before and after."""

    printed: str
    folder: Path
    models: list[dict[str, bytes]]


def run_demo(root, cwd, *arguments):
    environment = {**os.environ, "SEGPIPE_PYTHON": sys.executable}
    environment.pop("OMP_NUM_THREADS", None)  # the tests use one thread, a user's demo uses what there is
    return subprocess.run(
        [str(root / "scripts/demo.sh"), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def demo(pytestconfig, tmp_path_factory):
    """Run the whole demo once, from a folder outside the checkout, into a path with a blank."""
    cwd = tmp_path_factory.mktemp("demo")
    models = pytestconfig.rootpath / "bundles/mri_hippocampus_unet/models"

    def content():
        return {str(path): path.read_bytes() for path in models.rglob("*") if path.is_file()}

    before = content()
    done = run_demo(pytestconfig.rootpath, cwd, "first try")
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(done.stdout, cwd / "first try", [before, content()])


def test_every_scan_has_a_label_map_on_its_reference_grid(demo):
    for name in SCANS:
        written = read_volume(demo.folder / "label_maps" / name)
        reference = read_volume(demo.folder / "references" / name)
        assert written.grid.differences(reference.grid) == [], name


def test_the_trained_network_passes_on_new_scans(demo):
    with (demo.folder / "scores/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert len({row["case"] for row in rows}) == len(SCANS)
    assert statistics.fmean(float(row["dice"]) for row in rows) >= 0.85


def test_it_says_where_everything_is_and_how_to_open_it(demo):
    for path in (
        "label_maps/overlays/nifti/phantom_oblique.png",
        "label_maps/volumes.csv",
        "scores/metrics.csv",
        "scores/report.html",
        "runs/demo/tensorboard",
        *(f"label_maps/{name}" for name in SCANS),
    ):
        assert (demo.folder / path).exists(), path
        assert str(demo.folder / path) in demo.printed
    for command in ("tensorboard", "itksnap", "cat"):
        assert re.search(rf'^ +\S*{command}"? .*"{demo.folder}', demo.printed, re.MULTILINE), command


def test_the_first_path_at_the_end_is_a_picture(demo):
    end = demo.printed[re.search(r"^Done in \d+ s", demo.printed, re.MULTILINE).start() :]
    first = re.search(r"^ +(/.*)$", end, re.MULTILINE)[1]

    assert first == str(demo.folder / "label_maps/overlays/nifti/phantom_oblique.png")
    with Image.open(first) as picture:
        assert picture.size[0] > 500


def test_it_shows_each_epoch_and_the_steps_within(demo):
    """The machine's speed decides which steps have a line, so the log states the expected lines."""
    line = re.compile(r"Epoch \d+/5: (?:step \d+/45, loss \S+, \d+ (?:s|min) left|loss \S+, .*)")

    shown = line.findall(demo.printed)

    assert shown == line.findall((demo.folder / "training.log").read_text())
    assert [int(text[6]) for text in shown if "step" not in text] == [1, 2, 3, 4, 5]


def test_it_leaves_the_bundles_weights_alone(demo):
    before, after = demo.models

    assert before == after


def test_a_folder_with_files_is_refused(pytestconfig, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    done = run_demo(pytestconfig.rootpath, tmp_path, str(tmp_path))

    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
