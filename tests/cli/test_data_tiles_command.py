"""`segpipe data tiles` writes tiles of two classes that a classifier is planned for."""

import numpy as np
import pytest
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import Case, Manifest, load_manifest, write_manifest
from segpipe.phantoms.labelled_images import write_class_phantoms
from segpipe.volumes import Grid, write_volume


def tiles(*arguments):
    return CliRunner().invoke(app, ["data", "tiles", *map(str, arguments)])


@pytest.fixture
def slices(tmp_path):
    """A slice of 8 x 8 pixels: a quarter is empty canvas, a quarter healthy, a quarter infected by three quarters."""
    folder = tmp_path / "data"
    folder.mkdir()
    grid = Grid.from_affine((8, 8), np.diag([-1.0, -1.0, 1.0, 1.0]))
    pixels, labels = np.arange(20, 84, dtype=np.uint8).reshape(8, 8), np.zeros((8, 8), np.uint8)
    pixels[:4, :4] = 0
    labels[4:, :3] = labels[4:, 7] = 1
    write_volume(pixels, grid, folder / "a.mhd")
    write_volume(labels, grid, folder / "a_label.mhd")
    case = Case("a", ("a.mhd",), label="a_label.mhd", patient="p")
    write_manifest(Manifest("made", ("CT",), {0: "background", 1: "lesion"}, (case,)), folder / "set.json")
    return folder / "set.json"


@pytest.mark.parametrize(
    ("options", "names"),
    [([], ("healthy", "infected")), (["--classes", "clear", "opaque"], ("clear", "opaque"))],
)
def test_tiles_of_two_classes(slices, tmp_path, options, names):
    """The fourth tile is infected by a quarter: neither class."""
    where = ["--dataset-dir", slices.parent, "-o", tmp_path / "tiles"]

    result = tiles(slices, *where, "--size", 4, "--share", 0.5, "--most", 5, *options)

    assert result.exit_code == 0, result.output
    written = tmp_path / "tiles" / "dataset.json"
    assert result.stdout == f"{written}: 1 {names[0]}, 1 {names[1]}, of 1 slice\n"
    made = load_manifest(written)
    assert (made.target, dict(made.labels)) == ("class", dict(enumerate(names)))
    assert [case.patient for case in made.training] == ["p", "p"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", 3], "size must be at least 4"),
        (["--share", 0], "share above 0"),
    ],
)
def test_numbers_without_tiles_are_refused(slices, tmp_path, options, message):
    result = tiles(slices, "--dataset-dir", slices.parent, "-o", tmp_path / "tiles", *options)

    assert result.exit_code == 2
    assert message in result.output


def test_a_manifest_of_classes_has_no_label_maps(tmp_path):
    manifest = write_class_phantoms(tmp_path / "set", 24, seed=0, size=32)

    result = tiles(manifest, "-o", tmp_path / "tiles")

    assert result.exit_code == 2
    assert "class" in result.output
    assert result.output.startswith("segpipe: ")
    assert not (tmp_path / "tiles").exists()
