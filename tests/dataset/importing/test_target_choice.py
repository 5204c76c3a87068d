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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image,class\na.png,größe\nb.png,y\n".encode("latin-1"),
            "line 2 is not UTF-8 text; save the table as UTF-8",
        ),
        (b"a.png,x\nb.png,y\n", "line 1 names the image a.png where the columns' names should be"),
        (b"image,age\na.png,50\nb.png,61\n", "image names images, but no column says their labels"),
        (
            b"image,class\nc.jpg,x\nd.jpg,y\n",
            "none of its images is in .*, such as 'c.jpg'; correct the names",
        ),
        (b"", "is empty; write the columns image and class in the first line"),
    ],
)
def test_a_table_that_is_none_is_the_reason_where_only_a_table_can_tell(tmp_path, content, message):
    write_pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_bytes(content)

    for target in (None, "findings"):
        with pytest.raises(SegpipeError, match=message):
            create_manifest(tmp_path, target=target)


def test_a_table_that_is_none_beside_class_folders_is_named(tmp_path):
    write_pictures(tmp_path, CLASSES)
    (tmp_path / "ages.csv").write_text("image,age\na.png,50\n")
    (tmp_path / "u.csv").write_bytes("image,class\na.png,größe\n".encode("latin-1"))

    created = create_manifest(tmp_path)

    assert created.manifest.target == "class"
    assert "ages.csv has no labels, the class folders count" in created.notes
    assert created.warnings == [
        f"a table beside the class folders is not used: {tmp_path / 'u.csv'}: line 2 is not UTF-8 text; save the table "
        "as UTF-8 (in Excel: CSV UTF-8)"
    ]
