"""A user's table of coded terms: what it may hold, and what is refused with which message."""

import pytest

from segpipe.errors import SegpipeError
from segpipe.labels import Label, LabelTable
from segpipe.regions import NamedRegion
from segpipe.segment_codes import read_segment_codes, with_segment_codes

CSV = """class,category,type,modifier
Spleen,Anatomical Structure,78961009,
left kidney,91723000,Kidney,left
shadow,Morphologically Abnormal Structure,SCT:95436008:Lung consolidation,
"""
YAML = """
- {class: Spleen, category: Anatomical Structure, type: 78961009}
- {class: left kidney, category: "SCT:91723000", type: Kidney, modifier: Left}
- {class: shadow, category: Morphologically Abnormal Structure, type: "SCT:95436008:Lung consolidation"}
"""


def written(folder, text, name="codes.csv"):
    (folder / name).write_text(text)
    return folder / name


def table(*names):
    return LabelTable(tuple(Label(index, name, (index, 0, 0), index) for index, name in enumerate(names)))


@pytest.mark.parametrize(("text", "name"), [(CSV, "codes.csv"), (YAML, "codes.yaml")], ids=["CSV", "YAML"])
def test_classes_get_the_codes_of_the_table(tmp_path, text, name):
    labels = table("background", "spleen", "Left Kidney", "shadow")

    found = with_segment_codes(labels, written(tmp_path, text, name)).targets

    assert [one.codes.text for one in found] == [
        "Spleen, SCT 78961009",
        "Kidney, Left, SCT 64033007",
        "Lung consolidation, SCT 95436008",
    ]
    assert [one.codes.category.code for one in found] == ["91723000", "91723000", "49755003"]


def test_regions_get_them_too(tmp_path):
    labels = table("background", "rim", "core").with_regions(
        [NamedRegion("Spleen", ("rim", "core")), NamedRegion("middle", ("core",))]
    )

    found = with_segment_codes(labels, written(tmp_path, "\n".join(CSV.splitlines()[:2])))

    assert [one.codes and one.codes.type.meaning for one in found.targets] == ["Spleen", None]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("class,type\nspleen,78961009\n", "a.csv", "has no column category; a table of codes has the columns class, "),
        ("class,category,type\nspleen,91723000\n", "a.csv", "has rows of another length than its head"),
        ("class,category,type,more\na,91723000,78961009,x\n", "a.csv", "row 1 is .* must have class, category, type"),
        ("class,category,type\na,91723000,0815\n", "a.csv", r"row 1 \(a\): type is '0815', which DICOM's dictionary"),
        ("class,category,type\na,Spleen,Spleen\n", "a.csv", r"row 1 \(a\): category is 'Spleen', which DICOM's"),
        ("class,category,type\na,,Spleen\n", "a.csv", r"row 1 \(a\): has type without category"),
        ("class,category,type\na,,\n", "a.csv", r"row 1 \(a\): has neither category nor type"),
        ("class,category,type\n,91723000,Spleen\n", "a.csv", "row 1: class '' is empty"),
        ("class,category,type\n" + 2 * "a,91723000,Spleen\n", "a.csv", "row 2: class 'a' is there twice"),
        ("class,category,type\na,91723000,SCT:1 2:x\n", "a.csv", "code '1 2' must be letters and digits"),
        ("- spleen\n", "a.yaml", "row 1 is 'spleen'; must have class, category, type"),
        ("spleen: 1\n", "a.yaml", "must be a list of rows with class, category, type"),
        ("- [\n", "a.yml", "is no YAML"),
        ("", "a.xlsx", "a table of codes must be one of: .csv, .yaml, .yml, .json"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_table_is_refused(tmp_path, text, name, said):
    with pytest.raises(SegpipeError, match=f"{name}: .*{said}|{name}: {said}"):
        read_segment_codes(written(tmp_path, text, name))


def test_a_missing_table_and_a_class_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(SegpipeError, match=r"none\.csv: cannot be read: No such file"):
        read_segment_codes(tmp_path / "none.csv")
    with pytest.raises(
        SegpipeError, match="left kidney, shadow: no such segment in the bundle, whose segments are "
    ):
        with_segment_codes(table("background", "spleen"), written(tmp_path, CSV))
