"""Class folders: parts above, patients in names, and folders that are no classes or have no images."""

import re
from pathlib import Path

import pytest
from labelled_folders import write_picture, write_pictures

from segpipe.dataset import create_manifest
from segpipe.dataset.importing.folder_classes import class_folders, has_label_maps, looks_like_classes
from segpipe.errors import SegpipeError

TWO = ["CNV/a.png", "CNV/b.png", "DME/c.png", "DME/d.png"]


def test_a_folder_a_class(tmp_path):
    created = create_manifest(write_pictures(tmp_path / "set", TWO))

    manifest = created.manifest
    assert (created.layout, manifest.target, manifest.name) == ("a folder a class", "class", "set")
    assert dict(manifest.labels) == {0: "CNV", 1: "DME"}
    assert [(case.case, case.images, case.classes) for case in manifest.training] == [
        ("a", ("CNV/a.png",), ("CNV",)),
        ("b", ("CNV/b.png",), ("CNV",)),
        ("c", ("DME/c.png",), ("DME",)),
        ("d", ("DME/d.png",), ("DME",)),
    ]
    assert all(list(case.sha256) == list(case.images) for case in manifest.training)
    assert manifest.patients.startswith("unknown")
    assert manifest.splits == {}


def test_kaggles_layout_with_its_space_and_rubbish(tmp_path):
    """OCT2017 as Kaggle packs it: a space after the name, Mac rubbish, train, val and test."""
    top = "OCT2017 "
    paths = [
        f"{top}/{part}/{name}/{name}-{1000 + number}-{image}.jpeg"
        for number, (part, name) in enumerate(
            (part, name) for part in ("train", "val", "test") for name in ("CNV", "DME", "DRUSEN", "NORMAL")
        )
        for image in (1, 2)
    ]
    folder = write_pictures(tmp_path / "kaggle", paths)
    (folder / "__MACOSX" / top / "train").mkdir(parents=True)
    (folder / "__MACOSX" / top / "train" / "._CNV-1000-1.jpeg").write_bytes(b"Mac")
    (folder / top / ".DS_Store").write_bytes(b"Mac")
    (folder / "__MACOSX" / "x.png").write_bytes(b"Mac")

    created = create_manifest(folder, modality=["OCT"])

    manifest = created.manifest
    assert (created.layout, created.patients_from) == (
        "a folder a class, in parts",
        "the names CLASS-PATIENT-N",
    )
    assert list(manifest.labels.values()) == ["CNV", "DME", "DRUSEN", "NORMAL"]
    assert (len(manifest.training), len(manifest.test)) == (16, 8)
    assert (len(manifest.splits["folder"].train), len(manifest.splits["folder"].validation)) == (8, 8)
    first = manifest.training[0]
    assert (first.case, first.patient, first.images) == (
        "CNV-1000-1",
        "1000",
        (f"{top}/train/CNV/CNV-1000-1.jpeg",),
    )
    assert all(case.classes == (case.case.split("-")[0],) for case in (*manifest.training, *manifest.test))
    assert any("train with --fold folder" in note for note in created.notes)
    assert created.warnings == []


def test_a_patient_on_two_sides_is_warned_of(tmp_path):
    paths = [
        "train/A/A-1-1.png",
        "train/A/A-2-1.png",
        "train/B/B-3-1.png",
        "val/A/A-1-2.png",
        "val/B/B-4-1.png",
        "test/A/A-2-2.png",
        "test/B/B-5-1.png",
    ]

    warnings = create_manifest(write_pictures(tmp_path, paths)).warnings

    assert [warning.split(": a ")[0] for warning in warnings] == [
        "1 patient with images both to train on and to test (2)",
        "1 patient with images both to train on and to validate with (1)",
    ]


def test_test_images_without_classes_are_listed_without_them(tmp_path):
    paths = [
        "train/cat/1.jpg",
        "train/cat/2.jpg",
        "train/dog/3.jpg",
        "train/dog/4.jpg",
        "test/5.jpg",
        "test/6.jpg",
    ]

    created = create_manifest(write_pictures(tmp_path, paths))

    assert len(created.manifest.training) == 4
    assert [(case.case, case.classes) for case in created.manifest.test] == [("5", ()), ("6", ())]
    assert "2 images without a label: listed under test, never trained on" in created.notes
    assert created.manifest.splits == {}


def test_one_part_alone_is_all_trained_on(tmp_path):
    created = create_manifest(write_pictures(tmp_path, [f"test/{path}" for path in TWO]))

    assert len(created.manifest.training) == 4
    assert "every labelled image belongs to the part test; all are used to train on" in created.notes


def test_numbered_images_get_their_class_in_the_id(tmp_path):
    paths = [f"{name}/{number}.png" for name in ("CNV", "DME") for number in range(12)]

    created = create_manifest(write_pictures(tmp_path, paths))

    assert [case.case for case in created.manifest.training][:2] == ["CNV_0", "CNV_1"]
    assert len({case.case for case in created.manifest.training}) == 24


def test_folders_below_a_class_are_patients(tmp_path):
    paths = [
        f"{name}/{patient}/{image}.png"
        for name, patients in (("CNV", ("p1", "p2")), ("DME", ("p3", "p4")))
        for patient in patients
        for image in ("left", "right")
    ]

    created = create_manifest(write_pictures(tmp_path, paths), target="class")

    assert created.patients_from == "the folder of the image"
    assert [case.patient for case in created.manifest.training] == [
        "p1",
        "p1",
        "p2",
        "p2",
        "p3",
        "p3",
        "p4",
        "p4",
    ]


def test_patients_of_a_template(tmp_path):
    paths = ["CNV/P7_a.png", "CNV/P7_b.png", "DME/P8_c.png", "DME/P9_d.png"]
    folder = write_pictures(tmp_path, paths)

    created = create_manifest(folder, patient="{patient}_*")

    assert [case.patient for case in created.manifest.training] == ["P7", "P7", "P8", "P9"]
    assert created.manifest.patients == "from the template {patient}_*"
    with pytest.raises(SegpipeError, match=r"matches 2 of 4 case ids, not P8_c, P9_d"):
        create_manifest(folder, patient="P7_{patient}")


def test_a_name_of_another_class_than_its_folder_is_refused(tmp_path):
    paths = [f"{name}/{name}-{number}-1.jpeg" for number, name in enumerate(("CNV", "DME") * 3)]
    folder = write_pictures(tmp_path, [*paths, "DME/cnv-77-1.jpeg"])

    message = refused(folder)

    assert "1 image named CLASS-PATIENT-N in the folder of another class: DME/cnv-77-1.jpeg (CNV)" in message


def test_a_name_of_another_form_has_no_patient(tmp_path):
    paths = [f"{name}/{name}-{number}-1.jpeg" for number, name in enumerate(("CNV", "DME") * 3)]

    created = create_manifest(write_pictures(tmp_path, [*paths, "DME/scan.jpeg"]))

    assert [case.case for case in created.manifest.training if case.patient is None] == ["scan"]
    assert any("the patient of 1 image (scan) is unknown" in note for note in created.notes)


def test_a_part_inside_itself(tmp_path):
    created = create_manifest(write_pictures(tmp_path, [f"train/train/{path}" for path in TWO]))

    assert list(created.manifest.labels.values()) == ["CNV", "DME"]


def test_many_images_outside_of_classes_are_warned_of(tmp_path):
    paths = [*(f"train/{path}" for path in TWO), "other/e.png", "other/f.png"]

    warnings = create_manifest(write_pictures(tmp_path, paths)).warnings

    assert "2 images ignored, in no class folder: other/e.png, other/f.png; move them into one" in warnings[0]


def test_files_beside_the_classes_are_named(tmp_path):
    folder = write_pictures(
        tmp_path, [*(f"{name}/{n}.png" for name in "AB" for n in range(9)), "overview.png"]
    )
    (folder / "A" / "extra.bmp").write_bytes(b"BM")
    (folder / "A" / "notes.dat").write_bytes(b"x")

    created = create_manifest(folder)

    assert "1 file ignored, in no class folder: overview.png" in created.notes
    assert "1 file ignored, of no image format: A/notes.dat" in created.notes
    assert created.warnings == [
        "1 image ignored, in a format that segpipe does not read: A/extra.bmp; convert to PNG"
    ]


def refused(folder, **options):
    with pytest.raises(SegpipeError) as error:
        create_manifest(folder, **options)
    return str(error.value)


def test_a_class_without_images_is_refused(tmp_path):
    folder = write_pictures(tmp_path, TWO)
    (folder / "DRUSEN").mkdir()
    (folder / "DRUSEN" / "1.tif").write_bytes(b"II*")

    message = refused(folder)

    assert "the class folder DRUSEN has no image that segpipe reads; not read: DRUSEN/1.tif" in message
    assert "add images (PNG or JPEG), or remove the folder" in message


def test_a_class_with_no_image_to_train_on_is_refused(tmp_path):
    paths = [*(f"train/{path}" for path in TWO), "test/CNV/e.png", "test/DRUSEN/f.png"]

    assert "the class DRUSEN has no image to train on, only in other parts" in refused(
        write_pictures(tmp_path, paths)
    )


def test_a_part_that_lacks_a_class_is_warned_of(tmp_path):
    paths = [*(f"train/{path}" for path in TWO), "val/CNV/e.png", "val/CNV/f.png"]

    assert create_manifest(write_pictures(tmp_path, paths)).warnings == [
        "the part validation has no image of DME"
    ]


def test_a_folder_without_classes_is_refused(tmp_path):
    folder = write_pictures(tmp_path, ["a.png", "b.png"])

    assert "has no class folder: its 2 images lie in no folder of their own" in refused(
        folder, target="class"
    )
    # without the option, the message on label maps names it
    assert "give --target class or findings where images have classes" in refused(folder)


def test_one_class_is_refused(tmp_path):
    message = refused(write_pictures(tmp_path, ["train/CNV/a.png", "train/CNV/b.png"]), target="class")

    assert "has the one class CNV; a network needs two at least" in message


def test_no_image_at_all_is_refused(tmp_path):
    (tmp_path / "CNV").mkdir()

    assert "has no class folder: no image" in refused(tmp_path, target="class")


def test_two_spellings_of_a_class_are_refused(tmp_path):
    paths = [
        f"{part}/{name}/{part}{name}{n}.png" for part in ("train", "test") for name in "AB" for n in range(3)
    ]
    paths += ["train/b/c.png"]
    message = refused(write_pictures(tmp_path, paths))
    assert (
        "the folders test/B and train/b are two spellings of one class, 'B' and 'b'; give them one name"
        in message
    )


def test_a_class_in_another_spelling_in_one_part_is_no_new_class(tmp_path):
    paths = [f"train/{name}/{name}{n}.png" for name in ("CNV", "DRUSEN") for n in range(3)]

    message = refused(write_pictures(tmp_path, [*paths, "val/CNV/a.png", "val/Drusen/b.png"]))

    assert "the folders train/DRUSEN and val/Drusen are two spellings of one class" in message


def test_parts_inside_one_of_several_folders_are_refused(tmp_path):
    paths = [*(f"OCT2017/{part}/{path}" for part in ("train", "test") for path in TWO), "NORMAL/e.png"]

    message = refused(write_pictures(tmp_path, [*paths, "NORMAL/f.png"]))

    assert "OCT2017/test, OCT2017/train lies in a folder that would be a class (NORMAL, OCT2017)" in message
    assert "give the folder that holds test, or move the others away" in message


def test_an_image_of_one_name_in_two_classes_is_refused(tmp_path):
    paths = [*(f"CNV/x{number}.png" for number in range(5)), *(f"DME/y{number}.png" for number in range(5))]
    folder = write_pictures(tmp_path, [*paths, "DME/x3.png"])

    message = refused(folder)

    assert "1 image of one name is in two classes: CNV/x3.png and DME/x3.png" in message


def test_one_image_in_two_classes_by_its_bytes_is_refused(tmp_path):
    folder = write_pictures(tmp_path, TWO)
    (folder / "DME" / "other.png").write_bytes((folder / "CNV" / "a.png").read_bytes())

    message = refused(folder)

    assert "one image has two labels: CNV/a.png (CNV) and DME/other.png (DME) are the same bytes" in message


def test_copies_in_one_class_and_across_parts_are_warned_of(tmp_path):
    folder = write_pictures(
        tmp_path, [f"train/{path}" for path in TWO] + ["test/CNV/e.png", "test/DME/f.png"]
    )
    for source, copy in (("train/CNV/a.png", "train/CNV/z.png"), ("train/DME/c.png", "test/DME/g.png")):
        (folder / copy).write_bytes((folder / source).read_bytes())

    warnings = create_manifest(folder, checksums=False).warnings

    assert "1 image in two parts of the data set, so that a training would be refused: " in warnings[0]
    assert "test/DME/g.png and train/DME/c.png" in warnings[0]
    assert "1 image there twice, as the same bytes: train/CNV/a.png and train/CNV/z.png" in warnings[1]


def test_a_broken_link_is_refused(tmp_path):
    folder = write_pictures(tmp_path, TWO)
    (folder / "CNV" / "gone.png").symlink_to(tmp_path / "nowhere.png")

    assert re.search("gone.png: is a link to a file that is not there", refused(folder))


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (TWO, True),
        (["0/a.png", "0/b.png", "1/c.png", "1/d.png"], True),
        (["grade1/a.png", "grade1/b.png", "grade2/c.png", "grade2/d.png"], True),
        (["CNV/a.png", "CNV/b.png", "CNV/c.png"], False),  # one class
        (["CNV/a.png", "DME/b.png"], False),  # one image each
        (["images/a.png", "images/b.png", "masks/a.png", "masks/b.png"], False),
        (["CT/a.png", "CT/b.png", "MRI/c.png", "MRI/d.png"], False),
        (["patient1/a.png", "patient1/b.png", "patient2/c.png", "patient2/d.png"], False),
        (["anna/t1.png", "anna/t2.png", "bob/t1.png", "bob/t2.png"], False),  # the files of a case each
    ],
)
def test_folders_that_look_like_classes(paths, expected):
    assert looks_like_classes(paths) is expected


def test_a_class_folder_may_hold_the_parts():
    found = class_folders(["CNV/train/a.png", "CNV/test/b.png", "DME/train/c.png"])

    assert [(part, name) for _, part, name, _ in found.images] == [
        ("train", "CNV"),
        ("test", "CNV"),
        ("train", "DME"),
    ]


def test_label_maps_among_images_are_told_by_their_names():
    assert has_label_maps(["benign/1.png", "benign/1_mask.png"])
    assert not has_label_maps(["benign/1.png", "malignant/2.png"])
    assert not has_label_maps(["roi/benign/1.png", "roi/malignant/2.png"])  # all of them


def test_label_maps_are_no_images_of_a_class(tmp_path):
    """Breast ultrasound as published: masks beside the images in the class folders."""
    paths = [
        f"{name}/{name} ({number}){role}.png"
        for name in ("benign", "malignant")
        for number in range(3)
        for role in ("", "_mask")
    ]
    folder = write_pictures(tmp_path, paths)

    message = refused(folder)
    created = create_manifest(folder, target="class")

    assert (
        "has a folder for each of benign, malignant, which may be classes, and files that are label maps"
        in message
    )
    assert "--target class, or --target mask" in message
    assert len(created.manifest.training) == 6
    assert any(note.startswith("6 files ignored, label maps by their names") for note in created.notes)


def test_a_single_file_is_no_folder(tmp_path):
    picture = write_picture(tmp_path / "a.png")

    assert "no such folder" in refused(picture, target="class")
    assert "no such folder" in refused(Path("nowhere"), target="class")


def test_a_space_behind_a_class_of_one_part_is_no_other_class(tmp_path):
    paths = [f"{part}/{name}/{number}.png" for part, number in (("train", 1), ("train", 2)) for name in "ab"]

    created = create_manifest(
        write_pictures(tmp_path, [*paths, "val/a /3.png", "val/b/4.png"]), target="class"
    )

    assert not [warning for warning in created.warnings if "has no image of" in warning]


def test_folders_of_file_servers_and_disks_are_no_classes(tmp_path):
    paths = [*TWO, "@eaDir/thumb.png", "$RECYCLE.BIN/old.png"]

    created = create_manifest(write_pictures(tmp_path, paths), target="class")

    assert len(created.manifest.training) == len(TWO)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            [*(f"train/{path}" for path in TWO), *(f"dev/{path}" for path in TWO)],
            "dev beside train holds class folders, too .*, but no part has such a name; rename each to train, val or",
        ),
        (
            [f"fold{fold}/{path[:4]}{fold}{path[4:]}" for fold in (1, 2) for path in TWO],
            "each of fold1, fold2 holds the folders CNV, DME; folders of folds or sites are no classes: give a table",
        ),
        (
            [*TWO, *(f"train/{path}" for path in TWO)],
            "class folders lie beside train .* and in it; move those beside",
        ),
        (
            ["train/CNV/a.png", "train/CNV/b.png", "test/CNV/c.png"],
            "has the one class CNV; a network needs two",
        ),
    ],
)
def test_folders_that_are_no_parts_or_classes_are_refused(tmp_path, paths, message):
    with pytest.raises(SegpipeError, match=message):
        create_manifest(write_pictures(tmp_path, paths))


def test_a_part_that_is_a_link_to_another_is_refused(tmp_path):
    folder = write_pictures(tmp_path, [f"train/{path}" for path in TWO])
    (folder / "test").symlink_to(folder / "train")

    with pytest.raises(
        SegpipeError, match=r"test: is a link to .*train, a folder of the same data set; remove"
    ):
        create_manifest(folder)


def test_parts_may_have_more_words(tmp_path):
    paths = [f"{part}/{path}" for part in ("train_set", "Validation-Set", "test set") for path in TWO]

    manifest = create_manifest(write_pictures(tmp_path, paths)).manifest

    assert list(manifest.labels.values()) == ["CNV", "DME"]
    assert [len(cases) for cases in (manifest.training, manifest.test)] == [2 * len(TWO), len(TWO)]


def test_images_in_no_format_that_is_read(tmp_path):
    for path in TWO:
        file = tmp_path / path.replace(".png", ".webp")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"RIFF")

    with pytest.raises(
        SegpipeError, match=rf"segpipe reads none of its {len(TWO)} images: .*; convert to PNG"
    ):
        create_manifest(tmp_path)


def test_folders_inside_classes_are_said(tmp_path):
    sides = [
        f"{name}/{side}/{n}{name}.png"
        for name in ("CNV", "DME")
        for side in ("left", "right")
        for n in (1, 2)
    ]
    of_sides = create_manifest(write_pictures(tmp_path / "sides", sides))
    some = [
        *(f"ill/{name}/{n}{name}.png" for name in ("CNV", "DME") for n in (1, 2)),
        "well/5.png",
        "well/6.png",
    ]
    of_some = create_manifest(write_pictures(tmp_path / "some", some))

    assert (
        "each of the folders CNV, DME holds the folders left, right; the outer ones count as"
        in of_sides.warnings[0]
    )
    assert {case.patient for case in of_sides.manifest.training} == {None}
    assert (
        "the class folder ill has folders of its own, which are no classes here: CNV, DME"
        in of_some.warnings[0]
    )
