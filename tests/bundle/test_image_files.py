"""Images to classify are found in folders, tables and manifests; each bad folder or table is one message."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_classifier import grey_image, write_image, write_images, write_x_ray

from segpipe.bundle import images_to_classify
from segpipe.bundle.image_files import look_for_images
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_volume


def names(found):
    return [scan.name for scan in found.scans]


def test_images_keep_their_path_and_suffix(tmp_path):
    """Every DICOM file is an image by itself; an object without pixels is none."""
    write_image(tmp_path / "CNV" / "a.png")
    write_image(tmp_path / "CNV" / "a.jpeg")
    write_x_ray(tmp_path / "rays" / "1.dcm", grey_image())
    write_x_ray(tmp_path / "rays" / "2.dcm", grey_image(1))
    write_volume(grey_image().T, Grid.from_affine((24, 20), np.eye(4)), tmp_path / "tile.mhd")
    (tmp_path / "notes.txt").write_text("of the study")

    found = look_for_images(tmp_path)

    assert names(found) == ["CNV/a.jpeg", "CNV/a.png", "rays/1.dcm", "rays/2.dcm", "tile.mhd"]
    assert found.refused == ()
    assert found.ignored_files == ()


def test_one_file(tmp_path):
    assert names(look_for_images(write_image(tmp_path / "a.png"))) == ["a.png"]
    assert names(look_for_images(write_x_ray(tmp_path / "a.dcm", grey_image()))) == ["a.dcm"]


def test_a_table_names_cases(tmp_path):
    write_image(tmp_path / "a.png")
    write_x_ray(tmp_path / "b.dcm", grey_image())
    table = tmp_path / "list.csv"
    table.write_text("case,image\nfirst,a.png\nsecond,b.dcm\nthird,missing.png\n")

    found = look_for_images(table)

    assert names(found) == ["first", "second"]
    assert [scan.name for scan in found.refused] == ["third"]
    assert "no such file" in found.refused[0].reason


def test_records_for_the_run_of_monai(tmp_path):
    write_images(tmp_path / "images", 2)

    records = images_to_classify(tmp_path / "images", tmp_path / "out")

    assert records == [
        {"case": f"image_00{place}.png", "image": str(tmp_path / "images" / f"image_00{place}.png")}
        for place in (0, 1)
    ]


def refused(tmp_path, message, folder="images", out="out", **options):
    with pytest.raises(SegpipeError) as caught:
        images_to_classify(tmp_path / folder, tmp_path / out, **options)
    assert message in str(caught.value), caught.value


def test_an_empty_folder(tmp_path):
    (tmp_path / "images").mkdir()

    refused(tmp_path, "images: no image there; segpipe reads")


def test_an_output_folder_among_the_images(tmp_path):
    write_images(tmp_path / "images", 1)

    refused(tmp_path, "lies inside the folder of images", out="images/out")


def test_a_table_without_an_image_column(tmp_path):
    (tmp_path / "list.csv").write_text("number,label\n1,CNV\n")

    refused(tmp_path, "a table needs a column image", folder="list.csv")


def test_a_table_that_exists_is_replaced_on_request(tmp_path):
    write_images(tmp_path / "images", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text("mine")

    refused(tmp_path, "predictions.csv: exists already")
    assert len(images_to_classify(tmp_path / "images", tmp_path / "out", overwrite=True)) == 1


def test_a_truncated_image_and_a_volume_are_named_together(tmp_path):
    write_images(tmp_path / "images", 1)
    (tmp_path / "images" / "cut.png").write_bytes((tmp_path / "images" / "image_000.png").read_bytes()[:-40])
    write_volume(
        grey_image(size=(8, 64)).reshape(8, 8, 8),
        Grid.from_affine((8, 8, 8), np.eye(4)),
        tmp_path / "images" / "v.mha",
    )

    refused(tmp_path, "2 of 3 images cannot be classified")
    refused(tmp_path, "cut.png: truncated")
    refused(tmp_path, "v.mha: a volume of 8 x 8 x 8 voxels")


def test_a_picture_in_cmyk(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("CMYK", (20, 20), (0, 20, 40, 60)).save(tmp_path / "images" / "a.jpg")

    refused(tmp_path, "JPEG of 8 bits with 4 components")


def test_a_manifest(tmp_path):
    write_images(tmp_path, 2)
    cases = [
        {"case": f"c{place}", "image": [f"image_00{place}.png"], "classes": [name]}
        for place, name in enumerate(("CNV", "NORMAL"))
    ]
    manifest = {
        "schema_version": 1,
        "name": "made",
        "modality": {"0": "OCT"},
        "target": "class",
        "labels": {"0": "CNV", "1": "NORMAL"},
        "numTraining": 2,
        "training": cases,
        "numTest": 0,
        "test": [],
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))

    found = look_for_images(path)

    assert names(found) == ["c0", "c1"], found
