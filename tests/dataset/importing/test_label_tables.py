"""Tables that label images: a class column, a findings column, one column a finding; and rows that are refused."""

import numpy as np
import pytest
from labelled_folders import write_picture, write_pictures, write_table

from segpipe.dataset import create_manifest
from segpipe.dataset.targets import target_of
from segpipe.errors import SegpipeError

FOUR = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture
def pictures(tmp_path):
    """A folder with the pictures a to d."""
    return write_pictures(tmp_path / "set", FOUR)


def refused(folder, *lines, **options):
    table = write_table(folder / "t.csv", *lines)
    with pytest.raises(SegpipeError) as error:
        create_manifest(folder, table=table, **options)
    return str(error.value)


def test_a_class_column(pictures):
    table = write_table(
        pictures / "t.csv",
        "image,class,patient,split,scanner",
        "a.png,CNV,P1,train,x",
        "b.png,NORMAL,P1,train,x",
        "c.png,CNV,P2,validation,y",
        "d.png,NORMAL,P3,test,y",
    )

    created = create_manifest(pictures, modality=["OCT"])

    manifest = created.manifest
    assert (created.layout, manifest.target, manifest.modality) == ("the table t.csv", "class", ("OCT",))
    assert dict(manifest.labels) == {0: "CNV", 1: "NORMAL"}
    assert [(case.case, case.patient, case.classes) for case in manifest.training] == [
        ("a", "P1", ("CNV",)),
        ("b", "P1", ("NORMAL",)),
        ("c", "P2", ("CNV",)),
    ]
    assert [(case.case, case.classes) for case in manifest.test] == [("d", ("NORMAL",))]
    assert manifest.splits["folder"].validation == ("c",)
    assert "t.csv: these columns are not used: scanner" in created.notes
    assert create_manifest(table, modality=["OCT"]).manifest == manifest  # the table instead of the folder


def test_findings_with_bars_between(pictures):
    write_table(
        pictures / "labels.csv",
        "Image Index,Finding Labels,Patient ID",
        "a.png,Hernia|Effusion,1",
        "b.png,No Finding,1",
        "c.png,Effusion,2",
        "d.png,no finding,3",
    )

    manifest = create_manifest(pictures).manifest

    assert manifest.target == "findings"
    assert dict(manifest.labels) == {0: "Effusion", 1: "Hernia"}
    assert [case.classes for case in manifest.training] == [("Effusion", "Hernia"), (), ("Effusion",), ()]
    assert [case.patient for case in manifest.training] == ["1", "1", "2", "3"]


def test_chexperts_form(tmp_path):
    """Paths that begin above the folder; 1, 0, -1 and nothing; patients and parts from folders."""
    top = "CheXpert-v1.0-small"
    images = [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00001/study2/view1_frontal.jpg",
        "train/patient00002/study1/view1_frontal.jpg",
        "valid/patient00003/study1/view1_frontal.jpg",
    ]
    folder = write_pictures(tmp_path / top, images)
    table = write_table(
        folder / "all.csv",
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Lung Opacity,Pneumonia,Support Devices",
        f"{top}/{images[0]},Female,68,Frontal,AP,,1.0,-1.0,0.0",
        f"{top}/{images[1]},Female,68,Frontal,AP,1.0,0.0,,",
        f"{top}/{images[2]},Male,70,Frontal,PA,,,1.0,1.0",
        f"{top}/{images[3]},Male,71,Frontal,PA,0,1,0,0",
    )

    created = create_manifest(folder, table=table, modality=["X-ray"])

    manifest = created.manifest
    assert manifest.categories().names == ("Lung Opacity", "Pneumonia", "Support Devices")
    first = manifest.training[0]
    assert (first.images, first.patient) == ((images[0],), "patient00001")
    assert (first.classes, first.unknown) == (("Lung Opacity",), ("Pneumonia",))
    np.testing.assert_array_equal(target_of(first, manifest.categories()), [1, np.nan, 0])
    assert manifest.training[1].classes == manifest.training[1].unknown == ()
    assert [case.patient for case in manifest.training] == [
        "patient00001",
        "patient00001",
        "patient00002",
        "patient00003",
    ]
    assert len(manifest.splits["folder"].validation) == 1
    assert "1 label of -1: nobody knows, so the finding is unknown there" in created.notes
    assert any(
        "3 labels are empty, not mentioned in CheXpert: counted as absent" in note for note in created.notes
    )
    as_unknown = create_manifest(folder, table=table, modality=["X-ray"], blank="unknown").manifest
    assert as_unknown.training[1].unknown == ("Pneumonia", "Support Devices")
    assert as_unknown.training[2].unknown == ("Lung Opacity",)


def test_columns_of_zeros_and_ones_that_are_no_findings(pictures):
    write_table(
        pictures / "t.csv",
        "image,follow-up #,male,Hemorrhage,Covid,patient_id",
        "a.png,0,1,1,0,1",
        "b.png,1,1,0,1,1",
        "c.png,0,0,0,0,2",
    )

    created = create_manifest(pictures)

    assert created.manifest.categories().names == ("Hemorrhage", "Covid")
    assert "t.csv: these columns are not used: follow-up #, male" in created.notes
    assert "1 image not listed in t.csv: d.png" in created.notes


def test_one_hot_classes_need_the_target(pictures):
    lines = ["image,MEL,NV", "a.png,1.0,0.0", "b.png,0.0,1.0"]
    table = write_table(pictures / "t.csv", *lines)

    as_findings = create_manifest(pictures, table=table)
    as_classes = create_manifest(pictures, table=table, target="class")

    assert as_findings.manifest.target == "findings"
    assert any("if they exclude each other, give --target class" in note for note in as_findings.notes)
    assert [case.classes for case in as_classes.manifest.training] == [("MEL",), ("NV",)]
    message = refused(pictures, *lines, "c.png,1,1", target="class")
    assert "line 4: has 2 classes (MEL, NV); with target class exactly one column is 1" in message


def test_images_by_name_without_folder_and_suffix(tmp_path):
    folder = write_pictures(tmp_path, ["images_001/x1.png", "images_002/x2.png", "images_002/x3.png"])
    table = write_table(folder / "t.csv", "id_code,diagnosis", "x1,mild", "x2,severe", "x3,mild")

    manifest = create_manifest(folder, table=table).manifest

    assert [case.images[0] for case in manifest.training] == [
        "images_001/x1.png",
        "images_002/x2.png",
        "images_002/x3.png",
    ]


def test_classes_by_number_need_names(pictures):
    lines = ["image,grade", "a.png,0", "b.png,1", "c.png,2", "d.png,1"]

    message = refused(pictures, *lines)
    manifest = create_manifest(pictures, labels={0: "none", 1: "mild", 2: "severe"}).manifest

    assert (
        "does not say what its classes 0, 1, 2 mean; add --class 0=NAME --class 1=NAME --class 2=NAME"
        in message
    )
    assert dict(manifest.labels) == {0: "none", 1: "mild", 2: "severe"}
    assert [case.classes[0] for case in manifest.training] == ["none", "mild", "severe", "mild"]
    asked = create_manifest(
        pictures, modality=["OCT"], ask=lambda question, _: f"grade {question[-2]}"
    ).manifest
    assert list(asked.labels.values()) == ["grade 0", "grade 1", "grade 2"]


def test_folds_of_the_table(pictures):
    lines = ["image,class,fold", "a.png,x,0", "b.png,y,0", "c.png,x,1", "d.png,y,1.0"]
    write_table(pictures / "t.csv", *lines)

    assert [case.fold for case in create_manifest(pictures).manifest.training] == [0, 0, 1, 1]
    write_table(pictures / "t.csv", *lines[:-1], "d.png,y,")
    created = create_manifest(pictures)
    assert [case.fold for case in created.manifest.training] == [None] * 4
    assert "some images to train on have no fold in the table, so no fold is taken from it" in created.notes
    assert "line 5: fold is 'one', must be a number from 0" in refused(pictures, *lines[:-1], "d.png,y,one")


def test_an_image_without_a_class_is_listed_under_test(pictures):
    write_table(pictures / "t.csv", "image,class", "a.png,x", "b.png,y", "c.png,")

    created = create_manifest(pictures)

    assert [(case.case, case.classes) for case in created.manifest.test] == [("c", ())]
    assert "1 image without a label: listed under test, never trained on" in created.notes


def test_names_and_their_order_can_be_given(pictures):
    lines = ["image,findings", "a.png,effusion", "b.png,Hernia", "c.png,No Finding"]
    table = write_table(pictures / "t.csv", *lines)
    given = {0: "Hernia", 1: "Effusion", 2: "Mass"}

    manifest = create_manifest(pictures, table=table, labels=given).manifest

    assert manifest.categories().names == ("Hernia", "Effusion", "Mass")  # Mass in no image here
    assert [case.classes for case in manifest.training] == [("Effusion",), ("Hernia",), ()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,class", "a.png,x", ",y"], "line 3 names no image; fill it in, or remove the line"),
        (["image,class", "a.png,x", "gone.png,y"], "1 of its 2 images are not there: gone.png (line 3)"),
        (
            ["image,class", "a.png,x", "a.png,x"],
            "line 2 and line 3 are of one image, a.png; make them one row",
        ),
        (
            ["image,class", "a.png,x", "a.png,y"],
            "line 2 and line 3 are of one image, a.png, as x and as y; make them one row",
        ),
        (
            ["image,findings", "a.png,Effusion", "b.png,effusion"],
            "'Effusion' (line 2; 1 in all) and 'effusion' (line 3; 1 in all) are two spellings of one finding",
        ),
        (
            ["image,findings", "a.png,Pleural Thickening", "b.png,Pleural_Thickening"],
            "'Pleural Thickening' (line 2; 1 in all) and 'Pleural_Thickening' (line 3; 1 in all) are two",
        ),
        (
            ["image,findings", "a.png,Mass|", "b.png,Hernia"],
            "line 2: its findings are 'Mass|'; write names with |",
        ),
        (
            ["image,findings", "a.png,", "b.png,Hernia"],
            "line 2: its findings are ''; write names with | between",
        ),
        (
            ["image,findings", "a.png,Mass|No Finding"],
            "line 2: its findings are 'Mass|No Finding', both none and some",
        ),
        (["image,findings", 'a.png,"Mass, Hernia"'], "holds a ; or a comma; write | between findings"),
        (
            ["image,class,label", "a.png,x,1", "b.png,x,2", "c.png,y,1"],
            "with class 'x', label is '1' in line 2 and '2' in line 3; rename or remove one",
        ),
        (["image,class,class", "a.png,x,1"], "has the column class twice"),
        (["image,class", "a.png,x,1"], "line 2 has more fields than the header"),
        (
            ["image,class,split", "a.png,x,later"],
            "line 2: split is 'later', must be train, validation or test",
        ),
        (
            ["image,class,split", "a.png,x,test", "b.png,y,val"],
            "every labelled image is for test or validation",
        ),
        (["image,class"], "lists no image; it has only the line of the columns"),
        (["image,class", "a.png,x"], "has the one class x; needs two at least: where an image has it or not"),
        (["image,findings", "a.png,No Finding"], "no image has a finding; needs one at least"),
        (["a.png,x", "b.png,y"], "line 1 names the image a.png where the columns' names should be"),
        (
            ["image;class", "a.png,x", "b.png,y"],
            "line 2 has the one field 'a.png,x', line 1 has 2: image, class;",
        ),
        (["image", "a.png"], "line 1 names the one column image; name all columns there"),
        (
            ["image,age", *(f"{name},{40 + 9 * n}" for n, name in enumerate(FOUR))],
            "image names images, but no column says their labels: it has age (4 numbers from 40 to 67); write a column",
        ),
        (
            ["image,label", *(f"{name},{0.5 + n}" for n, name in enumerate(FOUR))],
            "label has 4 different numbers, from 0.5 (line 2) to 3.5 (line 5); measurements are no classes",
        ),
        (
            ["image,class", "a.png,0", "b.png,x"],
            "class is '0' in line 2 and 'x' in line 3; write names everywhere",
        ),
        (
            ["image,class", "a.png,x", "b.png,-", "c.png,x"],
            "class is 'x' in 2 rows and '-' in 1, first in line 3, which counts as no label; write a second name there",
        ),
        (["image,class", "a.png,#N/A", "b.png,x"], "line 2: class is '#N/A', an error of the spreadsheet"),
        (
            ["image,class", "a.png,x\u202e", "b.png,y"],
            "line 2: class: the name 'x\\u202e' holds the control character",
        ),
        (["image,class", f"a.png,{'x' * 101}", "b.png,y"], "line 2: class has 101 letters, such as 'xxxx"),
        (
            ["image,class", "a.png,x", "b.png,x;y", "c.png,y"],
            "line 3: class is 'x;y', several names in one field, since line 2 is 'x'; write one name",
        ),
        (
            ["image,Mass", "a.png,ja", "b.png,nein"],
            "line 2: Mass is 'ja'; must be 1 (present), 0 (absent), -1 (unknown) or empty; correct the",
        ),
        (
            ["image,class", "a.jpeg,x", "b.png,y"],
            "1 of its 2 images are not there: a.jpeg (line 2) (is a.png meant?)",
        ),
        (["image,class", "/else/a.png,x", "b.png,y"], "line 2: the path '/else/a.png' does not lie below"),
        (["name,age", "x,40", "y,50"], "no column names images of"),
        (["image,class", "../a.png,x", "b.png,y"], "the path '../a.png' does not lie below"),
        (["image,class,case", "a.png,x,p/1"], "the case id 'p/1' must be usable as a file name"),
        (["image,class,case", "a.png,x,one", "b.png,y,One"], "would both be the case One; rename one"),
        (
            ["image,Mass,Hernia", *(f"{name},1,0" for name in FOUR[:3]), "d.png,2,0"],
            "line 5: Mass is '2'; must be 1 (present), 0 (absent), -1 (unknown) or empty",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(pictures, lines, message):
    assert message in refused(pictures, *lines, target="findings" if "findings" in lines[0] else None)


@pytest.mark.parametrize(
    ("yes", "no"),
    [("True", "false"), ("YES", "no"), ("y", "n"), ("1,0", "0,0"), ("present", "absent"), ("+1", "0.")],
)
def test_words_and_numbers_for_yes_and_no(pictures, yes, no):
    write_table(
        pictures / "t.csv", "image;Mass;Hernia", f"a.png;{yes};{no}", f"b.png;{no};{yes}", f"c.png;{no};{no}"
    )

    manifest = create_manifest(pictures).manifest

    assert [case.classes for case in manifest.training] == [("Mass",), ("Hernia",), ()]


@pytest.mark.parametrize(
    ("before", "between", "end", "encoding"),
    [
        ("", ",", "\r\n", "utf-8-sig"),
        ("sep=;\n", ";", "\n", "utf-8"),
        ("\n\n", "\t", "\n", "utf-16"),
        ("", ",", "\r", "utf-8"),
    ],
)
def test_forms_of_a_text(pictures, before, between, end, encoding):
    """Excel's first line, its byte order marks and its ends of lines; and names in another case."""
    rows = [("IMAGE", '"Class"'), ("A.PNG", '"x "'), ("b", "y"), ("", "")]
    text = before + end.join(between.join(row) for row in rows) + end
    (pictures / "t.csv").write_bytes(text.encode(encoding))

    manifest = create_manifest(pictures).manifest

    assert [(case.images, case.classes) for case in manifest.training] == [
        (("a.png",), ("x",)),
        (("b.png",), ("y",)),
    ]


def test_a_workbook_is_no_table(pictures):
    (pictures / "t.csv").write_bytes(b"PK\x03\x04\x14\0")

    with pytest.raises(SegpipeError, match=r"t.csv: is a workbook of a spreadsheet, no text; save it as CSV"):
        create_manifest(pictures)


def test_columns_that_agree_are_one(pictures):
    """Numbers beside names: the names count."""
    write_table(pictures / "t.csv", "image,label,class", "a.png,0,x", "b.png,1,y", "c.png,0,x")

    assert list(create_manifest(pictures).manifest.labels.values()) == ["x", "y"]


def test_mimic_cxrs_form(tmp_path):
    """A row a study; the images lie in a folder with its number."""
    images = ["files/p10/s501/a.jpg", "files/p10/s501/b.jpg", "files/p11/s502/c.jpg"]
    folder = write_pictures(tmp_path / "mimic", images)
    write_table(folder / "t.csv", "subject_id,study_id,Edema,Mass", "10,501,1.0,", "11,502,0.0,1.0")

    manifest = create_manifest(folder).manifest

    assert [case.images[0] for case in manifest.training] == images
    assert [case.classes for case in manifest.training] == [("Edema",), ("Edema",), ("Mass",)]
    assert [case.patient for case in manifest.training] == ["10", "10", "11"]
    missing = refused(folder, "subject_id,study_id,Edema", "10,501,1", "11,502,0", "11,503,0")
    assert "1 of its 4 images are not there: 503 (line 4)" in missing


def test_the_columns_of_the_whole_nih_table(tmp_path):
    """Follow-up, age and sizes of pixels are no findings, and the empty column at the end has no meaning."""
    images = [f"images_00{n}/images/0000000{n}_000.png" for n in (1, 2, 3)]
    folder = write_pictures(tmp_path / "nih", images)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    rows = ["Mass|Nodule,0,1,058Y,M,PA", "No Finding,1,2,060Y,F,AP", "Hernia,0,3,070Y,F,PA"]
    names = [image.rpartition("/")[2] for image in images]
    lines = [f"{name},{row},2682,2749,0.143,0.143," for name, row in zip(names, rows, strict=True)]
    write_table(folder / "Data_Entry_2017.csv", header, *lines)

    manifest = create_manifest(folder).manifest

    assert manifest.categories().names == ("Hernia", "Mass", "Nodule")
    assert [case.patient for case in manifest.training] == ["1", "2", "3"]


def test_folders_of_no_class_are_not_warned_of(tmp_path):
    folder = write_pictures(tmp_path, [f"images/{name}" for name in FOUR])
    write_table(
        folder / "t.csv", "image,findings", "a.png,Mass", *(f"{name},No Finding" for name in FOUR[1:])
    )

    assert create_manifest(folder).warnings == []


def test_a_row_with_none_and_some_is_warned_of(pictures):
    write_table(pictures / "t.csv", "image,No Finding,Mass", "a.png,1,1", "b.png,1,0", "c.png,0,1")

    assert create_manifest(pictures).warnings == [
        "t.csv: 1 row with 1 for No Finding and 1 for a finding: line 2 (Mass); the finding counts: correct the rows "
        "that are wrong"
    ]


def test_a_folder_of_another_class_than_the_table_is_warned_of(tmp_path):
    folder = write_pictures(tmp_path, ["CNV/a.png", "CNV/b.png", "DME/c.png", "DME/d.png"])
    write_table(folder / "t.csv", "image,class", "a.png,CNV", "b.png,CNV", "c.png,CNV", "d.png,DME")

    created = create_manifest(folder)

    assert created.warnings == [
        "1 image of 4 in the folder of another class than t.csv says: DME/c.png is CNV by line 4; the table counts: "
        "correct it, or move the images"
    ]
    assert {case.patient for case in created.manifest.training} == {
        None
    }  # folders of classes are no patients


def test_doubtful_classes_are_noted(tmp_path):
    names = [f"{number}.png" for number in range(8)]
    folder = write_pictures(tmp_path, names)
    write_table(folder / "t.csv", "image,class", *(f"{n},c{n[0]}" for n in names[:-1]), "7.png,Unknown")

    notes = create_manifest(folder).notes

    assert any("8 classes for 8 images; if the column tells images apart" in note for note in notes)
    assert any(
        "'Unknown' counts as a class of its own; if it means that nobody knows" in note for note in notes
    )


def test_a_mistake_in_a_findings_column_is_refused(tmp_path):
    names = [f"{number}.png" for number in range(12)]
    folder = write_pictures(tmp_path, names)
    lines = [f"{name},{number % 2},0" for number, name in enumerate(names)]

    message = refused(folder, "image,Mass,Hernia", *lines[:-1], "11.png,2,0")

    assert "line 13: Mass is '2'; must be 1 (present), 0 (absent), -1 (unknown) or empty" in message


def test_a_finding_nobody_knows_is_refused(pictures):
    lines = ["image,findings", "a.png,Efusion", "b.png,Hernia"]

    message = refused(pictures, *lines, labels={0: "Effusion", 1: "Hernia"})

    assert (
        "the finding 'Efusion' is not among the given ones (Effusion, Hernia); did you mean Effusion?"
        in message
    )
    assert "add --class 2=Efusion" in message


def test_a_class_of_no_image_is_refused(pictures):
    message = refused(pictures, "image,class", "a.png,x", "b.png,y", labels={0: "x", 1: "y", 2: "z"})

    assert "no image has the class z; leave it out, or add its images" in message


def test_a_rare_name_that_looks_like_a_frequent_one_is_warned_of(tmp_path):
    names = [f"{number}.png" for number in range(40)]
    folder = write_pictures(tmp_path, names)
    rows = [f"{name},{'Effusion' if number else 'Efusion'}" for number, name in enumerate(names[:30])]
    write_table(folder / "t.csv", "image,findings", *rows, *(f"{name},Mass" for name in names[30:]))

    warnings = create_manifest(folder).warnings

    # 1 of 29 is under one in twenty
    assert warnings == [
        "'Efusion' (1 of its images) looks like 'Effusion' (29): if it is a typing mistake, correct it"
    ]


def test_a_name_of_two_images_is_refused(tmp_path):
    folder = write_pictures(tmp_path, ["x/1.png", "y/1.png"])

    assert "line 2: 1.png could be x/1.png or y/1.png; write the path" in refused(
        folder, "image,class", "1.png,a"
    )


def test_several_tables_are_refused(pictures):
    for name in ("train.csv", "valid.csv"):
        write_table(pictures / name, "image,class", "a.png,x", "b.png,y")

    with pytest.raises(SegpipeError, match=r"train.csv, valid.csv all label images; choose one with --csv"):
        create_manifest(pictures)


def test_findings_need_a_table(pictures):
    with pytest.raises(
        SegpipeError, match=r"no table there has columns image and findings, or one column a finding"
    ):
        create_manifest(pictures, target="findings")


def test_several_names_in_a_field_are_no_class(pictures):
    message = refused(pictures, "image,class", "a.png,x|y", "b.png,y", target="class")

    assert "the column class has several names in one field" in message


def test_equal_bytes_with_different_findings_are_refused(pictures):
    (pictures / "e.png").write_bytes((pictures / "a.png").read_bytes())

    message = refused(pictures, "image,findings", "a.png,Mass", "b.png,Hernia", "e.png,No Finding")

    assert "one image has two labels: a.png (Mass) and e.png (No Finding) are the same bytes" in message


def test_volumes_need_a_modality(tmp_path):
    import SimpleITK as sitk

    for number in (1, 2):
        array = np.full((8, 8), number, np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / f"{number}.mhd")
    write_table(tmp_path / "t.csv", "image,class", "1.mhd,healthy", "2.mhd,infected")

    with pytest.raises(SegpipeError, match="does not say what the images are; add --modality CT"):
        create_manifest(tmp_path)
    manifest = create_manifest(tmp_path, modality=["CT"]).manifest
    assert len(manifest.training[0].sha256) == 2  # header and voxels


def test_a_picture_alone_is_called_image(pictures):
    write_table(pictures / "t.csv", "image,class", "a.png,x", "b.png,y")

    created = create_manifest(pictures)

    assert created.manifest.modality == ("image",)
    assert "the modality is called image; --modality OCT, or X-ray, names it" in created.notes
    with pytest.raises(SegpipeError, match="--modality is given 2 times; an image to classify is one file"):
        create_manifest(pictures, modality=["OCT", "X-ray"])


def test_one_patient_alone_is_warned_of(pictures):
    write_table(pictures / "t.csv", "image,class,patient", "a.png,x,P", "b.png,y,P")

    assert "all 2 images have the one patient P" in create_manifest(pictures).warnings[0]


def test_images_of_a_dicom_file_each(tmp_path):
    """One file a case, even if several lie in one folder; write_picture's suffix is only a name here."""
    write_picture(tmp_path / "a.png")
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + name.encode())
    write_table(tmp_path / "t.csv", "image,class", "1.dcm,x", "2.dcm,y")

    manifest = create_manifest(tmp_path, modality=["DX"], checksums=False, target="class").manifest

    assert [case.images for case in manifest.training] == [("1.dcm",), ("2.dcm",)]
