"""Tiles of labelled slices: 8 x 8 pixels in tiles of 4, worked out by hand."""

import json

import numpy as np
import pytest

from segpipe.dataset import load_manifest
from segpipe.dataset.importing.tiles import TileOptions, write_tiles
from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_volume, write_volume

FOUR = TileOptions(size=4, share=0.5, most=5)


def save(path, pixels):
    write_volume(pixels, Grid.from_affine(pixels.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), path)


@pytest.fixture
def slices(tmp_path):
    """One slice: two tiles below are infected by three quarters and a quarter, one above is canvas, one healthy."""
    (tmp_path / "data").mkdir()
    pixels = (np.arange(64, dtype=np.uint8).reshape(8, 8) * 3 + 20).astype(np.uint8)
    pixels[:4, :4] = 0
    labels = np.zeros((8, 8), np.uint8)
    labels[4:, :3] = 1
    labels[4:, 7] = 2
    save(tmp_path / "data" / "a.mhd", pixels)
    save(tmp_path / "data" / "a_label.mhd", labels)
    case = Case("a", ("a.mhd",), label="a_label.mhd", fold=1)
    return Manifest("made", ("CT",), {0: "background", 1: "one", 2: "two"}, (case,)), tmp_path, pixels


def test_a_tile_is_of_a_class_by_its_labelled_share(slices):
    manifest, folder, pixels = slices

    made = write_tiles(manifest, folder / "data", folder / "tiles", FOUR)

    assert made.counts == {"healthy": 1, "infected": 1}
    described = load_manifest(made.manifest)
    assert [(case.case, case.classes, case.patient, case.fold) for case in described.training] == [
        ("a_healthy_01", ("healthy",), "a", 1),
        ("a_infected_01", ("infected",), "a", 1),
    ]
    healthy, infected = (
        read_volume(folder / "tiles" / case.images[0]).channels[0] for case in described.training
    )
    np.testing.assert_array_equal(healthy, pixels[:4, 4:])
    np.testing.assert_array_equal(infected, pixels[4:, :4])


def test_tiles_are_drawn_with_the_seed_and_are_the_same_each_time(slices):
    manifest, folder, _ = slices
    one = TileOptions(size=4, share=0.2, most=1)

    for name in ("first", "second"):
        write_tiles(manifest, folder / "data", folder / name, one)

    first, second = (json.loads((folder / name / "dataset.json").read_text()) for name in ("first", "second"))
    for content in (first, second):
        content.pop("dataset_dir", None)
    assert first == second
    assert len(first["training"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TileOptions(size=3), "size must be at least 4"),
        (TileOptions(share=0.0), "share above 0"),
        (TileOptions(size=8, share=1.0), "no tile of 8 x 8 pixels is healthy, infected"),
    ],
)
def test_numbers_that_give_no_tiles_are_refused(slices, options, message):
    manifest, folder, _ = slices
    with pytest.raises(SegpipeError, match=message):
        write_tiles(manifest, folder / "data", folder / "tiles", options)


def test_a_folder_with_files_and_volumes_are_refused(slices):
    manifest, folder, _ = slices
    with pytest.raises(SegpipeError, match="holds files already"):
        write_tiles(manifest, folder / "data", folder / "data", FOUR)
    volume = np.zeros((8, 8, 2), np.uint8)
    write_volume(volume, Grid.from_affine(volume.shape, np.eye(4)), folder / "data" / "a.mhd")
    with pytest.raises(SegpipeError, match="tiles need 2D images"):
        write_tiles(manifest, folder / "data", folder / "tiles", FOUR)
