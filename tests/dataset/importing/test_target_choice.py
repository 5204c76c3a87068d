"""Label maps, classes or findings: what a folder is taken for, and where the user is asked."""

import pytest
from labelled_folders import write_pictures, write_table
from made_sets import KNOWN

from segpipe.dataset import create_manifest
from segpipe.dataset.importing.target_choice import chosen_target
from segpipe.errors import SegpipeError

CLASSES = ["CNV/a.png", "CNV/b.png", "DME/c.png", "DME/d.png"]
MAPS = ["images/a.png", "masks/a.png", "images/b.png", "masks/b.png"]


@pytest.mark.parametrize(
    ("paths", "header", "expected"),
    [
        (CLASSES, None, "class"),
        (MAPS, None, "mask"),
        (["a.png", "b.png"], None, "mask"),  # refused with label maps
        (["a.png", "b.png"], "image,class", "class"),
        (["a.png", "b.png"], "image,findings", "findings"),
        (CLASSES, "image,findings", "findings"),  # the table counts before the folders
        (MAPS, "image,class", "mask"),  # named in a note
    ],
)
def test_a_folder_tells_its_target(tmp_path, paths, header, expected):
    write_pictures(tmp_path, paths)
    if header is not None:
        write_table(tmp_path / "t.csv", header, *(f"{path},{'xy'[n % 2]}" for n, path in enumerate(paths)))

    assert chosen_target(tmp_path, None, None, ()) == expected


def test_a_table_of_label_maps_and_classes_is_asked_about(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png", "m/a.png", "m/b.png"])
    table = write_table(tmp_path / "t.csv", "image,mask,class", "a.png,m/a.png,x", "b.png,m/b.png,y")

    with pytest.raises(
        SegpipeError, match=r"has a column of label maps, and one of class; say which counts: --target"
    ):
        create_manifest(tmp_path, table=table)
    manifest = create_manifest(tmp_path, table=table, target="class").manifest
    assert [case.classes for case in manifest.training] == [("x",), ("y",)]


def test_options_of_label_maps_decide(tmp_path):
    write_pictures(tmp_path, CLASSES)

    assert chosen_target(tmp_path, None, None, ("--label",)) == "mask"
    with pytest.raises(
        SegpipeError, match="--target class is given with --label, which only label maps have"
    ):
        create_manifest(tmp_path, target="class", label="{case}.png")


def test_a_description_counts_first(tmp_path):
    write_pictures(tmp_path, CLASSES)
    (tmp_path / "dataset.json").write_text("{}")

    assert chosen_target(tmp_path, None, None, ()) == "mask"


def test_mask_can_be_asked_for(tmp_path):
    """Cases of two folders with their masks look like classes; the option says that they are none."""
    paths = [
        f"{name}/{number}{role}.png"
        for name in ("anna", "bob")
        for number in (1, 2)
        for role in ("", "_mask")
    ]
    write_pictures(tmp_path, [path.replace("bob/1", "bob/3").replace("bob/2", "bob/4") for path in paths])

    with pytest.raises(SegpipeError, match="has a folder for each of anna, bob, which may be classes"):
        create_manifest(tmp_path, **KNOWN)
    assert chosen_target(tmp_path, "mask", None, ()) == "mask"
