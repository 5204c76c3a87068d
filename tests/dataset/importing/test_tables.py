"""Tables that list a data set: the meaning of columns, and rows that are refused."""

import pytest
from made_sets import CLASSES, KNOWN, require_sound

from segpipe.dataset import create_manifest
from segpipe.errors import SegpipeError


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_table(folder, between):
    top = folder(["s/1.nii.gz", "s/2.nii.gz", "s/3.nii.gz"], ["m/one.nii.gz", "m/two.nii.gz"])
    rows = [
        ("Case", "Image", "Label", "Patient"),
        ("x1", "s/1.nii.gz", "m/one.nii.gz", "P 1"),
        ("x2", "s/2.nii.gz", "m/two.nii.gz", "P 1"),
        ("x3", "s/3.nii.gz", "", "P 2"),
    ]
    (top / "cases.csv").write_text("\n".join(between.join(row) for row in rows), encoding="utf-8-sig")

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert created.layout == "the table cases.csv"
    assert [(case.case, case.patient) for case in created.manifest.training] == [("x1", "P 1"), ("x2", "P 1")]
    assert [case.case for case in created.manifest.test] == ["x3"]
    assert created.manifest.patients == "from the table cases.csv"
    assert create_manifest(top, table=top / "cases.csv", **KNOWN).manifest == created.manifest


def test_cells_of_a_users_table_count_as_they_stand(folder):
    """segpipe's tables put ' before a formula; in a user's table, ' and signs belong to the name."""
    top = folder(["'=1.nii.gz", "-2.nii.gz"], ["m1.nii.gz", "m2.nii.gz"])
    (top / "t.csv").write_text("case,image,label\n-3,'=1.nii.gz,m1.nii.gz\n'+4,-2.nii.gz,m2.nii.gz\n")

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [(case.case, case.images) for case in created.manifest.training] == [
        ("-3", ("'=1.nii.gz",)),
        ("'+4", ("-2.nii.gz",)),
    ]


def test_a_table_of_several_channels(folder):
    top = folder(["1_a.nii.gz", "1_b.nii.gz"], ["1_m.nii.gz"])
    (top / "t.csv").write_text("image_t1,image_flair,label\n1_a.nii.gz,1_b.nii.gz,1_m.nii.gz\n")

    created = create_manifest(top, labels=CLASSES, modality=["MRI"])

    require_sound(created, top)
    assert created.manifest.modality == ("MRI t1", "MRI flair")
    assert created.manifest.training[0].case == "1_a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na,b\n", r"has the columns picture, label; must have image"),
        ("image,label\n", "lists no case"),
        (
            "image,label\na.nii.gz,b.nii.gz\n",
            r"2 of the files that it names are not there: a.nii.gz, b.nii.gz",
        ),
        ("image,label\n,b.nii.gz\n", "line 2 names no image"),
        ("image,label\na.nii.gz,b.nii.gz,c\n", "line 2 has more fields than the header"),
        ("image,image,label\n1.nii.gz,1.nii.gz,1.nii.gz\n", "has the column image twice"),
        ("image,label,mask\n1.nii.gz,1.nii.gz,1.nii.gz\n", "columns label and mask both say label"),
        ("image,scan,label\n1.nii.gz,1.nii.gz,m.nii.gz\n", "columns image and scan both say the channel"),
        ("image,label,label_2\n1.nii.gz,m.nii.gz,n.nii.gz\n", "the column label_2 names scans, too"),
        ("image,label\n../1.nii.gz,m.nii.gz\n", "line 2: the path '../1.nii.gz' does not lie below"),
        ("image,label\n1.nii.gz,m.nii.gz\n/x/1.nii.gz,m.nii.gz\n", "line 3: the path '/x/1.nii.gz' does not"),
        ("image,label\nC:\\1.nii.gz,m.nii.gz\n", "line 2: the path .* does not lie below"),
        ("image,label\n1.nii.gz,1.nii.gz\n", "1.nii.gz is the image of 1 and the label map of 1"),
        (
            "image,label\n1.nii.gz,m.nii.gz\n1.nii.gz,m.nii.gz\n",
            "1.nii.gz is the image of .* and the image of",
        ),
        (
            "case,image,label\na,1.nii.gz,m.nii.gz\nb,2.nii.gz,m.nii.gz\n",
            "m.nii.gz is the label map of a and the",
        ),
        (
            "case,image,label\na,1.nii.gz,m.nii.gz\nA,2.nii.gz,n.nii.gz\n",
            "1.nii.gz and 2.nii.gz would both be",
        ),
        (
            "case,image,label\na/b,1.nii.gz,m.nii.gz\n",
            "line 2: the case id 'a/b' must be usable as a file name",
        ),
        (
            "image,label,split\n1.nii.gz,m.nii.gz,later\n",
            "line 2: split is 'later', must be train, validation or",
        ),
        (
            "image,label,split\n1.nii.gz,m.nii.gz,test\n",
            "every case with a label map is for test, none to train",
        ),
        ('image,label\n"1.nii.gz,m.nii.gz\n', "line 2 is no row of a table: unexpected end of data"),
        ("image,label\n1\0.nii.gz,m.nii.gz\n", "does not lie below|is no row of a table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, text, message):
    top = folder(["1.nii.gz", "2.nii.gz"], ["m.nii.gz", "n.nii.gz"])
    (top / "t.csv").write_text(text)

    with pytest.raises(SegpipeError, match=message):
        create_manifest(top, table=top / "t.csv", **KNOWN)


PAIRS = "s/1.nii.gz,m/1.nii.gz\ns/2.nii.gz,m/2.nii.gz\n"


@pytest.fixture
def two(folder):
    """A folder of two cases with names that do not pair, so that only the table pairs them."""
    return folder(["s/1.nii.gz", "s/2.nii.gz"], ["m/1.nii.gz", "m/2.nii.gz"])


def cases_of(top, text, **how):
    (top / "t.csv").write_text(text, **how)
    manifest = create_manifest(top, **KNOWN).manifest
    return [(case.case, case.images[0], case.label, case.patient) for case in manifest.training]


BOTH = [("1", "s/1.nii.gz", "m/1.nii.gz", None), ("2", "s/2.nii.gz", "m/2.nii.gz", None)]


@pytest.mark.parametrize(
    "header",
    [
        "image,label",
        "Image,Mask",
        "img_path,label_path",
        "ImageFile,Segmentation",
        "filename,mask",
        "File,Label",
    ],
)
def test_usual_spellings_of_columns(two, header):
    assert cases_of(two, f"{header}\n{PAIRS}") == BOTH


@pytest.mark.parametrize(
    "header", ["patient_id", "Patient ID", "PatientID", "subject", "Participant_ID", "pid"]
)
def test_usual_spellings_of_the_patient(two, header):
    rows = f"image,label,{header}\ns/1.nii.gz,m/1.nii.gz,P7\ns/2.nii.gz,m/2.nii.gz,P7\n"

    assert [case[-1] for case in cases_of(two, rows)] == ["P7", "P7"]


@pytest.mark.parametrize("text", ["nan", "NaN", "NA", "n/a", "None", "unknown", "-", ""])
def test_a_patient_that_nobody_knows_is_none(two, text):
    rows = f"image,label,patient\ns/1.nii.gz,m/1.nii.gz,{text}\ns/2.nii.gz,m/2.nii.gz,{text}\n"

    assert cases_of(two, rows) == BOTH


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_that_say_which_they_are(two, encoding):
    assert cases_of(two, f"image,label\n{PAIRS}", encoding=encoding) == BOTH


def test_an_encoding_that_nothing_tells_is_refused(two):
    with pytest.raises(SegpipeError, match=r"t.csv: line 1 is not UTF-8 text; save the table as UTF-8"):
        cases_of(two, f"image,label,Größe\n{PAIRS}", encoding="latin-1")


def test_paths_are_written_as_a_manifest_has_them(two):
    rows = f"image,label\n{two}/s/1.nii.gz,.\\m\\1.nii.gz\n./s/x/../2.nii.gz,m/2.nii.gz\n"

    assert cases_of(two, rows) == BOTH


def test_other_columns_are_named(two):
    (two / "t.csv").write_text("image_id,image,label,age\n7,s/1.nii.gz,m/1.nii.gz,80\n")

    created = create_manifest(two, **KNOWN)

    assert created.manifest.modality == ("CT",)
    assert created.notes[:2] == [
        "t.csv: these columns are not used: image_id, age",
        "2 scans are not listed in t.csv: m/2.nii.gz, s/2.nii.gz",
    ]


def test_a_column_says_the_split(folder):
    names = [f"{number}.nii.gz" for number in range(4)]
    top = folder([f"s/{name}" for name in names], [f"m/{name}" for name in names])
    parts = ("train", "Val", "test", "training")
    rows = [f"s/{name},m/{name},{part}" for name, part in zip(names, parts, strict=True)]
    (top / "t.csv").write_text("\n".join(["image,label,split", *rows]))

    created = create_manifest(top, **KNOWN)

    require_sound(created, top)
    assert [case.case for case in created.manifest.training] == ["0", "1", "3"]
    assert [case.case for case in created.manifest.test] == ["2"]
    split = created.manifest.splits["folder"]
    assert (split.train, split.validation) == (("0", "3"), ("1",))


@pytest.mark.parametrize("name", ["set", "phase", "Usage"])
def test_a_column_of_parts_says_the_split_whatever_its_name(two, name):
    """A test case must not become a training case."""
    (two / "t.csv").write_text(
        f"image,label,{name}\ns/1.nii.gz,m/1.nii.gz,train\ns/2.nii.gz,m/2.nii.gz,test\n"
    )

    created = create_manifest(two, **KNOWN)

    assert [len(cases) for cases in (created.manifest.training, created.manifest.test)] == [1, 1]
    assert not any("not used" in note for note in created.notes)


def test_a_column_of_one_part_or_of_other_words_says_nothing(two):
    rows = "s/1.nii.gz,m/1.nii.gz,train,train\ns/2.nii.gz,m/2.nii.gz,train,ward\n"
    (two / "t.csv").write_text(f"image,label,one,other\n{rows}")

    assert create_manifest(two, **KNOWN).notes[0] == "t.csv: these columns are not used: one, other"


def test_ids_are_names_without_suffix_and_with_folders_where_names_are_alike(folder):
    top = folder(["1.2.3.nii.gz", "1.2.4.nii.gz"], ["m1.nii.gz", "m2.nii.gz"])
    assert [
        case[0] for case in cases_of(top, "image,label\n1.2.3.nii.gz,m1.nii.gz\n1.2.4.nii.gz,m2.nii.gz\n")
    ] == [
        "1.2.3",
        "1.2.4",
    ]

    folder(["p1/ct.nii.gz", "p2/ct.nii.gz"])
    rows = "image,label\np1/ct.nii.gz,m1.nii.gz\np2/ct.nii.gz,m2.nii.gz\n"
    assert [case[0] for case in cases_of(top, rows)] == ["p1_ct", "p2_ct"]


@pytest.mark.parametrize("text", ["case,label\na,benign\n", "image,label\na,benign\n", "image,label\n"])
def test_a_table_of_something_else_is_ignored_and_said(folder, text):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "metadata.csv").write_text(text)

    created = create_manifest(top, **KNOWN)

    assert created.layout == "pairs of files"
    assert (
        created.notes[0]
        == "these tables are not read, since they have no columns image and label that name files: metadata.csv"
    )


def test_a_damaged_table_is_not_ignored(folder):
    top = folder(["a.nii.gz"], ["a_mask.nii.gz"])
    (top / "cases.csv").write_text('image,label,patient\n"a.nii.gz,a_mask.nii.gz,P1\n')

    with pytest.raises(SegpipeError, match="line 2 is no row of a table"):
        create_manifest(top, **KNOWN)


def test_of_several_tables_none_is_chosen(two):
    for name in ("train.csv", "test.CSV"):
        (two / name).write_text(f"image,label\n{PAIRS}")

    with pytest.raises(SegpipeError, match=r"test.CSV, train.csv all list scans; choose one with --csv"):
        create_manifest(two, **KNOWN)
