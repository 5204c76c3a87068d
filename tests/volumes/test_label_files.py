"""One file of names and colours for ITK-SNAP and one for 3D Slicer serve all label maps of a folder."""

from __future__ import annotations

import re

import pytest

from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.volumes.label_files import ITK_SNAP_FILE, SLICER_FILE, label_file_text, write_label_files

FILES = (ITK_SNAP_FILE, SLICER_FILE)
ODD_NAMES = (
    "left lung",
    '"edema"',
    "core  and rim",
    "Läsion 肿瘤",
    "Meckel's",
    "'",
    "# no comment",
    "\u200b",
)


def table(*names, values=None, color=(230, 159, 0)):
    rows = ("background", *names)
    return LabelTable.from_rows(
        {"index": index, "name": name, "color": [0, 0, 0] if index == 0 else list(color), "value": value}
        for index, (name, value) in enumerate(zip(rows, values or range(len(rows)), strict=True))
    )


def itk_snap(text):
    """Return value -> name, colour, transparency, two visibilities, as ITK-SNAP parses a line."""
    read = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            numbers, name = line.split('"')[:2]
            value, red, green, blue, alpha, visible, mesh = map(float, numbers.split())
            read[int(value)] = (name, (red, green, blue), alpha, visible, mesh)
    return read


def slicer(text):
    """Return value -> name and colour, as 3D Slicer parses a line: words; _ in a name stands for a space."""
    read = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            value, name, *color = line.split()
            read[int(value)] = (name.replace("_", " "), tuple(map(float, color)))
    return read


def test_both_files_give_each_stored_value_its_name_and_colour(tmp_path):
    """The files list stored values, not class indices; the background is not drawn."""
    write_label_files(tmp_path, table("left lung", "liver", values=(0, 85, 170)))

    assert itk_snap((tmp_path / ITK_SNAP_FILE).read_text()) == {
        0: ("background", (0, 0, 0), 0, 0, 0),
        85: ("left lung", (230, 159, 0), 1, 1, 1),
        170: ("liver", (230, 159, 0), 1, 1, 1),
    }
    assert slicer((tmp_path / SLICER_FILE).read_text()) == {
        0: ("background", (0, 0, 0, 0)),
        85: ("left lung", (230, 159, 0, 255)),
        170: ("liver", (230, 159, 0, 255)),
    }


def test_odd_names_keep_every_line_whole():
    labels = table(*ODD_NAMES)

    snap, colors = (label_file_text(name, labels) for name in FILES)

    assert [row[0] for row in itk_snap(snap).values()] == [
        *(
            "background",
            "left lung",
            "'edema'",
            "core and rim",
            "Läsion 肿瘤",
            "Meckel's",
            "'",
            "# no comment",
        ),
        "label 8",
    ]
    assert [row[0] for row in slicer(colors).values()] == [
        *(
            "background",
            "left lung",
            '"edema"',
            "core and rim",
            "Läsion 肿瘤",
            "Meckel's",
            " ",
            "# no comment",
        ),
        "label 8",
    ]


def test_a_value_that_a_viewer_cannot_take_is_left_out_and_said():
    """ITK-SNAP takes 16 bits, 3D Slicer 2**15; both refuse a whole file because of one larger value."""
    labels = table("a", "b", "c", values=(0, -1, 40000, 70000))

    snap, colors = (label_file_text(name, labels) for name in FILES)

    assert list(itk_snap(snap)) == [0, 40000]
    assert list(slicer(colors)) == [0]
    assert "# left out: 40000 b; 3D Slicer takes 0 to 32768" in colors
    assert "# left out: -1 a; ITK-SNAP takes 0 to 65535" in snap


def written(folder):
    return {name: (folder / name).read_text() for name in FILES}


def test_the_same_names_stay_as_a_viewer_saved_them(tmp_path):
    """ITK-SNAP saves the user's colours, another header and another name for 0."""
    write_label_files(tmp_path, table("left lung", "liver"))
    saved = '# saved\n 0 0 0 0 0 0 0 "Clear Label"\n 1 9 9 9 0.5 1 1 "left lung"\n 2 9 9 9 1 1 1 "liver"\n'
    (tmp_path / ITK_SNAP_FILE).write_text(saved)

    write_label_files(tmp_path, table("Left lung", "liver"), others=["other"])

    assert written(tmp_path)[ITK_SNAP_FILE] == saved


def test_another_label_table_is_written_anew_where_no_label_map_needs_the_old_one(tmp_path):
    write_label_files(tmp_path, table("lung"))

    write_label_files(tmp_path, table("liver"), others=[])

    assert written(tmp_path) == {name: label_file_text(name, table("liver")) for name in FILES}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("other_cases", [["case_3"], None])
def test_another_label_table_is_refused_where_other_label_maps_need_the_old_one(
    tmp_path, other_cases, overwrite
):
    """With the new file, a viewer would show value 1 of the other label maps as liver."""
    write_label_files(tmp_path, table("lung"))
    before = written(tmp_path)

    with pytest.raises(
        SegpipeError, match="calls the value 1 'lung' where the label table calls it 'liver'"
    ) as refused:
        write_label_files(tmp_path, table("liver"), others=other_cases, overwrite=overwrite)

    assert ("(case_3)" in str(refused.value)) is bool(other_cases)
    assert written(tmp_path) == before


def test_a_table_with_more_classes_extends_the_file(tmp_path):
    write_label_files(tmp_path, table("lung"))

    write_label_files(tmp_path, table("lung", "liver"), others=["case_3"])
    write_label_files(tmp_path, table("lung"), others=["case_4"])

    assert written(tmp_path) == {name: label_file_text(name, table("lung", "liver")) for name in FILES}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["my own notes", '1 9 9 9 1 1 1 "heart"\n1 heart 9 9 9 255\n'])
def test_a_file_of_somebody_else_is_replaced_only_when_asked(name, text, tmp_path):
    (tmp_path / name).write_text(text)

    with pytest.raises(SegpipeError, match="segpipe did not write this file, or somebody changed it"):
        write_label_files(tmp_path, table("lung"), others=[])
    assert [path.name for path in tmp_path.iterdir()] == [name]

    write_label_files(tmp_path, table("lung"), others=[], overwrite=True)
    assert written(tmp_path) == {file: label_file_text(file, table("lung")) for file in FILES}


def test_a_file_that_was_changed_is_somebody_elses(tmp_path):
    write_label_files(tmp_path, table("lung"))
    path = tmp_path / SLICER_FILE
    path.write_text(re.sub("lung", "left_lung", path.read_text()))

    with pytest.raises(
        SegpipeError, match=r"labels\.ctbl: .*'left_lung' where the label table calls it 'lung'"
    ):
        write_label_files(tmp_path, table("lung"), others=[])
