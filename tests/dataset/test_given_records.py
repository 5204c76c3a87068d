"""Records in place of a manifest."""

import pytest

from segpipe.dataset.given_records import GIVEN, case_name, given_manifest
from segpipe.errors import SegpipeError
from segpipe.labels import Label, LabelTable

TABLE = LabelTable((Label(0, "background", (0, 0, 0), 0), Label(1, "organ", (1, 2, 3), 5)), ignore_value=9)


def record(name, folder="/d"):
    return {"image": f"{folder}/images/{name}.nii.gz", "label": f"{folder}/labels/{name}.nii.gz"}


def test_records_become_cases_of_one_folder_with_the_table_s_values():
    manifest, folder = given_manifest([record("a"), record("b")], [record("a", "/d/e")], TABLE, ["CT"])

    assert str(folder) == "/d"
    assert [case.case for case in manifest.training] == ["a", "b", "a_2"]
    assert manifest.training[2].files == ("e/images/a.nii.gz", "e/labels/a.nii.gz")
    assert manifest.labels == {0: "background", 5: "organ", 9: "ignore"}
    split = manifest.splits[GIVEN]
    assert (split.train, split.validation) == (("a", "b"), ("a_2",))


def test_without_records_to_validate_with_there_is_no_split():
    manifest, _ = given_manifest([record("a")], [], TABLE, ["CT"])

    assert not manifest.splits


def test_channels_are_a_list_of_files_and_a_case_may_be_named():
    given = {"case": "p1", "image": ["/d/t1.nii", "/d/t2.nii"], "label": "/d/l.nii"}

    manifest, _ = given_manifest([given], [], TABLE, ["T1", "T2"])

    assert manifest.training[0].images == ("t1.nii", "t2.nii")
    assert (case_name(given), case_name({"image": "/d/x.seg.nrrd"}), case_name({})) == ("p1", "x", "")


@pytest.mark.parametrize(
    "bad", [{}, {"image": "/d/a.nii"}, {"image": [], "label": "/d/l.nii"}, "a.nii", {"image": 3}]
)
def test_a_record_without_image_or_label_is_named(bad):
    with pytest.raises(
        SegpipeError, match=r"train#dataset#data#1: .* is no record of a scan and its label map"
    ):
        given_manifest([record("a"), bad], [], TABLE, ["CT"])


def test_nothing_to_train_on_is_refused():
    with pytest.raises(SegpipeError, match="no record to train on; label some scans first"):
        given_manifest([], [record("a")], TABLE, ["CT"])
