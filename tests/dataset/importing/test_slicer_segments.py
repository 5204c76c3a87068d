"""3D Slicer numbers the segments of each file by itself; their names tell the classes."""

import numpy as np
import pytest
from made_sets import require_sound, write_image

from segpipe.dataset import create_manifest
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.volumes import read_header, write_label_map
from segpipe.volumes.segment_names import segment_names


def write_case(top, case, *names):
    """Write a scan and its segmentation with segments of these names, stored as 1, 2, ..."""
    write_image(top / f"{case}.nrrd", seed=ord(case[-1]))
    rows = [
        {"index": k, "name": name, "color": [k, k, k], "value": k}
        for k, name in enumerate(("background", *names))
    ]
    grid = read_header(top / f"{case}.nrrd").grid
    voxels = np.resize(np.arange(len(rows), dtype=np.uint8), grid.size)
    write_label_map(voxels, grid, top / f"{case}.seg.nrrd", labels=LabelTable.from_rows(rows))


def test_a_segmentation_beside_its_scan_names_the_classes(tmp_path):
    top = tmp_path / "set"
    for case in ("ana", "bert"):
        write_case(top, case, "liver", "tumour")

    created = create_manifest(top, modality=["CT"])

    require_sound(created, top)
    assert created.layout == "pairs of files, label maps of 3D Slicer with names of segments"
    assert created.manifest.labels == {0: "background", 1: "liver", 2: "tumour"}
    assert [(case.images, case.label) for case in created.manifest.training] == [
        ((f"{case}.nrrd",), f"{case}.seg.nrrd") for case in ("ana", "bert")
    ]


def test_one_value_with_two_meanings_is_refused(tmp_path):
    top = tmp_path / "set"
    write_case(top, "ana", "liver", "tumour")
    write_case(top, "bert", "tumour", "liver")

    with pytest.raises(
        SegpipeError, match=r"the value 1 is liver in ana.seg.nrrd and tumour in bert.seg.nrrd; one"
    ):
        create_manifest(top, modality=["CT"], labels={0: "background", 1: "liver", 2: "tumour"})


def test_names_stand_in_the_header_alone(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    lines = ["NRRD0004", "Segment0_Name:= Left kidney", "Segment0_LabelValue:=3", "Segment1_Name:=x", ""]
    path.write_bytes("\n".join([*lines, "Segment1_LabelValue:=4", ""]).encode())

    assert segment_names(path) == {3: "Left kidney"}
